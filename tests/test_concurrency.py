"""Threads: results, errors, context variables, limits, and which callables are async."""

import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from asgi_kit import call
from stable_ids import stable_id
from stacks import ForeignPass

from spica import concurrency
from spica.applications import Spica
from spica.background import BackgroundTask
from spica.concurrency import (
    ThreadLimiter,
    _DefaultThreadLimiter,
    background_threads,
    close_iterator,
    endpoint_threads,
    file_threads,
    is_async_callable,
    iterate_in_threadpool,
    run_in_threadpool,
    run_until_first_complete,
)
from spica.exceptions import HTTPException, SpicaDeprecationWarning
from spica.formparsers import MultiPartParser
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.gzip import gzip_threads
from spica.responses import FileResponse, PlainTextResponse
from spica.routing import BaseRoute, Mount, Route
from spica.staticfiles import StaticFiles

anyio_test = pytest.mark.anyio

UVLOOP = pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")


@pytest.fixture(params=["asyncio", UVLOOP, "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    if isinstance(request.param, tuple):
        pytest.importorskip("uvloop")
    return request.param


variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default=None)


def run(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs, threading.get_ident()


@anyio_test
async def test_a_function_runs_in_another_thread_with_its_arguments() -> None:
    args, kwargs, thread = await run_in_threadpool(run, 1, key=2)

    assert (args, kwargs) == ((1,), {"key": 2})
    assert thread != threading.get_ident()


@anyio_test
@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("x")], ids=repr)
async def test_an_error_is_raised_to_the_caller(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await run_in_threadpool(fail)

    assert raised.value is error


@anyio_test
async def test_the_thread_function_is_looked_up_when_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run_sync(func: Any, *args: Any, **kwargs: Any) -> str:
        return "patched"

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)

    assert await run_in_threadpool(run) == "patched"


@anyio_test
async def test_a_context_variable_of_the_caller_is_seen() -> None:
    variable.set("outer")

    assert await run_in_threadpool(variable.get) == "outer"


@anyio_test
async def test_what_a_function_sets_in_a_context_variable_is_seen_after_it() -> None:
    await run_in_threadpool(variable.set, "inner")

    assert variable.get() == "inner"


@anyio_test
async def test_it_is_seen_after_a_failure_too() -> None:
    def fail() -> None:
        variable.set("before the failure")
        raise ValueError

    with pytest.raises(ValueError):
        await run_in_threadpool(fail)

    assert variable.get() == "before the failure"


@anyio_test
async def test_an_equal_object_that_is_another_is_carried_back() -> None:
    variable.set([])
    other: list[int] = []

    await run_in_threadpool(variable.set, other)

    assert variable.get() is other


@anyio_test
async def test_what_a_function_has_reset_stays_as_it_was() -> None:
    variable.set("outer")

    def set_and_reset() -> None:
        variable.reset(variable.set("inner"))

    await run_in_threadpool(set_and_reset)

    assert variable.get() == "outer"


@anyio_test
async def test_the_default_limiter_of_anyio_counts_the_calls() -> None:
    limiter = anyio.to_thread.current_default_thread_limiter()
    started, release = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        release.wait(60)

    async with anyio.create_task_group() as group:
        group.start_soon(run_in_threadpool, wait)
        while not started.is_set():
            await anyio.lowlevel.checkpoint()
        assert limiter.borrowed_tokens == endpoint_threads.running == 1
        release.set()

    assert limiter.borrowed_tokens == 0


class Occupied:
    """Hold all places of a limiter until the block is left."""

    def __init__(self, threads: ThreadLimiter) -> None:
        self.threads = threads
        self.release = threading.Event()
        self.started = threading.Semaphore(0)

    def wait(self) -> None:
        self.started.release()
        self.release.wait(60)

    async def __aenter__(self) -> "Occupied":
        self.group = anyio.create_task_group()
        await self.group.__aenter__()
        for _ in range(self.threads.total):
            self.group.start_soon(self.threads.run, self.wait)
        while self.threads.running < self.threads.total:
            await anyio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self.release.set()
        await self.group.__aexit__(*exc_info)


@anyio_test
async def test_a_call_that_finds_no_thread_in_time_is_a_503() -> None:
    threads = ThreadLimiter("test", 2, max_wait_seconds=0)

    async with Occupied(threads):
        with pytest.raises(HTTPException) as raised:
            await threads.run(run)

    assert raised.value.status_code == 503
    assert raised.value.headers == {"Retry-After": "5"}


