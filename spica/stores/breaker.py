"""The circuit breaker: an outage of a store costs a request nothing.

After several failures in a row the breaker opens. Operations then fail at once, without a try. After a while
it lets one operation through, the probe. If that works, the breaker closes, otherwise it stays open for twice
the time. A warning in the log names the reason, at most once a minute.
"""

import logging
import threading
import time

from spica.stores.values import StoreUnavailable

MAX_FAILURES = 5
"""How many failures in a row open the breaker."""
FIRST_SECONDS = 1.0
"""How long the breaker is open at first."""
MAX_SECONDS = 30.0
"""How long it is open at most."""
LOG_SECONDS = 60.0
"""The time between two warnings."""

logger = logging.getLogger("spica.stores")


def is_lost_connection(error: BaseException) -> bool:
    """Whether a driver wrote to a connection that the server has closed.

    uvloop reports this as a bare RuntimeError, which no driver turns into an error of its own.
    """
    return type(error) is RuntimeError and "the handler is closed" in str(error)


OUTAGE_CLASSES = ("08", "28", "3D", "53", "57")
"""Classes of SQLSTATE: the connection failed, the server lacks resources, or an operator stopped it."""
DISK_FULL, READ_ONLY = "53100", "25006"
"""Codes of Postgres: appendix A of its manual."""


def is_read_only(error: BaseException) -> bool:
    """Whether a server refused a change because it is a replica, for example after a failover."""
    return (
        getattr(error, "sqlstate", None) == READ_ONLY
        or type(error).__name__ == "ReadOnlyError"
        or "READONLY " in str(error)  # within a script
    )


def is_refusal(error: BaseException) -> bool:
    """Whether the server answered at once with an error, such as a full disk or a missing right.

    Other operations may work, most of all those that only read. So this is not an outage, and the breaker
    does not count it. A server that is a replica by now counts, so that not each request connects again.
    """
    if is_read_only(error):
        return False
    code: str = getattr(error, "sqlstate", None) or ""
    if code:
        return code == DISK_FULL or code[:2] not in OUTAGE_CLASSES
    return any(base.__name__ == "ResponseError" for base in type(error).__mro__)


_CLUSTER = "a node of a Redis Cluster, which is not supported: use one primary with replicas"
_PREPARED = (
    "another program changed the connection: behind PgBouncer in transaction mode, add "
    "?statement_cache_size=0 to the URL"
)
_TABLES = "execute SCHEMA of spica.stores.postgres or spica.channels.postgres in a migration"
_OTHER_FORM = "a table has another form: use the version of spica that made it, or delete the file"
_FILE = "give the user of this process write access to the file and its folder"
_FIXES: dict[object, str] = {
    "MovedError": _CLUSTER,
    "AskError": _CLUSTER,
    "ClusterDownError": _CLUSTER,
    "ClusterCrossSlotError": _CLUSTER,
    "OutOfMemoryError": "the server has reached its maxmemory: raise it",
    "NoPermissionError": (
        "allow the ACL user: resetchannels ~spica:* &spica:* +@read +@write +@scripting +@pubsub +ping +time"
    ),
    "ReadOnlyError": "the server is a replica: use the URL of the primary",
    # Codes of Postgres: appendix A of its manual.
    "25006": "the server is a replica, or the role has default_transaction_read_only: use the primary",
    "08P01": "the URL has an option that the server or PgBouncer does not know",
    "26000": _PREPARED,
    "42P05": _PREPARED,
    "3F000": "set the search_path of the role, or add ?search_path=NAME to the URL",
    "42501": f"grant the role rights on the schema and the tables; to create them, {_TABLES}",
    "42P01": f"a table was dropped: restart the application, or {_TABLES}",
    "42703": "a table has another form: drop the tables spica_*, and restart the application",
    "53300": "raise max_connections of the server or the limit of the role",
    "57014": "the role has a statement_timeout: raise it",
    # Result codes of SQLite: https://sqlite.org/rescode.html.
    5: "another program keeps the file locked: end its transaction",
    8: _FILE,
    13: "the disk is full",
    14: _FILE,
    26: "another file has this name: choose a name of its own",
}
"""The fix of an error, by the name of its class or its code."""
_FIXES_BY_MESSAGE = {
    "OOM ": _FIXES["OutOfMemoryError"],
    "READONLY ": _FIXES["ReadOnlyError"],
    "executing the script can't": _FIXES["NoPermissionError"],
    "no such column": _OTHER_FORM,
    "has no column named": _OTHER_FORM,
}
"""The fix of an error within a script of Redis, or of a statement of SQLite, by a part of its message."""


