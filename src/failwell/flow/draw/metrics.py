"""How wide a text is, without asking a font: the same on every machine."""

from __future__ import annotations

import re

__all__ = ["MONO", "SANS", "code_lines", "text_width", "wrapped"]

SANS = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Ubuntu, Cantarell, '
    '"Helvetica Neue", "DejaVu Sans", Arial, sans-serif'
)
MONO = 'ui-monospace, "SF Mono", SFMono-Regular, Menlo, Consolas, "Noto Sans Mono", "DejaVu Sans Mono", monospace'

# Advance widths in thousandths of the font size. They lie between Helvetica's and DejaVu Sans', which is
# about the widest face that a system font turns out to be; boxes have room for the difference.
_CLASSES = (
    ("ijl|'", 265),
    (" .,:;!I()[]/\\ft`", 340),
    ('r-"*{}', 390),
    ("Jcksvxyz", 535),
    ("abdeghnopqu0123456789_$?L#FTZ", 605),
    ("ABCEKPRSVXY&+<>=~^", 680),
    ("DGHNOQUw–", 760),
    ("mMW@%…—", 920),
)
_WIDTHS = {character: width for characters, width in _CLASSES for character in characters}
_WIDE = 1000  # scripts that are not in the table
_MONO = 605
_BOLD = 1.06


def text_width(text: str, size: float, *, bold: bool = False, mono: bool = False) -> float:
    """The width of one line.

    Args:
        text: The line.
        size: The font size.
        bold: Whether it is set in a heavier weight.
        mono: Whether it is set in a monospaced face.
    """
    if mono:
        return sum(_MONO if ord(c) < 0x2E80 else _WIDE for c in text) * size / 1000
    return sum(_WIDTHS.get(c, 640 if ord(c) < 0x2E80 else _WIDE) for c in text) * size / 1000 * (_BOLD if bold else 1)


_PIECES = re.compile(r"(?:[^\s_./:(),–-]|(?<=\d)[.,](?=\d))+(?:[\s_./:(),–-]+|$)|[\s_./:(),–-]+")  # 0.25 is one piece
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def wrapped(text: str, limit: float, size: float, *, bold: bool = False) -> list[str]:
    """Break a text into lines at spaces, underscores, dots and humps; in the middle of a word if it must be.

    Args:
        text: The text.
        limit: How wide a line may be.
        size: The font size.
        bold: Whether it is set in a heavier weight.
    """
    lines = [""]
    for piece in _PIECES.findall(text) or [text]:
        for part in _fitting(piece, limit, size, bold):
            if lines[-1] and text_width((lines[-1] + part).rstrip(), size, bold=bold) > limit:
                lines.append("")
            lines[-1] += part
    return [line.rstrip() for line in lines]


def _fitting(piece: str, limit: float, size: float, bold: bool) -> list[str]:
    if text_width(piece.rstrip(), size, bold=bold) <= limit:
        return [piece]
    parts: list[str] = []
    for hump in _HUMPS.split(piece):
        rest = hump
        while text_width(rest, size, bold=bold) > limit and len(rest) > 1:
            fits = 1
            while text_width(rest[: fits + 1], size, bold=bold) <= limit:
                fits += 1
            parts.append(rest[:fits])
            rest = rest[fits:]
        parts.append(rest)
    return parts


def code_lines(title: str, columns: int) -> list[str]:
    """A stack as lines of code for a sticky note, a layer on each line, long ones broken at their commas.

    Args:
        title: The stack as one line.
        columns: How many characters a line may have.
    """
    lines: list[str] = []
    for number, layer in enumerate(_split(title, " >> ")):
        line = layer if number == 0 else f">> {layer}"
        indent = "   " if number else ""
        while len(line) > columns:
            cut = line.rfind(" ", len(indent) + 8, columns + 1)
            if cut < 0:
                cut = columns
            lines.append(line[:cut].rstrip())
            line = f"{indent}  {line[cut:].lstrip()}"
        lines.append(line)
    return lines


def _split(text: str, separator: str) -> list[str]:
    """Split where no bracket is open."""
    parts, depth, start = list[str](), 0, 0
    for at, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and text.startswith(separator, at):
            parts.append(text[start:at])
            start = at + len(separator)
    return [*parts, text[start:]]
