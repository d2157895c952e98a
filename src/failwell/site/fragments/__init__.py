"""Generated fragments: what the code can say is never typed by hand.

A page asks for one with an HTML comment on a line of its own,

    <!-- generated: source failwell.backoff -->

and the line is replaced by the Markdown that the function registered under that name returns. The functions are plain
Python and know nothing of the site builder. Each module of this package registers its own, just by being here:

    @fragment("source")
    def source(module: str) -> str: ...
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
import shlex
import textwrap
from collections.abc import Callable, Mapping
from types import MappingProxyType

Fragment = Callable[..., str]

_registry: dict[str, Fragment] = {}
_from_source: dict[str, bool | Callable[..., bool]] = {}
_MARKER = re.compile(r"(?P<indent>[ \t]*)<!-- generated:(?P<words>.*?)-->[ \t]*")
_FENCE = re.compile(r"[ \t]*(?P<ticks>`{3,}|~{3,})")


class FragmentError(Exception):
    """A marker asks for something that cannot be generated; the message names page, marker and remedy."""


def fragment(name: str, *, from_source: bool | Callable[..., bool] = False) -> Callable[[Fragment], Fragment]:
    """Registers a function of strings that returns Markdown under the name that markers use.

    Args:
        name: One word, unique.
        from_source: Whether the Markdown follows from the arguments and the source of the package alone, so that
            builds may keep it; or a function that says so of given arguments. What reads any other file, such as
            a record under ``docs/evidence``, does not.
    """

    def register(function: Fragment) -> Fragment:
        if name in _registry:
            raise ValueError(f"two fragments are named {name!r}")
        _registry[name] = function
        _from_source[name] = from_source
        return function

    return register


@functools.cache
def known() -> Mapping[str, Fragment]:
    """All fragments by name, those of every module of this package."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return MappingProxyType(_registry)


def render(name: str, *args: str) -> str:
    """The Markdown of one fragment.

    Raises:
        FragmentError: There is no such fragment, or it cannot do anything with these arguments.
    """
    function = known().get(name)
    if function is None:
        raise FragmentError(f"there is no fragment {name!r}; there are {', '.join(sorted(known()))}")
    signature = inspect.signature(function)
    try:
        signature.bind(*args)
    except TypeError:
        wanted = " ".join(map(_as_written, signature.parameters.values())) or "nothing"
        raise FragmentError(f"{name} takes {wanted}; it got {' '.join(args) or 'nothing'}") from None
    try:
        return function(*args)
    except (ValueError, LookupError, ImportError, OSError) as error:
        raise FragmentError(f"{type(error).__name__}: {error}") from error


def follows_from_source(name: str, *args: str) -> bool:
    """Whether a fragment is the same as long as the source of the package is.

    Args:
        name: Which fragment.
        *args: What it is asked for.
    """
    said = name in known() and _from_source[name]
    return said(*args) if callable(said) else said


def _as_written(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"[{parameter.name.upper()}...]"
    return parameter.name.upper() if parameter.default is parameter.empty else f"[{parameter.name.upper()}]"


def fill(markdown: str, page: str, render: Callable[..., str] = render) -> str:
    """Replaces every marker of a page. Markers inside fences are text, and stay.

    Args:
        markdown: The page.
        page: What to call it in an error.
        render: Gives the Markdown of a fragment.

    Raises:
        FragmentError: Names the page, the line, the marker and what was wrong.
    """
    lines: list[str] = []
    fence = ""
    for number, line in enumerate(markdown.split("\n"), 1):
        opening = _FENCE.match(line)
        if fence:
            if opening and opening["ticks"].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif opening:
            fence = opening["ticks"]
        marker = None if fence else _MARKER.fullmatch(line)
        if marker is None:
            lines.append(line)
            continue
        try:
            name, *args = shlex.split(marker["words"]) or [""]
            lines.append(textwrap.indent(render(name, *args).rstrip("\n"), marker["indent"]))
        except (FragmentError, ValueError) as error:
            raise FragmentError(f"{page}, line {number}: {line.strip()}: {error}") from error
    return "\n".join(lines)
