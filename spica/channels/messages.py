"""The values of channels: messages, gaps, positions, and the errors.

An id is ``<epoch>-<number>``. The number counts the events of a channel from 1 without holes. A counter
that starts again, because a backend has lost its memory, gets another epoch. So every reader can see
whether it has missed something.
"""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Literal, NamedTuple

from spica.exceptions import HTTPException
from spica.jsoncodec import decode, encode

MAX_NAME_SIZE = 200
"""The longest name of a channel that backends store, in bytes. A longer one is replaced by its SHA-256."""
MAX_AFTER_LENGTH = 4096
"""The longest ``after``, in characters: positions of about 100 channels."""
MAX_EVENT_NAME_LENGTH = 255
"""The longest name of an event, in characters."""

_ID = re.compile(r"([a-z]{6})-(0|[1-9][0-9]{0,17})", re.ASCII)
_NOT_IN_A_LINE = re.compile("[\r\n\0\ud800-\udfff]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_random = random.SystemRandom()


class ChannelsUnavailable(HTTPException):
    """The backend of the channels did not answer in time.

    After a timeout, an event may or may not have been published. If nothing handles the exception, the
    client gets a 503 with ``Retry-After``. The response does not contain the reason.

    Args:
        operation: the operation, for example ``"publish"``.
        reason: the cause, for the log.
    """

    def __init__(self, operation: str, reason: str) -> None:
        super().__init__(503, headers={"Retry-After": "1"})
        self.operation = operation
        self.reason = reason

    def __str__(self) -> str:
        return f"Channels: {self.operation} failed: {self.reason}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.operation!r}, {self.reason!r})"


class EventTooLarge(HTTPException, ValueError):
    """The JSON of an event is larger than ``max_event_size``. A client that caused it gets a 413.

    Args:
        size: the size of the event in bytes.
        max_size: the limit in bytes.
    """

    def __init__(self, size: int, max_size: int) -> None:
        super().__init__(413, f"The event has {size} bytes; the limit is {max_size}.")
        self.size = size
        self.max_size = max_size


class InvalidChannel(HTTPException, ValueError):
    """The name of a channel is empty, or reserved for spica. A client that caused it gets a 400.

    Args:
        reason: the cause.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(400, reason)

    def __str__(self) -> str:
        return f"Channels: {self.detail}"


@dataclass(frozen=True, slots=True)
class History:
    """The events of each channel that a backend keeps for subscribers who come back.

    Args:
        max_events: The number of events, the newest ones. 0 keeps none.
        seconds: The age in seconds from which on events may be deleted.

    Raises:
        ValueError: A number is out of range.
    """

    max_events: int = 1000
    seconds: float = 3600.0

    def __post_init__(self) -> None:
        if isinstance(self.max_events, bool) or not isinstance(self.max_events, int):
            raise TypeError(f"History: max_events must be an int, not {self.max_events!r:.80}.")
        if not 0 <= self.max_events <= 1_000_000:
            raise ValueError(
                f"History: max_events must be 0 to 1,000,000, not {self.max_events}. "
                "Store more in a database."
            )
        if not 0 < self.seconds <= 10 * 365 * 86400:
            raise ValueError(
                f"History: seconds must be above 0 and at most ten years, not {self.seconds!r}."
            )


class Event(NamedTuple):
    """An event as backends store it."""

    number: int
    """Its number in the channel."""
    name: str | None
    """Its name, for the field ``event`` of a server-sent event."""
    body: bytes
    """Its data as JSON."""
    published_at: float
    """The time of publication, in seconds since the epoch."""


class Position(NamedTuple):
    """A place in the log of a channel: the epoch, and the number of the last event that was seen."""

    epoch: str
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}" if self.epoch else "0"


START = Position("", 0)
"""The beginning of the log, whatever its epoch. Its id is ``"0"``."""


class Message:
    """An event of a channel. All subscribers of a process share the object.

    Attributes:
        channel: The channel.
        id: The id, ``<epoch>-<number>``. Pass it as ``after`` to continue behind this event.
        event: The name of the event, or None.
        published_at: The time of publication by the publisher's clock, in seconds since the epoch. The
            Postgres backend uses the server's clock.
        body: The data as JSON, in UTF-8.
    """

    __slots__ = ("_sse", "_tail", "body", "channel", "event", "position", "published_at", "size")

    def __init__(self, channel: str, epoch: str, stored: Event) -> None:
        self.channel = channel
        self.position = Position(epoch, stored.number)
        self.event = stored.name
        self.body = stored.body
        self.published_at = stored.published_at
        self.size = len(stored.body)
        self._sse: Any = None
        self._tail: str | None = None

    @property
    def id(self) -> str:
        """The id of the event."""
        return f"{self.position.epoch}-{self.position.number}"

    @property
    def data(self) -> Any:
        """The data that was published, decoded from JSON. Each access returns a new object."""
        return decode(self.body)

    def __repr__(self) -> str:
        body = self.body[:60].decode("utf-8", "replace")
        return f"<Message {self.id} of {self.channel!r}: {body}>"

    def to_server_sent_event(self, position: str | None = None) -> Any:
        """Return the event for an event stream. A string is sent as it is, other data as JSON.

        Args:
            position: The id to send. By default the id of the message, with an object that all streams share.
        """
        if self._sse is None or position is not None:
            data = self.data if self.body.startswith(b'"') else self.body
            made = make_event(data, event=self.event, id=position or self.id)
            if position is not None:
                return made
            self._sse = made
        return self._sse

    def to_json(self, position: str | None = None) -> str:
        """Return the message as the JSON object that ``Channels.forward`` sends."""
        if self._tail is None:
            head = encode({"channel": self.channel, "event": self.event}).decode()
            self._tail = f',{head[1:-1]},"data":{self.body.decode()}}}'
        return f'{{"id":"{position or self.id}"{self._tail}'


@dataclass(frozen=True, slots=True)
class Gap:
    """A hole in the events of a channel: load the state of your page again.

    Args:
        channel: The channel.
        reason: ``"expired"``: the history no longer has the events, or the id was malformed. ``"slow"``: the
            subscriber was too slow. ``"restarted"``: the backend has lost its memory.
        id: The position behind the hole. Pass it as ``after`` to continue there.
    """

    channel: str
    reason: Literal["expired", "slow", "restarted"]
    id: str = field(default="", compare=False)

    size: ClassVar[int] = 0
    """A gap needs no room in a queue."""

    @property
    def position(self) -> Position:
        """The position that the id names."""
        return parse_position(self.id) or START

    def to_server_sent_event(self) -> Any:
        """Return the event ``gap`` for an event stream, with channel and reason as data."""
        data = {"channel": self.channel, "reason": self.reason}
        return make_event(data, event="gap", id=self.id or None)

    def to_json(self, position: str | None = None) -> str:
        """Return the gap as the JSON object that ``Channels.forward`` sends."""
        return encode(
            {"id": position or self.id, "channel": self.channel, "gap": self.reason}
        ).decode()


def make_event(data: Any, **fields: Any) -> Any:
    """Return a `ServerSentEvent`. The class is imported when it is first used."""
    return import_module("spica.responses.events").ServerSentEvent(data, **fields)


def new_epoch() -> str:
    """Return six random letters for a new counter."""
    return "".join(_random.choices(_LETTERS, k=6))


def parse_position(id: str) -> Position | None:
    """Return the position that an id names, or None for a malformed one."""
    if id == "0":
        return START
    match = _ID.fullmatch(id)
    return Position(match[1], int(match[2])) if match else None


def parse_after(after: str | None, count: int) -> list[tuple[Position, ...] | None]:
    """Return for each of ``count`` channels the positions to choose from, or None for "only new events".

    Several channels share one id: their positions in order, separated by commas. With another number of
    positions, the epoch shows which position belongs to a channel. An empty tuple stands for a malformed
    id.
    """
    if after is None:
        return [None] * count
    parts = after.split(",") if len(after) <= MAX_AFTER_LENGTH else [""]
    positions = [parse_position(part) for part in parts]
    if None in positions:
        return [()] * count
    known = tuple(position for position in positions if position is not None)
    return [(position,) for position in known] if len(known) == count else [known] * count


def storage_key(channel: str) -> str:
    """Return the name under which backends store a channel: the name itself, or else its SHA-256.

    The digest is used for names that are too long, and for those with control characters or lone surrogates.

    Raises:
        InvalidChannel: The name is empty.
        TypeError: The name is not a string.
    """
    if not isinstance(channel, str):
        raise TypeError(f"The name of a channel must be a str, not {channel!r:.80}.")
    if not channel:
        raise InvalidChannel("The name of a channel must not be empty.")
    if len(channel) <= MAX_NAME_SIZE // 4 and channel.isprintable():
        return channel
    data = channel.encode("utf-8", "surrogatepass")
    if len(data) <= MAX_NAME_SIZE and channel.isprintable():
        return channel
    return "sha256:" + hashlib.sha256(data).hexdigest()


def public_key(channel: str) -> str:
    """Return the storage key of a channel that applications may use.

    Raises:
        InvalidChannel: The name is empty, or begins with ``#``: those channels belong to spica.
        TypeError: The name is not a string.
    """
    key = storage_key(channel)
    if channel[0] == "#":
        raise InvalidChannel(f"Names that begin with '#' are reserved: {channel!r:.80}.")
    return key


def check_event_name(event: str | None) -> None:
    """Check the name of an event: it must fit in one line of an event stream (WHATWG HTML s.9.2.5).

    Raises:
        TypeError: It is not a string.
        ValueError: It has a line break, NUL or a lone surrogate, or is too long.
    """
    if event is None:
        return
    if not isinstance(event, str):
        raise TypeError(f"event must be a str, not {event!r:.80}.")
    if len(event) > MAX_EVENT_NAME_LENGTH or _NOT_IN_A_LINE.search(event):
        raise ValueError(
            f"event must be a line of at most {MAX_EVENT_NAME_LENGTH} characters, not {event!r:.80}."
        )
