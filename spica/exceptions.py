"""The exceptions and warnings that applications raise, catch and filter.

The exception layer turns the exceptions into responses (see `spica.middleware.exceptions`).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from spica._diagnostics.call_site import Place, user_line, warn_at
from spica._http.closecodes import check_close, describe_excess
from spica._muting import is_configuration_muted

# Every HTTPException without a detail looks its phrase up here. A dict is faster than
# HTTPStatus(code).phrase, and does not raise for unknown codes.
_PHRASES: dict[int, str] = {int(status): status.phrase for status in HTTPStatus}


def _restore(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Restore an exception from a pickle without `__init__`, whose signature may differ in a subclass."""
    return cls.__new__(cls, *args)


class HTTPException(Exception):
    """Stop handling the request and answer it with an error response.

    Raise it in an endpoint, a dependency or a middleware. A handler for its class or status code makes the
    response. Without a handler, the response is the detail as plain text.

    Args:
        status_code: the status of the response.
        detail: the body of the response. The default is the standard phrase of the status, or an empty
            string for a status without one.
        headers: more headers of the response, for example ``{"Retry-After": "120"}``.

    Raises:
        TypeError: `status_code` is not an integer.
        ValueError: `status_code` does not have three digits.

    Example:
        ``raise HTTPException(404, detail="There is no such user.")``
    """

    def __init__(
        self,
        status_code: int,
        detail: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # RFC 9112 s.4: a status code has three digits.
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

    Args:
        code: the close code, for example 1008 (policy violation).
        reason: a string for the peer's log, empty by default. A close frame carries 123 bytes of UTF-8
            (RFC 6455 s.5.5). A longer reason is cut when it is sent, and you get a
            `SpicaConfigurationWarning` here.

    Raises:
        TypeError: `code` is not an integer, or `reason` is neither a string nor None.
        ValueError: `code` is not allowed in a close frame.
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
    """A name or a usage is deprecated and will be removed in a later version.

    It is a `UserWarning`, because Python hides a `DeprecationWarning` by default from the people who run an
    application.
    """


class SpicaConfigurationWarning(UserWarning):
    """A setting is valid but probably unintended.

    To turn it into an error, call ``warnings.simplefilter("error", SpicaConfigurationWarning)``.
    """


def warn_configuration(text: str, place: Place | None = None) -> None:
    """Show a SpicaConfigurationWarning at ``place``, by default the user's line, unless it is muted."""
    if not is_configuration_muted(text):
        warn_at(place or user_line(), text, SpicaConfigurationWarning)


class MisuseError(ValueError, AssertionError):
    """An argument has a value that can't work.

    It is a ValueError, and also an AssertionError, because code for Starlette may expect that.
    """
