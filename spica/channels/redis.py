"""Channels in Redis or Valkey, for many machines.

A channel has a stream for the history, and a key with its epoch and counter, both in one slot. A script
appends an event to the stream and publishes it. Redis Pub/Sub loses events when a connection breaks or a
buffer is full, so the backend only uses it for speed: the counters, compared every 10 seconds and after every
reconnect, show what was lost, and the stream still has it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs, urlsplit

from spica.channels.backend import KEEP_COUNTER_SECONDS, TIMEOUT_SECONDS, Feed, Page, kept
from spica.channels.messages import (
    ChannelsUnavailable,
    Event,
    History,
    Position,
    new_epoch,
    parse_position,
)
from spica.channels.server import Guard, require_asyncio
from spica.jsoncodec import decode, encode
from spica.stores.breaker import describe_error, is_read_only
from spica.stores.redis import check_client
from spica.stores.redis_connections import Connections, Execute, GivenClient, Script

PING_SECONDS = 10.0
"""The time without a message after which the connection of the subscriptions is tested."""
PONG_SECONDS = 5.0
"""The time for the answer."""
CHECK_SECONDS = 10.0
"""The time between two comparisons of the counters."""
MAX_KEYS = 500
"""The number of keys in one command."""
MAX_CONNECTIONS = 50
"""The number of connections of a backend that was made from a URL."""
OTHER_CONNECTIONS = 4
"""The part of them that is left for subscriptions and the comparison of counters."""
LEAVE_SECONDS = 1.0
"""The least time between two attempts to find the primary after a failover."""
CONTROL = b"spica:{c:}"
"""A Pub/Sub channel that keeps the connection subscribed while no other is."""


# The second key is the id of the newest event. If it is missing, for example evicted for lack of memory, a
# new epoch starts. Each call of Redis in a script takes several microseconds, so the script makes few.
_PUBLISH = Script("""
local last = redis.call('GET', KEYS[2])
local id
if last then
  id = string.sub(last, 1, 7) .. string.format('%.0f', tonumber(string.sub(last, 8)) + 1)
else
  id = ARGV[1] .. '-1'
  redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[2], id, 'PX', ARGV[5])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], string.sub(id, 8) .. '-0', 'd', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[6], id .. ' ' .. ARGV[2])
return id
""")
# A user of the server may lack a right to one of these commands. _PUBLISH would then do a part of its work,
# such as to store an event that it cannot send, so each process first tries them on keys of no channel.
_TRY = Script("""
redis.call('SET', KEYS[2], '', 'PX', 1000)
redis.call('GET', KEYS[2])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', 1, '*', 'd', '')
redis.call('PEXPIRE', KEYS[1], 1000)
redis.call('PUBLISH', ARGV[1], '')
redis.call('DEL', KEYS[1], KEYS[2])
return 1
""")
_READ = Script("""
local last = redis.call('GET', KEYS[2])
if not last then return {'', 0, {}} end
local e, n = string.sub(last, 1, 6), tonumber(string.sub(last, 8))
local after, limit = math.max(tonumber(ARGV[1]), n - tonumber(ARGV[3])), tonumber(ARGV[2])
if limit == 0 or after >= n then return {e, n, {}} end
return {e, n, redis.call('XRANGE', KEYS[1], string.format('%.0f-0', after + 1), '+', 'COUNT', limit)}
""")
_TOUCH = Script("for i = 1, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[1]) end return 1")
_TIME = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
_JOIN = Script(
    _TIME
    + """
