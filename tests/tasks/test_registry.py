"""Tasks of the application: start, failure, restart, intervals, leases, shutdown."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from virtual_time import run_in_virtual_time

from spica.applications import Spica
from spica.background import BackgroundTask, BackgroundTasks
from spica.middleware.requestid import request_id
from spica.requests import Request
from spica.responses import PlainTextResponse
from spica.routing import Mount, Route
from spica.stores import StoreUnavailable
from spica.tasks import TaskHandle, TasksFull
from spica.tasks.running import LOGGER_NAME
from spica.testclient import AsyncTestClient, TestClient

pytestmark = pytest.mark.anyio

InTime = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture(params=["asyncio", "trio"])
def in_time(request: pytest.FixtureRequest) -> InTime:
    """Run an async function where sleeping takes no time, on each event loop."""
    return partial(run_in_virtual_time, request.param)


@contextlib.asynccontextmanager
async def running(*apps: Spica) -> AsyncIterator[None]:
    """Run the lifespans of applications, as servers do."""
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        for app in apps:
            await group.start(partial(serve, app, stop))
        yield
        stop.set()


async def serve(app: Spica, stop: anyio.Event, *, task_status: Any) -> None:
    messages = ["lifespan.startup", "lifespan.shutdown"]
    sent = []

    async def receive() -> Any:
        if len(messages) == 1:
            task_status.started()
            await stop.wait()
        return {"type": messages.pop(0)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan", "state": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


class Work:
    """Functions to run in tasks, with notes of the times at which they run."""

    def __init__(self, seconds: float = 0.0, failures: int = 0) -> None:
        self.seconds = seconds
        self.failures = failures
        self.starts: list[float] = []
        self.ends = 0

    async def __call__(self) -> None:
        self.starts.append(anyio.current_time())
        await anyio.sleep(self.seconds)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no database")
        self.ends += 1


class FleetStore:
    """The leases and marks of a store, with the clock of the test."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[object, float]] = {}
        self.is_down = False
        self.error: Exception = StoreUnavailable("FleetStore", "acquire", "no server")
        self.sets = 0

    def prefixed(self, prefix: str) -> Any:
        return self

    def _get(self, key: str) -> object:
        if self.is_down:
            raise self.error
        owner, ends_at = self.entries.get(key, (None, 0.0))
        return owner if anyio.current_time() < ends_at else None

    async def acquire(self, key: str, owner: str, *, seconds: float) -> bool:
        if self._get(key) not in (None, owner):
            return False
        self.entries[key] = (owner, anyio.current_time() + seconds)
        return True

    async def release(self, key: str, owner: str) -> bool:
        return self._get(key) == owner and bool(self.entries.pop(key))

    async def set(self, key: str, value: bytes, *, seconds: float, only_if: str | None) -> bool:
        if only_if is None:
            self.entries.pop(key, None)
        self.sets += 1
        return await self.acquire(key, f"set {self.sets}", seconds=seconds)


# Starting


async def test_a_task_outlives_its_request() -> None:
    gate, ended = anyio.Event(), anyio.Event()

    async def work(name: str) -> None:
        await gate.wait()
        ended.set()

    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.app.tasks.start(work, "x").name)

    async with AsyncTestClient(Spica(routes=[Route("/", endpoint)])) as client:
        response = await client.get("/")
        assert response.text.endswith("work")
        assert not ended.is_set()
        gate.set()
        await ended.wait()


async def test_a_sync_endpoint_starts_a_task_from_its_thread() -> None:
    work = Work()

    def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.app.tasks.start(work).name)

    async with AsyncTestClient(Spica(routes=[Route("/", endpoint)])) as client:
        assert (await client.get("/")).text == "Work"

    assert work.ends == 1


async def test_a_sync_function_runs_in_a_thread() -> None:
    calls: list[int] = []
    app = Spica()

    async with running(app):
        handle = app.tasks.start(calls.append, 1)
        await handle.wait()

    assert (calls, handle.state) == ([1], "done")


