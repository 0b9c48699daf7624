"""Single flight: of many requests that miss an entry, one computes it, in the process and in the fleet."""

from __future__ import annotations

import logging
import os
from threading import get_ident
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import anyio

from spica.middleware.cache.rules import Question
from spica.stores import MemoryStore, StoreUnavailable

if TYPE_CHECKING:
    from spica.middleware.cache.entry import Entry
    from spica.stores import Store

logger = logging.getLogger("spica.cache")

POLL_SECONDS = 0.02
"""How often a request checks whether another worker or thread has computed the response."""
MAX_FAILURES = 3
"""How many failures of the store a computation waits for. A busy store fails once or twice."""
MAX_PASSED = 4096
"""How many names of responses that can't be stored are remembered."""


class Flight:
    """One computation of an entry. Other requests wait for its end."""

    __slots__ = (
        "_done",
        "_failures",
        "_has_lease",
        "_owner",
        "entry",
        "failure",
        "flights",
        "is_over",
        "name",
        "question",
        "thread",
        "was_cut",
    )

    def __init__(self, flights: Flights, question: Question) -> None:
        self.flights = flights
        self.question = question
        self.name = question.name  # a new response may vary by more fields, and rename the question
        self.thread = get_ident()
        self.entry: Entry | None = None
        self.failure = 0  # the status of a server error
        self.was_cut = False
        self.is_over = False
        self._done: anyio.Event | None = None
        self._owner = ""
        self._failures = 0
        self._has_lease = False

    async def wait(self, until: float) -> None:
        """Wait for the end, at most until this time of the event loop."""
        if self.thread != get_ident():
            while not self.is_over and anyio.current_time() < until:
                await anyio.sleep(POLL_SECONDS)
            return
        if self._done is None:
            self._done = anyio.Event()
        with anyio.CancelScope(deadline=until):
            await self._done.wait()

    async def acquire(self) -> bool:
        """Acquire the lease of the fleet. Return True also after three failures of the store."""
        flights = self.flights
        if not flights.has_leases:
            return True
        self._owner = self._owner or os.urandom(16).hex()
        try:
            self._has_lease = await flights.store.acquire(
                self.name, self._owner, seconds=flights.lease_seconds
            )
        except StoreUnavailable as error:
            self._failures += 1
            logger.warning("A lease could not be acquired: %s", error)
            return self._failures >= MAX_FAILURES
        return self._has_lease

    async def finish(
        self, entry: Entry | None = None, *, was_cut: bool = False, failure: int = 0
    ) -> None:
        """End the flight, also while the request is cancelled.

        Args:
            entry: the result, or None if it can't be shared.
            was_cut: whether the computation was cancelled, so another request must begin it again.
            failure: the status of the response, if that is a server error.
        """
        if self.is_over:
            return
        self.is_over = True
        self.entry, self.was_cut, self.failure = entry, was_cut, failure
        self.flights.remove(self)
        if self._done is not None:
            self._done.set()
        if self._has_lease:
            with anyio.CancelScope(shield=True):
                try:
                    await self.flights.store.release(self.name, self._owner)
                except StoreUnavailable as error:
                    logger.warning("A lease could not be released: %s", error)


_Running = dict[str, Flight]
_of_memory: WeakKeyDictionary[Any, dict[str, _Running]] = WeakKeyDictionary()
"""The computations for stores in memory, by their entries and prefixes."""


class Flights:
    """The computations of this process.

    A store in memory needs no leases: all its users are here, and their layers share the computations.
    """

    def __init__(self, store: Store, lease_seconds: float) -> None:
        self.store = store
        self.lease_seconds = lease_seconds
        self.has_leases = type(store) is not MemoryStore
        self._running: _Running = {}
        if type(store) is MemoryStore:
            layers = _of_memory.setdefault(store._space, {})
            self._running = layers.setdefault(store._prefix, self._running)
        self._passed: dict[tuple[str, bool], None] = {}

    def __len__(self) -> int:
        return len(self._running)

    def shares_with(self, other: Flights) -> bool:
        """Return whether the layers have the same entries, in memory."""
        return self._running is other._running

    def get(self, question: Question) -> Flight | None:
        """Return the running computation of this entry."""
        return self._running.get(question.name)

    def begin(self, question: Question) -> Flight | None:
        """Begin a computation. Return None if another thread has just begun it."""
        flight = Flight(self, question)
        return flight if self._running.setdefault(flight.name, flight) is flight else None

    def remove(self, flight: Flight) -> None:
        """Forget a computation that is over."""
        if self._running.get(flight.name) is flight:
            del self._running[flight.name]

    def remember(self, name: tuple[str, bool], *, is_stored: bool) -> None:
        """Remember whether a response can be stored. Requests for others do not wait for each other.

        Args:
            name: the key of the URI, and whether the request has credentials, since ``default_seconds``
                stores no response to such a request.
            is_stored: whether the response can be stored.
        """
        self._passed.pop(name, None)
        if not is_stored:
            self._passed[name] = None
            if len(self._passed) > MAX_PASSED:
                del self._passed[next(iter(self._passed))]

    def is_passed(self, name: tuple[str, bool]) -> bool:
        """Return whether the last response for this URI and kind of request could not be stored."""
        return name in self._passed
