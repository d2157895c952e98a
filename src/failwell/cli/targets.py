"""What the command works on: a pattern of the catalog, or a stack or decorated function of the user's."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import inspect
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from failwell.cli.refusal import Refused, first_line

if TYPE_CHECKING:
    from failwell.catalog import Card
    from failwell.flow import Exploration

__all__ = ["Outcomes", "Target", "exception", "explored", "pattern", "progress", "resolve", "spelled", "working"]

Outcomes: TypeAlias = "tuple[str | type[Exception], ...]"
"""How operations can end: ``"ok"``, ``"fail"``, ``"hang"`` and types of exceptions."""

OUTCOMES = ("ok", "fail", "hang")


class Target(NamedTuple):
    """Something that can be explored.

    Attributes:
        name: What the user called it.
        policy: The policy, saga or decorated function.
        operation: The name of what it protects, where it does not bring its own.
        outcomes: How operations end unless the user says otherwise.
        expression: What code says for it with `Workflow` imported, where it comes from a file.
    """

    name: str
    policy: Any
    operation: str = "operation"
    outcomes: Outcomes = OUTCOMES
    expression: str = ""


def pattern(slug: str) -> Card:
    """A card of the catalog.

    Args:
        slug: What the user wrote.

    Raises:
        Refused: If there is none.
    """
    from failwell.catalog import CARDS, nearest

    if slug in CARDS:
        return CARDS[slug]
    near = nearest(slug)
    advice = f"did you mean {near}?" if near else f"there are {', '.join(CARDS)}"
    raise Refused(f"there is no pattern {slug!r}: {advice}")


def resolve(name: str) -> Target:
    """Find what the user means.

    Args:
        name: A pattern's slug, ``module:attribute``, or ``file.toml`` with the configuration of a workflow
            (``file.toml:workflows.orders`` for one table of it).

    Raises:
        Refused: If there is no such thing, or it cannot be explored.
    """
    if re.search(r"\.toml(:|$)", name):
        return _configured(name)
    if ":" in name:
        return _imported(name)
    if re.fullmatch(r"[\w.]+\.\w+", name):
        module, _, attribute = name.removesuffix(".py").rpartition(".")
        example = f"{name[:-3]}:attribute" if name.endswith(".py") else f"{module}:{attribute}"
        raise Refused(f"there is no pattern {name!r}: for a stack of your own write module:attribute, e.g. {example}")
    try:
        card = pattern(name)
    except Refused as error:
        raise Refused(f"{error} (a stack of your own is module:attribute)") from None
    return Target(name, card.example, card.operation, card.outcomes)


def _configured(name: str) -> Target:
    """The workflow that a file configures."""
    from failwell.errors import ConfigurationError
    from failwell.workflow import Workflow

    path, _, table = name.rpartition(":") if name.rpartition(":")[0].endswith(".toml") else (name, "", "")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # what the file names is the user's
    environ = _Anywhere()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = Workflow.from_config(path, table or None, environ)
    except ConfigurationError as error:
        raise Refused(f"{name} cannot be used: {error}") from None
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror or first_line(error)}") from None
    given = [Path(os.path.relpath(path)).as_posix()]
    given += [table] if table else []
    # Its variables need not be set where the code runs either: it never asks for what is there.
    said = [json.dumps(one, ensure_ascii=False) for one in given] + ([f"environ={environ!r}"] if environ else [])
    return Target(name, found, expression=f"Workflow.from_config({', '.join(said)})")


class _Anywhere(dict[str, str]):
    """An environment in which every variable is set: what is drawn is never asked for. It keeps what was looked up."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return self.setdefault(name, f"https://{name.lower().replace('_', '-')}.invalid")


