"""Runs continue without their readers, on any worker."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from virtual_time import run_in_virtual_time

from spica.applications import Spica
from spica.channels import Channels, ChannelsUnavailable, MemoryBackend, Run, Runs
from spica.channels.runs import ENDS, PREFIX, RunsFull
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses import JSONResponse
from spica.responses.events import EventSourceResponse, ServerSentEvent, last_event_id
from spica.routing import Route
from spica.stores import MemoryStore, Store, StoreUnavailable
from spica.testclient import AsyncTestClient

pytestmark = pytest.mark.anyio


class Words:
    """An async iterator whose items the test releases one by one."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._changed = anyio.Event()
        self._is_over = False
        self.is_closed = False

    def say(self, *items: Any) -> None:
        self._items += items
        self._changed.set()

    def end(self) -> None:
        self._is_over = True
        self._changed.set()

    def __aiter__(self) -> "Words":
        return self

    async def __anext__(self) -> Any:
        while not self._items:
            if self._is_over:
                raise StopAsyncIteration
            self._changed = anyio.Event()
            await self._changed.wait()
        item = self._items.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    async def aclose(self) -> None:
        self.is_closed = True


class Worker:
    """An application with channels and runs, whose backend and store other workers share."""

    def __init__(self, backend: Any, store: Store, **options: Any) -> None:
        self.channels = Channels(backend)
        self.runs = Runs(self.channels, store, **options)
        self.app = Spica(
            lifespan=[self.channels.lifespan, self.runs.lifespan],
            routes=[Route("/runs/{id}", self.read)],
            drain_seconds=0.01,
        )

    async def read(self, request: Request) -> EventSourceResponse:
        id = request.path_params["id"]
        return EventSourceResponse(self.runs.events(id, after=last_event_id(request)))


@asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[list[AsyncTestClient]]:
    async with AsyncExitStack() as stack:
        clients = [AsyncTestClient(worker.app) for worker in workers]
        yield [await stack.enter_async_context(client) for client in clients]


def make_workers(count: int = 1, **options: Any) -> list[Worker]:
    backend, store = MemoryBackend(), MemoryStore()
    return [Worker(backend, store, **options) for _ in range(count)]


async def take(events: AsyncIterator[Any], count: int) -> list[Any]:
    """Return the next events; an end must be the last one."""
    found = [describe(await anext(events)) for _ in range(count)]
    if found[-1][0] in ENDS:
        assert await anext(events, None) is None
    return found


def describe(event: Any) -> Any:
    return (event.event, event.data if isinstance(event.data, str) else json_of(event.data))


def json_of(data: Any) -> Any:
    return json.loads(data) if isinstance(data, bytes) else data


async def read_all(client: AsyncTestClient, id: str, after: str | None = None) -> list[Any]:
    headers = {} if after is None else {"last-event-id": after}
    async with client.stream("GET", f"/runs/{id}", headers=headers) as response:
        return [(each.event, each.data, each.id) async for each in response.events()]


async def test_a_reader_gets_each_item_and_the_end() -> None:
    (worker,) = make_workers()
    words = Words()
    words.say("Hel", {"lo": 1}, ServerSentEvent("!", event="mark"))
    words.end()
    async with running(worker) as (client,):
        run = await worker.runs.start(words)
        events = await read_all(client, run.id)
        assert [(event, data) for event, data, _ in events] == [
            ("message", "Hel"),
            ("message", '{"lo":1}'),
            ("mark", "!"),
            ("done", "{}"),
        ]
        assert [id.partition("-")[2] for _, _, id in events] == ["1", "2", "3", "4"]
        assert await worker.runs.status(run.id) == "done"
        assert words.is_closed


