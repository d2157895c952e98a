"""The command itself: what all its parts share."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from failwell.cli.commands.diagrams import diagrams_
from failwell.cli.commands.diff import diff_
from failwell.cli.commands.draw import draw_
from failwell.cli.commands.explain import explain
from failwell.cli.commands.list_ import list_
from failwell.cli.commands.show import show
from failwell.cli.commands.site import site
from failwell.cli.commands.tests_ import tests_
from failwell.cli.refusal import Refused

__all__ = ["cli", "run"]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; whatever goes wrong becomes one line on standard error.

    Args:
        arguments: What stands after ``failwell``; by default the command line's.

    Returns:
        The exit status: 0 is fine, 1 a check that failed, 2 bad input, 130 an interruption.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status: Any = cli.main(args=given, prog_name="failwell", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "failwell"
        return _refuse(f"{' '.join(error.format_message().split()).rstrip('.')} ({command} --help shows how)")
    except click.ClickException as error:
        return _refuse(error.format_message())
    except Refused as error:
        return _refuse(str(error))
    except (KeyboardInterrupt, click.Abort):
        print("failwell: stopped, nothing was left half-written", file=sys.stderr)
        return 130
    except (BrokenPipeError, _ReaderLeft):  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk
        return _refuse(f"cannot write: {(error.strerror or str(error)).lower()}")
    return status if isinstance(status, int) else 0


def _refuse(message: str) -> int:
    print(f"failwell: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _version() -> str:
    try:
        return version("failwell")
    except PackageNotFoundError:
        return "unknown"


class _ReaderLeft(Exception):
    """Nobody reads what we print any more. An OSError would end in click's own exit status."""


class _Commands(click.Group):
    """The group of all commands."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderLeft from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(_version(), message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Error recovery patterns whose drawings and numbers come from running them.

    TARGET is a pattern's name (failwell list), module:attribute of a stack or decorated function of your
    own, imported with the current folder on the path, or a file.toml that configures a workflow.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (list_, show, draw_, explain, diff_, tests_, diagrams_, site):
    cli.add_command(_command)
