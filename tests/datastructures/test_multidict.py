"""Mappings of one key to several values."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica.datastructures import FormData, ImmutableMultiDict, MultiDict, QueryParams

PAIRS = [("a", 1), ("b", 2), ("a", 3)]

pairs_strategy = st.lists(st.tuples(st.sampled_from("abc"), st.integers()))


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(PAIRS, id="list"),
        pytest.param(tuple(PAIRS), id="tuple"),
        pytest.param(ImmutableMultiDict(PAIRS), id="immutable"),
        pytest.param(MultiDict(PAIRS), id="mutable"),
    ],
)
def test_it_is_made_of_pairs(source: Any) -> None:
    assert ImmutableMultiDict(source).multi_items() == PAIRS


def test_it_is_made_of_an_iterator() -> None:
    assert ImmutableMultiDict(iter(PAIRS)).multi_items() == PAIRS


@pytest.mark.parametrize(
    ("made", "pairs"),
    [
        pytest.param(ImmutableMultiDict(), [], id="nothing"),
        pytest.param(ImmutableMultiDict({"a": 1}), [("a", 1)], id="mapping"),
        pytest.param(ImmutableMultiDict(a=1), [("a", 1)], id="keywords"),
        pytest.param(ImmutableMultiDict([("a", 1)], a=2), [("a", 1), ("a", 2)], id="both"),
    ],
)
def test_it_is_made_of_a_mapping_and_keywords(made: Any, pairs: list[Any]) -> None:
    assert made.multi_items() == pairs


@pytest.mark.parametrize("made", [ImmutableMultiDict, MultiDict, QueryParams, FormData])
def test_it_is_made_of_one_source(made: Callable[..., Any]) -> None:
    text = f"^{made.__name__} takes one positional argument, 2 were given.$"
    with pytest.raises(TypeError, match=text):
        made([], [])


def test_as_a_mapping_it_has_the_last_value_of_each_key() -> None:
    made = ImmutableMultiDict(PAIRS)
    assert made["a"] == 3
    assert list(made) == list(made.keys()) == ["a", "b"]
    assert list(made.values()) == [3, 2]
    assert list(made.items()) == [("a", 3), ("b", 2)]
    assert len(made) == 2
    assert dict(made) == {"a": 3, "b": 2}


def test_an_unknown_key() -> None:
    made = ImmutableMultiDict(PAIRS)
    assert "z" not in made
    assert made.get("z") is None
    assert made.get("z", 5) == 5
    assert made.getlist("z") == []
    with pytest.raises(KeyError, match=r"^'z'$"):
        made["z"]


def test_every_value_of_a_key_is_listed() -> None:
    made = ImmutableMultiDict(PAIRS)
    assert made.getlist("a") == [1, 3]
    assert made.getlist("b") == [2]


def test_a_list_that_was_given_out_may_be_changed() -> None:
    made = ImmutableMultiDict(PAIRS)
    made.getlist("a").clear()
    made.multi_items().clear()
    assert made.getlist("a") == [1, 3]


def test_it_is_equal_whatever_the_order_of_keys() -> None:
    assert ImmutableMultiDict([("a", 1), ("b", 2)]) == ImmutableMultiDict([("b", 2), ("a", 1)])


def test_it_differs_when_the_values_of_a_key_are_in_another_order() -> None:
    assert ImmutableMultiDict([("a", 1), ("a", 2)]) != ImmutableMultiDict([("a", 2), ("a", 1)])


@pytest.mark.parametrize("other", [MultiDict(PAIRS), dict(PAIRS), PAIRS, None])
def test_it_differs_from_other_types(other: Any) -> None:
    assert ImmutableMultiDict(PAIRS) != other


def test_it_cannot_be_hashed() -> None:
    with pytest.raises(TypeError, match="unhashable type: 'ImmutableMultiDict'"):
        hash(ImmutableMultiDict(PAIRS))


def test_its_repr_shows_all_pairs() -> None:
    assert repr(MultiDict(PAIRS)) == "MultiDict([('a', 1), ('b', 2), ('a', 3)])"


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))],
    ids=["deepcopy", "pickle"],
)
def test_it_can_be_copied(duplicate: Callable[[Any], Any]) -> None:
    made = MultiDict(PAIRS)
    copied = duplicate(made)
    made.clear()
    assert copied.multi_items() == PAIRS


def change(method: str, *args: Any, **kwargs: Any) -> Any:
    made = MultiDict(PAIRS)
    made.getlist("a")  # what getlist remembers must not outlive a change
    result = getattr(made, method)(*args, **kwargs)
    assert dict(made.items()) == dict(made.multi_items())
    for key in "abz":
        assert made.getlist(key) == [value for name, value in made.multi_items() if name == key]
    return result, made.multi_items()


@pytest.mark.parametrize(
    ("call", "result", "left"),
    [
        pytest.param(("__setitem__", "a", 9), None, [("b", 2), ("a", 9)], id="set"),
        pytest.param(("__setitem__", "z", 9), None, [*PAIRS, ("z", 9)], id="set new"),
        pytest.param(("__delitem__", "a"), None, [("b", 2)], id="delete"),
        pytest.param(("pop", "a"), 3, [("b", 2)], id="pop"),
        pytest.param(("pop", "z"), None, PAIRS, id="pop unknown"),
        pytest.param(("pop", "z", 7), 7, PAIRS, id="pop unknown, default"),
        pytest.param(("popitem",), ("b", 2), [("a", 1), ("a", 3)], id="popitem"),
        pytest.param(("poplist", "a"), [1, 3], [("b", 2)], id="poplist"),
        pytest.param(("poplist", "z"), [], PAIRS, id="poplist unknown"),
        pytest.param(("clear",), None, [], id="clear"),
        pytest.param(("setdefault", "a", 7), 3, PAIRS, id="setdefault known"),
        pytest.param(("setdefault", "z", 7), 7, [*PAIRS, ("z", 7)], id="setdefault unknown"),
        pytest.param(("setlist", "a", [7, 8]), None, [("b", 2), ("a", 7), ("a", 8)], id="setlist"),
        pytest.param(("setlist", "b", []), None, [("a", 1), ("a", 3)], id="setlist to nothing"),
        pytest.param(("setlist", "z", []), None, PAIRS, id="setlist unknown to nothing"),
        pytest.param(("append", "a", 5), None, [*PAIRS, ("a", 5)], id="append"),
        pytest.param(("update", {"a": 5}), None, [("b", 2), ("a", 5)], id="update"),
        pytest.param(
            ("update", [("a", 5), ("a", 6), ("z", 1)]),
            None,
            [("b", 2), ("a", 5), ("a", 6), ("z", 1)],
            id="update with several values",
        ),
        pytest.param(("update",), None, PAIRS, id="update with nothing"),
    ],
)
def test_it_is_changed(call: tuple[Any, ...], result: Any, left: list[Any]) -> None:
    assert change(*call) == (result, left)


def test_it_is_updated_with_keywords() -> None:
    assert change("update", [("a", 5)], b=6) == (None, [("a", 5), ("b", 6)])


def test_a_source_is_not_changed_with_it() -> None:
    source = list(PAIRS)
    MultiDict(source).append("z", 1)
    assert source == PAIRS


def test_an_unknown_key_cannot_be_deleted() -> None:
    with pytest.raises(KeyError, match=r"^'z'$"):
        del MultiDict(PAIRS)["z"]


def test_nothing_can_be_popped_when_nothing_is_left() -> None:
    with pytest.raises(KeyError, match="empty"):
        MultiDict().popitem()


def test_values_that_cannot_be_listed_change_nothing() -> None:
    made = MultiDict(PAIRS)
    with pytest.raises(TypeError, match="not iterable"):
        made.setlist("a", 5)  # type: ignore[arg-type]
    assert made.multi_items() == PAIRS


@given(pairs_strategy)
def test_getlist_agrees_with_the_pairs(pairs: list[tuple[str, int]]) -> None:
    made = ImmutableMultiDict(pairs)
    for key in "abcd":
        assert made.getlist(key) == [value for name, value in pairs if name == key]


@given(pairs_strategy, pairs_strategy)
def test_two_are_equal_when_the_values_of_each_key_are(
    first: list[tuple[str, int]], second: list[tuple[str, int]]
) -> None:
    one, two = ImmutableMultiDict(first), ImmutableMultiDict(second)
    same = {k: one.getlist(k) for k in one} == {k: two.getlist(k) for k in two}
    assert (one == two) is same


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("a=1&b=&a=2", id="text"),
        pytest.param(b"a=1&b=&a=2", id="bytes"),
        pytest.param([("a", 1), ("b", ""), ("a", 2)], id="pairs"),
        pytest.param(QueryParams("a=1&b=&a=2"), id="itself"),
    ],
)
def test_query_params_are_strings(source: Any) -> None:
    params = QueryParams(source)
    assert params.multi_items() == [("a", "1"), ("b", ""), ("a", "2")]
    assert str(params) == "a=1&b=&a=2"
    assert repr(params) == "QueryParams('a=1&b=&a=2')"


def test_query_params_take_keywords() -> None:
    assert str(QueryParams("a=1", b=2)) == "a=1&b=2"
    assert str(QueryParams(a="x y")) == "a=x+y"


def test_query_params_of_a_mapping_are_coerced() -> None:
    assert QueryParams({"a": None, 2: True}).multi_items() == [("a", "None"), ("2", "True")]


@pytest.mark.parametrize("empty", [(), ("",), (b"",), (None,), ([],), ({},)], ids=repr)
def test_query_params_may_be_empty(empty: Any) -> None:
    params = QueryParams(*empty)
    assert str(params) == ""
    assert len(params) == 0


def test_query_params_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(TypeError, match="not iterable"):
        QueryParams(1)  # type: ignore[arg-type]


@given(st.binary())
def test_query_params_of_any_bytes_can_be_written_and_read_again(query: bytes) -> None:
    params = QueryParams(query)
    assert QueryParams(str(params)).multi_items() == [
        p for p in params.multi_items() if any(p)
    ] or (str(params))


def test_asking_for_each_key_costs_linear_time() -> None:
    class Key(str):
        comparisons = 0

        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            Key.comparisons += 1
            return str.__eq__(self, other)

    count = 2000
    made = ImmutableMultiDict([(Key(n), n) for n in range(count)] + [(Key(0), 0)])
    for n in range(count):
        made.getlist(str(n))
    assert Key.comparisons < 10 * count
