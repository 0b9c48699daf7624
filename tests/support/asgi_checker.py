"""What an application may send, message by message: a strict reader of the ASGI specification.

`checker_for(scope)` gives the checker of one connection. It is fed each message before the server takes it
(`take`) and told when the application has returned (`finish`); both raise `ProtocolError` at the first
message that has no place, or whose content is not what the specification says.

Standards: ASGI HTTP & WebSocket specification 2.5, ASGI lifespan specification 2.0, ASGI extensions;
RFC 9110 s.5 (fields), s.6.4.1 (content), s.8.6 (Content-Length), s.15 (statuses); RFC 6455 s.7.4 (close
codes).
"""

from __future__ import annotations

import os
from typing import Any

TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
CONTROLS = frozenset([*range(0x09), *range(0x0A, 0x20), 0x7F])
ONCE = {b"content-length", b"content-type", b"content-range", b"location", b"etag", b"date", b"age"}
"""Fields of which a response has one at most (they are no lists)."""
NO_CONTENT = {204, 205, 304}
MAX_REASON_SIZE = 123


class ProtocolError(Exception):
    """The application has sent what it must not; not an AssertionError, which applications catch."""


def expect(is_so: bool, what: str, *values: object) -> None:
    if not is_so:
        raise ProtocolError(" ".join([what, *map(repr, values)]))


def check_keys(message: Any, required: set[str], optional: set[str]) -> None:
    keys = set(message)
    expect(required <= keys, "keys are missing:", sorted(required - keys), message)
    expect(keys <= required | optional, "unknown keys:", sorted(keys - required - optional))


def check_headers(headers: Any) -> dict[bytes, list[bytes]]:
    """Check the headers of a response or a handshake, and return them by name."""
    found: dict[bytes, list[bytes]] = {}
    for pair in headers:
        expect(isinstance(pair, tuple | list) and len(pair) == 2, "a header is no pair:", pair)
        name, value = pair
        expect(type(name) is bytes and type(value) is bytes, "a header is not of bytes:", pair)
        expect(bool(name) and TOKEN.issuperset(name), "the name of a header:", name)
        expect(CONTROLS.isdisjoint(value), "a control in a header:", pair)
        expect(value == value.strip(b" \t"), "white space around the value of a header:", pair)
        found.setdefault(name, []).append(value)
    for name in ONCE & set(found):
        expect(len(found[name]) == 1, "a header that may stand once:", name, found[name])
    expect(b"transfer-encoding" not in found, "Transfer-Encoding is the server's")
    return found


