"""Limit how many requests a client may send: ``RateLimitMiddleware``, and ``Limiter`` for endpoints.

The state is in a `Store`, so that all workers share it: one number for each key. The algorithm is GCRA, which
is exact and smooth (see ``spica.stores.values``). A refused request gets a 429 with Retry-After, and takes
nothing from the limit.

If the store is down, each process limits on its own with the same rate, so the limit is too wide by the
number of processes. That does less harm than an outage. ``on_unavailable="deny"`` refuses requests instead.

Standards: RFC 6585 s.4 (429), RFC 9110 s.10.2.3 (Retry-After), draft-ietf-httpapi-ratelimit-headers-11
(RateLimit and RateLimit-Policy) in the form of RFC 9651 (structured fields).
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from spica._diagnostics.arguments import check_flag
from spica._diagnostics.middleware_order import ANSWERS
from spica._http.fields import encode_field_name
from spica._http.forwarded import pack_address
from spica._originals import remember
from spica.exceptions import HTTPException, WebSocketException
from spica.layers import Answer, EditableResponse, Layer, deny
from spica.requests import HTTPConnection
from spica.responses.base import Response
from spica.responses.errors import error_response
from spica.stores import Allowance, MemoryStore, Rate, Store, StoreUnavailable
from spica.websockets import WebSocket, WebSocketState

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "Allowance",
    "Limit",
    "Limiter",
    "Rate",
    "RateLimitExceeded",
    "RateLimitMiddleware",
    "by_client",
    "by_header",
    "by_session",
    "by_user",
]

logger = logging.getLogger("spica.ratelimit")

Key: TypeAlias = Callable[[HTTPConnection[Any]], str | None]
"""A function that returns the key of a connection. Each key has a limit of its own; None is not limited."""

LOG_SECONDS = 60.0
"""The time between two log messages about a store that is unavailable."""

LOCAL_ENTRIES = 10_000
"""Keys that a process counts on its own while the store is unavailable."""

_REMEMBERED = 1024
_NO_ADDRESS = "-"
_POLICY, _STATE = b"ratelimit-policy", b"ratelimit"


# -- keys ----------------------------------------------------------------------------------------------


def by_client(conn: HTTPConnection[Any]) -> str:
    """Return the address of the client; of an IPv6 address its /64, which one subscriber has for himself.

    Behind a proxy, add `ProxyHeadersMiddleware`, or all clients share the address of the proxy. Clients
    without an address, which connect through a Unix socket, share one key.
    """
    client = conn.scope.get("client")
    return _client_key(client[0]) if client and client[0] else _NO_ADDRESS


@lru_cache(maxsize=_REMEMBERED)
def _client_key(host: str) -> str:
    packed = pack_address(host)
    if packed is None:
        return host
    if len(packed) == 16:
        return packed[:8].hex(":", 2) + "::/64"
    return ".".join(map(str, packed))


def by_user(conn: HTTPConnection[Any]) -> str | None:
    """Return the identity of the user, or its display name. Anonymous users are not limited.

    Needs AuthenticationMiddleware further out. Add a second limit by `by_client` for anonymous users.
    """
    user = conn.user
    if not user.is_authenticated:
        return None
    try:
        identity = user.identity
    except (AttributeError, NotImplementedError):
        identity = user.display_name
    return str(identity)


def by_session(conn: HTTPConnection[Any]) -> str | None:
    """Return the hash of the session's id. Clients without a session are not limited.

    Needs ``SessionMiddleware(store=...)`` further out: a session that is only in a cookie has no id.
    """
    # `conn.session` would mark the session as read; without one, it names the missing middleware.
    session: Any = conn.scope.get("session")
    if session is None:
        session = conn.session
    if not hasattr(session, "id_hash"):
        raise RuntimeError(
            "by_session: a session that is only in a cookie has no id. Pass a store to SessionMiddleware."
        )
    return session.id_hash or None


def by_header(name: str) -> Key:
    """Return a key function: the hash of the first value of a request header, for example of an API key.

    Requests without the header are not limited.

    Raises:
        ValueError: ``name`` is not the name of a header.
    """
    return partial(_header_key, encode_field_name(name))


def _header_key(name: bytes, conn: HTTPConnection[Any]) -> str | None:
    for field_name, value in conn.scope["headers"]:
        if field_name == name:
            # Hashed: the value may be secret, and the keys of a store end up in backups.
            return hashlib.blake2b(value, digest_size=16).hexdigest()
    return None


# -- limits --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate, and the key that it applies to.

    Limits with the same name and rate share their counts, in all applications that use the store.

    Args:
        rate: The rate, for example ``Rate.parse("100/minute")``.
        name: The name in the headers. Printable ASCII without ``:``.
        key: A function that returns the key of a connection, or None for a connection that is not limited.
        cost: How many requests one request counts as. 0 takes nothing: it only checks that the limit is not
            used up. Use it where only failures count, and ``Limiter.take`` for those.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``name`` has another character, or ``cost`` is negative or larger than the burst.

    Example:
        ``Limit(Rate.parse("5/minute"), name="login", key=by_client)``
    """

    rate: Rate
    _: KW_ONLY
    name: str = "default"
    key: Key = by_client
    cost: int = 1
    # Computed once, since every request needs them: the start of the store's keys, and the headers.
    _prefix: str = field(init=False, repr=False, compare=False)
    _label: str = field(init=False, repr=False, compare=False)
    _policy: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check()
        rate = self.rate
        # The rate is part of the key: a state is meaningless under another rate.
        prefix = f"{self.name}:{rate.requests}/{rate.seconds:g}/{rate.burst}:"
        # RFC 9651 s.3.3.3: a string of printable ASCII, with a backslash before quotes and backslashes.
        label = '"' + self.name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        object.__setattr__(self, "_prefix", prefix)
        object.__setattr__(self, "_label", label)
        policy = f"{label};q={rate.requests};w={math.ceil(rate.seconds)}"
        object.__setattr__(self, "_policy", policy)

    def _check(self) -> None:
        if not isinstance(self.rate, Rate):
            raise TypeError(
                f'Limit: rate must be a Rate, not {self.rate!r:.80}. Write Rate.parse("100/minute").'
            )
        name = self.name
        if not isinstance(name, str):
            raise TypeError(f"Limit: name must be a string, not {name!r:.80}.")
        if not name or not name.isascii() or not name.isprintable() or ":" in name:
            raise ValueError(f"Limit: name must be printable ASCII without ':', not {name!r:.80}.")
        key: object = self.key
        if key is by_header:  # it takes one argument, too
            raise TypeError(f"Limit({name!r}): write key=by_header('x-api-key'), with a name.")
        if not callable(self.key) or inspect.iscoroutinefunction(self.key):
            raise TypeError(
                f"Limit({name!r}): key must be a `def` function of the connection, such as "
                f"by_header('x-api-key'), not {self.key!r:.80}."
            )
        self._check_cost()

    def _check_cost(self) -> None:
        name = self.name
        if isinstance(self.cost, bool) or not isinstance(self.cost, int):
            raise TypeError(f"Limit({name!r}): cost must be an int, not {self.cost!r:.80}.")
        if not 0 <= self.cost <= self.rate.burst:
            raise ValueError(
                f"Limit({name!r}): cost must be from 0 to the burst of the rate ({self.rate.burst}), "
                f"not {self.cost}. The rate never allows a larger one."
            )


