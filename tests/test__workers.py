"""Parked worker threads: nothing in them differs from a thread of AnyIO's."""

import asyncio
import contextlib
import functools
import gc
import os
import random
import subprocess
import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from spica import _workers
from spica._workers import Pool
from spica.concurrency import ThreadLimiter, endpoint_threads, run_in_threadpool

anyio_test = pytest.mark.anyio
UVLOOP = pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")


@pytest.fixture(params=[pytest.param("asyncio", id="asyncio"), UVLOOP])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    if request.param != "asyncio":
        pytest.importorskip("uvloop")
    return request.param


async def parked(func: Any, *args: Any) -> Any:
    """Call a function in a parked thread, also if no call of the process has come before."""
    await run_in_threadpool(int)
    return await run_in_threadpool(func, *args)


BOTH = pytest.mark.parametrize("call", [parked, anyio.to_thread.run_sync], ids=["parked", "anyio"])
"""What holds in a parked thread must hold in one of AnyIO's."""


@anyio_test
async def test_calls_one_after_the_other_share_a_parked_thread() -> None:
    await parked(int)
    idle = _workers.pool._idle[False]
    number = len(idle)

    first = await parked(threading.get_ident)

    assert await parked(threading.get_ident) == first
    assert len(idle) == number >= 1


@anyio_test
@BOTH
async def test_the_name_and_the_flag_of_the_thread(call: Any) -> None:
    thread = await call(threading.current_thread)

    assert (thread.name, thread.daemon) == ("AnyIO worker thread", False)


@anyio_test
async def test_a_replaced_run_sync_makes_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    await parked(int)

    async def run_sync(func: Any, **kwargs: Any) -> str:
        return "replaced"

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)

    result: Any = await run_in_threadpool(int)
    assert result == "replaced"


class Boom(Exception):
    """An error that can be told from others, and referenced weakly."""


class TestCancellation:
    @anyio_test
    @BOTH
    async def test_a_cancelled_caller_waits_and_gets_the_result(self, call: Any) -> None:
        started, release = threading.Event(), threading.Event()
        results = []

        def work() -> str:
            started.set()
            release.wait(60)
            return "done"

        async def caller() -> None:
            results.append(await call(work))
            await anyio.lowlevel.checkpoint()
            results.append("not cancelled")

        async with anyio.create_task_group() as group:
            group.start_soon(caller)
            while not started.is_set():
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                for _ in range(10):
                    await anyio.lowlevel.checkpoint()
                assert results == []
                release.set()

        assert results == ["done"]

    @anyio_test
    @BOTH
    async def test_check_cancelled_raises_in_the_thread(self, call: Any) -> None:
        started = threading.Event()
        seen = []

        def work() -> None:
            anyio.from_thread.check_cancelled()
            started.set()
            try:
                while True:
                    anyio.from_thread.check_cancelled()
            except BaseException as error:
                seen.append(type(error))
                raise

        async with anyio.create_task_group() as group:
            group.start_soon(call, work)
            while not started.is_set():
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

        assert seen == [asyncio.CancelledError]

    @anyio_test
    @BOTH
    async def test_check_cancelled_sees_no_scope_beyond_a_shield(self, call: Any) -> None:
        with anyio.CancelScope() as outer, anyio.CancelScope(shield=True):
            outer.cancel()
            assert await call(anyio.from_thread.check_cancelled) is None

    @anyio_test
    @BOTH
    async def test_a_coroutine_of_the_thread_has_the_deadline_of_the_caller(
        self, call: Any
    ) -> None:
        async def deadline() -> float:
            return anyio.current_effective_deadline()

        with anyio.CancelScope(deadline=anyio.current_time() + 1000) as scope:
            assert await call(anyio.from_thread.run, deadline) == scope.deadline

    @anyio_test
    @BOTH
    async def test_a_coroutine_of_the_thread_is_cancelled_with_the_caller(self, call: Any) -> None:
        started = anyio.Event()
        seen = []

        async def sleep() -> None:
            started.set()
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        async with anyio.create_task_group() as group:
            group.start_soon(call, anyio.from_thread.run, sleep)
            await started.wait()
            group.cancel_scope.cancel()

        assert seen == ["cancelled"]

    @anyio_test
    @BOTH
    async def test_a_cancelled_scope_starts_no_call(self, call: Any) -> None:
        called: list[int] = []
        await parked(int)

        with anyio.CancelScope() as scope:
            scope.cancel()
            await call(called.append, 1)

        assert (called, scope.cancelled_caught) == ([], True)

    @anyio_test
    @BOTH
    async def test_a_task_that_cancels_itself_starts_no_call(self, call: Any) -> None:
        called: list[int] = []

        async def caller() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await call(called.append, 1)

        await parked(int)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(caller())
        assert called == []

    @anyio_test
    async def test_a_native_cancel_ends_the_wait_and_the_function_goes_on(self) -> None:
        """As with AnyIO's threads: only cancel scopes are held off."""
        started, release, done = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            started.set()
            release.wait(60)
            done.set()

        await parked(int)
        task = asyncio.create_task(run_in_threadpool(work))
        while not started.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert endpoint_threads.running == 0
        release.set()
        assert done.wait(60)

    @anyio_test
    async def test_a_call_that_is_cancelled_before_its_thread_wakes_is_not_made(self) -> None:
        await parked(int)
        called: list[int] = []
        details = _workers.pool.details
        assert details is not None
        loop = asyncio.get_running_loop()
        arguments: Any = (details, _workers.Returned(), loop, None, called.append, (1,), {})
        call = _workers.Call(*arguments)
        call._future.cancel()

        call.make()

        assert called == []