class Checker:
    """The checker of one connection; this one of a response to a request."""

    prefix = "http.response."

    def __init__(self, scope: Any) -> None:
        self.extensions = scope.get("extensions") or {}
        self.method = scope.get("method", "GET")
        self.status: int | None = None
        self.headers: dict[bytes, list[bytes]] = {}
        self.size = 0
        self.is_complete = False
        self.awaits_trailers = False
        self.is_unframed = False  # a file whose size only the server sees

    # -- messages --------------------------------------------------------------------------------------

    def take(self, message: Any) -> None:
        """Check the next message."""
        expect(isinstance(message, dict), "a message is no dict:", message)
        expect(all(type(key) is str for key in message), "a key is no text:", message)
        kind = message.get("type")
        expect(type(kind) is str, "the type of a message:", kind)
        take = getattr(self, "take_" + kind.removeprefix(self.prefix), None)
        expect(kind.startswith(self.prefix) and take is not None, "an unknown message:", kind)
        assert take is not None
        take(message)

    def take_start(self, message: Any) -> None:
        expect(self.status is None, "a second start of a response")
        check_keys(message, {"type", "status"}, {"headers", "trailers"})
        status = message["status"]
        expect(type(status) is int and 200 <= status <= 599, "the status of a response:", status)
        self.headers = check_headers(message.get("headers", ()))
        for value in self.headers.get(b"content-length", ()):
            expect(value.isdigit(), "Content-Length:", value)
        if status == 204:  # RFC 9110 s.8.6
            expect(b"content-length" not in self.headers, "Content-Length in a 204")
        if message.get("trailers", False):
            self.expect_extension("http.response.trailers")
            self.awaits_trailers = True
        self.status = status

    def take_body(self, message: Any) -> None:
        check_keys(message, {"type"}, {"body", "more_body"})
        body, more = message.get("body", b""), message.get("more_body", False)
        expect(type(body) is bytes, "a body of", type(body))
        expect(type(more) is bool, "more_body:", more)
        self.expect_open("a body")
        self.size += len(body)
        self.end_body() if not more else self.check_size(is_end=False)

    def take_pathsend(self, message: Any) -> None:
        self.expect_extension("http.response.pathsend")
        check_keys(message, {"type", "path"}, set())
        path = message["path"]
        expect(type(path) is str and os.path.isabs(path), "the path of a file:", path)
        self.expect_open("pathsend")
        expect(self.size == 0, "pathsend after a body")
        self.size = os.stat(path).st_size
        self.end_body()

    def take_zerocopysend(self, message: Any) -> None:
        self.expect_extension("http.response.zerocopysend")
        check_keys(message, {"type", "file"}, {"offset", "count", "more_body"})
        self.expect_open("zerocopysend")
        expect(type(message["file"]) is int, "the file of zerocopysend:", message["file"])
        self.is_unframed = self.is_unframed or "count" not in message
        self.size += message.get("count") or 0
        self.end_body() if not message.get("more_body", False) else self.check_size(is_end=False)

    def take_trailers(self, message: Any) -> None:
        check_keys(message, {"type", "headers"}, {"more_trailers"})
        expect(self.is_complete and self.awaits_trailers, "trailers that were not announced")
        check_headers(message["headers"])
        self.awaits_trailers = bool(message.get("more_trailers", False))

    def take_early_hint(self, message: Any) -> None:
        self.expect_extension("http.response.early_hint")
        check_keys(message, {"type", "links"}, set())
        expect(self.status is None, "an early hint after the start")
        for link in message["links"]:
            expect(type(link) is bytes and CONTROLS.isdisjoint(link), "a link:", link)

    def take_push(self, message: Any) -> None:
        self.expect_extension("http.response.push")
        check_keys(message, {"type", "path", "headers"}, set())
        check_headers(message["headers"])

    def take_debug(self, message: Any) -> None:
        self.expect_extension("http.response.debug")
        check_keys(message, {"type", "info"}, set())
        expect(self.status is None, "a debug message after the start")

    # -- rules -----------------------------------------------------------------------------------------

    def expect_extension(self, name: str) -> None:
        expect(name in self.extensions, "an extension that the server has not:", name)

    def expect_open(self, what: str) -> None:
        expect(self.status is not None, f"{what} before the start of the response")
        expect(not self.is_complete, f"{what} after the end of the body")

    def end_body(self) -> None:
        self.is_complete = True
        self.check_size(is_end=True)

    def check_size(self, *, is_end: bool) -> None:
        # RFC 9110 s.6.4.1: no content after these; that after HEAD the server drops.
        if self.status in NO_CONTENT:
            expect(self.size == 0, "content after the status", self.status)
            return
        declared = self.headers.get(b"content-length")
        if declared is None or self.is_unframed or (self.method == "HEAD" and self.size == 0):
            return
        length = int(declared[0])
        is_kept = self.size == length if is_end else self.size <= length
        expect(is_kept, "Content-Length and the body differ:", length, self.size)

    def finish(self) -> None:
        """Check that the response is whole: the application has returned, and the client was there."""
        expect(self.status is not None, "no response")
        expect(self.is_complete, "a response without its end")
        expect(not self.awaits_trailers, "announced trailers have not come")


