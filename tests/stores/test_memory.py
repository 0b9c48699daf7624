"""The limits of the store in memory."""

import time

import pytest

from spica.stores import MemoryStore, Rate

pytestmark = pytest.mark.anyio

FAR = time.time() + 10 * 365 * 86400


async def test_a_full_store_drops_the_value_that_was_not_used_for_longest():
    store = MemoryStore(max_entries=2)
    await store.set("a", b"1")
    await store.set("b", b"2")
    await store.get("a")
    await store.set("c", b"3")
    assert [await store.get(key) for key in "abc"] == [b"1", None, b"3"]


async def test_a_store_that_is_too_large_drops_values():
    store = MemoryStore(max_size=3000)
    for key in "abcd":
        await store.set(key, bytes(1000))
    assert [await store.get(key) is None for key in "abcd"] == [True, True, False, False]


async def test_a_flood_of_rates_drops_no_session():
    store = MemoryStore(max_entries=100)
    await store.create("session", {}, idle_seconds=60, ends_at=FAR)
    await store.acquire("lease", "me", seconds=60)
    for n in range(1000):
        await store.take(str(n), Rate(1, 60))
    assert await store.read("session") is not None
    assert not await store.acquire("lease", "you", seconds=60)


async def test_expired_entries_go_by_themselves():
    store = MemoryStore()
    store._space.clock = lambda: now
    now = 1000.0
    for n in range(50):
        await store.take(str(n), Rate(1, 60))
        await store.create(str(n), {}, idle_seconds=60, ends_at=FAR, group=str(n))
    now = 1061.0
    for n in range(4):
        await store.set(str(n), b"")
    assert store._space._count() == 4
    assert store._space.groups == {}
    assert store._space.size == sum(entry.size for entry in store._space.values.values())


async def test_replaced_entries_leave_nothing_behind():
    store = MemoryStore()
    for _ in range(5000):
        await store.set("a", b"1", seconds=3600)
        await store.take("b", Rate(1_000_000, 1))
        await store.create("c", {"x": b"1"}, idle_seconds=60, ends_at=FAR, group="g")
    space = store._space
    assert len(space.heap) <= 1010
    tables = (space.values, space.rates, space.leases, space.records)
    assert space.size == sum(entry.size for table in tables for entry in table.values())


async def test_a_generation_that_was_dropped_never_comes_back():
    store = MemoryStore(max_entries=2)
    seen = await store.generation("a")
    for group in "abca":
        await store.generation(group, bump=True)
    await store.generation("c", bump=True)
    await store.generation("b", bump=True)
    assert await store.generation("a") > seen + 1


@pytest.mark.parametrize("limit", ["max_entries", "max_size"])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(ValueError, match=f"{limit} must be 1 or more, not 0"):
        MemoryStore(**{limit: 0})


def test_two_stores_share_nothing(anyio_backend):
    assert MemoryStore()._space is not MemoryStore()._space


@pytest.mark.parametrize("name", ["max_entries", "max_size"])
@pytest.mark.parametrize("limit", [None, "5", 1.5, True])
def test_a_limit_is_an_int(name, limit):
    with pytest.raises(TypeError, match=f"MemoryStore: {name} must be an int"):
        MemoryStore(**{name: limit})


@pytest.mark.parametrize("ends_at", [None, "1"])
async def test_the_end_of_a_record_is_a_number(ends_at):
    with pytest.raises(TypeError, match="ends_at must be a number of seconds"):
        await MemoryStore().create("a", {}, idle_seconds=1, ends_at=ends_at)
