"""One text, two colours: the function that really runs, derived from the text of ``run``.

A pattern is written once, as ``async def run(self, call, rt)``. Handing it a call object and driving
its coroutine works, but costs more than most patterns do. So the text is read once per class and
specialised: ``call()`` becomes the next layer itself, ``call.args`` the caller's arguments and, for
plain functions, ``await`` falls away. File name and line numbers stay, so tracebacks, debuggers and
coverage show the one real text.

Where the text cannot be had (typed at a prompt, decorated, awaiting other things), the coroutine is
driven instead: same behaviour, a little slower.
"""

from __future__ import annotations
import __future__

import ast
import copy
import inspect
import linecache
import types
import weakref
from collections.abc import Callable
from typing import Any, cast

from failwell.events import bus
from failwell.runtime import TAKES_CALL, refuse_awaitable
from failwell.switch import switch

__all__ = ["Call", "PlainCall", "Underivable", "derive"]


class Call:
    """The call that a policy protects: call it to run the inner layer.

    Attributes:
        args: The caller's positional arguments.
        kwargs: The caller's keyword arguments.
        name: The name of the operation.
    """

    __slots__ = ("_next", "_packed", "args", "kwargs", "name")

    def __init__(
        self,
        following: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str,
        packed: bool = False,
    ) -> None:
        self._next = following
        self._packed = packed
        self.args = args
        self.kwargs = kwargs
        self.name = name

    def __call__(self) -> Any:
        """Run the inner layer: its value under a plain call, an awaitable under an async one."""
        if self._packed:
            return self._next(self.args, self.kwargs)
        return self._next(*self.args, **self.kwargs)


class PlainCall(Call):
    """A call of a plain function of the user's, which must not turn out to be an async one."""

    __slots__ = ()

    def __call__(self) -> Any:
        """Run it; refuses an awaitable."""
        return refuse_awaitable(self._next, super().__call__())


class Underivable(Exception):
    """The text of ``run`` cannot be had, or does something that cannot be translated."""


Factory = Callable[..., Callable[..., Any]]
_texts: weakref.WeakKeyDictionary[Any, _Text | None] = weakref.WeakKeyDictionary()


def derive(run: Any, *, blocking: bool, outermost: bool, innermost: bool, switched: bool = False) -> Factory | None:
    """Make the factory of a specialised ``run``, or None where that cannot be done.

    Args:
        run: The function ``run`` of a pattern's class.
        blocking: Whether awaits fall away.
        outermost: Whether it is called like the user's function (else with the arguments packed).
        innermost: Whether the next thing is the user's function (else another such layer).
        switched: Whether it calls the protected function itself where policies are off; for an outermost one.

    Returns:
        ``factory(self, rt, following, name)``, which gives the function to call.
    """
    if not (isinstance(run, types.FunctionType) and inspect.iscoroutinefunction(run)):
        return None
    if run not in _texts:
        try:
            _texts[run] = _Text(run)
        except Exception:  # whatever is wrong with the text, the coroutine itself is what was imported
            _texts[run] = None
    text = _texts[run]
    return None if text is None else text.factory(run, blocking, outermost, innermost, switched)


