"""Calls are the same if they have the same arguments, of the same types."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell.keys import typed_key

PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, 1.0, -1.0]), st.sampled_from("ab")
)
ANY = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=2).map(tuple), st.frozensets(inner)), max_leaves=4
)
CALLS = st.tuples(st.lists(ANY, max_size=2).map(tuple), st.dictionaries(st.sampled_from("xy"), ANY, max_size=2))


def shown(call: tuple[tuple[Any, ...], dict[str, Any]]) -> str:
    """A call as text, in which 1, 1.0 and True differ anyhow."""

    def of(value: Any) -> str:
        if isinstance(value, frozenset):
            return f"frozenset {sorted(map(of, value))}"
        return f"({', '.join(map(of, value))})" if isinstance(value, tuple) else repr(value)

    args, kwargs = call
    return f"{of(args)} {sorted((name, of(value)) for name, value in kwargs.items())}"


@given(CALLS, CALLS)
def test_keys_are_the_same_exactly_if_the_calls_are(
    one: tuple[tuple[Any, ...], dict[str, Any]], other: tuple[tuple[Any, ...], dict[str, Any]]
) -> None:
    keys = [typed_key("f", *call) for call in (one, other)]
    assert (keys[0] == keys[1]) == (shown(one) == shown(other))
    assert typed_key("f", *one) == keys[0]
    assert hash(typed_key("f", *one)) == hash(keys[0])
    assert typed_key("g", *one) != keys[0]


def test_the_order_of_named_arguments_makes_no_difference() -> None:
    assert typed_key("f", (), {"x": 1, "y": 2}) == typed_key("f", (), {"y": 2, "x": 1})


def test_what_is_alike_and_of_another_type_is_another_key() -> None:
    class Text(str):
        __slots__ = ()

    class Pair(tuple[int, int]):
        __slots__ = ()

    assert typed_key("f", (Text("a"),), {}) != typed_key("f", ("a",), {})
    assert typed_key("f", (Pair((1, 2)),), {}) != typed_key("f", ((1, 2),), {})
    assert typed_key("f", ((1, True),), {}) != typed_key("f", ((1, 1),), {})


@pytest.mark.parametrize("args", [([],), (1, []), (((1, {}),),)])
def test_a_key_of_what_is_not_hashable_is_not_either(args: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        hash(typed_key("f", args, {}))
