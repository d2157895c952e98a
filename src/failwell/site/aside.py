"""Drawings stand aside while a page is made: Markdown and the search would read every tag of them for nothing."""

from __future__ import annotations

import re

_DRAWING = re.compile(r'(<figure class="fw-drawing"[^>]*>\s*)(<svg\b.*?</svg>)', re.DOTALL)
_PLACE = re.compile(r'<svg data-aside="(\d+)"></svg>')


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
