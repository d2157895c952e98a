"""Each page's Markdown beside its HTML, and llms.txt, which lists them for readers that are programs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL)


@dataclass(frozen=True)
class PageText:
    """A page with its fragments filled in."""

    title: str
    uri: str
    markdown: str

    @property
    def served_as(self) -> str:
        """Where its Markdown is: `patterns/retry.md` is the text of `patterns/retry/`."""
        return self.uri


def write(pages: Sequence[PageText], site: Path, *, title: str, summary: str) -> None:
    """Writes one Markdown file a page and llms.txt into a built site.

    Args:
        pages: In reading order.
        site: The folder of the built site.
        title: Name of the site.
        summary: One sentence about it.
    """
    for page in pages:
        target = site / page.served_as
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_SVG.sub("", page.markdown), encoding="utf-8")
    listed = "\n".join(f"- [{page.title}]({page.served_as})" for page in pages)
    (site / "llms.txt").write_text(f"# {title}\n\n> {summary}\n\n## Pages\n\n{listed}\n", encoding="utf-8")
