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
from collections.abc import Callable
from typing import Any

from failwell.runtime import refuse_awaitable

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
        self, following: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], name: str, packed: bool = False
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
_cache: dict[tuple[Any, bool, bool, bool], Factory | None] = {}


def derive(run: Any, *, blocking: bool, outermost: bool, innermost: bool) -> Factory | None:
    """Make the factory of a specialised ``run``, or None where that cannot be done.

    Args:
        run: The function ``run`` of a pattern's class.
        blocking: Whether awaits fall away.
        outermost: Whether it is called like the user's function (else with the arguments packed).
        innermost: Whether the next thing is the user's function (else another such layer).

    Returns:
        ``factory(self, rt, following, name)``, which gives the function to call.
    """
    key = run, blocking, outermost, innermost
    if key not in _cache:
        try:
            _cache[key] = _Text(run).factory(blocking, outermost, innermost)
        except (Underivable, OSError, SyntaxError, TypeError):
            _cache[key] = None
    return _cache[key]


class _Text:
    """The source text of one ``run``."""

    def __init__(self, run: Any) -> None:
        if not isinstance(run, types.FunctionType) or not inspect.iscoroutinefunction(run):
            raise Underivable("run is not a plain async function")
        lines, first = inspect.getsourcelines(run)
        indented = lines[0][:1] in " \t"
        tree = ast.parse(("class _:\n" if indented else "") + "".join(lines))
        ast.increment_lineno(tree, first - 1 - indented)
        inner = tree.body[0].body[0] if indented else tree.body[0]  # type: ignore[attr-defined]
        if not isinstance(inner, ast.AsyncFunctionDef) or inner.decorator_list or len(inner.args.args) != 3:
            raise Underivable("run must be an undecorated `async def run(self, call, rt)`")
        self.run = run
        self.node = inner
        self.free = run.__code__.co_freevars
        if "__class__" in self.free or any("__" in n and not n.endswith("__") for n in run.__code__.co_names):
            raise Underivable("run uses super() or a private name")
        self._is_current()

    def _is_current(self) -> None:
        """Refuse a file that was changed after it was imported: its text is not what runs."""
        mine = self.run.__code__
        # The whole module is compiled, because what stands at its top decides about single instructions.
        module = compile("".join(linecache.getlines(mine.co_filename)), mine.co_filename, "exec", dont_inherit=True)
        code = _find(module, lambda c: c.co_qualname == mine.co_qualname and c.co_firstlineno == mine.co_firstlineno)
        if code.co_code != mine.co_code or code.co_names != mine.co_names:
            raise Underivable("the source file is not the code that was imported")

    def factory(self, blocking: bool, outermost: bool, innermost: bool) -> Factory:
        me, call, rt = (a.arg for a in self.node.args.args)
        checked = blocking and innermost
        inside = {n.name for n in ast.walk(self.node) if isinstance(n, ast.AsyncFunctionDef) and n is not self.node}
        node = _Specialise({call, *inside}, call, rt, blocking, innermost).visit(copy.deepcopy(self.node))
        names = [ast.arg(n) for n in ("_args", "_kwargs")]
        node.args = (
            ast.arguments(posonlyargs=[], args=[], vararg=names[0], kwonlyargs=[], kw_defaults=[], kwarg=names[1], defaults=[])
            if outermost
            else ast.arguments(posonlyargs=[], args=names, kwonlyargs=[], kw_defaults=[], defaults=[])
        )
        made = ast.FunctionDef(
            name="_factory",
            args=ast.arguments(
                posonlyargs=[],
                args=[ast.arg(n) for n in (me, rt, "_next", "_name", "_Call", "_plain")],
                kwonlyargs=[],
                kw_defaults=[],
                defaults=[],
            ),
            body=[node, ast.Return(ast.Name(node.name, ast.Load()))],
            decorator_list=[],
            type_params=[],
        )
        code = _find(self._compile(made), lambda c: c.co_name == "_factory")
        cells = dict(zip(self.free, self.run.__closure__ or (), strict=True))
        closure = tuple(cells[name] for name in code.co_freevars)
        build = types.FunctionType(code, self.run.__globals__, "_factory", None, closure)

        def factory(policy: Any, runtime: Any, following: Any, name: str) -> Callable[..., Any]:
            function: Callable[..., Any] = build(policy, runtime, following, name, PlainCall if checked else Call, refuse_awaitable)
            return function

        return factory

    def _compile(self, function: ast.stmt) -> types.CodeType:
        """Compile inside a function that has the free variables of ``run`` as its own."""
        outer = ast.FunctionDef(
            name="_outer",
            args=ast.arguments(
                posonlyargs=[], args=[ast.arg(n) for n in self.free], kwonlyargs=[], kw_defaults=[], defaults=[]
            ),
            body=[function],
            decorator_list=[],
            type_params=[],
        )
        module = ast.fix_missing_locations(ast.Module([ast.copy_location(outer, function)], []))
        code = self.run.__code__
        flags = code.co_flags & __future__.annotations.compiler_flag
        return compile(module, code.co_filename, "exec", flags, dont_inherit=True)


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
            called = called.value
            return isinstance(called, ast.Name) and called.id == self.rt
        return isinstance(called, ast.Name) and called.id in self.ours

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
        if not isinstance(node.ctx, ast.Load):
            raise Underivable(f"run assigns to {self.call!r}")
        names = [ast.Name(n, ast.Load()) for n in ("_next", "_args", "_kwargs", "_name")]
        return _at(node, ast.Call(ast.Name("_Call", ast.Load()), [*names, ast.Constant(not self.innermost)], []))

    def _refuse(self, node: ast.AST) -> Any:
        if self.blocking:
            raise Underivable(f"run uses {type(node).__name__}, which has no plain form")
        return self.generic_visit(node)

    visit_AsyncFor = visit_AsyncWith = _refuse

    def visit_comprehension(self, node: ast.comprehension) -> Any:
        return self._refuse(node) if node.is_async else self.generic_visit(node)


def _at(old: ast.expr, new: ast.expr) -> ast.expr:
    """Give a new expression, and all in it, the place of the old one."""
    for node in ast.walk(new):
        ast.copy_location(node, old)
    return new


def _find(code: types.CodeType, is_it: Callable[[types.CodeType], bool]) -> types.CodeType:
    """The first code object inside that is the wanted one."""
    left = [code]
    for one in left:
        if is_it(one):
            return one
        left += [constant for constant in one.co_consts if isinstance(constant, types.CodeType)]
    raise Underivable("no such code in the source file")
