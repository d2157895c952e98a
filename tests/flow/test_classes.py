"""Paths by how they end."""

from __future__ import annotations

from hypothesis import given, settings

from failwell import Cache, Fallback, Retry, Timeout
from failwell.backoff import Fixed
from failwell.errors import TooManyPaths
from failwell.flow import explore
from failwell.flow.classes import likeliest, outcome_class, outcome_classes
from tests.flow.stacks import explored, stacks


@settings(max_examples=50, deadline=None)
@given(text=stacks())
def test_every_path_is_in_one_class(text: str) -> None:
    try:
        exploration = explored(text)
    except TooManyPaths:
        return
    classes = outcome_classes(exploration)
    assert sorted(map(id, (path for paths in classes.values() for path in paths))) == sorted(map(id, exploration.paths))
    for name, paths in classes.items():
        assert paths
        for path in paths:
            assert outcome_class(path) == name
            assert (path.error is None and path.ends) == (name in ("answered", "degraded"))
            assert path.degraded == (name == "degraded")


def test_answers_come_first_then_errors_by_name_then_what_never_ends() -> None:
    policy = Cache(60, stale_if_error=60) >> Retry(2, backoff=Fixed(1))
    found = outcome_classes(explore(policy, outcomes=("ok", ValueError, ConnectionError, "hang")))
    assert list(found) == ["answered", "degraded", "ConnectionError", "ValueError", "never ends"]


def test_the_likeliest_path_of_a_class_has_the_fewest_failures() -> None:
    def backup() -> None: ...

    found = outcome_classes(explore(Fallback(backup) >> Retry(3, backoff=Fixed(1)) >> Timeout(5)))
    choices = {name: len(likeliest(paths).choices) for name, paths in found.items()}
    assert choices == {"answered": 1, "degraded": 4, "ConnectionError": 4, "never ends": 4}
    assert likeliest(found["answered"]).calls == {"operation": 1}
    assert likeliest(found["degraded"], fail=0, hang=0.5).calls == {"operation": 3, "backup": 1}
