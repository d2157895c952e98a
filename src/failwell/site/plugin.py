"""The MkDocs side, kept thin: everything it calls works without MkDocs."""

# MkDocs is half typed:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from mkdocs.config import config_options
from mkdocs.config.base import Config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import BasePlugin, event_priority
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

from failwell.site import assets, llms
from failwell.site.aside import Aside, show_only
from failwell.site.fragments import FragmentError, fill, follows_from_source, render
from failwell.site.kept import Kept
from failwell.site.packages import FetchError

_DIAGRAM = re.compile(r'<pre\b[^>]*\bclass="[^"]*\bmermaid\b.*?</pre>', re.DOTALL)


class FailwellConfig(Config):
    """Options of the plugin in mkdocs.yml."""

    cache = config_options.Type(str, default=".cache/npm")
    kept = config_options.Type(str, default=".cache/site")


class FailwellPlugin(BasePlugin[FailwellConfig]):
    """Puts browser files and generated fragments in place.

    Attributes:
        kept: What builds keep for the next one.
    """

    kept: Kept

    def __init__(self) -> None:
        self._pages: dict[str, llms.PageText] = {}
        self._asides: dict[str, Aside] = {}
        self._order: list[str] = []

    def on_config(self, config: MkDocsConfig) -> MkDocsConfig:
        """Fetches the browser files before other plugins look for them."""
        root = Path(config.config_file_path).parent
        try:
            assets.place(Path(config.docs_dir), root / self.config.cache)
        except FetchError as error:
            raise PluginError(str(error)) from error
        self.kept = Kept(root / self.config.kept)
        self._pages = {}
        self._asides = {}
        _spare_mermaid2(config)
        return config

    def on_page_markdown(self, markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
        """Fills in the generated fragments."""
        del config, files
        aside = self._asides[page.file.src_uri] = Aside()
        try:
            filled = fill(markdown, f"docs/{page.file.src_uri}", lambda *marker: aside.put(self._fragment(*marker)))
        except FragmentError as error:
            raise PluginError(str(error)) from error
        self._pages[page.file.src_uri] = llms.PageText(str(page.title or ""), page.file.src_uri, filled)
        return filled

    def _fragment(self, *marker: str) -> str:
        if follows_from_source(*marker):
            return self.kept.get(shlex.join(marker), lambda: render(*marker))
        return render(*marker)

    @event_priority(-100)
    def on_post_page(self, output: str, *, page: Page, config: MkDocsConfig) -> str:
        """Puts the drawings into the page, when nothing else is going to read it."""
        del config
        return self._asides[page.file.src_uri].restore(output)

    def on_nav(self, nav: Navigation, *, config: MkDocsConfig, files: Files) -> Navigation:
        """Remembers the order of the pages for llms.txt."""
        del config, files
        self._order = [page.file.src_uri for page in nav.pages]
        return nav

    def on_post_build(self, *, config: MkDocsConfig) -> None:
        """Serves each page's Markdown too, and an index of them."""
        order = {uri: place for place, uri in enumerate(self._order)}
        pages = sorted(self._pages.values(), key=lambda page: order.get(page.uri, len(order)))
        self.kept.save()
        llms.write(pages, Path(config.site_dir), title=config.site_name, summary=config.site_description or "")


def _spare_mermaid2(config: MkDocsConfig) -> None:
    """Shows mermaid2 the diagrams and not their pages: it would parse every tag to find them, and write all anew."""
    if "mermaid2" not in config.plugins:
        return
    see = cast(Any, config.plugins["mermaid2"]).on_post_page

    def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
        return show_only(_DIAGRAM, output, lambda diagrams: see(diagrams, page=page, config=config))

    handlers = cast("list[Callable[..., str | None]]", config.plugins.events["post_page"])
    handlers[handlers.index(see)] = on_post_page
