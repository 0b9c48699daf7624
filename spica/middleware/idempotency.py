"""Run a request once, however often the client sends it: the Idempotency-Key field.

A client that gets no answer to a POST cannot know whether it took effect. With a key, it sends the same
request again, and gets the stored response of the first one.

Standards: draft-ietf-httpapi-idempotency-key-header-07, RFC 9651 s.3.3.3 (strings), RFC 9110 s.10.2.3
(Retry-After).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

import anyio

from spica._asgi.scope import API_KEY, IDENTITY_FIELDS
from spica._diagnostics.arguments import check_flag, check_tokens
from spica._diagnostics.middleware_order import ANSWERS, REPLAYS
from spica.concurrency import is_async_callable
from spica.layers import Answer, Layer
from spica.middleware.ratelimit import by_client, by_user
from spica.responses.base import Response
from spica.responses.errors import error_response
from spica.stores.base import check_seconds

if TYPE_CHECKING:
    from spica.requests import HTTPConnection, Request
    from spica.stores import Store
    from spica.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("spica.idempotency")

MAX_KEY_LENGTH = 255
"""The longest key in characters."""
MAX_STORED_SIZE = 1024 * 1024
"""The largest value of a store, in bytes: the body, the headers, and about 100 bytes of our own."""

RETRY_STATUSES = frozenset((401, 408, 421, 425, 429))
"""Statuses that ask the client to send the request again, so their responses are not stored."""

_TREATED = "spica.idempotency"
"""The scope key that a layer outside has set. It holds the lease, for which another layer would wait."""
_BODIES_OF_FILES = frozenset(("http.response.pathsend", "http.response.zerocopysend"))
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')  # RFC 9651 s.3.3.3
_TOKEN = re.compile(
    r"[!#-+\--:<-\[\]-~]+"
)  # printable, without white space, quotes, commas and semicolons


def by_user_or_client(conn: HTTPConnection[Any]) -> str:
    """Return the sender of a request: its user, else its Authorization field, else its address.

    To the address belong the usual fields of API keys and of proxies that authenticate users, such as
    X-API-Key and X-Forwarded-User.
    """
    user = conn.scope.get("user")
    if user is not None and getattr(user, "is_authenticated", False):
        name = by_user(conn)
        if name:  # a token without `sub` names no user, and all of those would share their keys
            return f"user {name}"
    user_id = _user_of_session(conn)
    if user_id is not None:
        return f"user {user_id}"
    authorization = conn.headers.get("authorization")
    if authorization:
        return "authorization " + hashlib.sha256(authorization.encode()).hexdigest()
    # With the address: one API key may serve all users of an app.
    identity = [[*map(bytes.hex, pair)] for pair in conn.headers.raw if pair[0] in IDENTITY_FIELDS]
    return f"client {by_client(conn)} {_digest_of(sorted(identity))}".rstrip()


def _digest_of(value: Any) -> str:
    """Return a hash of a JSON value; "" if it is empty."""
    if not value:
        return ""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=repr).encode()).hexdigest()


def _user_of_session(conn: HTTPConnection[Any]) -> str | None:
    try:
        user_id: str | None = conn.scope["session"].user_id
    except (KeyError, AttributeError, RuntimeError):
        return None  # no session, or one in a cookie
    return user_id


def _digest_of_session(request: Request[Any]) -> str:
    """Return a hash of the contents of the session; "" if it is empty, or there is none.

    The address does not tell two users apart who are behind one router, but their sessions do.
    """
    try:
        contents = dict(request.scope["session"].items())
    except (KeyError, AttributeError, RuntimeError):
        return ""  # no session
    return _digest_of(contents)


def _digest_of_field(request: Request[Any], name: str) -> str:
    """Return a hash of the values of a header; "" if there is none."""
    return _digest_of(request.headers.getlist(name) if name else [])


class IdempotencyMiddleware(Layer):
    """Answer a repeated request with the stored response of the first one.

    The middleware treats requests with an ``Idempotency-Key`` and one of ``methods``. A request with a known
    key and the same method, URL, content type and body gets the stored response, with ``Idempotent-Replayed:
    true``. While the first one still runs, it gets a 409. With other content, or from another session, it
    gets a 422. Responses of 500 and above are not stored, and neither are those of 401, 408, 421, 425 and
    429, which ask the client to try again.

    **A request can run twice**: if its worker is killed, or takes longer than ``lease_seconds``, the next
    one with the key runs again. If that must not happen, write the key in the same transaction as the data.

    Args:
        app: the inner app.
        store: where responses are kept: a store that all workers share.
        methods: the methods that the middleware treats.
        seconds: how long a response is kept. The default is a day.
        required: whether a request of these methods without a key gets a 400.
        scope: a function of the request that returns its sender, a string. Senders do not share keys.
        lease_seconds: how long a key is blocked after its worker has died. Use more than the longest
        request takes.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A number is not above 0, or there is no method.
    """

    middleware_traits = (ANSWERS, REPLAYS)

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store,
        methods: Collection[str] = ("POST", "PATCH"),
        seconds: float = 86400,
        required: bool = False,
        scope: Callable[[HTTPConnection[Any]], str] = by_user_or_client,
        lease_seconds: float = 60,
    ) -> None:
        super().__init__(app)
        check_tokens(methods, "IdempotencyMiddleware: methods")
        if not methods:
            raise ValueError(
                f"IdempotencyMiddleware: methods must name a method, not {methods!r:.80}."
            )
        check_flag(required, "IdempotencyMiddleware: required")
        for name, value in (("seconds", seconds), ("lease_seconds", lease_seconds)):
            check_seconds(f"IdempotencyMiddleware: {name}", value)
        if not hasattr(store, "prefixed"):
            raise TypeError(
                f"IdempotencyMiddleware: store must be a store such as open_store(...), not {store!r:.80}."
            )
        if not callable(scope) or is_async_callable(scope):
            raise TypeError(
                "IdempotencyMiddleware: scope must be a def function that takes the request and returns its "
                f"sender, not {scope!r:.80}."
            )
        self.store = store
        self.required = required
        self.seconds = seconds
        self.lease_seconds = lease_seconds
        self._methods = frozenset(method.upper() for method in methods)
        self._sender_of = scope
        self._responses = store.prefixed("idempotency")

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the stored response, or that of the app inside.

        Raises:
            StoreUnavailable: The store is down. The client gets a 503, since the request could run twice.
        """
        if request.method not in self._methods or _TREATED in request.scope:
            return await self.inner.respond(request)
        fields = request.headers.getlist("idempotency-key")
        if not fields and not self.required:
            return await self.inner.respond(request)
        key = parse_key(fields)
        if key is None:
            return _refuse(request, 400, "Send one Idempotency-Key of 1 to 255 characters.")
        sender = self._sender_of(request)
        if not isinstance(sender, str):
            raise TypeError(
                f"IdempotencyMiddleware: scope() must return a string, not {sender!r:.80}."
            )
        request.scope[_TREATED] = True
        name = hashlib.sha256(f"{len(sender)} {sender} {key}".encode()).hexdigest()
        fingerprint = await _fingerprint(request)
        stored = await self._responses.get(name)
        if stored is not None:
            return _replay(request, stored, fingerprint)
        is_address = self._sender_of is by_user_or_client and sender.startswith("client ")
        run = _Run(self, request, name, fingerprint, is_address)
        try:
            return await self._respond_once(request, run)
        except BaseException:
            # Also if the store has failed: it may have the lease all the same.
            await run.release()
            raise

    async def _respond_once(self, request: Request[Any], run: _Run) -> Answer:
        """Acquire the lease, and call the app inside."""
        if not await self._responses.acquire(run.name, run.owner, seconds=self.lease_seconds):
            reason = "A request with this Idempotency-Key is still running."
            return _refuse(request, 409, reason, {"retry-after": "1"})
        # Between the two calls, another request may have ended.
        stored = await self._responses.get(run.name)
        if stored is not None:
            await run.release()
            return _replay(request, stored, run.fingerprint)
        run.app = await self.inner.respond(request)
        return run


