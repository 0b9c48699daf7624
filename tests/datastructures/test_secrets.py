"""Secrets, and lists in one setting."""

import pytest

from spica.datastructures import CommaSeparatedStrings, Secret


def test_a_secret_is_shown_by_str_only() -> None:
    secret = Secret("hunter2")
    assert str(secret) == "hunter2"
    assert repr(secret) == "Secret('**********')"
    assert "hunter2" not in repr({"key": secret})


def test_a_secret_is_true_when_it_has_a_value() -> None:
    assert Secret("a")
    assert not Secret("")


@pytest.mark.parametrize(
    ("text", "items"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("a", ["a"], id="one"),
        pytest.param("a, b ,c", ["a", "b", "c"], id="blanks around"),
        pytest.param("a b, c", ["a b", "c"], id="blanks within"),
        pytest.param("'a, b', \"c\"", ["a, b", "c"], id="quotes"),
        pytest.param("a#b, c", ["a#b", "c"], id="number sign"),
        pytest.param("a, b,", ["a", "b"], id="comma at the end"),
    ],
)
def test_a_setting_is_split_at_commas(text: str, items: list[str]) -> None:
    assert list(CommaSeparatedStrings(text)) == items


def test_a_quotation_must_be_closed() -> None:
    with pytest.raises(ValueError, match="No closing quotation"):
        CommaSeparatedStrings("'a, b")


def test_a_sequence_is_taken_as_it_is() -> None:
    given = ["a, b", "c"]
    strings = CommaSeparatedStrings(given)
    given.append("d")
    assert list(strings) == ["a, b", "c"]


def test_it_is_a_sequence() -> None:
    strings = CommaSeparatedStrings("a, b, c")
    assert len(strings) == 3
    assert strings[0] == "a"
    assert strings[1:] == ["b", "c"]
    assert "c" in strings


def test_it_is_written_as_it_is_read() -> None:
    strings = CommaSeparatedStrings("a, 'b, c'")
    assert repr(strings) == "CommaSeparatedStrings(['a', 'b, c'])"
    assert str(strings) == "'a', 'b, c'"
    assert list(CommaSeparatedStrings(str(strings))) == list(strings)
