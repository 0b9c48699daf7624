"""Check the values of single messages from an application. The exchanges check their order.

Some servers accept such mistakes and others fail, so a test should find them. Each function returns the
value that it has checked, or raises an AssertionError that names it.

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
    """Return the headers of a message, or an empty list without the key.

    Upper-case names are accepted. The specification requires lower case, but servers accept both.
    """
    headers = message.get("headers", ())
    if not isinstance(headers, Iterable) or isinstance(headers, (str, bytes, Mapping)):
        raise _wrong(message, "headers", headers, "an iterable of (bytes, bytes) pairs")
    return [_checked_header(message, header) for header in headers]


def _checked_header(message: Message, header: Any) -> tuple[bytes, bytes]:
    # The value can be a secret, so errors show only its type.
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
    """Return the body of a message, or b"" without the key."""
    body = message.get("body", b"")
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise _wrong(message, "body", body, "bytes")
    return bytes(body)


def message_text(message: Message, key: str) -> str | None:
    """Return an optional string of a message."""
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
    """Return the error for a message that an application may not send in this situation."""
    expected = ", ".join(repr(name) for name in allowed)
    remedy = f"Allowed here: {expected}." if expected else "Nothing may be sent here."
    return AssertionError(f"The application sent {kind!r} {situation}. {remedy}")