@anyio_test
async def test_a_call_without_a_bound_waits_for_its_turn() -> None:
    threads = ThreadLimiter("test", 1)
    results = []

    async def call() -> None:
        results.append(await threads.run(run, "done"))

    async with anyio.create_task_group() as group:
        async with Occupied(threads):
            group.start_soon(call)
            while not threads.waiting:
                await anyio.lowlevel.checkpoint()
            assert results == []

    assert results[0][0] == ("done",)
    assert (threads.running, threads.waiting) == (0, 0)


@anyio_test
async def test_a_call_that_is_cancelled_while_it_waits_gives_up_its_place() -> None:
    threads = ThreadLimiter("test", 1)

    async with Occupied(threads):
        async with anyio.create_task_group() as group:
            group.start_soon(threads.run, run)
            while not threads.waiting:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert threads.waiting == 0

    assert threads.running == 0


@anyio_test
async def test_limiters_of_one_name_are_two() -> None:
    one, other = ThreadLimiter("same", 1), ThreadLimiter("same", 2)
    assert one.current() is not other.current()
    # All that early versions of AnyIO 4 look at is the name.
    assert repr(one._of_loop) != repr(other._of_loop)


@anyio_test
async def test_limiters_do_not_wait_for_each_other() -> None:
    threads = ThreadLimiter("test", 1)

    async with Occupied(threads):
        args, _, _ = await ThreadLimiter("other", 1).run(run, 1)

    assert args == (1,)


@anyio_test
async def test_the_total_can_be_changed_while_calls_wait() -> None:
    threads = ThreadLimiter("test", 1, max_wait_seconds=0)

    async with Occupied(threads):
        threads.total = 2
        args, _, _ = await threads.run(run, 1)

    assert args == (1,)


@anyio_test
async def test_what_has_begun_waits_without_a_bound() -> None:
    threads = ThreadLimiter("test", 1, max_wait_seconds=0)
    results = []

    async def call() -> None:
        results.append(await threads.run_unbounded(run, "done"))

    async with anyio.create_task_group() as group:
        async with Occupied(threads):
            group.start_soon(call)
            while not threads.waiting:
                await anyio.lowlevel.checkpoint()

    assert results[0][0] == ("done",)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("total", 0, "total must be 1 or more, not 0."),
        ("total", True, "total must be an int, not True."),
        ("total", 2.0, "total must be an int, not 2.0."),
        ("total", "2", "total must be an int, not '2'."),
        ("max_wait_seconds", -1, "max_wait_seconds must be 0 or more, or None, not -1."),
        ("max_wait_seconds", float("nan"), "max_wait_seconds must be 0 or more, or None, not nan."),
        ("max_wait_seconds", "1", "max_wait_seconds must be a number or None, not '1'."),
        ("max_wait_seconds", False, "max_wait_seconds must be a number or None, not False."),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        ThreadLimiter("x", **{name: value})
    assert str(raised.value) == f"ThreadLimiter 'x': {message}"
    threads = ThreadLimiter("x", 3, max_wait_seconds=4)
    with pytest.raises((TypeError, ValueError)):
        setattr(threads, name, value)
    assert (threads.total, threads.max_wait_seconds) == (3, 4)


@anyio_test
async def test_the_total_of_endpoints_is_that_of_anyio() -> None:
    limiter = anyio.to_thread.current_default_thread_limiter()
    threads = _DefaultThreadLimiter("test", max_wait_seconds=1)
    limiter.total_tokens = 7
    assert threads.current().total_tokens == 7  # not set here: left alone

    threads.total = 9
    assert threads.current() is limiter
    assert limiter.total_tokens == 9

    limiter.total_tokens = 11  # set later, there
    assert threads.current().total_tokens == 11

    threads.total = 9  # set later, here
    assert limiter.total_tokens == 9


@anyio_test
async def test_a_total_from_outside_of_an_event_loop_is_taken_over() -> None:
    threads = _DefaultThreadLimiter("test", max_wait_seconds=1)
    for total in (9, 8):
        await anyio.to_thread.run_sync(setattr, threads, "total", total)
        assert threads.current().total_tokens == total


@anyio_test
async def test_a_total_that_the_lifespan_sets_in_anyio_wins() -> None:
    threads = _DefaultThreadLimiter("test", max_wait_seconds=1)
    await anyio.to_thread.run_sync(setattr, threads, "total", 9)  # as in a module

    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = 50

    assert threads.current().total_tokens == 50
    assert await threads.run(abs, -1) == 1
    assert limiter.total_tokens == 50


