"""The store in Redis or Valkey, for many machines.

It uses nothing newer than Redis 6.2. All times are those of the server, so the clocks of the machines do not
matter, except for `ends_at` of records. Each operation is one command or one script: one round trip.

A Redis Cluster is not supported, because a record and its group are on different nodes there. Use one primary
with replicas. asyncio only, like the drivers.
"""

import asyncio
from typing import Any

from spica.stores.base import BaseStore
from spica.stores.breaker import Breaker, describe_error, is_lost_connection, is_refusal
from spica.stores.redis_connections import Connections, Execute, GivenClient, Script
from spica.stores.values import Allowance, Rate, Record
from spica.stores.waiting import AnswerTimeout, Busy

MAX_CONNECTIONS = 50
"""How many connections a store opens at most, in each process."""
CLIENT_MODULES = ("redis.asyncio", "valkey.asyncio")

# Numbers beyond 14 digits need '%.0f' on their way from Lua to Redis.
_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
"""
_TAKE = (
    _NOW
    + """
-- One string: the drivers read the items of an array one by one.
local function show(...) return string.format('%.0f %.0f %.0f %.0f', ...) end
local interval, full, cost = tonumber(ARGV[1]), ARGV[1] * ARGV[2], tonumber(ARGV[3])
local tat = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now), now + full)
local new = tat + interval * math.max(cost, 1)
local wait = new - full - now
if wait > 0 or cost == 0 then
  return show(wait <= 0 and 1 or 0, math.floor((now + full - tat) / interval), math.max(wait, 0), tat - now)
end
redis.call('SET', KEYS[1], string.format('%.0f', new), 'PX', math.ceil((new - now) / 1000))
return show(1, math.floor(-wait / interval), 0, new - now)
"""
)
_ACQUIRE = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
# A record is a hash: c created, u last used, e ends, g group, and the fields with the prefix f.
# A group is a sorted set of the full keys by time of creation. A member without a record does not count.
_DROP = """
local function drop(full)
  local record = 'spica:r:' .. full
  local group = redis.call('HGET', record, 'g')
  if group then redis.call('ZREM', 'spica:g:' .. group, full) end
  return redis.call('DEL', record)
end
"""
_MEMBERS = """
local function members(group)
  local alive = {}
  for _, full in ipairs(redis.call('ZRANGE', 'spica:g:' .. group, 0, -1)) do
    if redis.call('HGET', 'spica:r:' .. full, 'g') == group then
      alive[#alive + 1] = full
    else
      redis.call('ZREM', 'spica:g:' .. group, full)
    end
  end
  return alive
end
"""
_DELETE = (
    _DROP
    + """
local deleted = 0
for _, full in ipairs(ARGV) do
  if redis.call('DEL', 'spica:v:' .. full, 'spica:t:' .. full) + drop(full) > 0 then deleted = deleted + 1 end
end
return deleted
"""
)
_CREATE = (
    _NOW
    + _DROP
    + """
local full, idle, ends, group = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local record, members = 'spica:r:' .. full, 'spica:g:' .. group
drop(full)
if ends <= now then return 0 end
local time = string.format('%.0f', now)
redis.call('HSET', record, 'c', time, 'u', time, 'e', ARGV[3], unpack(ARGV, 5))
redis.call('PEXPIREAT', record, string.format('%.0f', math.floor(math.min(ends, now + idle) / 1000)))
if group ~= '' then
  redis.call('HSET', record, 'g', group)
  redis.call('ZADD', members, time, full)
  for _, old in ipairs(redis.call('ZRANGE', members, 0, 9)) do
    if redis.call('EXISTS', 'spica:r:' .. old) == 0 then redis.call('ZREM', members, old) end
  end
  local left = math.ceil((ends - now) / 1000)
  if redis.call('PTTL', members) < left then redis.call('PEXPIRE', members, string.format('%.0f', left)) end
end
return 1
"""
)
_MERGE = (
    _NOW
    + """
local idle, deleted = tonumber(ARGV[1]), tonumber(ARGV[2])
local ends = tonumber(redis.call('HGET', KEYS[1], 'e') or 0)
if ends <= now then return 0 end
redis.call('HSET', KEYS[1], 'u', string.format('%.0f', now), unpack(ARGV, 3 + deleted))
if deleted > 0 then redis.call('HDEL', KEYS[1], unpack(ARGV, 3, 2 + deleted)) end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.floor(math.min(ends, now + idle) / 1000)))
return 1
"""
)
_LIST = _MEMBERS + "return members(ARGV[1])"
_DELETE_GROUP = (
    _DROP
    + _MEMBERS
    + """
local deleted = 0
for _, full in ipairs(members(ARGV[1])) do
  if full ~= ARGV[2] then deleted = deleted + drop(full) end
