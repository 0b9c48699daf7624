"""The limits of forms: what may be one, and how two are put together."""

import math
from typing import Any

import pytest

from spica.formparsers import FormLimits


def test_what_is_open_is_taken_from_the_outer_one() -> None:
    inner, outer = FormLimits(max_files=0, max_fields=2), FormLimits(max_files=5, max_headers=3)
    assert inner.over(outer) == FormLimits(max_files=0, max_fields=2, max_headers=3)


@pytest.mark.parametrize("value", [None, 0, 1, math.inf])
def test_what_may_be_a_limit(value: Any) -> None:
    assert FormLimits(max_part_size=value).max_part_size == value


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-1, ValueError, "FormLimits: max_files must not be negative, but is -1."),
        (1.5, TypeError, "FormLimits: max_files must be an int, math.inf or None, not 1.5."),
        ("1", TypeError, "FormLimits: max_files must be an int, math.inf or None, not '1'."),
        (True, TypeError, "FormLimits: max_files must be an int, math.inf or None, not True."),
        (math.nan, TypeError, "FormLimits: max_files must be an int, math.inf or None, not nan."),
    ],
)
def test_what_may_not(value: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        FormLimits(max_files=value)
    assert str(caught.value) == text
