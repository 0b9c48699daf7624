"""The table of status codes."""

import warnings
from http import HTTPStatus

import pytest

from spica import status
from spica.exceptions import SpicaDeprecationWarning

RENAMED = {
    "HTTP_413_REQUEST_ENTITY_TOO_LARGE": 413,
    "HTTP_414_REQUEST_URI_TOO_LONG": 414,
    "HTTP_416_REQUESTED_RANGE_NOT_SATISFIABLE": 416,
    "HTTP_422_UNPROCESSABLE_ENTITY": 422,
}


@pytest.mark.parametrize("name", status.__all__)
def test_each_name_carries_its_code(name: str) -> None:
    code = getattr(status, name)

    assert type(code) is int
    assert name.split("_")[1] == str(code)


def test_every_status_of_the_standard_library_has_a_name() -> None:
    codes = {getattr(status, name) for name in status.__all__ if name.startswith("HTTP_")}

    assert codes == {int(code) for code in HTTPStatus} | {306}


def test_the_names_of_todays_standard_are_there() -> None:
    # RFC 9110 s.15.5
    assert status.HTTP_413_CONTENT_TOO_LARGE == 413
    assert status.HTTP_422_UNPROCESSABLE_CONTENT == 422
    assert status.WS_1008_POLICY_VIOLATION == 1008


@pytest.mark.parametrize(("name", "code"), RENAMED.items())
def test_a_former_name_resolves_with_a_warning_at_the_callers_line(name: str, code: int) -> None:
    with pytest.warns(SpicaDeprecationWarning, match=f"'{name}' is deprecated. Use 'HTTP_") as seen:
        assert getattr(status, name) == code

    assert seen[0].filename == __file__


def test_importing_a_former_name_warns_at_the_line_of_the_import() -> None:
    with pytest.warns(SpicaDeprecationWarning) as seen:
        from spica.status import HTTP_422_UNPROCESSABLE_ENTITY

    assert HTTP_422_UNPROCESSABLE_ENTITY == 422
    assert seen[0].filename == __file__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'spica\.status' has no attribute 'HTTP_999'"):
        status.HTTP_999  # noqa: B018


def test_dir_lists_all_names_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = dir(status)

    assert set(names) == {*status.__all__, *RENAMED}


def test_a_star_import_has_no_former_names() -> None:
    assert not RENAMED.keys() & set(status.__all__)
