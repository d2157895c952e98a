"""Everybody who is timed does the job of the row, with the configuration that is timed."""

from collections.abc import Iterator
from importlib.metadata import requires

import pytest

from failwell.bench import peers
from failwell.bench.rows import Contender, Row, all_rows
from failwell.bench.run import check
from failwell.bench.timing import Stage

# Some peers call what newer versions of Python deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def everybody() -> Iterator[object]:
    seen: set[object] = set()
    for row in all_rows():
        for contender in row.contenders:
            proof = (row.check, row.is_async, contender.build)
            if proof not in seen:
                seen.add(proof)
                yield pytest.param(row, contender, id=f"{row.key}-{contender.name}".replace(" ", "_"))


@pytest.mark.parametrize(("row", "contender"), list(everybody()))
def test_it_does_the_job(row: Row, contender: Contender, plain: Stage, on_loop: Stage):
    if contender.library and contender.library not in peers.installed():
        pytest.skip(f"{contender.library} is not installed")
    check(on_loop if row.is_async else plain, row, contender)


def test_every_row_has_us_and_a_hand_written_closure():
    for row in all_rows():
        roles = [contender.role for contender in row.contenders]
        assert roles.count("ours") == 1, row.key
        assert roles.count("closure") == 1, row.key
        assert len({contender.name for contender in row.contenders}) == len(roles), row.key


def test_keys_are_unique():
    keys = [row.key for row in all_rows()]
    assert len(set(keys)) == len(keys)


def test_every_library_takes_part():
    used = {contender.library for row in all_rows() for contender in row.contenders} - {""}
    assert used == peers.PEERS.keys()


def test_peers_are_pinned_by_the_package():
    pins = [line for line in requires("failwell") or [] if "extra == 'bench'" in line or 'extra == "bench"' in line]
    pinned = {line.split("==")[0].strip(): line for line in pins}
    assert pinned.keys() == peers.PEERS.keys()
    assert all("==" in line.split(";")[0] for line in pins)
