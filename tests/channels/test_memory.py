"""The memory backend: its limit."""

import time

import pytest

from spica.channels import Channels, History, MemoryBackend
from spica.channels.memory import EVENT_OVERHEAD

pytestmark = pytest.mark.anyio


@pytest.fixture
async def backend():
    return MemoryBackend(max_size=10 * (EVENT_OVERHEAD + 3))  # ten events of three bytes


@pytest.fixture
async def channels(backend):
    channels = Channels(backend, history=History(max_events=4))
    async with channels.lifespan():
        yield channels


async def test_a_full_memory_drops_the_events_that_were_idle_longest(channels):
    for number in range(100):
        await channels.publish(f"channel {number}", "a")
    left = [n for n in range(100) if await channels.history(f"channel {n}")]
    assert left == [*range(90, 100)]
    assert (await channels.publish("channel 0", "b")).endswith("-2")  # the counter goes on


async def test_only_channels_with_events_are_searched_for_the_oldest(backend, channels):
    """A search through all 100,000 would stop the event loop for each event."""
    for number in range(300):
        await channels.publish(f"channel {number % 7 if number % 3 else number}", "a")
        filled = [log for log in backend._logs.values() if log.events]
        assert [*backend._filled.values()] == filled
        assert backend._size == sum(len(log.events) for log in filled) * (EVENT_OVERHEAD + 3)
        assert len(filled) <= 10


async def test_expired_events_of_idle_channels_are_dropped(backend, channels, monkeypatch):
    for number in range(5):
        await channels.publish(f"channel {number}", "a")
    monkeypatch.setattr("spica.channels.memory.PRUNE_EVERY", 1)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 4000)
    for _ in range(3):
        await channels.publish("busy", "a")
    assert [*backend._filled] == ["busy"]


@pytest.mark.parametrize("max_size", [None, "5", 1.5, True])
def test_the_limit_is_an_int(max_size):
    with pytest.raises(TypeError, match="MemoryBackend: max_size must be an int"):
        MemoryBackend(max_size=max_size)