class _Text:
    """The source text of one ``run``."""

    def __init__(self, run: types.FunctionType) -> None:
        lines, first = inspect.getsourcelines(run)
        indented = lines[0][:1] in " \t"
        tree = ast.parse(("class _:\n" if indented else "") + "".join(lines))
        ast.increment_lineno(tree, first - 1 - indented)
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else tree.body
        self.code = run.__code__
        self.node = _undecorated(body[0])
        self.made: dict[tuple[bool, ...], types.CodeType | None] = {}
        self._is_current()
        self._keeps_its_names()

    def _is_current(self) -> None:
        """Refuse a file that was changed after it was imported: its text is not what runs."""
        mine = self.code
        # The whole module is compiled, because what stands at its top decides about single instructions.
        module = compile("".join(linecache.getlines(mine.co_filename)), mine.co_filename, "exec", dont_inherit=True)
        code = _find(module, lambda c: c.co_qualname == mine.co_qualname and c.co_firstlineno == mine.co_firstlineno)
        if not _same(code, mine):
            raise Underivable("the source file is not the code that was imported")

    def _keeps_its_names(self) -> None:
        """Refuse a text that gives the names of its parameters, or those that we put in, a second meaning."""
        parameters = self.node.args.args
        own = {a.arg for a in parameters}
        if len(own) != 3 or ast.dump(self.node.args) != ast.dump(_arguments(parameters)):
            raise Underivable("run must take self, call and rt")
        names = _all_names(self.code)
        if "__class__" in names or any(map(_is_private, names)):
            raise Underivable("run uses super() or a private name")
        if not own.isdisjoint(_bound_names(self.node)) or not _OURS.isdisjoint(names):
            raise Underivable("run uses a name for something else than the text that is made of it")

    def factory(self, run: Any, blocking: bool, outermost: bool, innermost: bool, switched: bool) -> Factory | None:
        kind = blocking, outermost, innermost, switched
        if kind not in self.made:
            try:
                self.made[kind] = self._specialised(*kind)
            except Underivable:
                self.made[kind] = None
        code = self.made[kind]
        if code is None:
            return None
        cells = dict(zip(self.code.co_freevars, run.__closure__ or (), strict=True))
        closure = tuple(cells[name] for name in code.co_freevars)
        build = types.FunctionType(code, run.__globals__, "_factory", None, closure)

        def factory(policy: Any, runtime: Any, following: Any, name: str) -> Callable[..., Any]:
            call = PlainCall if blocking and innermost else Call
            function: Callable[..., Any] = build(policy, runtime, following, name, call, refuse_awaitable, bus, switch)
            return function

        return factory

    def _specialised(self, blocking: bool, outermost: bool, innermost: bool, switched: bool) -> types.CodeType:
        me, call, rt = (a.arg for a in self.node.args.args)
        inside = {n.name for n in ast.walk(self.node) if isinstance(n, ast.AsyncFunctionDef) and n is not self.node}
        node = _Specialise({call, *inside}, call, rt, blocking, innermost).visit(copy.deepcopy(self.node))
        packed = [ast.arg("_args"), ast.arg("_kwargs")]
        node.args = _arguments([], *packed) if outermost else _arguments(packed)
        if switched:
            node.body.insert(0, _bypass(node, rt, blocking))
        parameters = [ast.arg(name) for name in (me, rt, "_next", "_name", "_Call", "_plain", "_bus", "_switch")]
        made = _function("_factory", parameters, [node, ast.Return(ast.Name(node.name, ast.Load()))])
        return _find(self._compile(made), lambda c: c.co_name == "_factory")

    def _compile(self, function: ast.FunctionDef) -> types.CodeType:
        """Compile inside a function that has the free variables of ``run`` as its own."""
        outer = _function("_outer", [ast.arg(name) for name in self.code.co_freevars], [function])
        module = ast.fix_missing_locations(ast.Module([outer], []))
        flags = self.code.co_flags & __future__.annotations.compiler_flag
        code: types.CodeType = compile(module, self.code.co_filename, "exec", flags, dont_inherit=True)
        return code


_OURS = frozenset({"_args", "_kwargs", "_next", "_name", "_Call", "_plain", "_bus", "_switch"})


class _Specialise(ast.NodeTransformer):
    """Puts the next layer in the place of ``call``."""

    def __init__(self, ours: set[str], call: str, rt: str, blocking: bool, innermost: bool) -> None:
        self.ours = ours  # the call, and async functions that are defined inside of run
        self.call, self.rt, self.blocking, self.innermost = call, rt, blocking, innermost

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        node.returns = None
        self.generic_visit(node)
        if not self.blocking:
            return node
        fields = {f: getattr(node, f) for f in node._fields}
        return ast.copy_location(ast.FunctionDef(**fields), node)

    def visit_Await(self, node: ast.Await) -> Any:
        if self.blocking and not self._is_ours(node.value):
            raise Underivable(f"run awaits {ast.unparse(node.value)}, which has no plain form")
        self.generic_visit(node)
        return node.value if self.blocking else node

    def _is_ours(self, value: ast.expr) -> bool:
        if not isinstance(value, ast.Call):
            return False
        called = value.func
        if isinstance(called, ast.Attribute):
            of_runtime = isinstance(called.value, ast.Name) and called.value.id == self.rt
            return of_runtime and (called.attr not in TAKES_CALL or self._stands_here(value))
        return isinstance(called, ast.Name) and called.id in self.ours

    def _stands_here(self, request: ast.Call) -> bool:
        """Whether what the runtime is to call stands in this text, and so loses its awaits with it."""
        handed = request.args[-1] if request.args and not request.keywords else None
        return isinstance(handed, (ast.Name, ast.Lambda))

    def visit_Expr(self, node: ast.Expr) -> Any:
        """Ask whether anybody listens before the fields of an event are even computed."""
        self.generic_visit(node)
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute)):
            return node
        owner, told = value.func.value, value.func.attr
        if not (isinstance(owner, ast.Name) and owner.id == self.rt and told in ("emit", "announce")):
            return node
        heard: ast.expr = ast.Attribute(ast.Name("_bus", ast.Load()), "active", ast.Load())
        if told == "announce":
            asked = ast.Compare(copy.deepcopy(value.args[0]), [ast.IsNot()], [ast.Constant(None)])
            heard = ast.BoolOp(ast.Or(), [asked, heard])
        return ast.copy_location(ast.If(_at(value, heard), [node], []), node)

    def visit_Call(self, node: ast.Call) -> Any:
        if not (isinstance(node.func, ast.Name) and node.func.id == self.call):
            return self.generic_visit(node)
        if node.args or node.keywords:
            raise Underivable("call() takes no arguments")
        following = ast.Name("_next", ast.Load())
        args: list[ast.expr] = [ast.Name("_args", ast.Load())]
        kwargs = ast.Name("_kwargs", ast.Load())
        made = (
            ast.Call(following, [ast.Starred(args[0], ast.Load())], [ast.keyword(None, kwargs)])
            if self.innermost
            else ast.Call(following, [*args, kwargs], [])
        )
        if self.innermost and self.blocking:
            made = ast.Call(ast.Name("_plain", ast.Load()), [following, made], [])
        return _at(node, made)

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        if isinstance(node.value, ast.Name) and node.value.id == self.call:
            if node.attr not in ("args", "kwargs", "name") or not isinstance(node.ctx, ast.Load):
                raise Underivable(f"call has no attribute {node.attr!r} to use here")
            return _at(node, ast.Name(f"_{node.attr}", ast.Load()))
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id != self.call:
            return node
        names = [ast.Name(n, ast.Load()) for n in ("_next", "_args", "_kwargs", "_name")]
        return _at(node, ast.Call(ast.Name("_Call", ast.Load()), [*names, ast.Constant(not self.innermost)], []))

    def _refuse(self, node: ast.AST) -> Any:
        if self.blocking:
            raise Underivable(f"run uses {type(node).__name__}, which has no plain form")
        return self.generic_visit(node)

    visit_AsyncFor = visit_AsyncWith = _refuse

    def visit_comprehension(self, node: ast.comprehension) -> Any:
        return self._refuse(node) if node.is_async else self.generic_visit(node)


