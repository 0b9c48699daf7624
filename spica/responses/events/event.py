"""One server-sent event, and its form in bytes (WHATWG HTML s.9.2.5, "Parsing an event stream")."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

from spica._asgi import current_codec as codec
from spica._asgi.unread import close_unread, has_started_running
from spica.concurrency import close_iterator
from spica.exceptions import warn_configuration


class ServerSentEvent:
    """One event of a stream.

    The event is encoded at once, so one object can go to many clients. Do not change it afterwards.

    Args:
        data: A string or bytes, sent unchanged, or another value, sent as JSON. Browsers dispatch no event
            without data: pass ``""`` for an empty one.
        event: The type. Browsers take "message" by default.
        id: The last event ID. The browser sends it in the header Last-Event-ID when it reconnects.
        retry_milliseconds: The time that the browser waits before it reconnects.
        comment: Lines that browsers ignore.

    Raises:
        ValueError: ``event`` or ``id`` contains CR, LF or NUL, or ``retry_milliseconds`` is negative.
        TypeError: An argument has the wrong type, or ``data`` has no form in JSON.

    >>> ServerSentEvent({"price": 3}, event="price", id=7).encode()
    b'id: 7\\nevent: price\\ndata: {"price":3}\\n\\n'
    """

    __slots__ = ("_encoded", "comment", "data", "event", "id", "retry_milliseconds")

    def __init__(
        self,
        data: Any = None,
        *,
        event: str | None = None,
        id: str | int | None = None,
        retry_milliseconds: int | None = None,
        comment: str | None = None,
    ) -> None:
        self.data = data
        self.event = event
        self.id = id
        self.retry_milliseconds = retry_milliseconds
        self.comment = comment
        fields = "" if comment is None else _format_comment(comment)
        if retry_milliseconds is not None:
            fields += format_retry(retry_milliseconds)
        if id is not None:
            if type(id) is not int:
                id = _check_line("id", id)
            fields += f"id: {id}\n"
        if event is not None:
            fields += _format_type(event)
        try:
            if type(data) is str:
                if "\n" in data or "\r" in data:
                    data = _split_lines(data)
                self._encoded = f"{fields}data: {data}\n\n".encode()
            else:
                self._encoded = fields.encode() + _format_other(data)
        except UnicodeEncodeError:
            raise _explain_surrogate(self) from None

    def encode(self) -> bytes:
        """Return the event as it is sent, in UTF-8."""
        return self._encoded

    def __repr__(self) -> str:
        fields = ("data", "event", "id", "retry_milliseconds", "comment")
        given = [(name, getattr(self, name)) for name in fields]
        arguments = ", ".join(f"{name}={value!r:.80}" for name, value in given if value is not None)
        return f"ServerSentEvent({arguments})"


class ConvertsToEvent(Protocol):
    """An object that a stream converts to an event, such as the ``Gap`` of ``spica.channels``."""

    def to_server_sent_event(self) -> ServerSentEvent:
        """Return the event to send."""
        ...


EventLike: TypeAlias = ServerSentEvent | str | Mapping[str, Any] | ConvertsToEvent
"""An item of a stream. A string is the data of an event, a mapping its arguments: ``{"data": 1}``."""


def _check_line(name: str, value: Any) -> str:
    """Return the value of a field that has one line, without a subclass of str."""
    if not isinstance(value, str):
        kind = "a str or an int" if name == "id" else "a str"
        raise TypeError(f"ServerSentEvent: {name} must be {kind}, not {value!r:.80}.")
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(
            f"ServerSentEvent: {name} must not contain CR, LF or NUL, as in {value!r:.80}. "
            "It would end the field, or the client would ignore it."
        )
    return value if type(value) is str else str.__str__(value)


@lru_cache(maxsize=256)
def _format_type(event: str) -> str:
    """Return the field of a type. Streams have few of them, so that the check is needed once for each."""
    return f"event: {_check_line('event', event)}\n"


def _split_lines(data: str) -> str:
    """Return ``data`` with a field name in front of each further line."""
    if data.startswith("data:") and data.endswith("\n\n"):
        # The same message for all data: Python keeps each warning that it has shown.
        warn_configuration(
            "The data of an event of EventSourceResponse begins with 'data:' and ends with an empty line, so "
            "it is probably an encoded event. Clients get 'data:' as a part of it. Yield the data alone."
        )
    # HTML s.9.2.5: CR LF, CR and LF each end a line.
    return data.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\ndata: ")


LF, CR = b"\n\r"


def _format_other(data: Any) -> bytes:
    """Return the data field of a value that is not a plain str, and the end of the event."""
    if data is None:
        return b"\n"
    if isinstance(data, str):
        lines = str.encode(data)
    elif isinstance(data, (bytes, bytearray, memoryview)):
        lines = bytes(data)
    else:
        lines = codec.encode(data)
    # CPython finds an int in bytes ten times as fast as it finds bytes.
    if LF in lines or CR in lines:
        lines = lines.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"data: " + lines + b"\n\n"


def _format_comment(comment: Any) -> str:
    if not isinstance(comment, str):
        raise TypeError(f"ServerSentEvent: comment must be a str, not {comment!r:.80}.")
    lines = str.replace(comment, "\r\n", "\n").replace("\r", "\n")
    return ": " + lines.replace("\n", "\n: ") + "\n"


def format_retry(retry_milliseconds: Any, owner: str = "ServerSentEvent") -> str:
    """Return the field of a reconnection time; errors begin with ``owner``."""
    if isinstance(retry_milliseconds, bool) or not isinstance(retry_milliseconds, int):
        raise TypeError(
            f"{owner}: retry_milliseconds must be an int, not {retry_milliseconds!r:.80}."
        )
    if retry_milliseconds < 0:
        raise ValueError(f"{owner}: retry_milliseconds must not be negative: {retry_milliseconds}.")
    return f"retry: {retry_milliseconds:d}\n"


def _explain_surrogate(made: ServerSentEvent) -> ValueError:
    """Return the error that names the field with a surrogate."""
    name, value = "data", made.data
    for each in ("comment", "id", "event"):
        given = getattr(made, each)
        if isinstance(given, str) and not _is_utf8(given):
            name, value = each, given
    return ValueError(
        f"ServerSentEvent: {name} contains a surrogate, which UTF-8 can't express: {value!r:.80}."
    )


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def encode_event(item: Any) -> bytes:
    """Return an item of a stream as it is sent.

    Raises:
        TypeError: It is not an event, and can't be converted to one.
    """
    if type(item) is ServerSentEvent:
        return item._encoded
    if isinstance(item, ServerSentEvent):
        return item.encode()
    if isinstance(item, (str, bytes)):
        return ServerSentEvent(item)._encoded
    convert = getattr(item, "to_server_sent_event", None)
    if convert is not None:
        return encode_event(convert())
    if isinstance(item, Mapping):
        unknown = [key for key in item if key not in _FIELDS]
        if not unknown:
            return ServerSentEvent(**item)._encoded
        raise TypeError(
            f"A mapping in an event stream has the arguments of ServerSentEvent ({', '.join(_FIELDS)}), "
            f"not {unknown[0]!r:.80}. To send it as JSON, write ServerSentEvent(data={item!r:.80})."
        )
    raise TypeError(
        "An item of an event stream must be a ServerSentEvent, a str or a mapping, "
        f"not {item!r:.80} of type {type(item).__name__}. To send it as JSON: ServerSentEvent(data=...)."
    )


_FIELDS = ("data", "event", "id", "retry_milliseconds", "comment")


class EncodedEvents:
    """The body of an event stream as an iterator of bytes, one chunk per event, for layers that wrap it."""

    __slots__ = ("_iterator", "events")

    def __init__(self, events: AsyncIterable[Any]) -> None:
        self.events = events
        self._iterator: AsyncIterator[Any] | None = None

    def start(self) -> AsyncIterator[Any]:
        """Return the iterator over the events, which is always the same."""
        if self._iterator is None:
            self._iterator = aiter(self.events)
        return self._iterator

    def __aiter__(self) -> EncodedEvents:
        return self

    async def __anext__(self) -> bytes:
        return encode_event(await anext(self.start()))

    async def aclose(self) -> None:
        """Close the iterator over the events, and the events if ``__aiter__`` made another object.

        A generator that has not started runs its ``finally``.
        """
        iterator: Any = self.events if self._iterator is None else self._iterator
        try:
            if has_started_running(iterator):
                await close_iterator(iterator)
            else:
                await close_unread(iterator)
        finally:
            if iterator is not self.events:
                await close_iterator(self.events)
