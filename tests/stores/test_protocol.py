"""The contract: what every store does, on every backend."""

import time

import anyio
import pytest

from spica.stores import Rate, Store

pytestmark = pytest.mark.anyio

FAR = time.time() + 10 * 365 * 86400
LONG = "é" * 400
KEYS = ["a", "", "a b:c{d}", "é" * 100, LONG, "n\0l", "\udc80", "x" * 512, "x" * 513]


@pytest.fixture
def anyio_backend(pair):
    return pair[1]


# Values


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
async def test_a_value_is_kept_under_any_key(store, key):
    assert await store.get(key) is None
    assert await store.set(key, b"\0\xff")
    assert await store.get(key) == b"\0\xff"
    assert await store.delete(key) == 1
    assert await store.get(key) is None


async def test_long_keys_do_not_collide(store):
    await store.set("x" * 513, b"1")
    await store.set("x" * 514, b"2")
    assert await store.get("x" * 513) == b"1"


async def test_a_value_may_be_empty_and_has_at_most_1_mib(store):
    await store.set("empty", b"")
    await store.set("full", bytes(2**20))
    assert await store.get("empty") == b""
    assert await store.get("full") == bytes(2**20)
    with pytest.raises(ValueError, match="exceeds the limit of 1048576 bytes"):
        await store.set("more", bytes(2**20 + 1))


@pytest.mark.parametrize("value", ["text", None, bytearray(b"1"), 1])
async def test_a_value_of_another_type_is_refused(store, value):
    with pytest.raises(TypeError, match="must be bytes"):
        await store.set("a", value)


async def test_a_value_expires(store, backend):
    await store.set("short", b"1", seconds=backend.brief())
    await store.set("long", b"1", seconds=3600)
    assert await store.get("short") == b"1" or backend.is_late()
    await backend.elapse_brief()
    assert await store.get("short") is None
    assert await store.get("long") == b"1"
    assert await store.delete("short", "long") == 1


async def test_a_call_of_set_replaces_the_expiry(store, backend):
    await store.set("a", b"1", seconds=backend.brief())
    await store.set("a", b"2")
    await backend.elapse_brief()
    assert await store.get("a") == b"2"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
async def test_an_expiry_out_of_range_is_refused(store, seconds):
    with pytest.raises(ValueError, match="seconds must be above 0"):
        await store.set("a", b"1", seconds=seconds)


async def test_only_if_absent_stores_once(store):
    assert await store.set("a", b"1", only_if="absent")
    assert not await store.set("a", b"2", only_if="absent")
    assert await store.get("a") == b"1"


async def test_only_if_absent_stores_again_after_the_expiry(store, backend):
    assert await store.set("a", b"1", only_if="absent", seconds=backend.brief())
    await backend.elapse_brief()
    assert await store.set("a", b"2", only_if="absent")


async def test_only_if_present_replaces_only(store):
    assert not await store.set("a", b"1", only_if="present")
    assert await store.get("a") is None
    await store.set("a", b"1")
    assert await store.set("a", b"2", only_if="present")
    assert await store.get("a") == b"2"


async def test_only_if_refuses_another_word(store):
    with pytest.raises(ValueError, match="'absent', 'present' or None, not 'missing'"):
        await store.set("a", b"1", only_if="missing")


async def test_delete_counts_the_keys_that_had_something(store):
    await store.set("a", b"1")
    await store.take("a", Rate(1, 60))
    await store.create("b", {}, idle_seconds=60, ends_at=FAR)
    assert await store.delete("a", "b", "c", "a") == 2
    assert await store.delete() == 0
    assert await store.read("b") is None
    assert await store.take("a", Rate(1, 60))


async def test_kinds_under_one_key_are_independent(store):
    await store.set("a", b"1")
    assert await store.acquire("a", "me", seconds=60)
    assert await store.take("a", Rate(1, 60))
    await store.create("a", {"f": b"2"}, idle_seconds=60, ends_at=FAR, group="a")
    assert await store.generation("a") == await store.generation("a")
    assert await store.get("a") == b"1"
    assert (await store.read("a")).fields == {"f": b"2"}
    assert await store.members("a") == ["a"]


# Rates


async def test_exactly_the_burst_of_concurrent_requests_passes(store):
    answers = []

    async def take():
        answers.append(await store.take("a", Rate(1, 3600, 10)))

    async with anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(take)
    assert sum(answer.allowed for answer in answers) == 10
    assert sorted(answer.remaining for answer in answers if answer.allowed) == [*range(10)]
    assert all(3500 < a.retry_after_seconds <= 3600 for a in answers if not a.allowed)
    assert all(35900 < a.reset_seconds <= 36000 for a in answers if not a.allowed)