async def test_readers_join_late_and_come_back_on_another_worker() -> None:
    first, second = make_workers(2)
    words = Words()
    async with running(first, second) as (_, client):
        run = await first.runs.start(words)
        early = first.runs.events(run.id)
        words.say("a", "b")
        assert await take(early, 2) == [(None, "a"), (None, "b")]
        leaving = first.runs.events(run.id)
        seen = await anext(leaving)
        await leaving.aclose()  # type: ignore[attr-defined]  # an async generator
        words.say("c")
        late = second.runs.events(run.id)
        assert await take(late, 3) == [(None, "a"), (None, "b"), (None, "c")]
        words.end()
        back = await read_all(client, run.id, after=seen.id)
        assert [data for _, data, _ in back] == ["b", "c", "{}"]
        assert await take(early, 2) == [(None, "c"), ("done", {})]
        assert await take(late, 1) == [("done", {})]


async def test_a_reader_that_comes_back_after_the_end_gets_the_end_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (worker,) = make_workers()
    words = Words()
    words.end()
    async with running(worker) as (client,):
        run = await worker.runs.start(words)
        ((_, _, last),) = await read_all(client, run.id)
        monkeypatch.setattr("spica.channels.runs.REREAD_SECONDS", 0.01)
        assert await read_all(client, run.id, after=last) == [("done", "{}", last)]


async def test_a_second_start_with_a_key_returns_the_running_run() -> None:
    first, second = make_workers(2)
    words, others, again = Words(), Words(), Words()
    async with running(first, second):
        run = await first.runs.start(words, key="chat:7")
        same = await second.runs.start(others, key="chat:7")
        assert (same.id, run.is_new, same.is_new) == (run.id, True, False)
        assert others.is_closed
        words.end()
        await take(first.runs.events(run.id), 1)
        third = await second.runs.start(again, key="chat:7")
        assert third.is_new
        assert third.id != run.id
        assert await first.runs.find("chat:7") == type(run)(third.id, "chat:7")
        assert await first.runs.find("chat:8") is None


@pytest.mark.parametrize("key", ["", "\ud800", "a\0:b", "x" * 1000], ids=ascii)
async def test_a_key_is_any_string(key: str) -> None:
    first, second = make_workers(2)
    async with running(first, second):
        run = await first.runs.start(Words(), key=key)
        assert not (await second.runs.start(Words(), key=key)).is_new
        assert await second.runs.find(key) == type(run)(run.id, key)
        assert await second.runs.cancel(run.id)
        assert (await second.runs.start(Words(), key=key)).is_new


@pytest.mark.parametrize("by", ["own", "other"])
async def test_any_worker_cancels_a_run(by: str) -> None:
    first, second = make_workers(2)
    words = Words()
    async with running(first, second):
        run = await first.runs.start(words, key="k")
        words.say("a")
        events = second.runs.events(run.id)
        assert await take(events, 1) == [(None, "a")]
        runs = first.runs if by == "own" else second.runs
        assert await runs.cancel(run.id)
        assert await take(events, 1) == [("cancelled", {})]
        assert await first.runs.status(run.id) == "cancelled"
        with anyio.fail_after(30):
            while not words.is_closed:  # the process that runs it gets the order over the channel
                await anyio.sleep(0.001)
        assert not await runs.cancel(run.id)
        assert (await first.runs.start(Words(), key="k")).is_new


@pytest.mark.parametrize(
    ("items", "options", "error"),
    [
        (["a", ValueError("secret")], {}, "ValueError"),
        (["a", "b", "c"], {"max_events": 2}, "RunTooLarge"),
        (["a", "x" * 30], {"max_size": 30}, "RunTooLarge"),
        (["a", ServerSentEvent("", event="done")], {}, "ValueError"),
    ],
    ids=["error", "events", "size", "reserved"],
)
async def test_a_failed_run_names_only_the_type_of_the_error(
    items: list[Any], options: Any, error: str
) -> None:
    (worker,) = make_workers(1, **options)
    words = Words()
    words.say(*items)
    async with running(worker) as (client,):
        run = await worker.runs.start(words)
        events = await read_all(client, run.id)
        assert [each[:2] for each in events][-1] == (
            "failed",
            json.dumps({"error": error}).replace(" ", ""),
        )
        assert "secret" not in str(events)
        assert await worker.runs.status(run.id) == "failed"