class RateLimitExceeded(HTTPException):
    """A connection has exceeded a limit: 429 with Retry-After (RFC 6585 s.4).

    Args:
        limit: The limit.
        allowance: The state of the limit.
        status_code: The status of the response.
        headers: More headers of the response.
    """

    def __init__(
        self,
        limit: Limit,
        allowance: Allowance,
        status_code: int = 429,
        headers: dict[str, str] | None = None,
    ) -> None:
        retry_after = str(max(1, math.ceil(allowance.retry_after_seconds)))
        super().__init__(status_code, headers={"Retry-After": retry_after, **(headers or {})})
        self.limit_name = limit.name
        self.allowance = allowance


class Limiter:
    """Check limits against a store, and without it while it is unavailable.

    Use one in an endpoint: ``await limiter.take(request, limit)``. You may also pass it to
    `RateLimitMiddleware` as the store, and read its gauges.

    Args:
        store: The store that has the counts.
        on_unavailable: ``"allow"`` lets each process limit on its own while the store is unavailable.
            ``"deny"`` raises StoreUnavailable, which becomes a 503.

    Raises:
        TypeError: ``store`` is not a store.
        ValueError: ``on_unavailable`` has another value.
    """

    def __init__(self, store: Store, *, on_unavailable: Literal["allow", "deny"] = "allow") -> None:
        if not isinstance(store, Store):
            raise TypeError(
                f'Limiter: store must be a Store, not {store!r:.80}. Write open_store("memory://").'
            )
        if on_unavailable not in ("allow", "deny"):
            raise ValueError(
                f"Limiter: on_unavailable must be 'allow' or 'deny', not {on_unavailable!r:.80}."
            )
        self.store = store
        self.on_unavailable = on_unavailable
        self.is_degraded = False
        """Whether the last check could not use the store."""
        self.checked_locally = 0
        """The number of checks without the store."""
        self.refused = 0
        """The number of checks that a limit refused."""
        self._rates = store.prefixed("rate")
        self._local: Store | None = None
        self._log_from = -math.inf
        self._unlogged = 0

    async def take(
        self,
        conn: HTTPConnection[Any],
        limit: Limit,
        *,
        key: str | None = None,
        cost: int | None = None,
    ) -> Allowance:
        """Count a request, or a message of a WebSocket, against a limit.

        Args:
            conn: The request or WebSocket.
            limit: The limit.
            key: The key, instead of that of ``limit.key``: for example the account of a login form.
            cost: How many requests this one counts as, instead of ``limit.cost``.

        Raises:
            RateLimitExceeded: The limit does not allow it. The client gets a 429.
            WebSocketException: The limit does not allow it, and the WebSocket is open. It is closed with 1008
                (RFC 6455 s.7.4.1).
            StoreUnavailable: The store is unavailable, and ``on_unavailable`` is ``"deny"``.
        """
        allowance = await self.try_take(conn, limit, key=key, cost=cost)
        if allowance.allowed:
            return allowance
        error = RateLimitExceeded(limit, allowance)
        if isinstance(conn, WebSocket) and conn.application_state is WebSocketState.CONNECTED:
            raise WebSocketException(1008, _reason(allowance)) from error
        raise error

    async def try_take(
        self,
        conn: HTTPConnection[Any],
        limit: Limit,
        *,
        key: str | None = None,
        cost: int | None = None,
    ) -> Allowance:
        """Do the same, but return the allowance, which is false if the limit does not allow the request."""
        if key is None:
            key = limit.key(conn)
            if key is None:
                return Allowance(True, limit.rate.burst, 0.0, 0.0)
        return await self._take(key, limit, limit.cost if cost is None else cost)

    async def _take(self, key: str, limit: Limit, cost: int) -> Allowance:
        try:
            full_key = limit._prefix + key
        except TypeError:
            raise TypeError(
                f"Limit({limit.name!r}): key must return a str or None, not {key!r:.80}."
            ) from None
        try:
            allowance = await self._rates.take(full_key, limit.rate, cost=cost)
        except StoreUnavailable as exc:
            allowance = await self._take_locally(full_key, limit, cost, exc)
        else:
            self.is_degraded = False
        if not allowance.allowed:
            self.refused += 1
        return allowance

    async def _take_locally(
        self, full_key: str, limit: Limit, cost: int, exc: StoreUnavailable
    ) -> Allowance:
        self._record(exc)
        if self.on_unavailable == "deny":
            raise exc
        if self._local is None:
            self._local = MemoryStore(max_entries=LOCAL_ENTRIES)
        self.checked_locally += 1
        return await self._local.take(full_key, limit.rate, cost=cost)

    def _record(self, exc: StoreUnavailable) -> None:
        """Log the first error, and then at most one message per minute."""
        self.is_degraded = True
        self._unlogged += 1
        now = time.monotonic()
        if now >= self._log_from:
            consequence = "refuses requests" if self.on_unavailable == "deny" else "limits alone"
            logger.warning(
                "The store of the rate limits is unavailable, so each process %s: %s (%d checks)",
                consequence,
                exc,
                self._unlogged,
            )
            self._log_from, self._unlogged = now + LOG_SECONDS, 0


