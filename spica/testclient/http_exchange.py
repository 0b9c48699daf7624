"""An HTTP request and its response, seen by the application as ASGI messages.

ASGI HTTP & WebSocket message format, "HTTP"; ASGI extensions "HTTP Trailers" and "Debug".
"""

from collections import deque
from enum import Enum
from typing import Any

import anyio

from spica.testclient.exchange import Exchange, Flag, Signal
from spica.testclient.messages import (
    message_body,
    message_headers,
    message_status,
    message_type,
    misplaced,
)
from spica.types import Message, Scope

START = "http.response.start"
BODY = "http.response.body"
TRAILERS = "http.response.trailers"
DEBUG = "http.response.debug"

EARLY_HINT = "http.response.early_hint"

# These extensions add to a response and do not replace it. The exchange accepts their messages if the
# scope offers the extension.
ADDING_EXTENSIONS = (EARLY_HINT, "http.response.push")


class HTTPState(Enum):
    """The progress of the response."""

    WAITING = "before 'http.response.start'"
    BODY = "before body completed"
    TRAILERS = "after body completed"
    COMPLETE = "after response completed"


_ALLOWED = {
    HTTPState.WAITING: (START,),
    HTTPState.BODY: (BODY,),
    HTTPState.TRAILERS: (TRAILERS,),
    HTTPState.COMPLETE: (),
}


class Chunk:
    """A piece of the response body, and the event that its sender awaits."""

    __slots__ = ("body", "taken")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.taken: anyio.Event | None = None