class _Run:
    """The answer of the app inside, which is stored before its end is sent."""

    __slots__ = (
        "app",
        "body",
        "fingerprint",
        "is_over",
        "layer",
        "name",
        "owner",
        "request",
        "sessions",
        "start",
    )

    app: ASGIApp

    def __init__(
        self,
        layer: IdempotencyMiddleware,
        request: Request[Any],
        name: str,
        fingerprint: str,
        is_address: bool,
    ) -> None:
        self.layer = layer
        self.request = request
        # Only the session tells this sender apart from others with the same address.
        self.sessions = [_digest_of_session(request)] if is_address else []
        self.name = name
        self.fingerprint = fingerprint
        self.owner = os.urandom(16).hex()
        self.start: Message | None = None
        self.body: bytearray | None = bytearray()
        self.is_over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, and record it."""
        try:
            await self.app(scope, receive, _Recorder(self, send))
        finally:
            if not self.is_over:
                await self.release()

    async def record(self, message: Message) -> None:
        """Record a message. Store the response when its last one comes."""
        kind = message["type"]
        if kind == "http.response.start":
            self.start = message
        elif kind == "http.response.body":
            body = self.body
            if body is not None:
                body += message.get("body", b"")
                if len(body) > MAX_STORED_SIZE:
                    self.body = None
            if not message.get("more_body", False):
                await self.store()
        elif kind in _BODIES_OF_FILES:
            self.body = None
            if not message.get("more_body", False):
                await self.store()

    async def store(self) -> None:
        """Store the response, and end the lease, also while the request is cancelled."""
        self.is_over = True
        try:
            await _complete(self._store)
        finally:
            await self.release()

    async def _store(self) -> None:
        start = self.start
        if start is not None and start["status"] < 500 and start["status"] not in RETRY_STATUSES:
            value = self._pack(start)
            if value is None:
                logger.warning(
                    "The response to %s %r is a file, or has more than %d bytes with its headers, so it is "
                    "not stored. A repeated request runs again.",
                    self.request.method,
                    self.request.scope["path"],
                    MAX_STORED_SIZE,
                )
            else:
                await self._write(value)

    def _pack(self, start: Message) -> bytes | None:
        """Return the response as the value to store, or None if it is too large."""
        if self.body is None:
            return None
        headers = [[n.decode("latin-1"), v.decode("latin-1")] for n, v in start.get("headers", ())]
        # A login or a payment may change the session. Its sender has the old one, if the response is lost.
        sessions = self.sessions and [*self.sessions, _digest_of_session(self.request)]
        # The app inside may identify its users by a header that only it knows.
        field = self.request.scope.get(API_KEY, "") if self.sessions else ""
        secret = [field, _digest_of_field(self.request, field)]
        head = json.dumps([self.fingerprint, sessions, secret, start["status"], headers]).encode()
        value = b"\n".join([head, self.body])
        return value if len(value) <= MAX_STORED_SIZE else None

    async def _write(self, value: bytes) -> None:
        store = self.layer._responses
        try:
            await store.set(self.name, value, seconds=self.layer.seconds, only_if="absent")
        except Exception as error:
            # The request has taken effect, so its client gets the response. A repetition would run again.
            logger.error("A response could not be stored: %s", error)

    async def release(self) -> None:
        """End the lease, also while the request is cancelled. If that fails, it ends by itself."""
        self.is_over = True
        await _complete(self._release)

    async def _release(self) -> None:
        try:
            await self.layer._responses.release(self.name, self.owner)
        except Exception as error:
            logger.warning("A lease could not be released: %s", error)


async def _complete(function: Callable[[], Awaitable[None]]) -> None:
    """Call a function that may be called twice, also while the request is cancelled."""
    with anyio.CancelScope(shield=True):
        try:
            await function()
        except BaseException:
            await function()  # Task.cancel() of asyncio ignores the shield, and cancels one await
            raise


class _Recorder:
    """The ``send`` of a request that is recorded."""

    __slots__ = ("error", "run", "send")

    def __init__(self, run: _Run, send: Send) -> None:
        self.run = run
        self.send = send
        self.error: OSError | None = None

    async def __call__(self, message: Message) -> None:
        """Record the message, then send it.

        If the start can't be sent, the error is raised by the next message: the client has left, and will
        repeat the request, so its response is needed all the more.
        """
        if not self.run.is_over:
            await self.run.record(message)
        if self.error is not None:
            raise self.error
        try:
            await self.send(message)
        except OSError as error:
            if message["type"] != "http.response.start":
                raise
            self.error = error


def parse_key(fields: list[str]) -> str | None:
    """Return the key of the Idempotency-Key fields, or None if there is not exactly one valid key."""
    if len(fields) != 1:
        return None
    field = fields[0].strip(" \t")
    match = _STRING.fullmatch(field)
    if match:
        key = re.sub(r'\\(["\\])', r"\1", match[1])
    elif _TOKEN.fullmatch(field):
        key = field
    else:
        return None
    return key if 0 < len(key) <= MAX_KEY_LENGTH else None


async def _fingerprint(request: Request[Any]) -> str:
    """Return a hash of everything that makes two requests the same."""
    kind = request.headers.get("content-type", "")
    url = request.url
    parts = (request.method, url.netloc, url.path, url.query, kind)
    digest = hashlib.sha256(json.dumps(parts).encode())
    digest.update(await request.body())
    return digest.hexdigest()


def _replay(request: Request[Any], stored: bytes, fingerprint: str) -> Response:
    head, _, body = stored.partition(b"\n")
    known, sessions, (field, digest), status_code, headers = json.loads(head)
    is_same = known == fingerprint and _digest_of_field(request, field) == digest
    if not is_same or (sessions and _digest_of_session(request) not in sessions):
        return _refuse(request, 422, "This Idempotency-Key was used for another request.")
    response = Response(body, status_code)
    response.raw_headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers]
    response.headers["idempotent-replayed"] = "true"
    return response


def _refuse(
    request: Request[Any], status_code: int, reason: str, headers: dict[str, str] | None = None
) -> Response:
    return error_response(request.scope, status_code, reason, headers)
