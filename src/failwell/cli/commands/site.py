"""``failwell site``."""

from __future__ import annotations

from pathlib import Path

import click

from failwell.cli.refusal import Refused

__all__ = ["site"]


@click.group()
def site() -> None:
    """Build or serve the site, in a checkout."""


@site.command()
@click.option("--to", "to", metavar="DIR", help="Another folder than site/.")
def build(to: str | None) -> None:
    """Build the site."""
    from failwell.site.builder import SiteError
    from failwell.site.builder import build as build_site

    try:
        built = build_site(to=Path(to) if to else None)
    except SiteError as error:
        raise Refused(str(error)) from None
    click.echo(f"{built}: built", err=True)


@site.command()
@click.option("--port", metavar="N", type=click.IntRange(1, 65535), default=8000, help="The preferred port (8000).")
def serve(port: int) -> None:
    """Build the site, serve it on this machine only, and build again when a page changes."""
    from failwell.site.builder import SiteError
    from failwell.site.builder import serve as serve_site

    try:
        serve_site(port=port)
    except SiteError as error:
        raise Refused(str(error)) from None