async def test_a_run_that_takes_too_long_fails() -> None:
    (worker,) = make_workers()
    async with running(worker) as (client,):
        run = await worker.runs.start(Words(), max_seconds=0.01)
        assert (await read_all(client, run.id))[-1][1] == '{"error":"TimeoutError"}'


async def abandon(worker: Worker) -> str:
    """Return the id of a run whose process was killed."""
    id = "0" * 32
    await worker.runs._record(id, "k", 900)
    await worker.runs._store.acquire("key:k", id, seconds=60)
    await worker.channels.publish_to(PREFIX + id, "last words")
    await worker.runs._store.release(f"run:{id}", id)  # as if the lease had expired
    return id


async def test_the_run_of_a_killed_worker_becomes_lost_for_its_next_reader() -> None:
    (worker,) = make_workers()
    async with running(worker) as (client,):
        events = await read_all(client, await abandon(worker))
        assert [each[:2] for each in events] == [("message", "last words"), ("lost", "{}")]
        assert (await worker.runs.start(Words(), key="k")).is_new


async def test_a_waiting_reader_learns_that_a_run_was_lost() -> None:
    first, second = make_workers(2)
    second.runs.renew_seconds = 0.05
    async with running(first, second):
        id = await abandon(first)
        await first.runs._store.acquire(f"run:{id}", id, seconds=30)
        events = second.runs.events(id)
        assert await take(events, 1) == [(None, "last words")]
        await first.runs._store.release(f"run:{id}", id)
        assert await take(events, 1) == [("lost", {})]


async def test_the_sweep_finds_lost_runs() -> None:
    (worker,) = make_workers()
    async with running(worker):
        id = await abandon(worker)
        alive = await worker.runs.start(Words())
        await worker.runs.sweep()
        assert await worker.runs._store.members("running") == [f"run:{alive.id}"]
        assert await worker.runs.status(id) == "lost"
        assert await worker.runs.status(alive.id) == "running"


def test_the_lease_is_renewed_and_a_run_without_it_stops(anyio_backend: str) -> None:
    async def check() -> None:
        worker = Worker(MemoryBackend(), store := MemoryStore())
        store._space.clock = anyio.current_time
        words = Words()
        async with running(worker):
            run = await worker.runs.start(words)
            await anyio.sleep(1.5 * worker.runs.lease_seconds)
            assert not await worker.runs._is_abandoned(run.id)
            await worker.runs.finish(run.id, None, "lost")  # as another worker does
            await anyio.sleep(worker.runs.renew_seconds)
            assert words.is_closed

    run_in_virtual_time(anyio_backend, check)


async def test_a_shutdown_makes_runs_lost_at_once() -> None:
    first, second = make_workers(2)
    words = Words()
    async with running(second):
        async with running(first):
            run = await first.runs.start(words, key="k")
            words.say("a")
            events = second.runs.events(run.id)
            assert await take(events, 1) == [(None, "a")]
        assert await take(events, 1) == [("lost", {})]
        assert await second.runs.status(run.id) == "lost"
        assert words.is_closed


async def test_a_shutdown_waits_for_a_run_that_ends_in_time() -> None:
    first, second = make_workers(2)
    first.app.drain_seconds = 60
    words = Words()
    async with running(second):
        async with running(first):
            run = await first.runs.start(words)
            await anyio.wait_all_tasks_blocked()
            words.say("a")
            words.end()
        assert await second.runs.status(run.id) == "done"


async def test_a_start_that_is_cancelled_gives_the_key_back() -> None:
    class SlowStore(MemoryStore):
        async def _run(self, operation: str, *args: Any) -> Any:
            result = await super()._run(operation, *args)
            if operation == "acquire":
                await anyio.lowlevel.checkpoint()  # the server has it, and the answer is under way
            return result

    worker = Worker(MemoryBackend(), SlowStore())
    async with running(worker):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await worker.runs.start(Words(), key="k")
        assert (await worker.runs.start(Words(), key="k")).is_new