def _reason(allowance: Allowance) -> str:
    return f"Too many messages. Retry in {max(1, math.ceil(allowance.retry_after_seconds))} s."


# -- the headers -----------------------------------------------------------------------------------------


def format_policies(limits: Iterable[Limit]) -> str:
    """Return the value of RateLimit-Policy: quota ``q`` and window ``w`` in whole seconds of each limit."""
    return ", ".join([limit._policy for limit in limits])


def format_state(limit: Limit, allowance: Allowance) -> str:
    """Return the value of RateLimit: the remaining requests ``r``, and ``t`` seconds until all are back."""
    return f"{limit._label};r={allowance.remaining};t={math.ceil(allowance.reset_seconds)}"


# -- the layer -------------------------------------------------------------------------------------------


class RateLimitMiddleware(Layer):
    """Refuse requests over a limit with 429.

    The limits are checked in their order. The first one that refuses a request ends the checks, so a limit
    counts only requests that the ones before it allowed. Responses have the headers RateLimit-Policy (all
    limits) and RateLimit (the tightest one).

    The handshake of a WebSocket counts as a request.

    Args:
        app: The inner app.
        *limits: The limits.
        store: The store that has the counts, or a `Limiter`. It decides how many processes share a limit.
        headers: Whether responses have the headers RateLimit and RateLimit-Policy.
        on_unavailable: What to do while the store is unavailable. ``"allow"``: each process limits on its
            own. ``"deny"``: answer 503.
        status_code: The status of a refused request.
        messages: Limits for the messages that a client sends over a WebSocket. The WebSocket is closed with
            1008 if it exceeds one, and with 1013 if requests are denied because the store is unavailable.

    Raises:
        TypeError: There is no limit, or an argument has the wrong type.
        ValueError: Two limits have the same name, or an argument has a wrong value.

    Example:
        ``Middleware(RateLimitMiddleware, Limit(Rate.parse("100/minute")), store=open_store("memory://"))``
    """

    middleware_traits = (ANSWERS,)

    def __init__(
        self,
        app: ASGIApp,
        *limits: Limit,
        store: Store | Limiter,
        headers: bool = True,
        on_unavailable: Literal["allow", "deny"] = "allow",
        status_code: int = 429,
        messages: Sequence[Limit] = (),
    ) -> None:
        super().__init__(app)
        _check_limits((*limits, *messages))
        if isinstance(store, Limiter):
            self.limiter = store
        else:
            self.limiter = Limiter(store, on_unavailable=on_unavailable)
        if isinstance(status_code, bool) or not isinstance(status_code, int):
            raise TypeError(
                f"RateLimitMiddleware: status_code must be an int, not {status_code!r:.80}."
            )
        if not 400 <= status_code <= 599:
            raise ValueError(
                f"RateLimitMiddleware: status_code must be from 400 to 599, not {status_code}."
            )
        self.limits = limits
        self.messages = tuple(messages)
        self.headers = bool(check_flag(headers, "RateLimitMiddleware: headers"))
        self.status_code = status_code
        self._policies = format_policies(limits)

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the inner answer with the headers, or the refusal."""
        try:
            state = await self._check(request)
        except (RateLimitExceeded, StoreUnavailable) as exc:
            if "app" in request.scope:  # the exception handlers of the application answer
                raise
            return error_response(request.scope, exc.status_code, exc.detail, exc.headers)
        if state is None or not self.headers:
            return await self.inner.respond(request)
        return await self.respond_edited(request, partial(_add_headers, *state))

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a WebSocket in the same way. Other scopes pass."""
        if scope["type"] != "websocket":
            await self.inner.connect(scope, receive, send)
            return
        conn: HTTPConnection[Any] = HTTPConnection(scope)
        try:
            await self._check(conn)
        except (RateLimitExceeded, StoreUnavailable) as exc:
            refusal = error_response(scope, exc.status_code, exc.detail, exc.headers)
            await deny(refusal, scope, receive, send)
            return
        if self.messages:
            limited = _LimitedSocket(self, conn, receive, send)
            receive, send = limited.receive, limited.send
        await self.inner.connect(scope, receive, send)

    async def _check(self, conn: HTTPConnection[Any]) -> tuple[str, Limit, Allowance] | None:
        """Return the policies and the tightest limit with its state; None if no limit applies.

        Raises:
            RateLimitExceeded: A limit refuses the connection.
            StoreUnavailable: The store is unavailable, and requests are to be denied then.
        """
        limiter = self.limiter
        tightest: Limit | None = None
        state: Allowance | None = None
        skipped: tuple[Limit, ...] = ()
        for limit in self.limits:
            key = limit.key(conn)
            if key is None:
                skipped = (*skipped, limit)
                continue
            allowance = await limiter._take(key, limit, limit.cost)
            if not allowance.allowed:
                raise self._refusal(conn, limit, allowance)
            if state is None or allowance.remaining < state.remaining:
                tightest, state = limit, allowance
        if tightest is None or state is None:
            return None
        return self._policies_without(skipped) if skipped else self._policies, tightest, state

    def _refusal(
        self, conn: HTTPConnection[Any], limit: Limit, allowance: Allowance
    ) -> RateLimitExceeded:
        headers = None
        if self.headers:
            skipped = [each for each in self.limits if each.key(conn) is None]
            headers = {
                "RateLimit-Policy": self._policies_without(skipped),
                "RateLimit": format_state(limit, allowance),
            }
        return RateLimitExceeded(limit, allowance, self.status_code, headers)

    def _policies_without(self, skipped: Sequence[Limit]) -> str:
        return format_policies(limit for limit in self.limits if limit not in skipped)


