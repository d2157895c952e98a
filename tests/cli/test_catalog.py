from __future__ import annotations

import importlib

import pytest

from failwell.catalog import CARDS, GROUPS, card, exploration, nearest, numbers


@pytest.mark.parametrize("slug", CARDS)
def test_every_card_is_whole(slug: str) -> None:
    one = CARDS[slug]
    assert one.slug == slug
    assert one.group in GROUPS
    for words in (one.intent, one.use_when, one.avoid_when, one.error_types, one.effort, one.symptoms, one.operation):
        assert words
    assert all("https://" in source for source in one.sources)
    assert set(one.related) <= CARDS.keys() - {slug}
    importlib.import_module(one.module)
    assert one.example is one.example
    assert len(exploration(one)) > 1
    assert all(type(other) is type(one.example) for other in one.alternatives)


def test_the_groups_come_in_order() -> None:
    order = [list(GROUPS).index(one.group) for one in CARDS.values()]
    assert order == sorted(order)


def test_numbers_are_those_of_the_formula() -> None:
    found = numbers(CARDS["retry"], fail=0.1)
    assert found.bare == pytest.approx(0.9)
    assert found.success == pytest.approx(1 - 0.1**3)
    assert found.calls == pytest.approx(1 + 0.1 + 0.01)
    assert found.mean == pytest.approx(0.1 * 1 + 0.01 * 2)
    assert (found.worst, found.worst_hang, found.most_calls) == (3.0, float("inf"), 3)
    assert numbers(CARDS["timeout"]).worst_hang == 30
    assert numbers(CARDS["saga"]).bare == pytest.approx(0.9**3)
    degrade = numbers(CARDS["degrade"])
    assert (degrade.bare, degrade.success) == pytest.approx((0.9**3, 0.9))  # without it all parts are needed
    assert numbers(CARDS["fallback"]).success == pytest.approx(1 - 0.1**4)


def test_what_was_meant_is_found_by_letters_names_and_symptoms() -> None:
    assert nearest("retyr") == "retry"
    assert nearest("Time_Limit") == "timeout"
    assert nearest("thundering herd") == "cache"
    assert nearest("half done") == "saga"
    assert nearest("health") == "health_check"  # a word of a name counts for more than a problem
    assert nearest("deadline exceeded") == "deadline"
    assert nearest("chaos") is None
    assert nearest("qqqqq") is None
    with pytest.raises(LookupError, match="did you mean fallback"):
        card("fallbak")
    assert card("saga").name == "Saga"
