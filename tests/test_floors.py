"""The house has floors: a room imports from the floors below only, and the lower floors need no package."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import failwell
from failwell.policy import Pattern

ROOT = Path(failwell.__file__).parent

GROUND = (
    "virtual",
    "redaction",
    "context",
    "classification",
    "errors",
    "recorded",
    "events",
    "runtime",
    "flight",
    "keys",
    "switch",
    "derive",
    "policy",
    "backoff",
    "probing",
    "circuit",
    "vitals",
    "background",
)
FLOORS: tuple[tuple[str, ...], ...] = (
    GROUND,
    ("patterns",),
    ("flow", "observe", "stores"),
    ("sql", "workflow", "testing"),
    ("catalog", "lab"),
    ("site", "take", "workshop", "examples", "cli", "bench"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
STDLIB_ONLY = {*GROUND, "patterns", "flow"}
EXTRAS = {  # what an import inside a function may need, with a message that says what to install
    "patterns/fallback.py": {"httpx"},
    "patterns/recovery.py": {"psutil"},
    "flow/draw/graphviz.py": {"pygraphviz", "graphviz"},
    "flow/draw/png.py": {"pygraphviz", "graphviz"},
    "flow/draw/svg.py": {"pygraphviz", "graphviz"},
    "flow/draw/metrics.py": {"pygraphviz", "graphviz"},
}

FILES = sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py" or path.parent != ROOT)


def is_pattern(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Pattern) and thing.__module__.startswith("failwell.patterns.")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """What a file imports, as dotted names; what only type checkers see does not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            whole = node.module == "failwell"
            found.update(f"failwell.{alias.name}" for alias in node.names) if whole else found.add(node.module or "")
    return found


def rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("failwell.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_from_the_floors_below_only(path: Path) -> None:
    room = room_of(path)
    assert room in FLOOR, f"{room} is on no floor"
    public = {name for name in rooms(path) if name[0].isupper() or name in {"explore", "subscribe", "listening"}}
    if FLOOR[room] <= 1:
        assert not public, "the kernel and the patterns import from where a thing is made"
    for other in rooms(path) - public - {room}:
        if FLOOR[room] > 0 or FLOOR[other] > 0:
            same_roof = FLOOR[room] == FLOOR[other] == len(FLOORS) - 1
            assert FLOOR[other] < FLOOR[room] or same_roof, f"{room} imports {other}"


def test_the_ground_floor_can_be_read_in_one_order() -> None:
    below = {room: rooms(ROOT / f"{room}.py") for room in GROUND}
    done: list[str] = []
    while len(done) < len(GROUND):
        ready = [room for room in GROUND if room not in done and below[room] <= {*done, room}]
        assert ready, f"a cycle among {set(GROUND) - set(done)}"
        done += ready


@pytest.mark.parametrize("path", sorted((ROOT / "patterns").glob("*.py")), ids=lambda path: path.stem)
def test_a_pattern_imports_the_kernel_only_and_never_another_pattern(path: Path) -> None:
    assert rooms(path) <= set(GROUND)


@pytest.mark.parametrize("path", sorted((ROOT / "flow").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_flow_knows_no_pattern(path: Path) -> None:
    assert rooms(path) <= {*GROUND, "flow"}
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert names.isdisjoint(name for name, thing in vars(failwell).items() if is_pattern(thing))


@pytest.mark.parametrize(
    "path", [path for path in FILES if room_of(path) in STDLIB_ONLY], ids=lambda path: str(path.relative_to(ROOT))
)
def test_kernel_patterns_and_explorer_need_the_standard_library_only(path: Path) -> None:
    foreign = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"failwell"}
    assert foreign <= EXTRAS.get(str(path.relative_to(ROOT)), set())
    at_the_top = {
        alias.name.split(".")[0]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert foreign.isdisjoint(at_the_top)
