"""Exceptions and warnings that applications raise, catch and filter by.

Only the words: what is answered when one of them is raised is decided by the exception layer.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from spica._diagnostics.call_site import Place, user_line, warn_at
from spica._http.closecodes import check_close, describe_excess
from spica._muting import is_configuration_muted

# Looked up for every HTTPException without a detail, so a dict and not HTTPStatus(code).phrase:
# unknown codes are then no exception either.
_PHRASES: dict[int, str] = {int(status): status.phrase for status in HTTPStatus}


def _restore(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an exception from a pickle, without `__init__`: its signature may be another."""
    return cls.__new__(cls, *args)


class HTTPException(Exception):
    """Stop handling the request and answer it with an error.

    Raise it anywhere below the exception layer; a handler registered for its class or status code
    makes the response. The default answer is the detail as plain text.

    Attributes:
        status_code: the status to answer with.
        detail: the text of the answer; by default the phrase that the standard gives the status,
            or the empty string for a status without one.
        headers: more headers of the answer, for example ``{"Retry-After": "120"}``.

    Raises:
        TypeError: `status_code` is not an integer.
        ValueError: `status_code` does not have three digits.
    """

    def __init__(
        self,
        status_code: int,
        detail: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # RFC 9112 s.4: a status code is three digits, anything else cannot be sent.
        if not isinstance(status_code, int):
            raise TypeError(
                f"{type(self).__name__}: status_code must be an int, not {status_code!r:.80}."
            )
        if not 100 <= status_code <= 999:
            raise ValueError(
                f"{type(self).__name__}: status_code must have three digits (100 to 999), "
                f"not {status_code}."
            )
        self.status_code = status_code
        self.detail = _PHRASES.get(status_code, "") if detail is None else detail
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.status_code}: {self.detail}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(status_code={self.status_code!r}, detail={self.detail!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args), self.__dict__


class WebSocketException(Exception):
    """Stop the WebSocket session and close it with a code.

    Attributes:
        code: the close code, for example 1008 (policy violation).
        reason: a string for the peer's log; empty by default. A close frame carries 123 bytes of UTF-8
            (RFC 6455 s.5.5). A longer reason is cut when it is sent, and you get a
            `SpicaConfigurationWarning` here.

    Raises:
        TypeError: `code` is not an integer, or `reason` is neither a string nor None.
        ValueError: `code` may not be sent.
    """

    def __init__(self, code: int, reason: str | None = None) -> None:
        check_close(code, reason)
        excess = describe_excess(reason)
        if excess:
            warn_configuration(f"{excess} It is cut.")
        self.code = code
        self.reason = reason or ""

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(code={self.code!r}, reason={self.reason!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args), self.__dict__


class SpicaDeprecationWarning(UserWarning):
    """Warn that a name or a use will go away in a later version.

    It is a `UserWarning` and no `DeprecationWarning`, since Python hides those by default from the
    people who run an application.
    """


class SpicaConfigurationWarning(UserWarning):
    """Warn that a setting is legal but most probably not what was meant.

    Raised to an error with ``warnings.simplefilter("error", SpicaConfigurationWarning)``.
    """


def warn_configuration(text: str, place: Place | None = None) -> None:
    """Show a SpicaConfigurationWarning at ``place``, by default the user's line, unless it is muted."""
    if not is_configuration_muted(text):
        warn_at(place or user_line(), text, SpicaConfigurationWarning)


class MisuseError(ValueError, AssertionError):
    """A programmer gave a value that can't work.

    It is a ValueError. It is an AssertionError too, since code written for Starlette may expect that.
    """
