"""Drawings stand aside while a page is made: Markdown and the search would read every tag of them for nothing.

So does all of a page but its diagrams for a plugin that looks for diagrams only.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_DRAWING = re.compile(r'(<figure class="fw-drawing"[^>]*>\s*)(<svg\b.*?</svg>)', re.DOTALL)
_PLACE = re.compile(r'<svg data-aside="(\d+)"></svg>')
_REST = re.compile(r"<!--aside (\d+)-->")


class Aside:
    """The drawings of one page."""

    def __init__(self) -> None:
        self._drawings: list[str] = []

    def put(self, markdown: str) -> str:
        """Takes the drawings out of a fragment and leaves a place for each.

        Args:
            markdown: What a fragment has made.
        """
        return _DRAWING.sub(self._take, markdown)

    def _take(self, found: re.Match[str]) -> str:
        self._drawings.append(found[2])
        return f'{found[1]}<svg data-aside="{len(self._drawings) - 1}"></svg>'

    def restore(self, html: str) -> str:
        """Puts the drawings back into their places.

        Args:
            html: The page.
        """
        return _PLACE.sub(lambda place: self._drawings[int(place[1])], html)


def show_only(parts: re.Pattern[str], html: str, see: Callable[[str], str]) -> str:
    """Lets something that rewrites pages see, and change, only some parts of one.

    Args:
        parts: Matches each of the parts; it has no groups.
        html: The page. If it has no such part, or no body, it is not shown at all.
        see: Gets a body with the parts in it, and returns that body as it shall be. The rest of the page stands aside
            as comments, which it leaves in.
    """
    page, end, after = html.rpartition("</body>")
    found = parts.findall(page)
    if not found:
        return html
    rest = parts.split(page)
    shown = "<body><!--aside 0-->" + "".join(f"{part}<!--aside {n}-->" for n, part in enumerate(found, 1)) + end
    body = see(shown).removeprefix("<body>").removesuffix(end)
    return _REST.sub(lambda place: rest[int(place[1])], body) + end + after
