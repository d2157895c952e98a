"""What the order of layers means, in numbers: the same fault under each order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from failwell.policy import Pattern, Policy, Stack
from failwell.site.fragments import fragment
from failwell.site.fragments._measures import Situations, explored, figures, number, share, time
from failwell.site.fragments._subjects import LAYERS, Subject, subject
from failwell.site.fragments.patterns import table

FAIL = 0.1
HANG = 0.01
ODDS = f"Each operation fails in {share(FAIL)} of its calls and hangs in {share(HANG)}."


@fragment("layers", from_source=True)
def layers() -> str:
    """The layers that the tables of the page put into different orders."""
    return "\n".join(f"- `{layer!r}`" for layer in LAYERS.values())


@fragment("orders", from_source=True)
def orders(*names: str) -> str:
    """Every order of some layers, the same fault under each.

    Args:
        *names: Layers: timeout, retry, fallback, cache.
    """
    stacks = {_order(chosen): _stack(chosen) for chosen in itertools.permutations(_known(names))}
    return "\n".join([ODDS, "", *_compared(stacks)])


@fragment("places", from_source=True)
def places(moved: str, *names: str) -> str:
    """One layer at each place among others, while a stale answer is in store.

    Args:
        moved: The layer that takes each place.
        *names: The others, outermost first.
    """
    [layer], others = _known([moved]), _known(names)
    chosen = [(*others[:place], layer, *others[place:]) for place in range(len(others) + 1)]
    stacks = {_order(one): _stack(one) for one in chosen}
    stale = {"Cache": {"stale": 1.0}} if moved == "cache" else None
    return "\n".join([ODDS + (" A stale answer is in store." if stale else ""), "", *_compared(stacks, stale)])


@fragment("stacks", from_source=True)
def stacks(first: str, *others: str) -> str:
    """Whole stacks side by side.

    Args:
        first: A stack of the composition page.
        *others: More of them.
    """
    chosen = {f"`{slug}`{{ .fw-name }}": subject(slug) for slug in (first, *others)}
    return "\n".join([ODDS, "", *_compared(chosen)])


@fragment("stack-code", from_source=True)
def stack_code(slug: str) -> str:
    """A stack as code says it, a layer a line.

    Args:
        slug: A stack of the composition page.
    """
    one = subject(slug)
    told = [repr(layer) for layer in explored(one.policy, one.operation).layers]
    return "\n".join(["```text", told[0], *(f"  >> {layer}" for layer in told[1:]), "```"])


def _known(names: Iterable[str]) -> list[Policy]:
    for name in names:
        if name not in LAYERS:
            raise LookupError(f"there is no layer {name!r}; there are {', '.join(LAYERS)}")
    return [LAYERS[name] for name in names]


def _stack(chosen: Sequence[Policy]) -> Subject:
    return Subject("", Stack(*chosen), "call_api")


def _order(chosen: Sequence[Pattern]) -> str:
    return f"`{' >> '.join(type(layer).__name__ for layer in chosen)}`{{ .fw-name }}"


def _compared(stacks: Mapping[str, Subject], situations: Situations | None = None) -> Iterable[str]:
    known = {name: explored(one.policy, one.operation) for name, one in stacks.items()}
    found = {name: figures(one, FAIL, HANG, situations) for name, one in known.items()}
    operations = list(
        dict.fromkeys(name for one in found.values() for name in one.calls if not name.startswith("value"))
    )
    rows = [
        [
            name,
            share(one.answered),
            share(one.degraded),
            time(one.mean),
            time(one.worst),
            *(number(one.calls.get(operation, 0.0)) for operation in operations),
            str(one.most),
        ]
        for name, one in found.items()
    ]
    head = ["Outermost first", "Answered", "Degraded", "Mean", "Worst case"]
    return table([*head, *(f"Calls of {name}" for name in operations), "Most calls"], rows)
