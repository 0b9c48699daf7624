"""HTTPException, WebSocketException and the warnings."""

import pickle
import warnings
from http import HTTPStatus
from typing import Any

import pytest

from spica.exceptions import (
    HTTPException,
    SpicaConfigurationWarning,
    SpicaDeprecationWarning,
    WebSocketException,
)


@pytest.mark.parametrize("status", list(HTTPStatus), ids=lambda status: str(status.value))
def test_the_default_detail_is_the_phrase_of_the_status(status: HTTPStatus) -> None:
    assert HTTPException(status.value).detail == status.phrase


def test_a_status_without_a_phrase_has_an_empty_detail() -> None:
    assert HTTPException(499).detail == ""


def test_an_empty_detail_is_kept() -> None:
    assert HTTPException(404, "").detail == ""


def test_a_member_of_httpstatus_is_accepted() -> None:
    exc = HTTPException(HTTPStatus.NOT_FOUND)

    assert str(exc) == "404: Not Found"


def test_str_and_repr_name_status_and_detail() -> None:
    exc = HTTPException(404, "Nope")

    assert str(exc) == "404: Nope"
    assert repr(exc) == "HTTPException(status_code=404, detail='Nope')"


def test_headers_are_the_mapping_that_was_given() -> None:
    headers = {"Retry-After": "1"}

    assert HTTPException(503, headers=headers).headers is headers
    assert HTTPException(503).headers is None


@pytest.mark.parametrize("status_code", ["404", 404.0, None])
def test_a_status_that_is_no_int_is_refused(status_code: Any) -> None:
    with pytest.raises(TypeError, match="status_code must be an int, not"):
        HTTPException(status_code)


@pytest.mark.parametrize("status_code", [-1, 99, 1000])
def test_a_status_without_three_digits_is_refused(status_code: int) -> None:
    # RFC 9112 s.4
    with pytest.raises(ValueError, match=f"three digits \\(100 to 999\\), not {status_code}"):
        HTTPException(status_code)


@pytest.mark.parametrize("status_code", [100, 999])
def test_the_first_and_the_last_status_are_accepted(status_code: int) -> None:
    assert HTTPException(status_code).status_code == status_code


class Teapot(HTTPException):
    """A subclass with a signature of its own."""

    def __init__(self, *, brew: str) -> None:
        super().__init__(418)
        self.brew = brew


@pytest.mark.parametrize(
    "exc",
    [
        HTTPException(404),
        HTTPException(status_code=404, detail="x", headers={"a": "b"}),
        WebSocketException(1008, "x"),
        WebSocketException(code=1008),
        Teapot(brew="mint"),
    ],
    ids=repr,
)
def test_an_exception_survives_pickling(exc: Exception) -> None:
    copy = pickle.loads(pickle.dumps(exc))

    assert type(copy) is type(exc)
    assert vars(copy) == vars(exc)
    assert str(copy) == str(exc)


def test_a_websocket_exception_has_code_and_reason() -> None:
    exc = WebSocketException(1008, "policy")

    assert (exc.code, exc.reason) == (1008, "policy")
    assert str(exc) == "1008: policy"
    assert repr(exc) == "WebSocketException(code=1008, reason='policy')"


def test_the_default_reason_is_empty() -> None:
    assert WebSocketException(1008).reason == ""


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1014, 3000, 4999])
def test_close_codes_that_may_be_sent_are_accepted(code: int) -> None:
    assert WebSocketException(code).code == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
def test_close_codes_that_may_not_be_sent_are_refused(code: int) -> None:
    # RFC 6455 s.7.4
    with pytest.raises(ValueError, match=f"code {code} may not be sent"):
        WebSocketException(code)


def test_a_close_code_that_is_no_int_is_refused() -> None:
    with pytest.raises(TypeError, match="code must be an int"):
        WebSocketException("1000")  # type: ignore[arg-type]  # the test


@pytest.mark.parametrize("reason", ["a" * 123, "é" * 61])
def test_a_reason_that_fits_a_close_frame_is_accepted(reason: str) -> None:
    assert WebSocketException(1000, reason).reason == reason


@pytest.mark.parametrize("reason", ["a" * 124, "é" * 62])
def test_a_reason_that_does_not_fit_a_close_frame_warns_and_stays_whole(reason: str) -> None:
    # RFC 6455 s.5.5
    with pytest.warns(
        SpicaConfigurationWarning, match=r"123 bytes.*, and this one has 124"
    ) as caught:
        exc = WebSocketException(1000, reason)
    assert exc.reason == reason
    assert caught[0].filename == __file__


def test_a_reason_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="reason must be a str or None"):
        WebSocketException(1000, b"x")  # type: ignore[arg-type]  # the test


@pytest.mark.parametrize("category", [SpicaDeprecationWarning, SpicaConfigurationWarning])
def test_the_warnings_are_shown_by_default(category: type[Warning]) -> None:
    assert issubclass(category, UserWarning)
    assert not issubclass(category, DeprecationWarning)
    with pytest.warns(category):
        warnings.warn("x", category, stacklevel=1)
