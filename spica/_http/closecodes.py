"""The codes and reasons with which a WebSocket may be closed (RFC 6455 s.7.4)."""

MAX_CLOSE_REASON_SIZE = 123
"""Bytes of UTF-8 a reason may have: a control frame carries 125 bytes (RFC 6455 s.5.5), and two of
them are the code (s.5.5.1)."""


def may_send_code(code: int) -> bool:
    """Tell whether `code` may stand in a close frame."""
    # RFC 6455 s.7.4.1 and the IANA registry (1012 to 1014): 1004 has no meaning yet, 1005, 1006 and
    # 1015 stand for what was never sent. s.7.4.2: 1016 to 2999 are kept for the protocol, 3000 to
    # 4999 belong to libraries and applications.
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def check_close(code: int, reason: str | None) -> None:
    """Refuse a close code that may not stand in a close frame, and values of a wrong type.

    The size of the reason is the business of `fit_reason`.

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
    """Return a close reason that fits a close frame: cut at a character, with "..." at the end.

    A reason is for people (RFC 6455 s.7.1.6), and often has the text of an error in it. An exception here
    would lose the close code. Surrogates, which have no UTF-8, become "?".
    """
    raw = reason.encode("utf-8", "replace")
    if len(raw) > MAX_CLOSE_REASON_SIZE:
        raw = raw[: MAX_CLOSE_REASON_SIZE - len(_CUT)]
        return raw.decode("utf-8", "ignore") + _CUT
    return raw.decode()


def describe_excess(reason: str | None) -> str:
    """Return what is wrong with a reason that `fit_reason` cuts; "" if it fits."""
    size = len(reason.encode("utf-8", "replace")) if reason else 0
    if reason is None or size <= MAX_CLOSE_REASON_SIZE:
        return ""
    return (
        f"A close reason may have {MAX_CLOSE_REASON_SIZE} bytes of UTF-8 (RFC 6455 s.5.5), "
        f"and this one has {size}: {reason[:40]!r}... "
        "Shorten it, or send the text in a message before closing."
    )


_CUT = "..."
