"""``failwell tests``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from failwell.cli.options import exploring
from failwell.cli.refusal import Refused

if TYPE_CHECKING:
    from failwell.cli.targets import Outcomes

__all__ = ["tests_"]

_MARK = "Made by `failwell tests "


@click.command("tests")
@click.argument("target")
@click.option("-o", "--output", "output", metavar="FILE", help="Where to write, e.g. test_stack.py.")
@click.option("--force", is_flag=True, help="Replace a file that was not made by this command.")
@exploring
def tests_(
    target: str,
    output: str | None,
    force: bool,
    operation: str | None,
    outcomes: Outcomes | None,
    limit: int,
) -> None:
    """Write a pytest file that holds TARGET to what it does now: a test for each way through it."""
    from failwell.cli.files import check_writable, write
    from failwell.cli.targets import explored, resolve
    from failwell.flow.testfile import Subject, failures_to_try, test_file
    from failwell.policy import Policy

    if limit < 1:
        raise Refused(f"--limit {limit}: give a number of paths of at least 1")
    if output is not None:
        path = Path(output)
        if path.suffix != ".py":
            raise Refused(f"cannot write tests to {output}: give a name that ends in .py, e.g. test_stack.py")
        check_writable(path)
        if path.is_file() and not force and _MARK not in path.read_text(encoding="utf-8", errors="replace"):
            raise Refused(f"{output} was not made by failwell tests: give another name, or --force to replace it")
    found = resolve(target)
    layers = explored(found, operation=operation, outcomes=("ok",), limit=limit).layers
    given = outcomes or ("ok", "fail", "hang")
    kinds = failures_to_try(layers)
    explorations = [
        explored(
            found,
            operation=operation,
            outcomes=tuple(dict.fromkeys(kind if way == "fail" else way for way in given)),
            limit=limit,
        )
        for kind in (kinds if "fail" in given else kinds[:1])
    ]
    exploration = explorations[0]
    ways = tuple(dict.fromkeys(part for way in given for part in (kinds if way == "fail" else (way,))))
    module, _, attribute = target.partition(":")
    command = _command(target, output, operation, outcomes, limit)
    # What is decorated brings its own name, and "operation" is what everything else is called.
    name = exploration.name if isinstance(found.policy, Policy) and exploration.name != "operation" else ""
    if found.expression:
        subject = Subject("failwell", "Workflow", found.expression, name, command)
    elif attribute:
        subject = Subject(module, attribute.partition(".")[0], attribute, name, command)
    else:
        example = f'CARDS["{target}"].example'
        subject = Subject("failwell.catalog", "CARDS", example, name, command)
    text = test_file(explorations, subject, ways)
    if output is None:
        click.echo(text, nl=False)
        return
    write(Path(output), text.encode())
    click.echo(
        f"{output}: {text.count(f'{chr(10)}def test_')} tests for {sum(map(len, explorations)):,} paths", err=True
    )


def _command(target: str, output: str | None, operation: str | None, outcomes: Outcomes | None, limit: int) -> str:
    """The command that makes the same file again, as a shell takes it."""
    from failwell.cli.targets import spelled

    given = click.get_current_context().get_parameter_source("limit")
    options = {
        "--operation": operation,
        "--outcomes": ",".join(map(spelled, outcomes)) if outcomes else None,
        "--limit": None if given is ParameterSource.DEFAULT else str(limit),
        "-o": output,
    }
    words = [word for name, value in options.items() if value is not None for word in (name, value)]
    return shlex.join(["failwell", "tests", target, *words])