class HTTPExchange(Exchange):
    """Run an application for one request.

    The outbox holds `Signal.BODY_WANTED` (answer with `feed`), `Signal.STARTED`, chunks of the
    body, and `Signal.ENDED`. The application waits until the test takes a chunk, except for the
    last one.

    Args:
        scope: the scope of the request.
        body: the request body, or None if `feed` passes it in pieces.
        outbox: the queue for the test, as for `Exchange`.

    Attributes:
        early_hints: the Link values of the early hints, in order of arrival.
        is_disconnected: whether the client has disconnected.
    """

    def __init__(self, scope: Scope, body: bytes | None, outbox: Any = None) -> None:
        super().__init__(outbox)
        self.state = HTTPState.WAITING
        self.status_code = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.extensions: dict[str, Any] = {}
        self.early_hints: list[str] = []
        self.is_disconnected = False
        self._scope = scope
        self._is_fed = body is None
        self._is_asked = False
        self._request: deque[Message] = deque()
        if body is not None:
            self._request.append({"type": "http.request", "body": body})
        self._expected_size: int | None = None
        self._sent_size = 0
        self._has_trailers = False
        self._fed = Flag()
        self._completed = Flag()

    # -- the request --------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next piece of the request. After the last piece, wait for the end of the response.

        A poll in a cancelled scope also gets its message, because a set flag is not a checkpoint.
        """
        while self._is_fed and not self._request and not self.is_disconnected:
            if not self._is_asked:
                # Ask once per piece, even if the waiting task is cancelled and another one takes over.
                self._is_asked = True
                self._fed = Flag()
                self.ask_for_body()
            await self._fed.wait()
        if self._request and not self.is_disconnected:
            return self._request.popleft()
        await self._completed.wait()
        self._noticed.set()
        return {"type": "http.disconnect"}

    def ask_for_body(self) -> None:
        """Ask the test for the next piece of the body. The test calls `feed`."""
        self.outbox.put(Signal.BODY_WANTED)

    def disconnect(self) -> None:
        """Disconnect the client: from now on, the application receives only ``http.disconnect``."""
        self.is_disconnected = True
        self._fed.set()
        self._completed.set()

    def feed(self, chunk: bytes | None) -> None:
        """Answer `Signal.BODY_WANTED` with a piece of the body, or None after the last."""
        more = chunk is not None
        self._request.append({"type": "http.request", "body": chunk or b"", "more_body": more})
        self._is_fed = more
        self._is_asked = False
        self._fed.set()

    # -- the response --------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Process a message of the response. Wait until the test takes a piece of the body."""
        kind = message_type(message)
        if kind == DEBUG:
            self.extensions[DEBUG] = message.get("info", {})
        elif kind in ADDING_EXTENSIONS and kind in self._scope.get("extensions", ()):
            if kind == EARLY_HINT:
                # ASGI extension "Early Hints": the value of each Link header, as bytes
                self.early_hints += [bytes(link).decode("latin-1") for link in message["links"]]
        elif kind not in _ALLOWED[self.state]:
            raise self._misplaced(kind)
        elif kind == BODY:
            await self._send_body(message)
        elif kind == START:
            self._send_start(message)
        else:
            self._send_trailers(message)

    def _misplaced(self, kind: str) -> AssertionError:
        if kind == TRAILERS and not self._has_trailers:
            return AssertionError(
                f"The application sent {kind!r} without declaring trailers: "
                f"{START!r} needs 'trailers': True."
            )
        return misplaced(kind, self.state.value, _ALLOWED[self.state])

    def _send_start(self, message: Message) -> None:
        # Check everything first, so that an invalid message changes nothing.
        status_code, headers = message_status(message), message_headers(message)
        declared_size = _declared_size(status_code, headers)
        if self._scope["method"] != "HEAD":
            self._expected_size = declared_size
        self.status_code, self.headers = status_code, headers
        if message.get("trailers", False):
            self._has_trailers = True
            self.extensions[TRAILERS] = []
        self.state = HTTPState.BODY
        self.outbox.put(Signal.STARTED)

    async def _send_body(self, message: Message) -> None:
        body = message_body(message)
        more = bool(message.get("more_body", False))
        self._sent_size += len(body)
        self._check_size(at_end=not more)
        # RFC 9110 s.9.3.2: a response to HEAD has no content, even if the application sends some
        chunk = Chunk(b"" if self._scope["method"] == "HEAD" else body)
        if more:
            await self.hand_over(chunk)
        else:
            self.outbox.put(chunk)
            self._complete(HTTPState.TRAILERS if self._has_trailers else HTTPState.COMPLETE)

    async def hand_over(self, chunk: Chunk) -> None:
        """Pass a chunk to the test, and wait until the test has taken it. The last chunk does not wait."""
        chunk.taken = anyio.Event()
        self.outbox.put(chunk)
        await chunk.taken.wait()

    def _check_size(self, *, at_end: bool) -> None:
        """Raise an AssertionError if the body does not have its declared length."""
        expected = self._expected_size
        if expected is None or self._sent_size == expected:
            return
        if self._sent_size > expected or at_end:
            raise AssertionError(
                f"The application sent a body of {self._sent_size} bytes"
                f"{'' if at_end else ' or more'}, but {expected} are due by the status "
                f"({self.status_code}) and the content-length of its 'http.response.start'."
            )

    def _send_trailers(self, message: Message) -> None:
        self.extensions[TRAILERS].extend(message_headers(message))
        if not message.get("more_trailers", False):
            self._complete(HTTPState.COMPLETE)

    def _complete(self, state: HTTPState) -> None:
        self.state = state
        if state is HTTPState.COMPLETE:
            self._completed.set()

    def check_end(self) -> None:
        """Raise an AssertionError if the application returns before the end of the response."""
        if self.state is HTTPState.WAITING:
            raise AssertionError(
                "TestClient did not receive any response: "
                f"the application returned without sending {START!r}."
            )
        # Missing trailers are not an error, because the response itself is complete.
        if self.state is HTTPState.BODY:
            raise AssertionError(
                f"The application returned {self.state.value}: "
                f"the last {BODY!r}, one without 'more_body': True, is missing."
            )


def _declared_size(status_code: int, headers: list[tuple[bytes, bytes]]) -> int | None:
    """Return the declared size of the body in bytes, or None if there is none."""
    # RFC 9110 s.15.3.5, s.15.4.5: these have no content. A 304 may declare the size of the 200
    if status_code in (204, 304):
        return 0
    for name, value in headers:
        if name.lower() == b"content-length":
            # RFC 9110 s.8.6: Content-Length = 1*DIGIT
            if not value.isdigit():
                raise AssertionError(f"The application sent the content-length {value!r}.")
            return int(value)
    return None