remember(RateLimitMiddleware, "respond")


def _add_headers(
    policies: str, limit: Limit, allowance: Allowance, response: EditableResponse
) -> None:
    # Added to those of other layers: a list may have several lines (RFC 9110 s.5.3).
    # The list itself: making the view of it takes longer than the rest of this function.
    raw = response.raw_headers if isinstance(response, Response) else response.headers.raw
    raw.append((_POLICY, policies.encode("ascii")))
    raw.append((_STATE, format_state(limit, allowance).encode("ascii")))


class _LimitedSocket:
    """Count the messages of a client, and close its WebSocket when it exceeds a limit."""

    __slots__ = ("_conn", "_disconnect", "_is_closed", "_layer", "_receive", "_send")

    def __init__(
        self, layer: RateLimitMiddleware, conn: HTTPConnection[Any], receive: Receive, send: Send
    ) -> None:
        self._layer = layer
        self._conn = conn
        self._receive = receive
        self._send = send
        self._is_closed = False  # by the app
        self._disconnect: Message | None = None  # after a limit was exceeded

    async def receive(self) -> Message:
        """Return the next message, or the disconnect after a limit was exceeded."""
        if self._disconnect is not None:
            return self._disconnect
        message = await self._receive()
        if message["type"] != "websocket.receive" or self._is_closed:
            return message
        limiter = self._layer.limiter
        for limit in self._layer.messages:
            try:
                allowance = await limiter.try_take(self._conn, limit)
            except StoreUnavailable:
                return await self._close(1013, "Try again later.")
            if not allowance.allowed:
                return await self._close(1008, _reason(allowance))
        return message

    async def _close(self, code: int, reason: str) -> Message:
        """Close the WebSocket, and return the message that tells the app (RFC 6455 s.7.4.1)."""
        self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        if not self._is_closed:  # by another task, while the store was asked
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        return self._disconnect

    async def send(self, message: Message) -> None:
        """Send a message. ASGI: ``send`` raises OSError once the connection is closed."""
        if self._disconnect is not None:
            raise OSError("The WebSocket was closed, because the client exceeded a rate limit.")
        if message["type"] == "websocket.close":
            self._is_closed = True
        await self._send(message)


def _check_limits(limits: Sequence[Limit]) -> None:
    if not limits:
        raise TypeError(
            "RateLimitMiddleware needs a limit: "
            'Middleware(RateLimitMiddleware, Limit(Rate.parse("100/minute")), store=...).'
        )
    names: set[str] = set()
    for limit in limits:
        if not isinstance(limit, Limit):
            fix = " Write Limit(rate)." if isinstance(limit, Rate) else ""
            raise TypeError(f"RateLimitMiddleware: limits must be Limits, not {limit!r:.80}.{fix}")
        if limit.name in names:
            raise ValueError(
                f"RateLimitMiddleware: two limits have the name {limit.name!r}. Give each one its own: "
                "Limit(..., name='per-minute')."
            )
        names.add(limit.name)
