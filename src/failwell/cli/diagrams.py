"""The folder of drawings: every pattern in every format, and an index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from failwell.cli.files import write
from failwell.cli.refusal import Refused

__all__ = ["drawings", "stale", "write_all"]

INDEX = "README.md"


def drawings(progress: Callable[[int], object] | None = None) -> dict[str, bytes]:
    """Every file of the folder, by name.

    Args:
        progress: Called with the number of files so far.

    Raises:
        Refused: If there is no Graphviz.
    """
    from failwell.catalog import CARDS, GROUPS, exploration
    from failwell.flow.draw import FORMATS, DrawingFailed, draw
    from failwell.flow.draw.text import sentences

    files: dict[str, bytes] = {}
    index = [
        "# Drawings of the patterns",
        "",
        "Made by `failwell diagrams` from what the code does; `failwell diagrams --check` says which are out of date.",
        "Shapes: circles start and end, rectangles are operations, diamonds decisions, hexagons errors,",
        "rounded boxes recovery, slanted boxes compensation, ellipses success.",
    ]
    group = ""
    for card in CARDS.values():
        if card.group != group:
            group = card.group
            index += ["", f"## {group}: {GROUPS[group]}"]
        found = exploration(card)
        graphs = {card.slug: found.graph(), f"{card.slug}-unrolled": found.graph(compact=False)}
        if sentences(graphs[card.slug]) == sentences(graphs[f"{card.slug}-unrolled"]):
            del graphs[f"{card.slug}-unrolled"]
        index += ["", f"### {card.name}", "", card.intent]
        for name, graph in graphs.items():
            for ending in FORMATS:
                try:
                    files[f"{name}.{ending}"] = draw(graph, ending, prefix=name)
                except DrawingFailed as error:
                    raise Refused(str(error)) from None
                if progress is not None:
                    progress(len(files))
            view = "each attempt on its own" if name.endswith("-unrolled") else f"`{graph.title}`"
            formats = ", ".join(f"[{ending}]({name}.{ending})" for ending in FORMATS)
            index += ["", f"![Flow of {card.name}]({name}.svg)", "", f"{view}: {formats}"]
        index += ["", *(f"- {sentence}" for sentence in sentences(graphs[card.slug]))]
    files[INDEX] = ("\n".join(index) + "\n").encode()
    return files


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