def describe_error(error: BaseException) -> str:
    """Return the reason of a failed operation and its fix if it is known, for the log."""
    name, reason = type(error).__name__, str(error)
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorcode", -1) & 0xFF
    fix = _FIXES.get(name) or _FIXES.get(code)
    if name in ("ResponseError", "OperationalError"):
        fix = fix or next((fix for part, fix in _FIXES_BY_MESSAGE.items() if part in reason), None)
    if fix:
        # The first line, without hints of the server.
        reason = f"{reason.splitlines()[0]} ({fix})" if reason else fix
    return f"{name}: {reason}"


class Breaker:
    """The state of one store's backend. All views of the store share it, in all threads.

    Args:
        store: the kind of store, for messages.
        timeout_seconds: the timeout of one operation.

    Raises:
        TypeError: The timeout is not a number.
        ValueError: The timeout is not above 0.
    """

    def __init__(self, store: str, timeout_seconds: float) -> None:
        if isinstance(timeout_seconds, bool) or not isinstance(timeout_seconds, int | float):
            raise TypeError(
                f"{store}: timeout_seconds must be a number of seconds, not {timeout_seconds!r:.40}."
            )
        if not 0 < timeout_seconds < 3600:
            raise ValueError(
                f"{store}: timeout_seconds must be above 0 and below an hour, not {timeout_seconds!r}."
            )
        self.store = store
        self.timeout_seconds = timeout_seconds
        self.clock = time.monotonic
        self._lock = threading.Lock()
        self._failures = 0
        self._open_seconds = 0.0  # 0 while the breaker is closed
        self._open_until = 0.0
        self._probing = False
        self._logged_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether operations fail at once."""
        return self._open_seconds > 0

    def enter(self, operation: str) -> None:
        """Let an operation begin. Call `succeed`, `fail`, `leave` or `refuse` at its end.

        Raises:
            StoreUnavailable: The breaker is open.
        """
        if not self._open_seconds:
            return
        with self._lock:
            wait = self._open_until - self.clock()
            if wait <= 0 and not self._probing:
                self._probing = True
                return
        reason = "the last operations failed, and the next try is not due yet"
        raise StoreUnavailable(self.store, operation, reason, retry_after_seconds=max(wait, 0.0))

    def succeed(self) -> None:
        """Note that an operation worked."""
        if not self._failures and not self._open_seconds:
            return
        with self._lock:
            recovered = self._open_seconds > 0
            self._failures = 0
            self._open_seconds = 0.0
            self._probing = False
        if recovered:
            logger.info("%s works again.", self.store)

    def leave(self) -> None:
        """Note that an operation ended without a result, because its task was cancelled."""
        self._probing = False

    def refuse(self, operation: str, reason: str) -> StoreUnavailable:
        """Note that an operation did not begin. Return the exception for it."""
        self.leave()
        return StoreUnavailable(self.store, operation, reason)

    def fail(self, operation: str, reason: str, *, is_outage: bool = True) -> StoreUnavailable:
        """Note that an operation failed, and return the exception for it.

        Args:
            operation: the name of the operation.
            reason: the reason, for the log.
            is_outage: False if the server has answered: see `is_refusal`.
        """
        with self._lock:
            # Any answer shows that the server is there.
            self._failures = self._failures + 1 if is_outage else 0
            if not is_outage:
                self._open_seconds = 0.0
            was_probe, self._probing = self._probing, False
            if self._failures >= MAX_FAILURES and (was_probe or not self._open_seconds):
                self._open_seconds = min(self._open_seconds * 2 or FIRST_SECONDS, MAX_SECONDS)
                self._open_until = self.clock() + self._open_seconds
            now = self.clock()
            is_due = self._logged_at is None or now - self._logged_at >= LOG_SECONDS
            if is_due:
                self._logged_at = now
        if is_due:
            logger.warning("%s.%s() failed: %s", self.store, operation, reason)
        return StoreUnavailable(self.store, operation, reason)

    def timed_out(self, operation: str) -> StoreUnavailable:
        """Note that an operation took too long, and return the exception for it."""
        return self.fail(operation, f"no answer within {self.timeout_seconds} s")
