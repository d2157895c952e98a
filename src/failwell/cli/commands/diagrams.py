"""``failwell diagrams``."""

from __future__ import annotations

from pathlib import Path

import click

from failwell.cli.refusal import Refused

__all__ = ["diagrams_"]


@click.command("diagrams")
@click.option("--check", is_flag=True, help="Write nothing; name what is out of date and exit with status 1.")
@click.option("--to", "to", metavar="DIR", help="Another folder than diagrams/ of the checkout.")
def diagrams_(check: bool, to: str | None) -> None:
    """Write every pattern in every format, with an index, into diagrams/."""
    from failwell.cli.diagrams import drawings, stale, write_all
    from failwell.cli.targets import progress

    folder = Path(to or "diagrams")
    if to is None and not Path("mkdocs.yml").is_file():
        raise Refused("this is no checkout of Failwell: run it there, or name a folder with --to DIR")
    try:
        is_folder, taken = folder.is_dir(), folder.exists()
    except OSError as error:  # a name that is too long, a folder on the way that cannot be entered
        raise Refused(f"cannot use {folder}: {(error.strerror or str(error)).lower()}, give another folder") from None
    if taken and not is_folder:
        raise Refused(f"{folder} is no folder: give another one")
    if check and not is_folder:
        raise Refused(f"there is no folder {folder} to check: run this without --check to make it")
    with progress("files drawn") as count:
        files = drawings(count, paint=not check)
    if check:
        wrong = stale(folder, files)
        for line in wrong:
            click.echo(line)
        if wrong:
            click.echo(
                f"{len(wrong)} of {len(files)} files: run `failwell diagrams` and commit what it writes", err=True
            )
            click.get_current_context().exit(1)
        click.echo(f"{folder}: all {len(files)} files are up to date", err=True)
        return
    changed = write_all(folder, files)
    click.echo(f"{folder}: {len(changed)} of {len(files)} files written, the others are up to date", err=True)