async def test_a_rate_refills(store, backend):
    rate = Rate(1, backend.brief())
    assert await store.take("a", rate)
    assert not await store.take("a", rate) or backend.is_late()
    await backend.elapse_brief()
    assert await store.take("a", rate)


async def test_a_cost_takes_several_and_zero_takes_none(store):
    rate = Rate(10, 3600)
    assert (await store.take("a", rate, cost=0)).remaining == 10
    assert (await store.take("a", rate, cost=8)).remaining == 2
    assert not await store.take("a", rate, cost=3)
    assert (await store.take("a", rate, cost=2)).remaining == 0
    peek = await store.take("a", rate, cost=0)
    assert (peek.allowed, peek.remaining) == (False, 0)
    assert 350 < peek.retry_after_seconds <= 360


async def test_arguments_of_another_type_are_named(store):
    for key in (None, 7, b"a"):
        with pytest.raises(TypeError, match="A key must be a str, not"):
            await store.get(key)
    for cost in (1.5, True, "1"):
        with pytest.raises(TypeError, match="cost must be an int, not"):
            await store.take("a", Rate(10, 1), cost=cost)
    with pytest.raises(TypeError, match="rate must be a Rate, not '5/second'"):
        await store.take("a", "5/second")
    with pytest.raises(TypeError, match="seconds must be a number of seconds, not '5'"):
        await store.set("a", b"", seconds="5")


@pytest.mark.parametrize("cost", [-1, 11])
async def test_a_cost_that_never_passes_is_refused(store, cost):
    with pytest.raises(ValueError, match=r"from 0 to the burst of the rate \(10\)"):
        await store.take("a", Rate(10, 1), cost=cost)


# Leases


async def test_a_lease_has_one_owner(store):
    assert await store.acquire("a", "me", seconds=60)
    assert not await store.acquire("a", "you", seconds=60)
    assert await store.acquire("a", "me", seconds=60)
    assert not await store.release("a", "you")
    assert await store.release("a", "me")
    assert not await store.release("a", "me")
    assert await store.acquire("a", "you", seconds=60)


async def test_a_lease_ends_and_a_renewal_extends_it(store, backend):
    seconds = backend.brief()
    assert await store.acquire("a", "me", seconds=seconds)
    assert await store.acquire("b", "me", seconds=seconds)
    assert await store.acquire("b", "me", seconds=3600)
    await backend.elapse_brief()
    assert await store.acquire("a", "you", seconds=3600)
    assert not await store.release("a", "me")
    assert not await store.acquire("b", "you", seconds=3600)


async def test_delete_leaves_a_lease(store):
    await store.acquire("a", "me", seconds=60)
    assert await store.delete("a") == 0
    assert not await store.acquire("a", "you", seconds=60)


# Records


async def test_a_record_has_fields_and_times(store):
    before = time.time() - 2
    await store.create("a", {"x": b"1", "y\0\udc80é\\": b""}, idle_seconds=60, ends_at=FAR)
    record = await store.read("a")
    assert record.fields == {"x": b"1", "y\0\udc80é\\": b""}
    assert before < record.created == record.last_used < time.time() + 2
    assert record.ends == pytest.approx(FAR, abs=0.001)
    assert await store.read("b") is None


async def test_create_replaces_a_record(store):
    await store.create("a", {"x": b"1"}, idle_seconds=60, ends_at=FAR, group="g")
    await store.create("a", {"y": b"2"}, idle_seconds=60, ends_at=FAR, group="h")
    assert (await store.read("a")).fields == {"y": b"2"}
    assert await store.members("g") == []
    assert await store.members("h") == ["a"]


async def test_merge_changes_some_fields(store, backend):
    await store.create("a", {"x": b"1", "y": b"2"}, idle_seconds=60, ends_at=FAR)
    created = (await store.read("a")).created
    await backend.elapse(0.01)
    assert await store.merge("a", {"x": None, "z": b"3"}, idle_seconds=60)
    record = await store.read("a")
    assert record.fields == {"y": b"2", "z": b"3"}
    assert record.created == created <= record.last_used


async def test_concurrent_merges_keep_the_fields_of_both(store):
    await store.create("a", {}, idle_seconds=60, ends_at=FAR)
    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(lambda n=n: store.merge("a", {f"f{n}": b"1"}, idle_seconds=60))
    assert len((await store.read("a")).fields) == 20


async def test_merge_never_revives_a_record(store, backend):
    assert not await store.merge("a", {"x": b"1"}, idle_seconds=60)
    await store.create("a", {}, idle_seconds=60, ends_at=FAR)
    await store.delete("a")
    assert not await store.merge("a", {"x": b"1"}, idle_seconds=60)
    assert await store.read("a") is None


