"""The codes and reasons that may close a WebSocket (RFC 6455 s.7.4)."""

MAX_CLOSE_REASON_SIZE = 123
"""Longest reason in bytes of UTF-8. A control frame carries 125 bytes (RFC 6455 s.5.5), and two of them are
the code (s.5.5.1)."""


def may_send_code(code: int) -> bool:
    """Return whether a close frame may carry `code`."""
    # RFC 6455 s.7.4.1 and the IANA registry (1012 to 1014): 1004 has no meaning yet. 1005, 1006 and 1015
    # are for local use and never sent. s.7.4.2: the protocol reserves 1016 to 2999, and libraries and
    # applications use 3000 to 4999.
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def check_close(code: int, reason: str | None) -> None:
    """Raise an error for a close code that a close frame may not carry, and for values of a wrong type.

    The length of the reason does not matter here: `fit_reason` shortens it.

    Raises:
        TypeError: `code` is not an int, or `reason` is neither str nor None.
        ValueError: `code` may not be sent.
    """
    if not isinstance(code, int):
        raise TypeError(f"A close code must be an int, not {code!r}.")
    if not may_send_code(code):
        raise ValueError(
            f"Close code {int(code)} may not be sent (RFC 6455 s.7.4). Use 1000 to 1003, "
            "1007 to 1014, or 3000 to 4999 for codes of your own."
        )
    if reason and not isinstance(reason, str):
        raise TypeError(f"A close reason must be a str or None, not {type(reason).__name__}.")


def fit_reason(reason: str) -> str:
    """Return a close reason that fits in a close frame. A longer one is cut and ends in "...".

    Reasons are for people (RFC 6455 s.7.1.6) and often contain the message of an error. Raising an
    exception here would lose the close code. Surrogates, which UTF-8 cannot encode, become "?".
    """
    raw = reason.encode("utf-8", "replace")
    if len(raw) > MAX_CLOSE_REASON_SIZE:
        raw = raw[: MAX_CLOSE_REASON_SIZE - len(_CUT)]
        return raw.decode("utf-8", "ignore") + _CUT
    return raw.decode()


def describe_excess(reason: str | None) -> str:
    """Return a sentence about a reason that is too long for a close frame, or "" if it fits."""
    size = len(reason.encode("utf-8", "replace")) if reason else 0
    if reason is None or size <= MAX_CLOSE_REASON_SIZE:
        return ""
    return (
        f"A close reason may have {MAX_CLOSE_REASON_SIZE} bytes of UTF-8 (RFC 6455 s.5.5), "
        f"and this one has {size}: {reason[:40]!r}... "
        "Shorten it, or send the text in a message before closing."
    )


_CUT = "..."
