"""The results as tables: in Markdown for the site, in plain text for the terminal."""

from collections.abc import Iterable, Sequence

from failwell.bench.results import ContenderResult, Results, RowResult, overhead, targets
from failwell.bench.startup import EVERYDAY

_ROLES = {"closure": "by hand", "information": "for information"}


def number(value: float) -> str:
    """A figure as precise as it is worth: three digits, thousands separated."""
    if abs(value) < 10:
        return f"{value:.1f}"
    if abs(value) < 999.5:
        return f"{value:.0f}"
    return f"{round(value, -1 if abs(value) < 10_000 else -2):,.0f}"


def _factor(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"


def _pauses(contender: ContenderResult, row: RowResult) -> str:
    # Worth a word only where contenders differ: the row's own operation may suspend as well.
    counts = {round(c["pauses"]) for c in row["contenders"]}
    if row["success"] or len(counts) == 1:
        return ""
    asynchronous = row["key"].endswith("-async")
    count = round(contender["pauses"])
    if asynchronous:
        return "yields to the loop" if count else "does not yield to the loop"
    return "calls `time.sleep(0)`" if count else ""


def _cells(row: RowResult) -> list[list[str]]:
    def order(contender: ContenderResult) -> tuple[bool, float]:
        return contender["role"] != "bare", overhead(contender)

    lines: list[list[str]] = []
    for contender in sorted(row["contenders"], key=order):
        bare = contender["role"] == "bare"
        low, median, high = contender["ns"] if bare else contender["overhead"]
        notes = "; ".join(filter(None, (contender["note"], _pauses(contender, row))))
        lines.append(
            [
                contender["name"],
                f"takes {number(median)}" if bare else number(median),
                f"{number(low)} to {number(high)}",
                _factor(contender["to_bare"]),
                "" if bare else _factor(contender["to_closure"]),
                notes,
            ]
        )
    return lines


_HEAD = ["contender", "overhead, ns", "half of the rounds", "x bare call", "x by hand", "remarks"]


def _markdown(head: Sequence[str], lines: Iterable[Sequence[str]], figures: int = 0, bold: str = "") -> str:
    """A table whose first column is a name and the next `figures` columns are numbers."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def shown(cells: Sequence[str]) -> list[str]:
        stands_out = bold != "" and cells[0] == bold
        return [f"**{cell}**" if stands_out and cell and i <= figures else cell for i, cell in enumerate(cells)]

    rule = ["---:" if 0 < i <= figures else "---" for i in range(len(head))]
    return "\n".join([line(head), line(rule), *(line(shown(cells)) for cells in lines)])


def _milliseconds(results: Results) -> list[list[str]]:
    lines: list[list[str]] = []
    for entry in sorted(results["imports"], key=lambda e: (e["role"] != "bare", e["ms"][1])):
        low, median, high = entry["ms"]
        lines.append([entry["name"], f"{median:.1f}", f"{low:.1f} to {high:.1f}"])
    return lines


def _explorer(results: Results) -> list[list[str]]:
    return [
        [
            f"`{entry['stack']}`",
            f"{entry['paths']:,}",
            f"{entry['events']:,}",
            f"{entry['seconds'][1] * 1e3:,.1f}",
            f"{entry['paths_per_second']:,.0f}",
            f"{entry['events_per_second']:,.0f}",
        ]
        for entry in results["explorer"]
    ]


def _crowd(results: Results) -> list[list[str]]:
    return [
        [entry["policy"], f"{entry['calls']:,}", f"{entry['time_to_bare']:.2f}", f"{entry['memory_to_bare']:.2f}"]
        for entry in results["crowd"]
    ]


_CROWD_HEAD = ["one object", "calls at once", "time, x bare", "memory, x bare"]
_MET = {True: "met", False: "**missed**", None: "not measured"}


def markdown(results: Results) -> str:
    """The whole run as Markdown, headings from the third level down."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results["versions"].items()))
    parts = [
        f"CPython {results['python']} on {results['cpu']}, {results['rounds']} rounds. Measured with {versions}.",
        "### Targets",
        _markdown(["target", "measured", "result"], [[t.promise, t.measured, _MET[t.met]] for t in targets(results)]),
    ]
    group = ""
    for row in results["rows"]:
        if row["group"] != group:
            group = row["group"]
            parts.append(f"### {group}")
        title = row["title"][0].upper() + row["title"][1:]
        parts += [f"{title}:", _markdown(_HEAD, _cells(row), figures=4, bold="failwell")]
    parts += [
        "### Import",
        "Milliseconds that an import adds to a process that has imported asyncio (asyncio's own first). Names of "
        f"failwell are loaded when they are used; these are {', '.join(map('`{}`'.format, EVERYDAY))}.",
        _markdown(["import", "ms", "half of the runs"], _milliseconds(results), figures=2, bold="failwell"),
        "### Many calls at once",
        "Processor time and most memory of concurrent calls through one object, as shares of what `asyncio.gather` "
        "takes for the same calls without it. A cache answers all of them from one load; a bulkhead lets some wait.",
        _markdown(_CROWD_HEAD, _crowd(results), figures=3),
        "### Explorer",
        _markdown(
            ["stack", "paths", "events", "ms", "paths a second", "events a second"], _explorer(results), figures=5
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _plain(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    texts = [[c.replace("`", "").replace("**", "") for c in line] for line in [head, *lines]]
    widths = [max(len(line[i]) for line in texts) for i in range(len(head))]
    return [
        "  "
        + "  ".join(
            c.ljust(w) if i in (0, 5) else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in texts
    ]


def text(results: Results) -> str:
    """The whole run for a terminal, the targets last."""
    out: list[str] = []
    for row in results["rows"]:
        out += [f"{row['group']}: {row['title']}", *_plain(_HEAD, _cells(row)), ""]
    if results["imports"]:
        out += ["Import, ms over asyncio", *_plain(["import", "ms", "half of the runs"], _milliseconds(results)), ""]
    if results["crowd"]:
        out += ["Many calls at once", *_plain(_CROWD_HEAD, _crowd(results)), ""]
    if results["explorer"]:
        head = ["stack", "paths", "events", "ms", "paths/s", "events/s"]
        out += ["Explorer", *_plain(head, _explorer(results)), ""]
    if results["missing"]:
        out += [f"Not installed, so not measured: {', '.join(results['missing'])}", ""]
    out.append("Targets")
    for target in targets(results):
        verdict = {True: "met   ", False: "MISSED", None: "?     "}[target.met]
        out.append(f"  {verdict}  {target.promise}: {target.measured}")
    return "\n".join(out)