def _imported(name: str) -> Target:
    module_name, _, path = name.partition(":")
    if not re.fullmatch(r"\w+(\.\w+)*", module_name) or not re.fullmatch(r"\w+(\.\w+)*", path):
        hint = ""
        if module_name.endswith(".py") or "/" in module_name:
            dotted = re.sub(r"\W+", ".", module_name.removesuffix(".py")).strip(".")
            hint = f": write {dotted or 'module'}:{path or 'attribute'}, without folder signs and .py"
        raise Refused(f"{name!r} is no module:attribute{hint or ', e.g. services.payments:stack'}")
    if module_name.split(".")[-1] == "py":
        raise Refused(f"{name!r} names a file: write {module_name[:-3]}:{path}, without .py")
    from failwell.flow.foreign import is_foreign

    module = _import(module_name)
    found: Any = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = get_close_matches(part, _contents(found), n=1)
            advice = f"did you mean {near[0]}?" if near else _choices(module)
            raise Refused(f"module {module_name!r} has no attribute {part!r}: {advice}") from None
        except Exception as error:
            raise Refused(f"{name} cannot be had: {first_line(error)}") from None
    if not _explorable(found) and not is_foreign(found):
        raise Refused(f"{name} is no policy: {_what(found, path)}; {_choices(module)}")
    return Target(name, found)


def _import(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints must not mix with our answer
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            files = [file.stem for file in Path().glob("*.py")] + [
                file.parent.name for file in Path().glob("*/__init__.py")
            ]
            near = get_close_matches(name, files, n=1)
            advice = f"did you mean {near[0]}?" if near else "run this in the folder that holds it, or install it"
            raise Refused(f"there is no module {name!r}: {advice}") from None
        raise Refused(_broken(name, error)) from None
    except (Exception, SystemExit) as error:
        raise Refused(_broken(name, error)) from None


def _broken(name: str, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    file, line = (theirs[-1].filename, theirs[-1].lineno) if theirs else ("", None)
    said = first_line(error)
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
        said = f"{type(error).__name__}: {error.msg}"  # without the place, which str(error) tells as well
    where = f" ({Path(file).name}, line {line})" if file else ""
    return f"module {name!r} does not import: {said}{where}; repair it and try again"


def _explorable(found: Any) -> bool:
    from failwell.policy import Operation, Policy, protected

    return isinstance(found, (Policy, Operation)) or (not inspect.isclass(found) and protected(found) is not None)


def _what(found: Any, path: str) -> str:
    from failwell.policy import Pattern

    if inspect.isclass(found):
        if issubclass(found, Pattern):
            return f"it is a class, name an object made of it, e.g. policy = {found.__name__}(...)"
        return "it is a class"
    if inspect.isfunction(found):
        return f"it is a function without one, decorate it or write Retry() >> {path}"
    if inspect.ismodule(found):
        return "it is a module"
    return f"it is {'an' if type(found).__name__[0] in 'aeiou' else 'a'} {type(found).__name__}"


def _contents(thing: Any) -> dict[str, Any]:
    held: dict[str, Any] = getattr(thing, "__dict__", {})
    return dict(held)


def _choices(module: Any) -> str:
    names = [name for name, value in _contents(module).items() if not name.startswith("_") and _explorable(value)]
    if not names:
        return f"there is no policy in {module.__name__}"
    return f"policies in {module.__name__}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"


# --- outcomes ------------------------------------------------------------------------------------------


def exception(name: str) -> type[Exception]:
    """The type of exceptions that the user means.

    Args:
        name: A built-in one, one of ``failwell.errors``, or ``module:name``.

    Raises:
        Refused: If there is none.
    """
    from failwell import errors

    module_name, _, path = name.rpartition(":")
    if module_name:
        module = _import(module_name)
        found: Any = module
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is None:
            near = get_close_matches(path, _contents(module), n=1)
            raise Refused(f"module {module_name!r} has no {path!r}{f': did you mean {near[0]}?' if near else ''}")
    else:
        found = getattr(builtins, name, None) or getattr(errors, name, None)
        if found is None:
            known = [one for space in (builtins, errors) for one, value in vars(space).items() if _is_exception(value)]
            near = get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]}?" if near else "write module:name for one of your own"
            raise Refused(f"there is no exception {name!r}: {advice}")
    if not _is_exception(found):
        raise Refused(f"{name} is no type of exceptions")
    kind: type[Exception] = found
    return kind