local new = {}
for i = 2, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then new[#new + 1] = ARGV[i] end
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f %s', now + ARGV[1], ARGV[i + 1]))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1] + 60000) -- so that a sweep finds those that were killed
return new
"""
)
_LEAVE = Script("""
local gone = {}
for i = 1, #ARGV do
  if redis.call('HDEL', KEYS[1], ARGV[i]) == 1 then gone[#gone + 1] = ARGV[i] end
end
return gone
""")
_MEMBERS = Script(
    _TIME
    + """
local found, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local at = string.find(all[i + 1], ' ', 1, true)
  local expired = tonumber(string.sub(all[i + 1], 1, at - 1)) <= now
  if expired == (ARGV[1] == 'expired') then
    found[#found + 1] = all[i]
    found[#found + 1] = string.sub(all[i + 1], at + 1)
    if expired then redis.call('HDEL', KEYS[1], all[i]) end
  end
end
return found
"""
)


def _stream_key(key: str) -> bytes:
    return b"spica:{c:%b}" % key.encode()


def _keys(key: str) -> list[bytes]:
    stream = _stream_key(key)
    return [stream, stream + b":n"]


def _presence_key(key: str) -> bytes:
    return b"spica:{p:%b}" % key.encode()


def _pack(name: str | None, body: bytes, at: float) -> bytes:
    return b"%.6f %b\n%b" % (at, encode(name), body)


def _unpack(number: int, data: bytes) -> Event:
    head, _, body = data.partition(b"\n")
    at, _, name = head.partition(b" ")
    return Event(number, None if name == b"null" else decode(name), body, float(at))


class _Listener:
    """The Pub/Sub connection of a process."""

    def __init__(self, client: Any, execute: Execute, guard: Guard, feed: Feed) -> None:
        database = client.connection_pool.connection_kwargs.get("db") or 0
        # Pub/Sub knows no databases, and other applications may use them.
        self._suffix = b"@%d" % database if database else b""
        self._client: Any = client
        self._execute = execute
        self._guard = guard
        self._feed = feed
        self._pubsub: Any = None
        self._lock = asyncio.Lock()
        self._acknowledged: dict[str, asyncio.Event] = {}
        self._names: dict[bytes, str] = {}
        self._to_check: dict[str, None] = {}
        self._must_check = asyncio.Event()
        self._failure = ""
        """Why the connection broke, until it is back."""
        self._left_at = -LEAVE_SECONDS

    def name_of(self, key: str) -> bytes:
        """Return the name of the Pub/Sub channel."""
        return _stream_key(key) + self._suffix

    async def listen(self, key: str) -> None:
        event = self._acknowledged.get(key)
        if event is None:
            event = self._acknowledged[key] = asyncio.Event()
            self._names[self.name_of(key)] = key
            try:
                await self._guard.run("subscribe", self._send, "subscribe", key)
            except BaseException:
                self._forget(key)  # else the next call would wait for an answer that never comes
                raise
        try:
            await self._guard.run("subscribe", event.wait)
        except ChannelsUnavailable:
            if self._failure:
                raise ChannelsUnavailable("subscribe", self._failure) from None
            raise

    async def unlisten(self, key: str) -> None:
        if self._forget(key):
            await self._guard.run("unsubscribe", self._send, "unsubscribe", key)

    def _forget(self, key: str) -> bool:
        self._names.pop(self.name_of(key), None)
        return self._acknowledged.pop(key, None) is not None

    async def _send(self, command: str, key: str) -> None:
        async with self._lock:
            if self._pubsub is not None:
                await getattr(self._pubsub, command)(self.name_of(key))

    async def leave(self) -> None:
        """Close the connections to a server that is a replica by now. New ones may lead to the primary.

        A replica takes no subscriptions from its former clients to the new primary. At most once a second, in
        case the address is that of a replica.
        """
        now = time.monotonic()
        if now - self._left_at < LEAVE_SECONDS:
            return
        self._left_at = now
        await self._client.connection_pool.disconnect(inuse_connections=False)
        connection = self._pubsub and self._pubsub.connection
        if connection:
            await connection.disconnect(nowait=True)

    async def run(self) -> None:
        """Receive messages until the connection breaks. The feed starts this again."""
        pubsub = self._client.pubsub()
        try:
            async with asyncio.timeout(PONG_SECONDS):
                await pubsub.subscribe(CONTROL)
                async with self._lock:
                    names = [*self._names]
                    for start in range(0, len(names), MAX_KEYS):
                        await pubsub.subscribe(*names[start : start + MAX_KEYS])
                    self._pubsub = pubsub
            while True:
                await self._receive(pubsub)
                self._failure = ""
        except Exception as exc:
            if not self._guard.is_outage(exc):
                raise
            self._failure = describe_error(exc)
            raise ChannelsUnavailable("receiving", self._failure) from exc
        finally:
            self._pubsub = None
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await pubsub.aclose()
            except Exception as exc:
                if not self._guard.is_outage(exc):
                    raise

    async def _receive(self, pubsub: Any) -> None:
        # The outer limit is for a connection that stalls in the middle of a message.
        async with asyncio.timeout(PING_SECONDS + PONG_SECONDS):
            message = await pubsub.get_message(timeout=PING_SECONDS)
        if message is None:
            async with asyncio.timeout(PONG_SECONDS):
                await pubsub.ping()
                message = await pubsub.get_message(timeout=None)
        if message is None:
            return
        kind, key = message["type"], self._names.get(message["channel"] or b"")
        if key is None:
            return
        if kind == "message":
            id, _, data = message["data"].partition(b" ")
            position = parse_position(id.decode())
            if position is not None:
                self._feed.deliver(key, position.epoch, _unpack(position.number, data))
        elif kind == "subscribe":
            event = self._acknowledged[key]
            if event.is_set():  # again, after a reconnect: events may be lost
                self._to_check[key] = None
                self._must_check.set()
            event.set()

    async def check(self) -> None:
        """Compare the counters regularly, and after a reconnect."""
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._must_check.wait()
                await asyncio.sleep(0)  # the acknowledgements of a reconnect come together
                keys, self._to_check = [*self._to_check], {}
                self._must_check.clear()
            except TimeoutError:
                keys = [key for key, event in self._acknowledged.items() if event.is_set()]
            try:
                await self._compare(keys)
            except ChannelsUnavailable:
                self._to_check |= dict.fromkeys(keys)
                self._must_check.set()
                raise

    async def _compare(self, keys: list[str]) -> None:
        for start in range(0, len(keys), MAX_KEYS):
            part = keys[start : start + MAX_KEYS]
            names = [_keys(key)[1] for key in part]
            found = await self._guard.run("reading", self._execute, "MGET", *names)
            for key, id in zip(part, found, strict=True):
                position = None if id is None else parse_position(id.decode())
                if position is None:
                    self._feed.observe(key, "", 0)
                else:
                    self._feed.observe(key, position.epoch, position.number)


class RedisBackend:
    """Channels in Redis or Valkey, on your own client.

    Args:
        client: A ``redis.asyncio.Redis`` or ``valkey.asyncio.Valkey`` without ``decode_responses``. You
            close it yourself. Make it without retries (``retry=Retry(NoBackoff(), 0)``): a retry may
            publish an event twice. One of its connections receives the events.

    Raises:
        TypeError: The client is of another kind, or for a cluster.
        ValueError: The client decodes responses, or has a single connection.
    """

    across = "machines"

    def __init__(self, client: Any) -> None:
        package = check_client("RedisBackend", client)
        if client.connection_pool.max_connections < 2:
            raise ValueError(
                "RedisBackend needs two connections or more, one of them to receive events: make the client "
                f"with a larger max_connections than {client.connection_pool.max_connections}."
            )
        self._set_up(client, "", package)

    @classmethod
    def from_url(cls, url: str) -> RedisBackend:
        """Return a backend with connections of its own, at most 50.

        Raises:
            ImportError: The package redis is not installed.
            ValueError: The URL has the option ``decode_responses``.
        """
        if "decode_responses" in parse_qs(urlsplit(url).query):
            raise ValueError(
                "Channels: the backend on Redis reads bytes. Remove decode_responses from the URL."
            )
        backend = cls.__new__(cls)
        package = "redis"
        if url.startswith("valkey"):
            try:
                import_module("valkey.asyncio")
                package = "valkey"
            except ImportError:
                # The package redis speaks to Valkey, too.
                url = "redis" + url.removeprefix("valkey")
        try:
            import_module(f"{package}.asyncio")
        except ImportError as exc:
            raise ImportError(
                "Channels on Redis need the package redis: pip install 'spica[redis]'."
            ) from exc
        backend._set_up(None, url, package)
        return backend

    def _set_up(self, client: Any, url: str, package: str) -> None:
        self._client: Any = client
        self._url = url
        self._package = package
        root = import_module(package)
        error = getattr(root, "RedisError", None) or root.ValkeyError
        self._guard = Guard((error, OSError))
        self._listener: _Listener | None = None
        self._next_epoch = ""
        self._is_allowed = False
        """Whether the user of the server may do all that publishing needs."""
        self._own: Connections | None = None
        self._execute: Execute
        self._loop: asyncio.AbstractEventLoop | None = None

    def _connect(self) -> None:
        module = import_module(f"{self._package}.asyncio")
        retry = import_module(f"{self._package}.asyncio.retry")
        backoff = import_module(f"{self._package}.backoff")
        self._client = (getattr(module, "Redis", None) or module.Valkey).from_url(
            self._url,
            max_connections=OTHER_CONNECTIONS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            # Without a retry: it would take longer than the time limit.
            retry=retry.Retry(backoff.NoBackoff(), 0),
        )
        self._own = Connections(
            module,
            self._url,
            max_connections=MAX_CONNECTIONS - OTHER_CONNECTIONS,
            timeout_seconds=TIMEOUT_SECONDS,
        )
        self._execute = self._own.execute

    def _share(self, last: asyncio.AbstractEventLoop | None) -> None:
        """Use your client in this event loop, after it was used in the loop ``last``."""
        if last is not None and last.is_closed():  # such as that of a test client
            self._client.connection_pool.reset()
        given = GivenClient(self._client, timeout_seconds=TIMEOUT_SECONDS, reserved=1)
        self._execute = given.execute

    async def start(self, feed: Feed) -> None:
        """Connect in the background.

        Raises:
            RuntimeError: Another `Channels` uses the object.
            TypeError: trio runs.
        """
        require_asyncio("RedisBackend")
        if self._listener is not None:
            raise RuntimeError(
                "RedisBackend: make one for each Channels. They may share the client."
            )
        self._next_epoch = ""  # a fork has that of its parent
        last, self._loop = self._loop, asyncio.get_running_loop()
        if self._url:
            self._connect()
            execute = self._client.execute_command  # of a pool that publishers do not use
        else:
            self._share(last)
            execute = self._execute
        self._listener = _Listener(self._client, execute, self._guard, feed)
        feed.start_soon(self._listener.run)
        feed.start_soon(self._listener.check)

    async def stop(self, feed: Feed) -> None:
        """Disconnect."""
        self._listener = None
        own, self._own = self._own, None
        if own is not None:
            client, self._client = self._client, None
            await own.aclose()
            await (getattr(client, "aclose", None) or client.close)()
            await client.connection_pool.disconnect()

    async def _run(self, operation: str, script: Script, keys: list[bytes], *args: Any) -> Any:
        listener = self._listener
        if listener is None:
            raise ChannelsUnavailable(operation, "the backend is not connected")
        try:
            return await self._guard.run(operation, script.run, self._execute, keys, *args)
        except ChannelsUnavailable as exc:
            if exc.__cause__ is not None and is_read_only(exc.__cause__):
                await listener.leave()
            raise

    async def publish(
        self,
        key: str,
        name: str | None,
        body: bytes,
        published_at: float,
        history: History,
        connection: Any = None,
    ) -> Position:
        """Append an event and pass it on: see `ChannelBackend.publish`."""
        if self._listener is None:
            raise ChannelsUnavailable("publish", "the backend is not connected")
        if not self._is_allowed:
            await self._run("publish", _TRY, _keys(""), CONTROL)
            self._is_allowed = True
        keep = kept(history)
        # An epoch may be used once. Until the answer shows that it was not needed, no one else gets it.
        next_epoch, self._next_epoch = self._next_epoch or new_epoch(), ""
        id = await self._run(
            "publish",
            _PUBLISH,
            _keys(key),
            next_epoch,
            _pack(name, body, published_at),
            keep.max_events,
            round(keep.seconds * 1000),
            round((keep.seconds + KEEP_COUNTER_SECONDS) * 1000),
            self._listener.name_of(key),
        )
        epoch, _, number = id.decode().partition("-")
        if epoch != next_epoch:
            self._next_epoch = next_epoch
        return Position(epoch, int(number))

    async def read(self, key: str, after: int, limit: int, history: History) -> Page:
        """Return events: see `ChannelBackend.read`."""
        while True:
            found = await self._run("reading", _READ, _keys(key), after, limit, history.max_events)
            epoch, last, rows = found[0].decode(), int(found[1]), found[2]
            events = [_unpack(int(id.partition(b"-")[0]), fields[1]) for id, fields in rows]
            oldest = time.time() - history.seconds
            fresh = [event for event in events if event.published_at >= oldest]
            if fresh or not events or events[-1].number >= last:
                return Page(epoch, last, fresh)
            after = events[-1].number

    async def listen(self, feed: Feed, key: str) -> None:
        """Pass events to the feed from now on."""
        if self._listener is None:
            raise ChannelsUnavailable("subscribe", "the backend is not connected")
        await self._listener.listen(key)

    async def unlisten(self, feed: Feed, key: str) -> None:
        """Pass no more events to the feed."""
        if self._listener is not None:
            await self._listener.unlisten(key)

    async def touch(self, keys: Collection[str], history: History) -> None:
        """Keep the counters of channels: see `ChannelBackend.touch`."""
        milliseconds = round((kept(history).seconds + KEEP_COUNTER_SECONDS) * 1000)
        names = [_keys(key)[1] for key in keys]
        if self._listener is not None:
            for start in range(0, len(names), MAX_KEYS):
                await self._run("reading", _TOUCH, names[start : start + MAX_KEYS], milliseconds)

    # -- presence ----------------------------------------------------------------------------------

    async def join(self, key: str, members: Mapping[str, bytes], seconds: float) -> list[str]:
        """Store members: see `ChannelBackend.join`."""
        args = [part for pair in members.items() for part in pair]
        milliseconds = round(seconds * 1000)
        new = await self._run("presence", _JOIN, [_presence_key(key)], milliseconds, *args)
        return [member.decode() for member in new]

    async def leave(self, key: str, members: Collection[str]) -> list[str]:
        """Delete members: see `ChannelBackend.leave`."""
        gone = await self._run("presence", _LEAVE, [_presence_key(key)], *members)
        return [member.decode() for member in gone]

    async def members(self, key: str) -> dict[str, bytes]:
        """Return the members: see `ChannelBackend.members`."""
        return await self._members(key, "present")

    async def sweep(self, key: str) -> dict[str, bytes]:
        """Delete expired members: see `ChannelBackend.sweep`."""
        return await self._members(key, "expired")

    async def _members(self, key: str, which: str) -> dict[str, bytes]:
        found = await self._run("presence", _MEMBERS, [_presence_key(key)], which)
        return {
            member.decode(): value for member, value in zip(found[::2], found[1::2], strict=True)
        }