async def test_a_task_keeps_the_context_of_its_caller_but_not_its_cancellation() -> None:
    variable = ContextVar("variable", default="none")
    seen: list[str] = []
    app = Spica()

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(variable.get())

    async with running(app):
        with anyio.CancelScope() as scope:
            variable.set("request")
            handle = app.tasks.start(work)
            variable.set("later")
            scope.cancel()
            await anyio.lowlevel.checkpoint()
        await handle.wait()

    assert seen == ["request"]


async def test_a_failure_is_logged_in_the_context_of_the_task_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Spica()
    work = Work(failures=1)

    async with running(app):
        handle = app.tasks.start(work, name="mail")
        await handle.wait()

    assert handle.state == "failed"
    assert (handle.failures, app.tasks.failed, app.tasks.started) == (1, 1, 1)
    assert isinstance(handle.error, ConnectionError)
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == (LOGGER_NAME, "Task mail failed")
    assert record.exc_info is not None
    assert record.exc_info[1] is handle.error


async def test_a_failure_is_logged_with_the_id_of_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Spica()

    async with running(app):
        token = request_id.set("r-17")
        handle = app.tasks.start(Work(failures=1), name="mail")
        request_id.reset(token)
        await handle.wait()

    assert caplog.messages == ["Task mail failed (request r-17)"]


async def test_a_task_that_exits_fails_without_ending_the_server() -> None:
    app = Spica()

    async with running(app):
        handle = app.tasks.start(exit)
        await handle.wait()

    assert isinstance(handle.error, SystemExit)


class Unusual(BaseException):
    """An exception that is not an Exception, such as the outcome of a test."""


UNUSUAL = [
    Unusual(),
    SystemExit(),
    GeneratorExit(),
    BaseExceptionGroup("several", [Unusual(), ValueError()]),
    asyncio.CancelledError(),
]