def _bypass(node: ast.AST, rt: str, blocking: bool) -> ast.stmt:
    """The way around all layers, to the protected function itself; and no way at all in an abandoned thread."""
    made = ast.parse(
        f"async def _(_args, _kwargs):\n"
        f"    if _switch.touched:\n"
        f"        if _switch.is_off():\n"
        f"            return {'' if blocking else 'await '}{rt}.function(*_args, **_kwargs)\n"
        f"        {rt}.lease()"
    )
    [function] = cast("list[ast.AsyncFunctionDef]", made.body)
    for one in ast.walk(function.body[0]):
        if "lineno" in one._attributes:
            ast.copy_location(one, node)
    return function.body[0]


def _undecorated(node: ast.AST) -> ast.AsyncFunctionDef:
    if not isinstance(node, ast.AsyncFunctionDef) or node.decorator_list:
        raise Underivable("run must be an undecorated `async def`")
    return node


def _bound_names(function: ast.AsyncFunctionDef) -> set[Any]:
    """Every name that something in a function gives a meaning to."""
    bound: set[Any] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                bound.add(node.id)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            bound.update(node.names)
        elif node is not function and node not in function.args.args and not isinstance(node, ast.keyword):
            bound.update(getattr(node, field, None) for field in ("name", "asname", "arg", "rest"))
    return bound


def _all_names(code: types.CodeType) -> set[str]:
    """Every name that a code object uses, those of the functions inside included."""
    inside = (_all_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return {*code.co_names, *code.co_varnames, *code.co_cellvars, *code.co_freevars}.union(*inside)


def _is_private(name: str) -> bool:
    """Whether a class's own name was put in front of it, or it shows what a frame is made of."""
    return ("__" in name and not name.endswith("__")) or name in {"locals", "vars", "eval", "exec"}


def _arguments(args: list[ast.arg], vararg: ast.arg | None = None, kwarg: ast.arg | None = None) -> ast.arguments:
    return ast.arguments(
        posonlyargs=[], args=args, vararg=vararg, kwonlyargs=[], kw_defaults=[], kwarg=kwarg, defaults=[]
    )


def _function(name: str, args: list[ast.arg], body: list[ast.stmt]) -> ast.FunctionDef:
    made = ast.FunctionDef(name=name, args=_arguments(args), body=body, decorator_list=[])
    made.type_params = []  # type: ignore[attr-defined, unused-ignore] # a field from Python 3.12 on
    return made


def _at(old: ast.expr, new: ast.expr) -> ast.expr:
    """Give a new expression, and all in it, the place of the old one."""
    for node in ast.walk(new):
        ast.copy_location(node, old)
    return new


def _same(one: Any, other: Any) -> bool:
    """Whether two constants are the same; those that are code objects, whether they do the same."""
    if not (isinstance(one, types.CodeType) and isinstance(other, types.CodeType)):
        return type(one) is type(other) and bool(one == other)
    return (
        one.co_code == other.co_code
        and one.co_names == other.co_names
        and one.co_varnames == other.co_varnames
        and one.co_freevars == other.co_freevars
        and len(one.co_consts) == len(other.co_consts)
        and all(map(_same, one.co_consts, other.co_consts))
    )


def _find(code: types.CodeType, is_it: Callable[[types.CodeType], bool]) -> types.CodeType:
    """The first code object inside that is the wanted one."""
    left = [code]
    for one in left:
        if is_it(one):
            return one
        left += [constant for constant in one.co_consts if isinstance(constant, types.CodeType)]
    raise Underivable("no such code in the source file")