def _is_exception(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, Exception)


def spelled(outcome: str | type[Exception]) -> str:
    """An outcome as the user writes it.

    Args:
        outcome: One of `Outcomes`.
    """
    from failwell import errors

    if isinstance(outcome, str):
        return outcome
    if outcome in (getattr(builtins, outcome.__name__, None), getattr(errors, outcome.__name__, None)):
        return outcome.__name__
    return f"{outcome.__module__}:{outcome.__qualname__}"


# --- exploring -----------------------------------------------------------------------------------------


def explored(
    target: Target, *, operation: str | None = None, outcomes: Outcomes | None = None, limit: int = 10_000
) -> Exploration:
    """All paths of a target, with progress on a terminal.

    Args:
        target: What to explore.
        operation: The name of what it protects.
        outcomes: How operations can end.
        limit: How many paths at most.

    Raises:
        Refused: If it has too many paths or cannot be explored.
    """
    from failwell.errors import NotDeterministic, TooManyPaths
    from failwell.flow import explore

    with progress("paths explored") as found, _heeding_ctrl_c() as stopped:

        def count(number: int) -> None:
            if stopped:
                raise KeyboardInterrupt
            found(number)

        try:
            exploration = explore(
                target.policy,
                operation or target.operation,
                outcomes=outcomes or target.outcomes,
                limit=limit,
                progress=count,
            )
            count(len(exploration))
            return exploration
        except TooManyPaths as error:
            what = ", ".join(f"{name} (x{n})" for name, n in error.multiplied_by.items())
            if error.endless:
                raise Refused(f"{target.name} cannot be explored: {error}") from None
            raise Refused(
                f"{target.name} has more than {error.seen:,} paths, multiplied by {what}: raise --limit, "
                "leave out an outcome (--outcomes ok,fail) or give fewer attempts"
            ) from None
        except NotDeterministic as error:
            raise Refused(f"{target.name} cannot be explored: {error}") from None
        except RecursionError:
            raise Refused(f"{target.name} cannot be explored: it is nested too deeply, give fewer attempts") from None
        except Exception as error:
            raise Refused(f"{target.name} cannot be explored: {first_line(error)}") from None


@contextlib.contextmanager
def _heeding_ctrl_c() -> Generator[list[int], None, None]:
    """Remember Ctrl-C: a policy that is being explored may catch what it raises, as it may catch anything."""
    stopped: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    usual: Any = signal.getsignal(signal.SIGINT)

    def remember(number: int, frame: Any) -> None:
        stopped.append(number)
        warnings.simplefilter("ignore")  # coroutines that are cut short have nothing to tell
        if callable(usual):
            usual(number, frame)

    if callable(usual):
        signal.signal(signal.SIGINT, remember)
    try:
        yield stopped
    finally:
        if callable(usual):
            signal.signal(signal.SIGINT, usual)


@contextlib.contextmanager
def progress(what: str) -> Generator[Callable[[int], object], None, None]:
    """Count on the terminal, in one line that goes away again; only if the work takes over a second.

    Args:
        what: What is counted.
    """
    started, shown = time.monotonic(), False
    terminal = sys.stderr.isatty()

    def count(number: int) -> None:
        nonlocal shown
        if terminal and time.monotonic() - started > 1:
            shown = True
            sys.stderr.write(f"\r{number:,} {what} ...")
            sys.stderr.flush()

    try:
        yield count
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextlib.contextmanager
def working(what: str) -> Generator[None, None, None]:
    """Say on the terminal what is being done, in one line that goes away again; only if it takes over a second.

    Args:
        what: What is being done.
    """
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    started = time.monotonic()

    def tell() -> None:
        while not done.wait(1):
            sys.stderr.write(f"\r{what} ... {time.monotonic() - started:.0f} s")
            sys.stderr.flush()

    teller = threading.Thread(target=tell, daemon=True, name="failwell-progress")
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
        if time.monotonic() - started >= 1:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