class TestFromThread:
    @anyio_test
    @BOTH
    async def test_code_of_the_event_loop_is_run(self, call: Any) -> None:
        loop_thread = threading.get_ident()

        assert await call(anyio.from_thread.run_sync, threading.get_ident) == loop_thread

    @anyio_test
    @BOTH
    async def test_calls_are_nested(self, call: Any) -> None:
        def down(depth: int) -> list[int]:
            idents = [threading.get_ident()]
            if depth:
                idents += anyio.from_thread.run(call, down, depth - 1)
            return idents

        idents = await call(down, 5)

        assert len(set(idents)) == 6

    @anyio_test
    @BOTH
    async def test_a_portal_is_called(self, call: Any) -> None:
        async with anyio.from_thread.BlockingPortal() as portal:
            assert await call(portal.call, threading.get_ident) == threading.get_ident()

    @anyio_test
    @BOTH
    async def test_no_async_library_is_found_in_the_thread(self, call: Any) -> None:
        sniffio = pytest.importorskip("sniffio")

        with pytest.raises(sniffio.AsyncLibraryNotFoundError):
            await call(sniffio.current_async_library)

    @anyio_test
    @BOTH
    async def test_an_event_loop_may_run_in_the_thread(self, call: Any) -> None:
        async def inside() -> int:
            return int(await run_in_threadpool(abs, -1))

        assert await call(functools.partial(anyio.run, inside)) == 1
        assert await call(anyio.from_thread.run_sync, int) == 0

    @anyio_test
    async def test_an_idle_thread_keeps_nothing_of_anyio(self) -> None:
        await parked(int)
        details = _workers.pool.details
        assert details is not None
        details.claim(asyncio.get_running_loop(), None)
        assert vars(details.thread_locals)

        details.release()

        assert vars(details.thread_locals) == {}


