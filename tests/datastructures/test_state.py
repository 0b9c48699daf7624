"""State: a dict seen through attributes."""

import copy
import pickle

import pytest

from spica.datastructures import State


def test_attributes_and_items_are_the_same() -> None:
    state = State()
    state.a = 1
    state["b"] = 2
    assert (state["a"], state.b) == (1, 2)


def test_the_given_dict_is_shared() -> None:
    shared = {"a": 1}
    state = State(shared)
    state.b = 2
    del state.a
    assert shared == {"b": 2}


def test_two_states_made_without_a_dict_share_nothing() -> None:
    first, second = State(), State()
    first.a = 1
    assert not hasattr(second, "a")


def test_a_missing_attribute_is_an_attribute_error() -> None:
    state = State()
    with pytest.raises(AttributeError, match=r"^'State' object has no attribute 'a'\n"):
        state.a  # noqa: B018
    with pytest.raises(AttributeError, match=r"^'State' object has no attribute 'a'$"):
        del state.a


def test_a_missing_item_is_a_key_error() -> None:
    state = State()
    with pytest.raises(KeyError, match=r"^'a'\n"):
        state["a"]
    with pytest.raises(KeyError, match=r"^'a'$"):
        del state["a"]


def test_it_can_be_looked_through() -> None:
    state = State({"a": 1, "b": 2})
    assert list(state) == ["a", "b"]
    assert len(state) == 2
    assert "a" in state
    assert "c" not in state


def test_an_item_is_deleted() -> None:
    state = State({"a": 1})
    del state["a"]
    assert len(state) == 0


def test_an_entry_does_not_hide_the_dict() -> None:
    state = State({"_state": 1})
    assert state._state == {"_state": 1}
    assert state["_state"] == 1


@pytest.mark.parametrize(
    "duplicate",
    [
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda state: pickle.loads(pickle.dumps(state)), id="pickle"),
    ],
)
def test_it_can_be_copied(duplicate: object) -> None:
    assert duplicate(State({"a": 1})).a == 1  # type: ignore[operator]


def test_an_empty_state_can_be_copied() -> None:
    duplicate = copy.deepcopy(State())
    duplicate.a = 1
    assert duplicate["a"] == 1


def test_a_subclass_that_forgets_init_gets_an_error_that_ends() -> None:
    class Hasty(State):
        def __init__(self) -> None:
            self.a = 1

    with pytest.raises(AttributeError, match="_state"):
        Hasty()


@pytest.mark.parametrize("read", [lambda state: state.engine, lambda state: state["engine"]])
def test_a_missing_value_names_the_usual_reason(read):
    with pytest.raises((AttributeError, KeyError)) as raised:
        read(State())
    assert "with TestClient(app) as client" in raised.value.__notes__[0]
