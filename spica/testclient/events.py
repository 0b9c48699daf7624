"""Decode server-sent events from bytes, without I/O.

WHATWG HTML section 9.2.6, "Interpreting an event stream". The decoder does not reconnect.
"""

import codecs
import re
from dataclasses import dataclass
from typing import Any

from spica.jsoncodec import default_codec

EVENT_STREAM = "text/event-stream"
"""The media type of an event stream."""

# WHATWG HTML s.9.2.5: end-of-line = CR LF / CR / LF
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)")


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """One event of a stream, as a browser would dispatch it.

    Attributes:
        data: the lines of the data, joined with line feeds.
        event: the type, "message" by default.
        id: the last event ID of the stream at this event, "" if the stream has set none.
        retry_milliseconds: the reconnection time that this event set, or None.
    """

    data: str
    event: str = "message"
    id: str = ""
    retry_milliseconds: int | None = None

    def json(self) -> Any:
        """Decode the data as JSON.

        Raises:
            json.JSONDecodeError: the data is not JSON.
        """
        return default_codec.decode(self.data)


class EventDecoder:
    """Decode an event stream that arrives in chunks; any split of the bytes gives the same events.

    Attributes:
        last_event_id: the ID that a browser would send when it reconnects.
        retry_milliseconds: the last reconnection time of the stream, or None.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_milliseconds: int | None = None
        # WHATWG HTML s.9.2.6: "UTF-8 decode" strips one byte order mark and replaces bad bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._is_at_start = True
        self._is_after_cr = False
        self._parts: list[str] = []
        self._forget_event()

    def _forget_event(self) -> None:
        self._data: list[str] = []
        self._type = ""
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> list[ReceivedEvent]:
        """Decode the next bytes and return the events that they complete.

        Only an empty line completes an event. The end of the stream does not.
        """
        text = self._decoder.decode(chunk)
        if not text:
            return []
        if self._is_at_start:
            self._is_at_start = False
            text = text.removeprefix("\ufeff")
        if self._is_after_cr and text:
            text = text.removeprefix("\n")
            self._is_after_cr = False
        return self._split(text)

    def _split(self, text: str) -> list[ReceivedEvent]:
        events = []
        end = 0
        for match in _LINE.finditer(text):
            end = match.end()
            # The parts of a long line are joined once, at its end
            self._parts.append(match[0])
            line = "".join(self._parts)
            self._parts.clear()
            event = self._take_line(line.rstrip("\r\n"))
            if event is not None:
                events.append(event)
        if end < len(text):
            self._parts.append(text[end:])
        # A line feed at the start of the next chunk belongs to this carriage return
        self._is_after_cr = text.endswith("\r")
        return events

    def _take_line(self, line: str) -> ReceivedEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id":
            if "\0" not in value:
                self.last_event_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self._retry = self.retry_milliseconds = int(value)
        # All other fields, and comments (an empty name), are ignored
        return None

    def _dispatch(self) -> ReceivedEvent | None:
        """Return the event of the fields so far, or None without data."""
        event = None
        if self._data:
            event = ReceivedEvent(
                "\n".join(self._data), self._type or "message", self.last_event_id, self._retry
            )
        self._forget_event()
        return event