class TestErrors:
    @anyio_test
    @BOTH
    async def test_stop_iteration_becomes_a_runtime_error(self, call: Any) -> None:
        with pytest.raises(RuntimeError, match="coroutine raised StopIteration") as raised:
            await call(next, iter(()))

        assert isinstance(raised.value.__cause__, StopIteration)

    @anyio_test
    @BOTH
    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, ValueError])
    async def test_every_exception_reaches_the_caller(
        self, call: Any, kind: type[BaseException]
    ) -> None:
        def fail() -> None:
            raise kind("x")

        with pytest.raises(kind) as raised:
            await call(fail)

        assert [entry.name for entry in raised.traceback][-1] == "fail"
        assert await call(int) == 0

    @anyio_test
    async def test_a_thread_that_cannot_be_started_is_an_error_of_the_caller(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        await parked(int)
        monkeypatch.setattr(_workers.pool, "_idle", {False: deque()})
        monkeypatch.setattr(threading.Thread, "start", start)

        with pytest.raises(RuntimeError, match="can't start new thread"):
            await run_in_threadpool(int)
        assert endpoint_threads.running == 0


class TestReferences:
    class Value:
        pass

    @pytest.fixture(autouse=True)
    def without_the_garbage_collector(self) -> Iterator[None]:
        gc.disable()
        yield
        gc.enable()

    @anyio_test
    async def test_arguments_and_results_are_freed_at_once(self) -> None:
        value = self.Value()
        reference = weakref.ref(value)

        assert await parked(lambda value: value, value) is value
        del value

        assert reference() is None

    @anyio_test
    async def test_an_error_is_freed_at_once(self) -> None:
        references = []

        def fail() -> None:
            error = Boom()
            references.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error

        with contextlib.suppress(Boom):
            await parked(fail)

        assert references[0]() is None

    @anyio_test
    async def test_a_context_is_freed_with_its_call(self) -> None:
        variable: ContextVar[Any] = ContextVar("variable")
        references = []

        async def caller() -> None:
            value = self.Value()
            references.append(weakref.ref(value))
            variable.set(value)
            await parked(int)

        await asyncio.create_task(caller())
        await parked(int)  # the thread has then let go of the call before

        assert references[0]() is None

    def test_a_closed_event_loop_is_freed(self) -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(parked(int))
        loop.close()
        reference = weakref.ref(loop)
        del loop
        gc.collect()

        assert reference() is None

    def test_an_event_loop_that_was_closed_during_a_call_is_freed(self) -> None:
        asyncio.run(parked(int))
        pool, details = Pool(), _workers.pool.details
        assert details is not None
        started, release = threading.Event(), threading.Event()
        threads: list[threading.Thread] = []

        def work() -> None:
            threads.append(threading.current_thread())
            started.set()
            release.wait(60)

        async def begin() -> None:
            this = asyncio.get_running_loop()
            this.create_task(pool.run(details, this, None, work, (), {}))
            await asyncio.sleep(0)
            started.wait(60)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin())
        loop.close()
        pool.stop()
        release.set()
        threads[0].join(60)
        reference = weakref.ref(loop)
        del loop
        other = asyncio.new_event_loop()
        pool._returned_in(other)
        other.close()
        gc.collect()

        assert reference() is None