@pytest.mark.parametrize(
    ("threads", "name", "total", "max_wait_seconds"),
    [
        (endpoint_threads, "endpoints", 40, 30),
        (file_threads, "files", 40, 30),
        (background_threads, "background tasks", 20, None),
        (gzip_threads, "gzip", 40, 30),
    ],
    ids=lambda value: str(getattr(value, "name", "")),
)
def test_the_groups_and_their_settings(
    threads: ThreadLimiter, name: str, total: int, max_wait_seconds: float | None
) -> None:
    found = (threads.name, threads.total, threads.max_wait_seconds)
    assert found == (name, total, max_wait_seconds)


@anyio_test
async def test_an_iterable_is_iterated_in_threads() -> None:
    def numbers() -> Iterator[tuple[int, int]]:
        for number in range(3):
            yield number, threading.get_ident()

    items = [item async for item in iterate_in_threadpool(numbers())]

    assert [number for number, _ in items] == [0, 1, 2]
    assert threading.get_ident() not in [thread for _, thread in items]


@anyio_test
async def test_a_list_is_iterated_as_well() -> None:
    assert [item async for item in iterate_in_threadpool([1, 2])] == [1, 2]


@anyio_test
async def test_an_async_generator_is_closed_and_other_iterators_need_it_not() -> None:
    closed: list[bool] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            closed.append(True)

    class Numbers:
        def __aiter__(self) -> AsyncIterator[int]:
            return self

        async def __anext__(self) -> int:
            return 1

    begun = numbers()
    await anext(begun)
    await close_iterator(begun)
    await close_iterator(Numbers())
    assert closed == [True]


def test_the_parameter_has_the_name_that_agents_pass() -> None:
    assert list(inspect.signature(iterate_in_threadpool).parameters) == ["iterator"]


@anyio_test
async def test_an_error_of_the_iterator_is_raised() -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise ValueError("x")

    seen = []
    with pytest.raises(ValueError, match="x"):
        async for item in iterate_in_threadpool(fail()):
            seen.append(item)

    assert seen == [1]


class Closable:
    def __init__(self) -> None:
        self.closed_in: int | None = None

    def __iter__(self) -> "Closable":
        return self

    def __next__(self) -> int:
        return 1

    def close(self) -> None:
        self.closed_in = threading.get_ident()


@anyio_test
async def test_an_iterator_that_is_given_up_is_closed_in_a_thread() -> None:
    source = Closable()
    iterator = iterate_in_threadpool(source)
    assert isinstance(iterator, AsyncIterator)

    await anext(iterator)
    await iterator.aclose()  # type: ignore[attr-defined]  # an async generator has it

    assert source.closed_in not in (None, threading.get_ident())


@anyio_test
async def test_an_iterator_is_closed_when_the_iteration_is_cancelled() -> None:
    source = Closable()

    with anyio.CancelScope() as scope:
        async for _ in iterate_in_threadpool(source):
            scope.cancel()

    assert source.closed_in is not None


@anyio_test
async def test_the_first_to_complete_cancels_the_others() -> None:
    done = []

    async def finish(name: str) -> None:
        done.append(name)

    with pytest.warns(SpicaDeprecationWarning, match="run_until_first_complete is deprecated"):
        await run_until_first_complete((finish, {"name": "a"}), (anyio.sleep_forever, {}))

    assert done == ["a"]


async def coroutine() -> None: ...


def function() -> None: ...


class AsyncCall:
    async def __call__(self) -> None: ...

    async def method(self) -> None: ...


class SyncCall:
    def __call__(self) -> None: ...

    def method(self) -> None: ...


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    "obj",
    [
        coroutine,
        AsyncCall(),
        AsyncCall().method,
        AsyncCall.method,
        functools.partial(coroutine),
        functools.partial(functools.partial(AsyncCall())),
        mock.AsyncMock(),
    ],
    ids=stable_id,
)
def test_what_gives_a_coroutine_is_async(obj: Any) -> None:
    assert is_async_callable(obj)


@pytest.mark.parametrize(
    "obj",
    [
        function,
        SyncCall(),
        SyncCall().method,
        AsyncCall,  # calling the class gives an instance
        functools.partial(function),
        async_generator,
        mock.MagicMock(),
        len,
        None,
    ],
    ids=stable_id,
)
def test_what_does_not_is_not(obj: Any) -> None:
    assert not is_async_callable(obj)


