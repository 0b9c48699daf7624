"""Checks of single messages that an application sends: their shape, not their order.

A server may forgive some of these, another breaks on them, so a test is where they should be found.
Each function returns the value it checked, or raises an AssertionError that names it.

ASGI HTTP & WebSocket message format, the "Send event" sections.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from spica._http.fields import encode_field_name, encode_field_value
from spica.types import Message


def message_type(message: Any) -> str:
    """Return the type of a message."""
    kind = message.get("type") if isinstance(message, Mapping) else None
    if not isinstance(kind, str):
        raise AssertionError(
            f"The application sent {message!r:.200}: "
            "a message must be a dict with a 'type' that is a str."
        )
    return kind


def message_status(message: Message) -> int:
    """Return the status of a response start."""
    status = message.get("status")
    # RFC 9112 s.4: a status code is three digits
    if not isinstance(status, int) or not 100 <= status <= 999:
        raise _wrong(message, "status", status, "an int from 100 to 999")
    return int(status)


def message_headers(message: Message) -> list[tuple[bytes, bytes]]:
    """Return the headers of a message, none if it has no such key.

    Upper-case names are let through: the specification wants lower case, but servers forgive it.
    """
    headers = message.get("headers", ())
    if not isinstance(headers, Iterable) or isinstance(headers, (str, bytes, Mapping)):
        raise _wrong(message, "headers", headers, "an iterable of (bytes, bytes) pairs")
    return [_checked_header(message, header) for header in headers]


def _checked_header(message: Message, header: Any) -> tuple[bytes, bytes]:
    # The value may be a secret, so that errors show its type only
    try:
        name, value = header
    except (TypeError, ValueError):
        raise _wrong(message, "header of type", type(header), "a (bytes, bytes) pair") from None
    if not isinstance(name, bytes):
        raise _wrong(message, "header name", name, "bytes")
    if not isinstance(value, bytes):
        raise _wrong(message, f"value of the header {name!r} of type", type(value), "bytes")
    try:
        encode_field_name(name)
        encode_field_value(value)
    except ValueError as error:
        raise AssertionError(
            f"The application sent {message['type']!r} with a malformed header {name!r}: {error}"
        ) from None
    return name, value


def message_body(message: Message) -> bytes:
    """Return the body of a message, empty if it has no such key."""
    body = message.get("body", b"")
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise _wrong(message, "body", body, "bytes")
    return bytes(body)


def message_text(message: Message, key: str) -> str | None:
    """Return an optional text of a message."""
    text = message.get(key)
    if text is not None and not isinstance(text, str):
        raise _wrong(message, key, text, "a str or None")
    return text


def _wrong(message: Message, key: str, value: Any, allowed: str) -> AssertionError:
    return AssertionError(
        f"The application sent {message['type']!r} with the {key} {value!r:.200}: "
        f"it must be {allowed}."
    )


def misplaced(kind: str, situation: str, allowed: Iterable[str]) -> AssertionError:
    """Make the error for a message that may not be sent in a situation."""
    expected = ", ".join(repr(name) for name in allowed)
    remedy = f"Allowed here: {expected}." if expected else "Nothing may be sent here."
    return AssertionError(f"The application sent {kind!r} {situation}. {remedy}")