end
return deleted
"""
)

_SCRIPTS = {
    "take": Script(_TAKE),
    "acquire": Script(_ACQUIRE),
    "release": Script(_RELEASE),
    "delete": Script(_DELETE),
    "create": Script(_CREATE),
    "merge": Script(_MERGE),
    "members": Script(_LIST),
    "delete_group": Script(_DELETE_GROUP),
}


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _key(kind: str, full: str) -> bytes:
    return f"spica:{kind}:{full}".encode()


def _field(name: str) -> bytes:
    return b"f" + name.encode("utf-8", "surrogatepass")


class _Operations:
    """The operations, written with the ``execute_command`` of a client."""

    def __init__(self, execute: Execute) -> None:
        self.execute = execute

    async def ping(self) -> None:
        await self.execute("PING")

    async def get(self, key: str) -> Any:
        return await self.execute("GET", _key("v", key))

    async def set(self, key: str, value: bytes, seconds: float | None, only_if: str | None) -> Any:
        expiry = () if seconds is None else ("PX", _milliseconds(seconds))
        condition = {"absent": ("NX",), "present": ("XX",)}.get(only_if or "", ())
        return await self.execute("SET", _key("v", key), value, *expiry, *condition)

    async def delete(self, keys: list[str]) -> Any:
        return await _SCRIPTS["delete"].run(self.execute, [], *map(str.encode, keys))

    async def take(self, key: str, rate: Rate, cost: int) -> Allowance:
        keys = [_key("t", key)]
        answer = await _SCRIPTS["take"].run(self.execute, keys, rate.interval, rate.burst, cost)
        allowed, remaining, wait, reset = map(int, answer.split())
        return Allowance(bool(allowed), remaining, wait / 1e6, reset / 1e6)

    async def acquire(self, key: str, owner: str, seconds: float) -> Any:
        keys, owned = [_key("l", key)], owner.encode()
        return await _SCRIPTS["acquire"].run(self.execute, keys, owned, _milliseconds(seconds))

    async def release(self, key: str, owner: str) -> Any:
        return await _SCRIPTS["release"].run(self.execute, [_key("l", key)], owner.encode())

    async def read(self, key: str) -> Record | None:
        found = await self.execute("HGETALL", _key("r", key))
        if not found:
            return None
        if not isinstance(found, dict):  # a client without the callback for this command
            found = dict(zip(found[::2], found[1::2], strict=True))
        fields = {
            name[1:].decode("utf-8", "surrogatepass"): value
            for name, value in found.items()
            if name.startswith(b"f")
        }
        return Record(fields, *(int(found[name]) / 1e6 for name in (b"c", b"u", b"e")))

    async def create(
        self, key: str, fields: dict[str, bytes], idle: float, ends_at: float, group: str | None
    ) -> None:
        pairs = [part for name, value in fields.items() for part in (_field(name), value)]
        times = (round(idle * 1e6), round(ends_at * 1e6))
        full, members = key.encode(), (group or "").encode()
        await _SCRIPTS["create"].run(self.execute, [], full, *times, members, *pairs)

    async def merge(self, key: str, changes: dict[str, bytes | None], idle: float) -> Any:
        deleted = [_field(name) for name, value in changes.items() if value is None]
        pairs: list[bytes] = []
        for name, value in changes.items():
            if value is not None:
                pairs += (_field(name), value)
        args = (round(idle * 1e6), len(deleted), *deleted, *pairs)
        return await _SCRIPTS["merge"].run(self.execute, [_key("r", key)], *args)

    async def members(self, group: str) -> list[str]:
        keys = await _SCRIPTS["members"].run(self.execute, [], group.encode())
        return [key.decode() for key in keys]

    async def delete_group(self, group: str, keep: str | None) -> Any:
        kept = (keep or "").encode()
        return await _SCRIPTS["delete_group"].run(self.execute, [], group.encode(), kept)

    async def generation(self, group: str, bump: bool) -> Any:
        return await self.execute("INCR" if bump else "GET", _key("n", group)) or 0


def _import_client(package: str) -> Any:
    try:
        return __import__(f"{package}.asyncio", fromlist=["Redis"])
    except ImportError as error:
        install = "pip install 'spica[redis]'" if package == "redis" else "pip install valkey"
        raise ImportError(f"The store needs the package {package!r}: {install}.") from error


def check_client(owner: str, client: Any) -> str:
    """Return the package of a client that you made: ``"redis"`` or ``"valkey"``.

    Raises:
        TypeError: The client is of another kind, or for a cluster.
        ValueError: The client decodes responses.
    """
    cls = type(client)
    bases = [base for base in cls.__mro__ if base.__module__.startswith(CLIENT_MODULES)]
    if not bases:
        raise TypeError(
            f"{owner} needs a client of redis.asyncio or valkey.asyncio, not "
            f"{cls.__module__}.{cls.__qualname__}."
        )
    if any("Cluster" in base.__name__ for base in bases):
        raise TypeError(
            f"{owner} does not support a cluster ({cls.__qualname__}): keys that belong together are on "
            "different nodes. Use one primary with replicas."
        )
    if client.connection_pool.connection_kwargs.get("decode_responses"):
        raise ValueError(f"{owner} needs bytes: make the client without decode_responses=True.")
    return bases[0].__module__.partition(".")[0]


class _Server:
    """The part that all views of a store share: your client, or connections for each event loop."""

    def __init__(self, client: Any, package: str, url: str, timeout_seconds: float) -> None:
        self.url = url
        self.client = client
        self.own: dict[asyncio.AbstractEventLoop, tuple[Connections, _Operations]] = {}
        self.breaker = Breaker("RedisStore", timeout_seconds)
        self.current: tuple[Any, Any] = None, None
        """The event loop that the last operation ran in, and its `_Operations`."""
        self.module = _import_client(package)
        root = __import__(package)
        self.errors = (getattr(root, "RedisError", None) or root.ValkeyError, OSError)

    def open(self) -> _Operations:
        """Return the operations for this event loop. Connections cannot move to another loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise TypeError(
                "RedisStore works on asyncio only, because its drivers do. On trio use MemoryStore or "
                "SQLiteStore."
            ) from None
        last, operations = self.current
        if last is not loop:
            operations = self._open_for(loop)
            self.current = loop, operations
        found: _Operations = operations
        return found

    def _open_for(self, loop: asyncio.AbstractEventLoop) -> _Operations:
        if self.client is not None:
            last = self.current[0]
            if last is not None and last.is_closed():  # such as that of a test client
                self.client.connection_pool.reset()
            given = GivenClient(self.client, timeout_seconds=self.breaker.timeout_seconds)
            return _Operations(given.execute)
        if loop not in self.own:
            for other in [other for other in self.own if other.is_closed()]:
                self.own.pop(other, None)
            connections = self._connect()
            self.own[loop] = connections, _Operations(connections.execute)
        return self.own[loop][1]

    def _connect(self) -> Connections:
        is_redis = self.module.__name__ == "redis.asyncio"
        return Connections(
            self.module,
            self.url.replace("valkey", "redis", 1) if is_redis else self.url,
            max_connections=MAX_CONNECTIONS,
            timeout_seconds=self.breaker.timeout_seconds,
        )

    async def close(self) -> None:
        """Close the connections that the store has opened for this event loop."""
        if self.own:
            own, _ = self.own.pop(asyncio.get_running_loop(), (None, None))
            self.current = None, None
            if own is not None:
                await own.aclose()