class TestEventLoops:
    def test_loops_one_after_the_other_share_the_threads(self) -> None:
        asyncio.run(parked(int))
        before = threading.active_count()

        threads = {asyncio.run(parked(threading.get_ident)) for _ in range(20)}

        assert threading.active_count() <= before
        assert len(threads) <= len(_workers.pool._workers)

    def test_loops_of_several_threads_get_their_own_results(self) -> None:
        async def many(base: int) -> list[int]:
            return [await run_in_threadpool(abs, -base - n) for n in range(200)]

        results: dict[int, list[int]] = {}

        def run(base: int) -> None:
            results[base] = asyncio.run(many(base))

        threads = [threading.Thread(target=run, args=(n * 1000,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert results == {n * 1000: [n * 1000 + i for i in range(200)] for n in range(4)}

    def test_a_loop_of_a_daemon_thread_has_daemon_threads(self) -> None:
        flags = []

        def run() -> None:
            flags.append(asyncio.run(parked(threading.current_thread)).daemon)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join()

        assert flags == [True]

    def test_a_call_whose_loop_was_closed_leaves_its_thread_usable(self) -> None:
        started, release, done = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            started.set()
            release.wait(60)
            done.set()

        async def leave() -> None:
            await parked(int)
            task = asyncio.create_task(run_in_threadpool(work))
            while not started.is_set():
                await asyncio.sleep(0)
            task.cancel()

        asyncio.run(leave())
        release.set()

        assert done.wait(60)
        assert asyncio.run(parked(abs, -1)) == 1

    @anyio_test
    async def test_an_idle_thread_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_workers, "IDLE_SECONDS", 0)
        pool = Pool()
        details = await _workers._details_of_anyio()
        assert details is not None
        loop = asyncio.get_running_loop()

        thread = await pool.run(details, loop, None, threading.current_thread, (), {})
        thread.join(60)

        assert not thread.is_alive()
        assert (pool._workers, list(pool._idle[False])) == (set(), [])

    @anyio_test
    async def test_a_stopped_pool_ends_its_threads(self) -> None:
        pool = Pool()
        details = await _workers._details_of_anyio()
        assert details is not None
        loop = asyncio.get_running_loop()
        thread = await pool.run(details, loop, None, threading.current_thread, (), {})

        pool.stop()
        thread.join(60)

        assert not thread.is_alive()
        assert pool.current_task() is None

    @anyio_test
    async def test_a_thread_that_is_told_to_end_makes_the_call_on_its_way_first(self) -> None:
        pool = Pool()
        details = await _workers._details_of_anyio()
        assert details is not None
        loop = asyncio.get_running_loop()
        await pool.run(details, loop, None, int, (), {})
        (worker,) = pool._workers
        pool._idle[False].remove(worker)  # as if a call had just taken it
        pool.is_stopped = True
        worker.put(None)
        arguments: Any = (details, _workers.Returned(), loop, None, abs, (-1,), {})
        call = _workers.Call(*arguments)
        worker.put(call)

        assert await call.wait() == 1


class TestUnknownAnyIO:
    """With an AnyIO that sets something else in its threads, AnyIO makes the calls."""

    @anyio_test
    async def test_another_thread_local_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        details = await _workers._details_of_anyio()
        assert details is not None
        backend = sys.modules["anyio._backends._asyncio"]
        claim = backend.claim_worker_thread

        @contextlib.contextmanager
        def claim_more(*args: Any) -> Iterator[None]:
            with claim(*args):
                details.thread_locals.something_new = 1
                yield

        monkeypatch.setattr(backend, "claim_worker_thread", claim_more)
        pool = Pool()

        assert await pool.learn() is None
        assert pool.current_task() is None

    @anyio_test
    @pytest.mark.parametrize("name", ["_core._eventloop", "_backends._asyncio"])
    async def test_a_missing_module_is_noticed(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pool = Pool()
        await anyio.to_thread.run_sync(int)
        monkeypatch.setitem(sys.modules, f"anyio.{name}", None)

        assert await _workers._details_of_anyio() is None
        assert pool.details is None

    @anyio_test
    async def test_a_missing_hook_for_the_exit_is_noticed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(threading, "_register_atexit")

        assert await Pool().learn() is None

    @anyio_test
    async def test_anyio_makes_the_calls_then(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pool = Pool()
        monkeypatch.delattr(threading, "_register_atexit")
        monkeypatch.setattr("spica.concurrency._pool", pool)
        limiter = ThreadLimiter("test", 1)

        assert await limiter.run(abs, -1) == 1
        assert await limiter.run(abs, -2) == 2
        assert (limiter.running, pool.details) == (0, None)


@anyio_test
async def test_ten_thousand_calls_lose_nothing() -> None:
    chance = random.Random(7)
    counts: Counter[str] = Counter()

    lock = threading.Lock()

    def work(kind: str, number: int) -> int:
        with lock:
            counts["made"] += 1
        if kind == "error":
            raise Boom(number)
        if kind == "nested":
            return int(anyio.from_thread.run(run_in_threadpool, abs, -number))
        return number

    async def one(kind: str, number: int) -> None:
        with anyio.CancelScope() as scope:
            if kind == "cancelled":
                asyncio.get_running_loop().call_soon(scope.cancel)
            try:
                result = await run_in_threadpool(work, kind, number)
            except Boom as error:
                result = error.args[0]
            counts["right"] += result == number
            return
        counts["not begun"] += 1

    async def client(numbers: range) -> None:
        for number in numbers:
            kind = chance.choice(["value", "error", "nested", "cancelled"])
            await one(kind, number)

    async with anyio.create_task_group() as group:
        for start in range(0, 10_000, 500):
            group.start_soon(client, range(start, start + 500))

    assert counts["made"] == counts["right"]
    assert counts["right"] + counts["not begun"] == 10_000
    assert endpoint_threads.running == endpoint_threads.waiting == 0


RUN = """
import asyncio, threading, time
import spica._workers
from spica.concurrency import run_in_threadpool

async def use():
    for n in range(3):
        assert await run_in_threadpool(abs, -n) == n
"""

ENDS = {
    "asyncio.run": "asyncio.run(use())",
    "a runner": "with asyncio.Runner() as runner: runner.run(use()); runner.run(use())",
    "a loop that is closed": (
        "loop = asyncio.new_event_loop(); loop.run_until_complete(use()); loop.close()"
    ),
    "a loop that is stopped": """
loop = asyncio.new_event_loop()
async def stop():
    await use()
    loop.stop()
task = loop.create_task(stop())
loop.run_forever()
loop.close()
""",
    "an error": """
async def fail():
    await use()
    raise ZeroDivisionError
try:
    asyncio.run(fail())
except ZeroDivisionError:
    pass
""",
    "gather of all tasks": """
async def gather():
    await use()
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
asyncio.run(gather())
""",
    "a thread that goes on": """
threading.Thread(target=lambda: (threading.main_thread().join(), asyncio.run(use()))).start()
asyncio.run(use())
""",
    "a loop of a daemon thread": """
thread = threading.Thread(target=asyncio.run, args=(use(),), daemon=True)
thread.start()
thread.join()
""",
}


def run_program(program: str) -> str:
    """Run a program in development mode, with warnings as errors, and return its output."""
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", RUN + program],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    # In development mode asyncio reports slow steps; a busy machine has them.
    errors = [line for line in result.stderr.splitlines() if not line.startswith("Executing ")]
    assert (result.returncode, errors) == (0, [])
    return result.stdout


MEASURED = """
import atexit
end = time.monotonic()
atexit.register(lambda: print(time.monotonic() - end))
"""


@pytest.mark.parametrize("name", ENDS)
def test_the_interpreter_ends_at_once_and_without_a_warning(name: str) -> None:
    if name == "a thread that goes on" and sys.version_info[:2] == (3, 12):
        pytest.skip("Python 3.12 starts no thread after the main thread has ended")
    # Far below the time that an idle thread waits.
    assert float(run_program(ENDS[name] + MEASURED)) < _workers.IDLE_SECONDS / 2


def test_the_interpreter_waits_for_a_call_that_was_given_up() -> None:
    program = """
started, release = threading.Event(), threading.Event()
def work():
    started.set()
    threading.main_thread().join()
    print("done")
async def leave():
    await use()
    task = asyncio.create_task(run_in_threadpool(work))
    while not started.is_set():
        await asyncio.sleep(0)
    task.cancel()
asyncio.run(leave())
"""
    assert run_program(program) == "done\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("place", ["between loops", "in a thread"])
def test_the_child_of_a_fork_has_threads_of_its_own(place: str) -> None:
    program = """
import os, sys, warnings
import spica._workers
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads
spica._workers.IDLE_SECONDS = 0.1
asyncio.run(use())
def fork():
    child = os.fork()
    if child == 0:
        threading.Thread(target=asyncio.run, args=(use(),)).start()
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join(60)
        sys.stdout.write("child\\n")
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
    fork = {"between loops": "fork()", "in a thread": "asyncio.run(run_in_threadpool(fork))"}
    assert run_program(program + fork[place]) == "child\n"
