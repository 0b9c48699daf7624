"""The values that stores take and return, and the error that they raise.

`take` holds the arithmetic of rate limits for the stores that compute in Python. It is GCRA, the generic cell
rate algorithm (ITU-T I.371, annex A), with integer microseconds: the state of a key is one number, the
theoretical arrival time (TAT). The limit is exact and smooth. A fixed window would let through twice the rate
at its border.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from spica.exceptions import HTTPException

_UNITS = {"second": 1, "sec": 1, "s": 1, "minute": 60, "min": 60, "m": 60}
_UNITS |= {"hour": 3600, "h": 3600, "day": 86400, "d": 86400}
_RATE = re.compile(r"\s*([0-9]{1,9})\s*(?:/|per\s)\s*([0-9]{1,9})?\s*([a-z]+)\s*", re.ASCII)
_FORMS = '"100/minute", "5/second", "1000 per day" or "20/10 seconds"'

MAX_PERIOD_SECONDS = 50 * 365 * 86400
"""The longest time in which a bucket may fill: 50 years. Longer ones lose precision in Redis."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit: so many requests in so many seconds, with bursts.

    Args:
        requests: the number of requests, 1 or more. The rate is at most one million per second.
        seconds: the time in which these requests are allowed.
        burst: how many requests a client that was idle may send at once. The default is `requests`.

    Raises:
        TypeError: A number has the wrong type.
        ValueError: A number is out of range.

    >>> Rate(100, 60)
    Rate(requests=100, seconds=60, burst=100)
    """

    requests: int
    seconds: float
    burst: int = cast(int, None)  # __post_init__ replaces the default
    interval: int = field(init=False, repr=False, compare=False)
    """The time between two requests at exactly this rate, in microseconds."""

    def __post_init__(self) -> None:
        if self.burst is None:
            object.__setattr__(self, "burst", self.requests)
        for name in ("requests", "burst"):
            _check_count(name, getattr(self, name))
        seconds = self.seconds
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"Rate: seconds must be a number, not {seconds!r:.80}.")
        if not 0 < seconds <= MAX_PERIOD_SECONDS:
            raise ValueError(
                f"Rate: seconds must be above 0 and at most 50 years, not {seconds!r}."
            )
        interval = round(seconds * 1_000_000 / self.requests)
        if interval < 1:
            raise ValueError(
                f"Rate: {self.requests} requests in {seconds} s are more than a million per second. "
                "Use a lower rate."
            )
        if interval * self.burst > MAX_PERIOD_SECONDS * 1_000_000:
            raise ValueError(
                f"Rate: a burst of {self.burst} takes more than 50 years to refill at {self.requests} "
                f"requests in {seconds} s. Use a smaller burst."
            )
        object.__setattr__(self, "interval", interval)

    @classmethod
    def parse(cls, rate: str) -> "Rate":
        """Return the rate that a string such as ``"100/minute"`` describes.

        The units are second, minute, hour and day, also in the plural and as sec, min, s, m, h, d.

        Raises:
            TypeError: It is not a string.
            ValueError: The string has another form, or a number is out of range.

        >>> Rate.parse("20/10 seconds")
        Rate(requests=20, seconds=10, burst=20)
        """
        if not isinstance(rate, str):
            raise TypeError(
                f"Rate.parse: the rate must be a str, not {rate!r:.80}. Write {_FORMS}."
            )
        match = _RATE.fullmatch(rate.lower())
        requests, count, unit = match.groups() if match else ("", "", "")
        scale = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))
        if not match or scale is None:
            raise ValueError(f"Rate.parse: {rate!r:.80} is not a rate. Write {_FORMS}.")
        return cls(int(requests), int(count or 1) * scale)


def _check_count(name: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"Rate: {name} must be an int, not {count!r:.80}.")
    if count < 1:
        raise ValueError(f"Rate: {name} must be 1 or more, not {count}.")


class Allowance(NamedTuple):
    """The answer of `Store.take`. It is true if the request is allowed."""

    allowed: bool
    """Whether the rate allows the request."""
    remaining: int
    """How many more requests the rate allows at this moment."""
    retry_after_seconds: float
    """The time until the same request is allowed; 0 if it is allowed now."""
    reset_seconds: float
    """The time until the whole burst is available again, if no request comes."""

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True)
class Record:
    """A set of named fields that expires, such as a session. `Store.read` returns it.

    The times are seconds since the epoch, like `time.time`.
    """

    fields: Mapping[str, bytes]
    """The fields by name."""
    created: float
    """When `Store.create` made the record."""
    last_used: float
    """When `Store.create` or `Store.merge` last extended the idle time."""
    ends: float
    """When the record ends, however often it is used."""


class StoreUnavailable(HTTPException):
    """The store did not carry out an operation: its server is down, slow or refuses to work.

    After a timeout, a change may or may not have happened. If nothing handles the exception, the client gets
    a 503 with ``Retry-After``. The response does not contain the reason.

    Args:
        store: the kind of store, for example ``"RedisStore"``.
        operation: the name of the method.
        reason: the cause, for the log.
        retry_after_seconds: when a retry may help, at least 1.
    """

    def __init__(
        self, store: str, operation: str, reason: str, *, retry_after_seconds: float = 1.0
    ) -> None:
        super().__init__(503, headers={"Retry-After": str(max(1, round(retry_after_seconds)))})
        self.store = store
        self.operation = operation
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"{self.store}.{self.operation}() failed: {self.reason}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store!r}, {self.operation!r}, {self.reason!r})"


def take(tat: int, now: int, rate: Rate, cost: int) -> tuple[Allowance, int]:
    """Return the answer to a request of this cost, and the new state of the key.

    Args:
        tat: the state: the theoretical arrival time in microseconds, 0 for a new key.
        now: the time in microseconds.
        rate: the rate.
        cost: how many requests this one counts as. 0 asks whether a request is allowed, and takes nothing.
    """
    interval = rate.interval
    full = interval * rate.burst
    # No state is further ahead than a whole burst, unless the clock was set back or the rate was changed.
    if tat < now:
        tat = now
    elif tat > now + full:
        tat = now + full
    new = tat + interval * (cost or 1)
    wait = new - full - now
    if wait > 0 or not cost:
        remaining = (now + full - tat) // interval
        return Allowance(wait <= 0, remaining, max(wait, 0) / 1e6, (tat - now) / 1e6), tat
    return Allowance(True, -wait // interval, 0.0, (new - now) / 1e6), new