class RedisStore(BaseStore):
    """A store in Redis or Valkey, on your client.

    The memory policy of the server should be ``noeviction``, or sessions may vanish. The durability of the
    data is that of your server: without persistence, a restart empties the store.

    Args:
        client: a ``redis.asyncio.Redis`` or ``valkey.asyncio.Valkey`` without ``decode_responses``. You close
            it yourself. Make it with ``retry=Retry(NoBackoff(), 0)``: a retry may count a request twice.
        timeout_seconds: the timeout of an operation, 0.25 s by default.

    Raises:
        TypeError: The client is of another kind, or for a cluster.
        ValueError: The client decodes responses.

    Example:
        ``store = RedisStore(client)``, or ``open_store("redis://localhost:6379/0")``
    """

    across = "machines"

    def __init__(self, client: Any, *, timeout_seconds: float = 0.25) -> None:
        package = check_client("RedisStore", client)
        self._server = _Server(client, package, "", timeout_seconds)

    @classmethod
    def from_url(cls, url: str, *, timeout_seconds: float = 0.25) -> "RedisStore":
        """Return a store with connections of its own, at most 50: see `open_store`."""
        store = cls.__new__(cls)
        package = "valkey" if url.startswith("valkey") else "redis"
        store._server = _Server(None, package, url, timeout_seconds)
        return store

    async def _run(self, operation: str, *args: Any) -> Any:
        server = self._server
        breaker = server.breaker
        operations = server.open()
        breaker.enter(operation)
        try:
            async with AnswerTimeout(breaker.timeout_seconds):
                result = await getattr(operations, operation)(*args)
        except TimeoutError:
            raise breaker.timed_out(operation) from None
        except Busy as error:
            raise breaker.refuse(operation, str(error)) from None
        except server.errors as error:
            reason = describe_error(error)
            raise breaker.fail(operation, reason, is_outage=not is_refusal(error)) from error
        except BaseException as error:
            if is_lost_connection(error):
                raise breaker.fail(operation, str(error)) from error
            breaker.leave()
            raise
        breaker.succeed()
        return result

    @property
    def is_available(self) -> bool:
        """Whether the circuit breaker is closed: see `BaseStore.is_available`."""
        return not self._server.breaker.is_open

    async def aclose(self) -> None:
        """Close the connections that the store opened: see `Store.aclose`."""
        await self._server.close()