class WebSocketChecker(Checker):
    """The checker of a WebSocket; its denial is a response under another name."""

    prefix = "websocket."

    def __init__(self, scope: Any) -> None:
        super().__init__(scope)
        self.offered = list(scope.get("subprotocols") or ())
        self.denial: Checker | None = None
        self.is_accepted = False
        self.is_closed = False

    def take(self, message: Any) -> None:
        """Check the next message."""
        kind = message.get("type", "")
        if not kind.startswith("websocket.http."):
            expect(self.denial is None, "a message beside a denial response:", kind)
            super().take(message)
            return
        self.expect_extension("websocket.http.response")
        expect(not self.is_accepted and not self.is_closed, "a denial after the handshake")
        if self.denial is None:
            self.denial = Checker({"method": "GET"})
        self.denial.take({**message, "type": kind.removeprefix("websocket.")})

    def take_accept(self, message: Any) -> None:
        check_keys(message, {"type"}, {"subprotocol", "headers"})
        expect(not self.is_accepted and not self.is_closed, "accept after the handshake")
        chosen = message.get("subprotocol")
        expect(chosen is None or chosen in self.offered, "a subprotocol not offered:", chosen)
        names = check_headers(message.get("headers", ()))
        forbidden = {b"sec-websocket-accept", b"sec-websocket-protocol"} & set(names)
        expect(not forbidden, "fields that are the server's:", forbidden)
        self.is_accepted = True

    def take_send(self, message: Any) -> None:
        check_keys(message, {"type"}, {"bytes", "text"})
        expect(self.is_accepted and not self.is_closed, "a frame on a WebSocket that is not open")
        data, text = message.get("bytes"), message.get("text")
        expect((data is None) != (text is None), "a frame has either bytes or text:", message)
        expect(data is None or type(data) is bytes, "the bytes of a frame:", type(data))
        expect(text is None or type(text) is str, "the text of a frame:", type(text))
        if text is not None:
            try:
                text.encode()
            except UnicodeEncodeError:
                expect(False, "text that cannot be sent:", text)

    def take_close(self, message: Any) -> None:
        check_keys(message, {"type"}, {"code", "reason"})
        expect(not self.is_closed, "a second close")
        code, reason = message.get("code", 1000), message.get("reason") or ""
        is_known = type(code) is int and (code in range(1000, 1015) or 3000 <= code < 5000)
        expect(is_known and code not in (1004, 1005, 1006), "a close code:", code)
        expect(type(reason) is str and len(reason.encode()) <= MAX_REASON_SIZE, "reason:", reason)
        self.is_closed = True

    def finish(self) -> None:
        """Check that the handshake was answered: the application has returned, and the peer was there."""
        if self.denial is not None:
            self.denial.finish()
        else:
            expect(self.is_accepted or self.is_closed, "a handshake without an answer")


class LifespanChecker(Checker):
    """The checker of the lifespan of an application."""

    prefix = "lifespan."

    def __init__(self, scope: Any) -> None:
        super().__init__(scope)
        self.sent: list[str] = []

    def take(self, message: Any) -> None:
        """Check the next message."""
        kind = message.get("type", "")
        step, _, outcome = kind.removeprefix(self.prefix).partition(".")
        allowed = {"type"} if outcome == "complete" else {"type", "message"}
        expect(kind.startswith(self.prefix) and outcome in ("complete", "failed"), "message", kind)
        check_keys(message, {"type"}, allowed)
        expect(type(message.get("message", "")) is str, "the message of a failure:", message)
        before = {"startup": [], "shutdown": ["startup.complete"]}
        expect(before.get(step) == self.sent, "a step out of order:", step, self.sent)
        self.sent.append(f"{step}.{outcome}")

    def finish(self) -> None:
        """Check that start-up was answered."""
        expect(bool(self.sent), "a lifespan without an answer")


CHECKERS = {"http": Checker, "websocket": WebSocketChecker, "lifespan": LifespanChecker}


def checker_for(scope: Any) -> Checker:
    """Return the checker for a connection of this scope."""
    return CHECKERS[scope["type"]](scope)
