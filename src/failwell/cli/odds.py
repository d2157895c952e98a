"""The options ``--fail`` and ``--hang``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from failwell.cli.refusal import Refused
from failwell.cli.words import share

__all__ = ["Given", "Odds", "given_in_words", "given_odds", "with_odds"]


class Odds(dict[str, float]):
    """Operation -> odds, and what holds for every other operation.

    Attributes:
        others: The odds of operations that are not named.
    """

    def __init__(self, named: Iterable[tuple[str, float]], others: float) -> None:
        super().__init__(named)
        self.others = others

    def get(self, key: str, default: Any = None) -> Any:
        """The odds of an operation."""
        return super().get(key, self.others)

    def as_data(self, operations: Iterable[str]) -> float | dict[str, float]:
        """One number if all operations have the same odds, else operation -> number.

        Args:
            operations: All that are called.
        """
        return {name: self.get(name) for name in operations} if self else self.others

    def __str__(self) -> str:
        named = [f"{name} {share(p)}" for name, p in self.items()]
        return ", ".join([*named, f"others {share(self.others)}"]) if named else share(self.others)


Given = tuple[tuple[str, float], ...]


def _read(_: click.Context, option: click.Parameter, values: tuple[str, ...]) -> Given:
    """``P`` or ``NAME=P``, each as an operation (or nothing for all) and its odds."""
    return tuple(_one(option, value) for value in values)


def _one(option: click.Parameter, value: str) -> tuple[str, float]:
    name, _, number = value.rpartition("=")
    try:
        p = float(number)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number nor NAME=P", param=option) from None
    if not 0 <= p <= 1:
        raise Refused(f"{option.opts[0]} {value} is no probability: give a number from 0 to 1")
    return name.strip(), p


def with_odds(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--fail`` and ``--hang``, which `given_odds` takes.

    Args:
        command: The function of a command.
    """
    for option, what in (("--hang", "hangs (0)"), ("--fail", "fails (0.1)")):
        shown = f"The odds that an operation {what}; NAME=P for one of them. Can be given several times."
        command = click.option(option, metavar="P", multiple=True, callback=_read, help=shown)(command)
    return command


def given_in_words(fails: Odds, hangs: Odds) -> str:
    """The head of the figures that hold for these odds.

    Args:
        fails: The odds that operations fail.
        hangs: The odds that they hang.
    """
    if fails or hangs:
        return f"With failures of {fails}, and hangs of {hangs}:"
    return f"With {fails} failures and {hangs} hangs of each operation:"


def given_odds(fail: Given, hang: Given) -> tuple[Odds, Odds]:
    """What ``--fail`` and ``--hang`` mean together.

    Args:
        fail: Each ``--fail``: an operation, or nothing for all, and its odds.
        hang: Each ``--hang``.

    Raises:
        Refused: If the odds of an operation sum up to more than 1.
    """
    found = [
        Odds([(name, p) for name, p in given if name], next((p for name, p in reversed(given) if not name), default))
        for given, default in ((fail, 0.1), (hang, 0.0))
    ]
    fails, hangs = found
    for name in dict.fromkeys(["", *fails, *hangs]):
        if fails.get(name) + hangs.get(name) > 1:
            given = f"--fail {fails.get(name):g} and --hang {hangs.get(name):g}{f' of {name}' * bool(name)}"
            raise Refused(f"{given} sum up to more than 1: give smaller ones")
    return fails, hangs
