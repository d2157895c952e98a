import asyncio
from collections.abc import Iterator

import pytest

from failwell.bench import peers
from failwell.bench.timing import Stage


@pytest.fixture
def plain() -> Iterator[Stage]:
    stage = Stage(None)
    with stage.within(peers.settings):
        yield stage


@pytest.fixture
def on_loop() -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        stage = Stage(runner)
        with stage.within(peers.settings):
            yield stage


@pytest.fixture(params=["sync", "async"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return request.getfixturevalue("on_loop" if request.param == "async" else "plain")
