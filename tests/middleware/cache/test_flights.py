"""Computations that several requests share."""

import math
import threading
from typing import Any

import anyio
import pytest
from asgi_kit import http_scope

from spica.middleware.cache.flights import Flights
from spica.middleware.cache.rules import Question
from spica.stores import MemoryStore


def question(path: str = "/") -> Question:
    return Question(http_scope("GET", path))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_request_waits_for_the_computation_of_another_thread(backend: Any) -> None:
    flight = Flights(MemoryStore(), 5).begin(question())
    assert flight is not None
    thread = threading.Thread(target=anyio.run, args=(flight.wait, math.inf), daemon=True)
    thread.start()
    anyio.run(flight.finish, backend=backend)
    thread.join(60)
    assert not thread.is_alive()


def test_layers_share_the_computations_of_a_store_in_memory() -> None:
    store = MemoryStore()
    first, second, other = Flights(store, 5), Flights(store, 5), Flights(MemoryStore(), 5)
    flight = first.begin(question())
    assert second.get(question()) is flight
    assert second.begin(question()) is None
    assert second.get(question("/b")) is other.get(question()) is None
    assert Flights(store.prefixed("a"), 5).get(question()) is None


def test_what_a_store_in_memory_has_is_forgotten_with_it() -> None:
    from spica.middleware.cache import flights

    before = len(flights._of_memory)
    store = MemoryStore()
    kept = Flights(store, 5)
    assert len(flights._of_memory) == before + 1
    del store, kept
    assert len(flights._of_memory) == before