async def test_a_record_expires_without_a_merge(store, backend):
    seconds = backend.brief()
    await store.create("a", {}, idle_seconds=seconds, ends_at=FAR, group="g")
    await store.create("b", {}, idle_seconds=seconds, ends_at=FAR, group="g")
    is_kept = await store.merge("b", {}, idle_seconds=3600)
    assert is_kept or backend.is_late()
    await backend.elapse_brief()
    assert await store.read("a") is None
    assert not await store.merge("a", {}, idle_seconds=3600)
    assert (await store.read("b") is not None) == is_kept
    assert await store.members("g") == ["b"] * is_kept


async def test_a_record_ends_at_its_time_however_often_it_is_used(store):
    ends_at = time.time() + 0.25
    await store.create("a", {}, idle_seconds=3600, ends_at=ends_at, group="g")
    assert await store.merge("a", {}, idle_seconds=3600) or time.time() > ends_at - 0.05
    await anyio.sleep(0.3)
    assert not await store.merge("a", {}, idle_seconds=60)
    assert await store.read("a") is None
    assert await store.members("g") == []


async def test_a_record_that_has_ended_is_not_created(store):
    await store.create("a", {}, idle_seconds=60, ends_at=FAR)
    await store.create("a", {}, idle_seconds=60, ends_at=time.time() - 5)
    assert await store.read("a") is None


async def test_a_record_has_at_most_128_fields(store):
    fields = {str(n): b"" for n in range(128)}
    await store.create("a", fields, idle_seconds=60, ends_at=FAR)
    assert await store.merge("a", fields, idle_seconds=60)
    fields["more"] = b""
    with pytest.raises(ValueError, match="at most 128 fields, not 129"):
        await store.create("a", fields, idle_seconds=60, ends_at=FAR)
    with pytest.raises(ValueError, match="at most 128 fields, not 129"):
        await store.merge("a", fields, idle_seconds=60)


async def test_the_fields_of_a_record_have_at_most_1_mib(store):
    half = bytes(2**19)
    await store.create("a", {"x": half, "y": half}, idle_seconds=60, ends_at=FAR)
    with pytest.raises(ValueError, match="The field 'z' exceeds the limit"):
        await store.create("a", {"x": half, "y": half, "z": b"1"}, idle_seconds=60, ends_at=FAR)


# Groups


async def test_members_are_the_living_records_oldest_first(store, backend):
    for key in ("b", "c", "a", LONG):
        await store.create(key, {}, idle_seconds=60, ends_at=FAR, group="g")
        await backend.elapse(0.002)
        await anyio.sleep(0.002)
    await store.delete("c")
    members = await store.members("g")
    assert members[:2] == ["b", "a"]
    assert await store.read(members[2]) is not None
    assert await store.members("h") == []


async def test_delete_group_deletes_its_records_only(store):
    for key, group in (("a", "g"), ("b", "g"), ("c", "g"), ("d", "h"), ("e", None)):
        await store.create(key, {}, idle_seconds=60, ends_at=FAR, group=group)
    assert await store.delete_group("g", keep="b") == 2
    assert await store.members("g") == ["b"]
    assert await store.read("a") is None
    assert await store.read("d") is not None
    assert await store.read("e") is not None
    assert await store.delete_group("g", keep="d") == 1
    assert await store.delete_group("g") == 0


async def test_a_generation_grows_only_when_bumped(store):
    first = await store.generation("g")
    assert await store.generation("g") == first
    second = await store.generation("g", bump=True)
    assert second > first
    assert await store.generation("g") == second
    assert await store.generation("h") == first


# The store itself


async def test_a_prefix_separates_keys_of_all_kinds(store):
    shop = store.prefixed("shop").prefixed("session")
    await store.set("a", b"1")
    await shop.set("a", b"2")
    await shop.create("k", {}, idle_seconds=60, ends_at=FAR, group="g")
    assert await store.get("a") == b"1"
    assert await store.get("shop:session:a") == b"2"
    assert await shop.members("g") == ["k"]
    assert await store.members("g") == []
    assert await shop.delete_group("g", keep="other") == 1


@pytest.mark.parametrize("prefix", ["", "a:b", "a\0", "x" * 128, "\udc80"])
async def test_a_prefix_that_is_not_a_short_name_is_refused(store, prefix):
    with pytest.raises(ValueError, match="prefix"):
        store.prefixed(prefix)


async def test_it_is_a_store_that_works(store):
    assert isinstance(store, Store)
    await store.ping()


async def test_a_closed_store_opens_again(store):
    await store.set("a", b"1")
    await store.aclose()
    await store.aclose()
    assert await store.get("a") == b"1"


async def test_the_lifespan_closes_the_store(store):
    async with store.lifespan(None):
        await store.set("a", b"1")
    assert await store.get("a") == b"1"