@pytest.mark.skipif(
    not hasattr(inspect, "markcoroutinefunction"), reason="Python 3.12 brought the mark"
)
def test_a_function_that_is_marked_is_async() -> None:
    def marked() -> None: ...

    assert is_async_callable(inspect.markcoroutinefunction(marked))


def test_the_module_imports_no_anyio() -> None:
    source = inspect.getsource(concurrency)

    assert "\nimport anyio" not in source
    assert "\nfrom anyio" not in source


class TestNothingWaitsForUserCode:
    """With every thread of the endpoints taken, what is not the user's goes on."""

    @pytest.fixture
    async def no_thread_is_free(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        monkeypatch.setattr(endpoint_threads, "max_wait_seconds", 0)
        limiter = endpoint_threads.current()
        before = limiter.total_tokens
        limiter.total_tokens = 1
        async with limiter:
            yield
        limiter.total_tokens = before

    @pytest.fixture(params=["by value", "by messages"])
    def served(self, request: pytest.FixtureRequest) -> Any:
        def make(*routes: BaseRoute) -> Any:
            app = Spica(routes=routes)
            return app if request.param == "by value" else ForeignPass(app)

        return make

    @anyio_test
    async def test_a_sync_endpoint_is_a_503_with_retry_after(
        self, served: Any, no_thread_is_free: None
    ) -> None:
        def endpoint(request: Any) -> PlainTextResponse:
            return PlainTextResponse("never")

        exchange = await call(served(Route("/", endpoint)))
        assert (exchange.status, exchange.headers["retry-after"]) == (503, "5")

    @anyio_test
    async def test_a_file_is_sent(
        self, served: Any, no_thread_is_free: None, tmp_path: Path
    ) -> None:
        (tmp_path / "a.txt").write_bytes(b"x" * 100_000)
        files = StaticFiles(directory=tmp_path)

        async def endpoint(request: Any) -> FileResponse:
            return FileResponse(tmp_path / "a.txt")

        app = served(Route("/", endpoint), Mount("/files", files))
        assert len((await call(app)).body) == 100_000
        assert len((await call(app, path="/files/a.txt")).body) == 100_000

    @anyio_test
    async def test_an_upload_goes_to_the_disk_and_is_removed(
        self, served: Any, no_thread_is_free: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(MultiPartParser, "spool_max_size", 10)
        opened = []

        async def endpoint(request: Any) -> PlainTextResponse:
            async with request.form() as form:
                opened.append(form["file"].file)
                return PlainTextResponse(str(len(await form["file"].read())))

        body = (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
            + b"x" * 1000
            + b"\r\n--b--\r\n"
        )
        headers = [("content-type", "multipart/form-data; boundary=b")]
        app = served(Route("/", endpoint, methods=["POST"]))
        assert (await call(app, "POST", headers=headers, body=body)).text == "1000"
        assert opened[0].closed

    @anyio_test
    async def test_a_sync_background_task_runs(self, served: Any, no_thread_is_free: None) -> None:
        done: list[int] = []

        async def endpoint(request: Any) -> PlainTextResponse:
            return PlainTextResponse("", background=BackgroundTask(done.append, 1))

        await call(served(Route("/", endpoint)))
        assert done == [1]

    @anyio_test
    async def test_background_tasks_take_no_thread_of_an_endpoint(self, served: Any) -> None:
        running: list[int] = []

        def task() -> None:
            running.append(endpoint_threads_borrowed())

        def endpoint_threads_borrowed() -> int:
            return anyio.from_thread.run_sync(lambda: endpoint_threads.running)

        async def endpoint(request: Any) -> PlainTextResponse:
            return PlainTextResponse("", background=BackgroundTask(task))

        await call(served(Route("/", endpoint)))
        assert running == [0]

    @anyio_test
    async def test_what_a_sync_endpoint_sets_is_seen_by_the_middleware(self, served: Any) -> None:
        seen = []

        def endpoint(request: Any) -> PlainTextResponse:
            variable.set("of the endpoint")
            return PlainTextResponse("")

        async def look(request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            seen.append(variable.get())
            return response

        middleware = [Middleware(BaseHTTPMiddleware, dispatch=look)]
        await call(served(Route("/", endpoint, middleware=middleware)))
        assert seen == ["of the endpoint"]