@pytest.mark.parametrize("error", UNUSUAL, ids=repr)
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_periodic_task_goes_on_after_any_exception(
    error: BaseException, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app, again, errors = Spica(), anyio.Event(), [error]

    async def work() -> None:
        if errors:
            raise errors.pop()
        again.set()

    def work_in_thread() -> None:
        if errors:
            raise errors.pop()
        anyio.from_thread.run_sync(again.set)

    func = work if is_async else work_in_thread
    app.tasks.every(0.01, func, at_start=True, name="work")
    async with running(app):
        await again.wait()
    assert caplog.messages == ["Task work failed"]


@pytest.mark.parametrize("error", UNUSUAL, ids=repr)
async def test_any_exception_of_a_task_is_its_error(error: BaseException) -> None:
    async def work() -> None:
        raise error

    app = Spica()
    async with running(app):
        handle = app.tasks.start(work)
        await handle.wait()
    assert (handle.state, handle.error, app.tasks.failed) == ("failed", error, 1)


async def test_a_task_can_be_cancelled() -> None:
    app = Spica()

    async with running(app):
        handle = app.tasks.start(anyio.sleep_forever)
        assert [*app.tasks] == [handle]
        handle.cancel()
        await handle.wait()

    assert handle.state == "cancelled"
    assert len(app.tasks) == 0


async def test_more_than_max_tasks_are_a_503() -> None:
    gate = anyio.Event()

    async def endpoint(request: Request) -> PlainTextResponse:
        request.app.tasks.start(gate.wait)
        return PlainTextResponse("started")

    app = Spica(routes=[Route("/", endpoint)])
    app.tasks.max_tasks = 2
    async with AsyncTestClient(app) as client:
        responses = [await client.get("/") for _ in range(3)]
        gate.set()

    assert [response.status_code for response in responses] == [200, 200, 503]
    assert responses[2].headers["retry-after"] == "5"
    assert str(TasksFull(2)).startswith("2 tasks are running.")


def test_a_start_without_a_lifespan_names_the_fix() -> None:
    def endpoint(request: Request) -> None:
        request.app.tasks.start(print)

    async def async_endpoint(request: Request) -> None:
        request.app.tasks.start(print)

    client = TestClient(Spica(routes=[Route("/a", endpoint), Route("/b", async_endpoint)]))
    for path in ("/a", "/b"):
        with pytest.raises(RuntimeError, match="enter the client: `with TestClient"):
            client.get(path)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((None,), {}, "func must be callable, not None"),
        ((print,), {"restart": "always"}, "restart must be 'never' or 'on_error', not 'always'"),
        ((print,), {"at_shutdown": "x"}, "at_shutdown must be 'wait' or 'cancel', not 'x'"),
        ((print,), {"max_seconds": 0}, "max_seconds must be more than 0 seconds, not 0"),
        ((print,), {"max_seconds": "1"}, "max_seconds must be a number of seconds, not '1'"),
        ((print,), {"name": 7}, "name must be a string that is not empty, or None, not 7"),
    ],
    ids=["func", "restart", "at_shutdown", "zero", "type", "name"],
)
def test_wrong_arguments_are_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Spica().tasks.start(*arguments, **options)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_def_endpoint_cancels_a_task(backend: Any) -> None:
    handles = []

    def endpoint(request: Request) -> PlainTextResponse:
        handle = request.app.tasks.start(anyio.sleep_forever)
        handles.append(handle)
        handle.cancel()
        return PlainTextResponse("cancelled")

    async def wait(request: Request) -> PlainTextResponse:
        await handles[0].wait()
        return PlainTextResponse(handles[0].state)

    app = Spica(routes=[Route("/", endpoint), Route("/wait", wait)])
    with TestClient(app, backend=backend) as client:
        assert client.get("/").text == "cancelled"
        assert client.get("/wait").text == "cancelled"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jitter": None}, "jitter must be a number, not None"),
        ({"jitter": 0.6}, "jitter must be between 0 and 0.5, not 0.6"),
        ({"at_start": "no"}, "at_start must be True or False, not 'no'"),
        (
            {"store": "memory://"},
            r"store must be a store such as open_store\(...\), not 'memory://'",
        ),
        ({"name": ""}, "name must be a string that is not empty"),
    ],
)
def test_wrong_options_of_a_periodic_task_are_refused(options: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Spica().tasks.every(1, print, **options)


async def test_a_coroutine_instead_of_a_function_is_refused_and_closed() -> None:
    with pytest.raises(TypeError, match=r"start\(send, address\), not start\(send\(address\)\)"):
        Spica().tasks.start(Work()())  # type: ignore[arg-type]  # the test


def test_a_subclass_may_have_an_attribute_of_this_name() -> None:
    class Shop(Spica):
        def __init__(self) -> None:
            self.tasks = ["sell"]  # type: ignore[assignment]  # the test
            super().__init__()

    with TestClient(Shop()) as client:
        assert client.get("/").status_code == 404


# Restarts and time limits


def test_restarts_back_off_from_1_to_60_seconds(in_time: InTime) -> None:
    work = Work(failures=9)

    async def main() -> None:
        async with running(app := Spica()):
            handle = app.tasks.start(work, restart="on_error")
            await handle.wait()
            assert (handle.state, handle.failures, handle.error) == ("done", 9, None)

    in_time(main)

    waits = [round(b - a, 3) for a, b in pairwise(work.starts)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_long_run_resets_the_back_off(in_time: InTime) -> None:
    work = Work(seconds=60, failures=3)

    async def main() -> None:
        async with running(app := Spica()):
            await app.tasks.start(work, restart="on_error").wait()

    in_time(main)

    assert [round(b - a) for a, b in pairwise(work.starts)] == [61] * 3


def test_a_task_over_its_time_fails(in_time: InTime) -> None:
    async def main() -> None:
        async with running(app := Spica()):
            handle = app.tasks.start(anyio.sleep, 11, max_seconds=10)
            await handle.wait()
            assert isinstance(handle.error, TimeoutError)

    in_time(main)


# Periodic tasks


def test_a_periodic_task_runs_every_interval_although_it_fails(in_time: InTime) -> None:
    work = Work(seconds=3, failures=1)
    app = Spica()
    app.tasks.every(10, work, jitter=0)

    async def main() -> None:
        start = anyio.current_time()
        async with running(app):
            await anyio.sleep(35)
        assert [round(each - start) for each in work.starts] == [10, 20, 30]

    in_time(main)
    assert (work.ends, app.tasks.failed) == (2, 1)


def test_a_call_that_takes_longer_than_the_interval_delays_the_next(in_time: InTime) -> None:
    work = Work(seconds=15)

    async def main() -> None:
        start = anyio.current_time()
        async with running(app := Spica()):
            app.tasks.every(10, work, jitter=0, at_start=True)
            await anyio.sleep(50)
        assert [round(each - start) for each in work.starts] == [0, 15, 30, 45]

    in_time(main)


def test_the_jitter_spreads_the_calls(in_time: InTime) -> None:
    work = Work()

    async def main() -> None:
        async with running(app := Spica()):
            app.tasks.every(10, work, jitter=0.5)
            await anyio.sleep(1000)

    in_time(main)

    waits = [b - a for a, b in pairwise(work.starts)]
    assert 5 <= min(waits) < 8
    assert 12 < max(waits) <= 15


async def test_a_registered_task_runs_in_each_lifespan_after_it_has_started() -> None:
    steps: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        steps.append("start")
        await anyio.lowlevel.checkpoint()
        yield
        steps.append("stop")

    async def work() -> None:
        steps.append("work")

    app = Spica(lifespan=lifespan)
    app.tasks.every(3600, work, at_start=True)
    for _ in range(2):
        async with running(app):
            await anyio.wait_all_tasks_blocked()

    assert steps == ["start", "work", "stop"] * 2


async def test_a_cancelled_registration_does_not_run() -> None:
    work = Work()
    app = Spica()
    handle = app.tasks.every(1, work, at_start=True)
    assert handle.state == "waiting"
    handle.cancel()

    async with running(app):
        await anyio.wait_all_tasks_blocked()

    assert work.starts == []


async def test_tasks_of_a_mounted_application_run_in_the_outer_lifespan() -> None:
    gate, work = anyio.Event(), Work()

    async def endpoint(request: Request) -> PlainTextResponse:
        request.app.tasks.start(gate.wait)
        return PlainTextResponse(str(len(request.app.tasks)))

    inner = Spica(routes=[Route("/", endpoint)])
    inner.tasks.every(3600, work, at_start=True)
    app = Spica(routes=[Mount("/inner", inner)])
    async with AsyncTestClient(app) as client:
        await anyio.wait_all_tasks_blocked()
        assert len(work.starts) == 1
        assert (await client.get("/inner/")).text == "2"
        assert len(app.tasks) == 2
        gate.set()


def test_wrong_intervals_are_refused() -> None:
    tasks = Spica().tasks
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds must be"):
            tasks.every(seconds, print)
    with pytest.raises(ValueError, match=r"jitter must be between 0 and 0\.5"):
        tasks.every(1, print, jitter=0.6)


# One worker of the fleet


def fleet(store: FleetStore, works: list[Work], seconds: float, **options: Any) -> list[Spica]:
    apps = []
    for work in works:
        app = Spica()
        app.tasks.every(seconds, work, store=store, name="sweep", **options)  # type: ignore[arg-type]  # a part of one
        apps.append(app)
    return apps


def test_one_worker_of_the_fleet_calls_the_function(in_time: InTime) -> None:
    works = [Work(seconds=1), Work(seconds=1), Work(seconds=1)]

    async def main() -> None:
        async with running(*fleet(FleetStore(), works, 10)):
            await anyio.sleep(101)

    in_time(main)

    starts = sorted(start for work in works for start in work.starts)
    assert 8 <= len(starts) <= 11
    assert min(b - a for a, b in pairwise(starts)) >= 8.5
    assert sorted(len(work.starts) for work in works)[:2] == [0, 0]


def test_another_worker_replaces_a_killed_one_within_two_intervals(in_time: InTime) -> None:
    store, killed, work = FleetStore(), Work(), Work()

    async def main() -> None:
        (first,) = fleet(store, [killed], 10, at_start=True)
        async with running(first):
            await anyio.sleep(1)
            kept = dict(store.entries)
        store.entries = kept  # a killed worker does not release its lease
        async with running(*fleet(store, [work], 10)):
            await anyio.sleep(40)
        assert 10 < work.starts[0] - killed.starts[0] <= 20

    in_time(main)


def test_deploys_neither_repeat_nor_starve_a_periodic_task(in_time: InTime) -> None:
    store, work = FleetStore(), Work()

    async def main() -> None:
        start = anyio.current_time()
        for _ in range(20):  # 100 seconds of deploys, each long before the first interval is over
            async with running(*fleet(store, [work], 10)):
                await anyio.sleep(5)
        times = [each - start for each in work.starts]
        assert 7 <= len(times) <= 11
        assert min(b - a for a, b in pairwise(times)) >= 8.5

    in_time(main)


def test_a_long_call_keeps_its_lease(in_time: InTime) -> None:
    works = [Work(seconds=95), Work(seconds=95)]

    async def main() -> None:
        async with running(*fleet(FleetStore(), works, 10, at_start=True)):
            await anyio.sleep(90)
            assert sorted(len(work.starts) for work in works) == [0, 1]

    in_time(main)


def test_a_call_is_cancelled_when_its_lease_is_lost(
    in_time: InTime, caplog: pytest.LogCaptureFixture
) -> None:
    store, work = FleetStore(), Work(seconds=95)

    async def main() -> None:
        async with running(*fleet(store, [work], 10, at_start=True)):
            await anyio.sleep(1)
            store.entries["lease:sweep"] = ("another", float("inf"))
            await anyio.sleep(90)

    in_time(main)

    assert (len(work.starts), work.ends) == (1, 0)
    assert "Cancelled a call of task sweep: its lease is lost" in caplog.text


def test_a_store_that_is_down_pauses_the_task_with_one_warning(
    in_time: InTime, caplog: pytest.LogCaptureFixture
) -> None:
    store, work = FleetStore(), Work()

    async def main() -> None:
        async with running(*fleet(store, [work], 10)):
            await anyio.sleep(15)
            store.is_down = True
            calls = len(work.starts)
            await anyio.sleep(100)
            assert len(work.starts) == calls
            store.is_down = False
            await anyio.sleep(15)
            assert len(work.starts) > calls

    in_time(main)

    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_two_periodic_tasks_with_a_store_need_two_names() -> None:
    tasks, store = Spica().tasks, FleetStore()
    tasks.every(1, print, store=store)  # type: ignore[arg-type]  # a part of one

    with pytest.raises(ValueError, match=r"the name 'builtins\.print'.*pass name="):
        tasks.every(2, print, store=store)  # type: ignore[arg-type]  # a part of one


# Shutdown


def test_the_shutdown_waits_for_tasks_before_the_lifespan_ends(in_time: InTime) -> None:
    work, steps = Work(seconds=5), []

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        steps.append(work.ends)

    async def main() -> None:
        async with running(app := Spica(lifespan=lifespan)):
            app.tasks.start(work)

    in_time(main)
    assert steps == [1]


def test_the_shutdown_cancels_late_tasks_and_logs_their_names(
    in_time: InTime, caplog: pytest.LogCaptureFixture
) -> None:
    handles: list[TaskHandle] = []

    async def main() -> None:
        start = anyio.current_time()
        async with running(app := Spica()):
            handles.append(app.tasks.start(anyio.sleep_forever, name="late"))
        assert round(anyio.current_time() - start) == 8

    in_time(main)

    assert handles[0].state == "cancelled"
    assert caplog.messages == [
        "Cancelled tasks that had not ended 8 seconds after the shutdown began: late"
    ]


def test_a_shutdown_without_time_warns_only_about_tasks_that_lose_work(
    in_time: InTime, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with running(app := Spica(drain_seconds=0)):
            app.tasks.every(60, Work(), name="waiting")
            app.tasks.start(anyio.sleep_forever, name="watching", at_shutdown="cancel")
            app.tasks.start(anyio.sleep_forever, name="working")
            await anyio.sleep(1)

    in_time(main)
    assert caplog.messages == [
        "Cancelled tasks that had not ended 0 seconds after the shutdown began: working"
    ]


def test_the_shutdown_ends_waiting_tasks_at_once(
    in_time: InTime, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Work(failures=99)

    async def main() -> None:
        async with running(app := Spica()):
            app.tasks.every(5, Work())
            app.tasks.start(failing, restart="on_error")
            app.tasks.start(anyio.sleep_forever, at_shutdown="cancel")
            await anyio.sleep(6.5)
            end = anyio.current_time()
        assert anyio.current_time() == end

    in_time(main)
    assert "Cancelled" not in caplog.text


def test_a_task_that_ignores_its_cancellation_does_not_stop_the_shutdown(
    in_time: InTime, caplog: pytest.LogCaptureFixture
) -> None:
    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(100)

    async def main() -> None:
        start = anyio.current_time()
        async with running(app := Spica()):
            app.tasks.start(stubborn)
        assert round(anyio.current_time() - start) == 13
        await anyio.sleep(100)

    in_time(main)
    assert "Tasks that do not end after a cancellation: " in caplog.text


async def test_a_failed_start_cancels_the_tasks() -> None:
    handles: list[TaskHandle] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        handles.append(app.tasks.start(anyio.sleep_forever))
        raise ConnectionError("no database")
        yield

    with pytest.raises(ConnectionError):
        async with AsyncTestClient(Spica(lifespan=lifespan)):
            pass

    assert handles[0].state == "cancelled"


async def test_a_task_cannot_start_another_while_it_is_cancelled_at_the_end() -> None:
    app = Spica()
    errors: list[str] = []

    async def late() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with pytest.raises(RuntimeError) as raised:
                app.tasks.start(print)
            errors.append(str(raised.value))

    app.tasks.open()
    app.tasks.start(late)
    await anyio.wait_all_tasks_blocked()
    await app.tasks.aclose(0)

    assert errors == ["The application has shut down."]


# Detached background tasks


async def test_a_detached_background_task_does_not_hold_its_request() -> None:
    gate, ended = anyio.Event(), anyio.Event()

    async def work(address: str, subject: str) -> None:
        await gate.wait()
        ended.set()

    async def endpoint(request: Request) -> PlainTextResponse:
        background = BackgroundTasks()
        background.add_task(work, "ann", subject="hello", detach=True)
        return PlainTextResponse("ok", background=background)

    async with AsyncTestClient(app := Spica(routes=[Route("/", endpoint)])) as client:
        await client.get("/")
        await anyio.wait_all_tasks_blocked()
        assert [handle.name.rpartition(".")[2] for handle in app.tasks] == ["work"]
        gate.set()
        await ended.wait()


async def test_a_function_with_a_parameter_of_this_name_gets_it() -> None:
    seen: list[bool] = []

    async def work(detach: bool) -> None:
        seen.append(detach)

    await BackgroundTask(work, detach=True)()

    assert seen == [True]


async def test_a_detached_task_without_its_application_names_the_fix() -> None:
    task = BackgroundTask(print, detach=True)

    with pytest.raises(RuntimeError, match="A task needs the lifespan"):
        await task()
    async with running(Spica(), Spica()):
        with pytest.raises(RuntimeError, match=r"Several.*request\.app\.tasks\.start"):
            await task()


def test_a_message_names_thousands_of_tasks_in_few_words(
    in_time: InTime, caplog: pytest.LogCaptureFixture
) -> None:
    app = Spica(drain_seconds=8)

    async def main() -> None:
        async with running(app):
            for number in range(900):
                app.tasks.start(anyio.sleep_forever, name="mail" if number % 10 else f"{number:03}")

    in_time(main)
    assert len(caplog.text) < 2000
    assert "000, 010, 020" in caplog.text
    assert caplog.text.endswith("and 41 more names\n")


def test_a_periodic_task_goes_on_after_any_error_of_its_store(in_time: InTime) -> None:
    work, store, app = Work(), FleetStore(), Spica()
    store.error = OSError("a network cable")
    app.tasks.every(10, work, store=store, at_start=True)  # type: ignore[arg-type]

    async def main() -> None:
        async with running(app):
            store.is_down = True
            await anyio.sleep(15)
            assert work.ends <= 1
            store.is_down = False
            await anyio.sleep(30)
        assert work.ends >= 2

    in_time(main)
