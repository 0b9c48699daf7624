"""Errors of forms: malformed, over a limit (RFC 9110 s.15.5), or impossible to store."""

import errno

from spica.exceptions import HTTPException

MAX_MEMORY_SIZE = 16 * 1024 * 1024
"""Default limit for the bytes of a form in memory: the same as for any other body."""

LOGGER_NAME = "spica.formparsers"


class MultiPartException(HTTPException):
    """A form can't be parsed, or exceeds a limit.

    It becomes a response like any other HTTPException.

    Args:
        message: The message for the client.
        status_code: The status of the response. Default 400.
        reason: More detail for the log, as part of ``str()``. It is used where Starlette's clients expect a
            fixed ``message``.
    """

    def __init__(self, message: str, *, status_code: int = 400, reason: str = "") -> None:
        super().__init__(status_code, message)
        self.message = message
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.message} {self.reason}" if self.reason else self.message


def too_many(what: str, limit: int | float) -> MultiPartException:
    """Return the error for too many fields or files."""
    return MultiPartException(f"Too many {what}. Maximum number of {what} is {limit}.")


def too_large(what: str, limit: int | float) -> MultiPartException:
    """Return the error for a part or field of more than `limit` bytes."""
    size = f"{limit // 1024}KB" if limit >= 1024 and limit % 1024 == 0 else f"{limit} bytes"
    return MultiPartException(f"{what} exceeded maximum size of {size}.")


def too_much(limit: int | float) -> MultiPartException:
    """Return the error for a form whose fields together need more than `limit` bytes of memory."""
    message = f"The fields of the form exceeded {limit} bytes (max_memory_size)."
    return MultiPartException(message, status_code=413)  # RFC 9110 s.15.5.14


def too_big(limit: int | float) -> MultiPartException:
    """Return the error for a form of more than `limit` bytes, files included."""
    message = f"The form exceeded {limit} bytes (max_total_size)."
    return MultiPartException(message, status_code=413)  # RFC 9110 s.15.5.14


def cannot_store(error: OSError) -> HTTPException:
    """Log why the files of a form can't be stored, and return the error for the client: 503, try again."""
    import logging  # imported late: it is slow to import, and only needed here

    hint = ""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = " Raise the limit of open files (ulimit -n), or lower max_files in FormLimits."
    logging.getLogger(LOGGER_NAME).error("The files of a form cannot be stored: %s.%s", error, hint)
    # RFC 9110 s.15.6.4: a temporary overload. Retry-After tells the client when to try again.
    return HTTPException(
        503, "The server cannot store files at the moment.", headers={"Retry-After": "10"}
    )


def malformed(reason: str) -> MultiPartException:
    """Return the error for a body that violates RFC 7578."""
    return MultiPartException(f"Invalid multipart data: {reason}.")


def beyond(reason: str) -> MultiPartException:
    """Return the error for a boundary or header that exceeds its limit."""
    return MultiPartException("Invalid multipart data.", reason=reason)