class FailingStore(MemoryStore):
    """Fails some operations, and forgets everything."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []  # the views share it

    async def _run(self, operation: str, *args: Any) -> Any:
        if operation in self.failures:
            self.failures.remove(operation)
            raise StoreUnavailable("FailingStore", operation, "down")
        return await super()._run(operation, *args)

    def forget(self) -> None:
        self._space.clear()


async def test_the_end_is_written_when_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spica.channels.producer.RETRY_SECONDS", 0.01)
    worker = Worker(MemoryBackend(), store := FailingStore())
    words = Words()
    async with running(worker) as (client,):
        run = await worker.runs.start(words)
        store.failures += ["set"] * 3
        words.end()
        assert (await read_all(client, run.id))[-1][0] == "done"


def test_a_store_that_lost_its_memory_gets_the_run_again(anyio_backend: str) -> None:
    async def check() -> None:
        worker = Worker(MemoryBackend(), store := FailingStore())
        store._space.clock = anyio.current_time
        async with running(worker):
            run = await worker.runs.start(Words(), key="k")
            store.forget()
            await anyio.sleep(1.1 * worker.runs.renew_seconds)
            assert await worker.runs.status(run.id) == "running"
            assert await worker.runs.find("k") == Run(run.id, "k")
            assert not (await worker.runs.start(Words(), key="k")).is_new

    run_in_virtual_time(anyio_backend, check)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_items_that_await_something_cancelled_fail() -> None:
    async def items() -> AsyncIterator[str]:
        yield "a"
        task = asyncio.ensure_future(asyncio.sleep(9))
        task.cancel()
        await task

    (worker,) = make_workers()
    async with running(worker) as (client,):
        run = await worker.runs.start(items())
        assert (await read_all(client, run.id))[-1][:2] == (
            "failed",
            '{"error":"CancelledError"}',
        )


class WatchedStore(MemoryStore):
    """Counts the operations."""

    operations = 0

    async def _run(self, operation: str, *args: Any) -> Any:
        self.operations += 1
        return await super()._run(operation, *args)


@pytest.mark.parametrize("id", ["", "x", "0" * 31, "0" * 33, "A" * 32, "\u0660" * 32, "../" * 9])
async def test_a_malformed_id_is_lost_without_access_to_the_store(id: str) -> None:
    worker = Worker(MemoryBackend(), store := WatchedStore())
    async with running(worker):
        before = store.operations
        assert await worker.runs.status(id) is None
        assert not await worker.runs.cancel(id)
        assert await take(worker.runs.events(id), 1) == [("lost", {})]
        assert store.operations == before


async def test_an_unknown_run_is_lost_and_a_malformed_position_a_gap() -> None:
    (worker,) = make_workers()
    words = Words()
    words.say("a")
    words.end()
    async with running(worker) as (client,):
        assert [each[:2] for each in await read_all(client, "0" * 32)] == [("lost", "{}")]
        run = await worker.runs.start(words)
        await read_all(client, run.id)
        events = await read_all(client, run.id, after="x" * 99)
        assert [event for event, _, _ in events] == ["gap", "message", "done"]


async def test_too_many_runs_are_a_503() -> None:
    (worker,) = make_workers(1, max_runs=1)

    async def start(request: Request) -> JSONResponse:
        run = await worker.runs.start(Words(), key=request.query_params["key"])
        return JSONResponse(run.id)

    worker.app.add_route("/start", start)
    async with running(worker) as (client,):
        assert (await client.get("/start?key=a")).status_code == 200
        response = await client.get("/start?key=b")
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert await worker.runs.find("b") is None
    assert str(RunsFull(1)).startswith("1 runs are running.")


async def test_a_key_whose_worker_died_while_it_started_is_a_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spica.channels.runs.START_SECONDS", 0.01)
    (worker,) = make_workers()
    async with running(worker):
        await worker.runs._store.acquire("key:k", "dead", seconds=30)
        with pytest.raises(HTTPException, match="503: Another worker is starting this run"):
            await worker.runs.start(words := Words(), key="k")
        assert words.is_closed


class FlakyBackend(MemoryBackend):
    """Fails before or after it has stored an event."""

    fails: str = ""

    async def publish(self, key: str, *args: Any) -> Any:
        fails, self.fails = self.fails, ""
        if fails == "before":
            raise ChannelsUnavailable("publish", "down")
        position = await super().publish(key, *args)
        if fails == "after":
            raise ChannelsUnavailable("publish", "timeout")
        return position


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_outage_neither_loses_nor_repeats_an_item(when: str) -> None:
    worker = Worker(backend := FlakyBackend(), MemoryStore())
    words = Words()
    async with running(worker) as (client,):
        run = await worker.runs.start(words)
        words.say("a")
        await anyio.wait_all_tasks_blocked()
        backend.fails = when
        words.say("b", "c")
        words.end()
        events = await read_all(client, run.id)
        assert [data for _, data, _ in events] == ["a", "b", "c", "{}"]


async def test_a_reader_gets_no_end_before_the_items_that_an_outage_holds_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Backend(MemoryBackend):
        is_down = False

        async def read(self, *args: Any) -> Any:
            if self.is_down:
                raise ChannelsUnavailable("read", "down")
            return await super().read(*args)

    monkeypatch.setattr("spica.channels.runs.REREAD_SECONDS", 0.01)
    worker = Worker(backend := Backend(), MemoryStore())
    worker.runs.renew_seconds = 0.01
    words = Words()
    words.say(*"a" * 150)
    words.end()
    async with running(worker):
        run = await worker.runs.start(words)
        with anyio.fail_after(30):
            while await worker.runs.status(run.id) != "done":
                await anyio.sleep(0.01)
        events = worker.runs.events(run.id)
        found = await take(events, 50)  # of the first page
        backend.is_down = True

        async def recover() -> None:
            await anyio.sleep(0.1)
            backend.is_down = False

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recover)
            found += await take(events, 101)
    assert [event for event, _ in found] == [None] * 150 + ["done"]


async def test_an_end_that_the_channel_has_lost_comes_from_the_store() -> None:
    worker = Worker(backend := FlakyBackend(), MemoryStore())
    worker.runs.renew_seconds = 0.05
    words = Words()
    async with running(worker):
        run = await worker.runs.start(words)
        words.say("a")
        events = worker.runs.events(run.id)
        assert await take(events, 1) == [(None, "a")]
        backend.fails = "before"
        words.say(KeyError("x"))
        assert await take(events, 1) == [("failed", {"error": "KeyError"})]


@pytest.mark.parametrize(
    ("items", "options", "error", "message"),
    [
        ([], {}, TypeError, "items must be an async iterator"),
        (Words(), {"key": 7}, TypeError, "key must be a str or None, not 7"),
        (Words(), {"max_seconds": 0}, ValueError, "max_seconds must be above 0 and at most 3600"),
        (Words(), {"max_seconds": 3601}, ValueError, r"Set Runs\(max_seconds=\)"),
        (Words(), {}, RuntimeError, "Runs has not started. Pass its lifespan"),
    ],
    ids=["items", "key", "zero", "long", "lifespan"],
)
async def test_a_wrong_start_names_the_fix(
    items: Any, options: Any, error: type[Exception], message: str
) -> None:
    (worker,) = make_workers()
    with pytest.raises(error, match=message):
        await worker.runs.start(items, **options)


def test_wrong_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="Runs: max_events must be more than 0, not 0"):
        Runs(Channels(), MemoryStore(), max_events=0)


@pytest.mark.parametrize(
    "arguments", [(MemoryStore(), Channels()), ("memory://", MemoryStore()), (Channels(), "x")]
)
def test_other_arguments_than_channels_and_a_store_name_the_fix(arguments: Any) -> None:
    with pytest.raises(TypeError, match=r"Runs\(Channels\(url\), open_store\(url\)\), not Runs"):
        Runs(*arguments)
