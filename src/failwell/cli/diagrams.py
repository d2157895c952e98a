"""The folder of drawings: every pattern in every format, and an index."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from failwell.cli.files import write
from failwell.cli.refusal import Refused

if TYPE_CHECKING:
    from failwell.catalog import Card
    from failwell.flow import Graph

__all__ = ["drawings", "stale", "write_all"]

INDEX = "README.md"
_MOST_BOXES = 200
"""What a person can still follow; a flow with more attempts than that is only drawn with its loops folded."""
_HEAD = """\
# Drawings of the patterns

Made by `failwell diagrams` from what the code does; `failwell diagrams --check` says which are out of date.

- **Flow**: every path, repeated attempts folded into a loop; *unrolled*, each attempt stands on its own.
- **States**: what a pattern that keeps a state goes through.
- **Sequence**: who calls whom, for the likeliest path of each way to end.
- **Timeline**: the longest path that ends.

Shapes: circles start and end, rectangles are operations, diamonds decisions, hexagons errors,
rounded boxes recovery, slanted boxes compensation, ellipses success. `.excalidraw` opens in Excalidraw, `.canvas` in
Obsidian and whatever else knows JSON Canvas, `.mmd` is Mermaid, `.dot` Graphviz.
"""


class _View(NamedTuple):
    """Files that show the same: what the index calls them, and their names and contents by what it calls each."""

    words: str
    files: dict[str, tuple[str, bytes]]


def drawings(progress: Callable[[int], object] | None = None, *, paint: bool = True) -> dict[str, bytes]:
    """Every file of the folder, by name.

    Args:
        progress: Called with the number of files so far.
        paint: Whether PNG files have their pictures; to compare them, they need none.

    Raises:
        Refused: If there is no Graphviz.
    """
    from failwell.catalog import CARDS, GROUPS
    from failwell.flow.draw import DrawingFailed

    files: dict[str, bytes] = {}
    index, group = [_HEAD], ""
    for card in CARDS.values():
        if card.group != group:
            group = card.group
            index += [f"## {group}: {GROUPS[group]}", ""]
        index += [f"### {card.name}", "", card.intent, "", f"![Flow of {card.name}]({card.slug}.svg)", ""]
        try:
            for words, made in _views(card, paint):
                for name, content in made.values():
                    files[name] = content
                    if progress is not None:
                        progress(len(files))
                index.append(f"- {words}: {', '.join(f'[{called}]({name})' for called, (name, _) in made.items())}")
        except DrawingFailed as error:
            raise Refused(str(error)) from None
        index += ["", "The flow in words:", "", *(f"- {sentence}" for sentence in _told(card)), ""]
    files[INDEX] = ("\n".join(index).rstrip() + "\n").encode()
    return files


def _views(card: Card, paint: bool) -> Iterator[_View]:
    from failwell.catalog import exploration
    from failwell.flow.classes import likeliest, outcome_classes
    from failwell.flow.draw.sequence import sequence
    from failwell.flow.draw.text import sentences
    from failwell.flow.draw.timeline import timeline

    found = exploration(card)
    compact, unrolled = found.graph(), found.graph(compact=False)
    yield _every_format(card.slug, f"flow of `{compact.title}`", compact, paint)
    if sentences(compact) != sentences(unrolled) and len(unrolled.nodes) <= _MOST_BOXES:
        yield _every_format(f"{card.slug}-unrolled", "flow, unrolled", unrolled, paint)
    machines = found.states()
    for number, machine in enumerate(machines, 1):
        name = f"{card.slug}-states{f'-{number}' * (len(machines) > 1)}"
        yield _every_format(name, f"states of `{machine.title}`", machine, paint)
    sequences: dict[str, tuple[str, bytes]] = {}
    for end, paths in outcome_classes(found).items():
        text = sequence(found, likeliest(paths)).encode()
        sequences[end] = f"{card.slug}-sequence-{_slug(end)}.mmd", text
    yield _View("sequences, by how they end", sequences)
    longest = max((path for path in found.paths if path.ends), key=lambda path: path.elapsed, default=None)
    if longest is not None and longest.elapsed:
        name = f"{card.slug}-timeline"
        drawn = timeline(longest, title=f"The longest path of {card.name}", prefix=name).encode()
        yield _View("timeline of the longest path", {"svg": (f"{name}.svg", drawn)})


def _every_format(name: str, words: str, graph: Graph, paint: bool) -> _View:
    from failwell.flow.draw import FORMATS, draw
    from failwell.flow.draw.png import png

    drawn = {ending: draw(graph, ending, prefix=name) for ending in FORMATS if ending != "png"}
    drawn["png"] = png(graph, paint=paint)
    return _View(words, {ending: (f"{name}.{ending}", drawn[ending]) for ending in FORMATS})


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name)


def _told(card: Card) -> list[str]:
    from failwell.catalog import exploration
    from failwell.flow.draw.text import sentences

    return sentences(exploration(card).graph())


def write_all(folder: Path, files: dict[str, bytes]) -> list[str]:
    """Write the files that differ from what the folder holds.

    Args:
        folder: Where they go; made if it is not there.
        files: Name -> content.

    Returns:
        The names of the files that were written.

    Raises:
        Refused: If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"cannot make {folder}: {(error.strerror or str(error)).lower()}, choose another") from None
    changed = [name for name in files if not _same(folder / name, files[name])]
    for name in changed:
        write(folder / name, files[name])
    return changed


def stale(folder: Path, files: dict[str, bytes]) -> list[str]:
    """What is wrong with a folder: files that are missing, differ, or are not made any more.

    Args:
        folder: The folder.
        files: What it should hold.
    """
    from failwell.flow.draw import FORMATS

    wrong: list[str] = []
    for name, content in files.items():
        if not (folder / name).is_file():
            wrong.append(f"{folder / name} is missing")
        elif not _same(folder / name, content):
            wrong.append(f"{folder / name} is out of date")
    known = {f".{ending}" for ending in FORMATS}
    left_over = sorted(p for p in folder.glob("*") if p.suffix in known and p.name not in files)
    return [*wrong, *(f"{path} is not made any more: delete it" for path in left_over)]


def _same(path: Path, content: bytes) -> bool:
    """Whether a file is up to date. Pictures are compared by what they were painted from, not by their letters."""
    if not path.is_file():
        return False
    held = path.read_bytes()
    if path.suffix == ".png":
        from failwell.flow.draw.png import source_of

        return source_of(held) == source_of(content) != ""
    return held == content
