"""Worker threads for asyncio and uvloop that park between calls.

For each call, AnyIO's own worker threads take one more turn of the event loop, a slow queue and a
cancel scope. The threads here belong to the process, not to an event loop. A thread waits for its
next call in a C queue and hands the result back with ``loop.call_soon_threadsafe``. Event loops come
and go without touching it. It ends after 10 idle seconds, and at the end of the interpreter.

Code in these threads must not notice the difference, so each call makes AnyIO's settings in its thread:
`anyio.from_thread` works, and cancellation reaches it. AnyIO offers no public way to do that. The
pool therefore learns the details from one of AnyIO's threads when a process makes its first call,
and tests itself. If it finds an unknown detail, AnyIO runs every call, as it does on trio
(docs/decisions/0016-parked-workers.md).

Limits on the number of threads are not decided here: see `spica.concurrency`.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, cast
from weakref import WeakKeyDictionary

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

IDLE_SECONDS = 10
"""How long an idle thread waits for its next call before it ends. AnyIO and trio use the same."""

_MISSING: Any = object()
TokenMaker = Callable[[asyncio.AbstractEventLoop], object]
_RUN_SYNC = anyio.to_thread.run_sync

waits: set[asyncio.Future[None]] = set()
"""The futures of calls that have not returned. A timeout cancels the caller only after the call."""


@dataclass(frozen=True, slots=True)
class AnyIODetails:
    """AnyIO's settings in a worker thread, and the table with the cancel scope of each task."""

    thread_locals: Any
    task_states: Any
    make_token: TokenMaker
    constants: tuple[tuple[str, object], ...]
    variables: tuple[tuple[ContextVar[Any], object], ...]

    def scope_of(self, task: asyncio.Task[Any]) -> anyio.CancelScope | None:
        """Return the innermost cancel scope that a task has entered."""
        state = self.task_states.get(task)
        return None if state is None else state.cancel_scope

    def worker_context(self) -> Context:
        """Return a copy of the caller's context with AnyIO's changes for a thread."""
        context = copy_context()
        for variable, value in self.variables:
            if context.get(variable) is not value:
                context.run(variable.set, value)
        return context

    def claim(self, loop: asyncio.AbstractEventLoop, scope: anyio.CancelScope | None) -> None:
        """Make `anyio.from_thread` work in the current thread, for a call of this loop."""
        thread_locals = self.thread_locals
        for name, value in self.constants:
            setattr(thread_locals, name, value)
        thread_locals.current_token = self.make_token(loop)
        thread_locals.current_cancel_scope = scope

    def release(self) -> None:
        """Undo `claim`, so that an idle thread keeps no event loop alive."""
        vars(self.thread_locals).clear()


class Call:
    """One call of a function in a worker thread.

    The event loop and the thread use this object in turns. Each clears the values that it has taken, so
    that neither an idle thread nor a traceback keeps an argument or a result alive.
    """

    __slots__ = (
        "_args",
        "_before",
        "_context",
        "_details",
        "_error",
        "_func",
        "_future",
        "_kwargs",
        "_loop",
        "_result",
        "_returned",
        "_scope",
    )

    def __init__(
        self,
        details: AnyIODetails,
        returned: Returned,
        loop: asyncio.AbstractEventLoop,
        scope: anyio.CancelScope | None,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._details = details
        self._returned = returned
        self._loop = loop
        self._scope = scope
        self._func: Callable[..., Any] | None = func
        self._args = args
        self._kwargs = kwargs
        self._result: Any = None
        self._error: BaseException | None = None
        self._future: asyncio.Future[None] = loop.create_future()
        self._context = details.worker_context()
        self._before = self._context.copy()

    async def wait(self) -> Any:
        """Wait for the thread, and return the result of the function.

        As with AnyIO, a cancelled scope does not interrupt the wait. `asyncio.Task.cancel` does;
        the function then runs to its end, and the pool drops its result.
        """
        if self._scope is None:
            await self._future
        else:
            with anyio.CancelScope(shield=True):
                await self._future
        self._carry_back()
        result, error = self._result, self._error
        self._result = self._error = None
        if error is None:
            return result
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def _carry_back(self) -> None:
        """Set in the caller's context the variables that the call has set in its copy."""
        before = self._before
        for variable, value in self._context.items():
            if before.get(variable, _MISSING) is not value:
                variable.set(value)

    # In the worker thread

    def make(self) -> None:
        """Call the function, unless the caller has been cancelled in the meantime."""
        if self._future.cancelled():
            waits.discard(self._future)
            return
        self._details.claim(self._loop, self._scope)
        try:
            self._result = self._context.run(cast(Any, self._func), *self._args, **self._kwargs)
        except BaseException as error:
            self._error = error
        finally:
            self._details.release()
            self._func, self._args, self._kwargs = None, (), {}
            waits.discard(self._future)

    def report(self) -> None:
        """Wake the caller."""
        self._returned.put(self._loop, self._future)


class Returned:
    """The calls of one event loop that have returned and whose callers must wake.

    One callback of the event loop wakes all of them, because it is expensive to wake the event loop
    from a thread.
    """

    __slots__ = ("_futures", "_is_scheduled")

    def __init__(self) -> None:
        self._futures: deque[asyncio.Future[None]] = deque()
        self._is_scheduled = False

    def put(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
        """Wake the task that awaits a future; runs in a worker thread."""
        self._futures.append(future)
        # `_wake` clears the flag before it takes the futures. As long as the flag is set, `_wake`
        # is still to come and takes this future too.
        if not self._is_scheduled:
            self._is_scheduled = True
            try:
                loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                pass  # The loop is closed, so its callers are gone.

    def _wake(self) -> None:
        self._is_scheduled = False
        while self._futures:
            future = self._futures.popleft()
            if not future.done():
                future.set_result(None)


class Worker:
    """A thread that makes one call after the other and parks in between."""

    __slots__ = ("_calls", "_idle", "_pool")

    def __init__(self, pool: Pool, idle: deque[Worker]) -> None:
        self._pool = pool
        self._idle = idle
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        # AnyIO's name, which logs, debuggers and profilers of users know. Like AnyIO's threads, this
        # one inherits `daemon` from the thread of the event loop.
        options: dict[str, Any] = {"name": "AnyIO worker thread"}
        if sys.version_info >= (3, 14):
            options["context"] = Context()  # not the one of the request that started the thread
        threading.Thread(target=self._run, **options).start()

    def put(self, call: Call | None) -> None:
        """Give the thread its next call; None ends an idle thread."""
        self._calls.put(call)

    def _run(self) -> None:
        try:
            while (call := self._next()) is not None:
                call.make()
                # Before the caller is woken: its next call then finds this thread.
                self._idle.append(self)
                call.report()
                del call
        finally:
            # Also if an asynchronous exception ends the thread: no call must wait for it.
            if self in self._idle:
                self._idle.remove(self)
            self._pool.forget(self)

    def _next(self) -> Call | None:
        """Wait for the next call; None ends the thread."""
        try:
            call = self._calls.get(timeout=0 if self._pool.is_stopped else IDLE_SECONDS)
        except Empty:
            call = None
        if call is not None:
            return call
        try:
            self._idle.remove(self)
        except ValueError:
            # An event loop has just taken this thread: its call is on the way.
            return self._calls.get()
        return None


class Pool:
    """The parked threads of the process.

    Deques and sets need no lock here: each operation on them is atomic.

    Attributes:
        is_stopped: the interpreter is about to end, so no thread parks any more.
        details: the settings that the threads make for AnyIO; None until `learn` has succeeded.
    """

    def __init__(self) -> None:
        self.is_stopped = False
        self.details: AnyIODetails | None = None
        self._is_usable = _is_unpatched(_RUN_SYNC)
        self._forget_all()

    def _forget_all(self) -> None:
        """Start without threads; in the child of a fork, all of them are gone."""
        self._workers: set[Worker] = set()
        # By `daemon`: threads that user code starts inherit the flag from the worker thread.
        self._idle: dict[bool, deque[Worker]] = {False: deque(), True: deque()}
        self._returned: WeakKeyDictionary[asyncio.AbstractEventLoop, Returned]
        self._returned = WeakKeyDictionary()
        self._is_learning = False

    def current_task(self) -> asyncio.Task[Any] | None:
        """Return the current asyncio task, or None if AnyIO must make the call.

        AnyIO makes it on trio, after a replacement of `anyio.to_thread.run_sync` (by a test or an
        instrumentation), and while the interpreter ends.
        """
        if not self._is_usable or anyio.to_thread.run_sync is not _RUN_SYNC:
            return None
        try:
            return asyncio.current_task()
        except RuntimeError:
            return None

    async def learn(self) -> AnyIODetails | None:
        """Find out AnyIO's settings in a worker thread.

        A separate event loop in a separate thread does so. It takes one or two milliseconds, once in
        a process, and leaves no thread of AnyIO's behind in the event loop of the caller, which goes
        on meanwhile.

        Return None if this AnyIO is not one that we know, or while another call is finding out.
        """
        if self._is_learning:
            return None
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        returned = self._returned.get(loop) or self._returned_in(loop)
        thread = threading.Thread(target=self._learn_in_loop, args=(returned, loop, waiter))
        self._is_learning = True
        try:
            thread.start()
        except RuntimeError:  # the system starts no more threads now
            self._is_learning = False
            raise
        await waiter
        return self.details

    def _learn_in_loop(
        self, returned: Returned, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]
    ) -> None:
        details = None
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                details = runner.run(self._learn())
        except Exception:
            pass  # This AnyIO is not one that we know.
        if details is not None and self._stop_at_exit():
            self.details = details
        self._is_usable = self.details is not None
        self._is_learning = False
        returned.put(loop, waiter)

    async def _learn(self) -> AnyIODetails | None:
        """Learn the details, and test them in a parked thread."""
        details = await _details_of_anyio()
        if details is None:
            return None
        loop, task = asyncio.get_running_loop(), cast(asyncio.Task[Any], asyncio.current_task())
        scope = details.scope_of(task)
        thread = await self.run(details, loop, scope, _thread_of_event_loop, (), {})
        return details if thread == threading.get_ident() else None

    def _stop_at_exit(self) -> bool:
        """Let idle threads end before the interpreter waits for all threads.

        `concurrent.futures` uses the same private hook. Without it, idle threads would delay the end
        of the interpreter by `IDLE_SECONDS`.
        """
        register = getattr(threading, "_register_atexit", None)
        if register is None:
            return False
        try:
            register(self.stop)
        except RuntimeError:  # too late: the interpreter ends
            return False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_all)
        return True

    def run(
        self,
        details: AnyIODetails,
        loop: asyncio.AbstractEventLoop,
        scope: anyio.CancelScope | None,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Coroutine[Any, Any, Any]:
        """Call a function in a thread; the caller awaits its result.

        Args:
            details: the result of `learn`.
            loop: the event loop that runs.
            scope: the innermost cancel scope of the current task.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        returned = self._returned.get(loop) or self._returned_in(loop)
        call = Call(details, returned, loop, scope, func, args, kwargs)
        idle = self._idle[threading.current_thread().daemon]
        try:
            worker = idle.pop()  # the last one in: the others get old and end
        except IndexError:
            worker = Worker(self, idle)
            self._workers.add(worker)
        waits.add(call._future)
        worker.put(call)
        return call.wait()

    def _returned_in(self, loop: asyncio.AbstractEventLoop) -> Returned:
        """Return the object that wakes the tasks of a new event loop."""
        # An event loop that was closed during a call never wakes its task, and the future of the
        # task would keep the event loop alive for ever.
        for other in list(self._returned):
            if other.is_closed():
                del self._returned[other]
        return self._returned.setdefault(loop, Returned())

    def forget(self, worker: Worker) -> None:
        """Forget a thread that ends."""
        self._workers.discard(worker)

    def stop(self) -> None:
        """End all threads: those that are idle at once, the others after their call."""
        self.is_stopped = True
        self._is_usable = False
        for worker in list(self._workers):
            worker.put(None)


def _is_unpatched(run_sync: Any) -> bool:
    """Tell whether `anyio.to_thread.run_sync` is AnyIO's own function."""
    if not isinstance(run_sync, types.FunctionType):
        return False
    return run_sync.__globals__ is vars(anyio.to_thread)


def _thread_of_event_loop() -> int:
    """Call back into the event loop; runs in a worker thread."""
    anyio.from_thread.check_cancelled()
    return anyio.from_thread.run_sync(threading.get_ident)


async def _details_of_anyio() -> AnyIODetails | None:
    """Look into one of AnyIO's threads; return None if AnyIO sets anything that we do not know."""
    try:
        from anyio._backends._asyncio import _task_states as task_states
        from anyio._core._eventloop import threadlocals as thread_locals
    except ImportError:
        return None
    loop, task = asyncio.get_running_loop(), cast(asyncio.Task[Any], asyncio.current_task())
    with anyio.CancelScope() as scope:
        look = functools.partial(_look_around, thread_locals)
        found, inside = await anyio.to_thread.run_sync(look, limiter=anyio.CapacityLimiter(1))
        outside = copy_context()
        state = task_states.get(task)
        if getattr(state, "cancel_scope", None) is not scope:
            return None
    if found.pop("current_cancel_scope", None) is not scope:  # pyright: ignore[reportPossiblyUnboundVariable]
        return None
    make_token = _token_maker(found.pop("current_token", None), loop)  # pyright: ignore[reportPossiblyUnboundVariable]
    if make_token is None or not found.keys() <= {"current_async_backend"}:  # pyright: ignore[reportPossiblyUnboundVariable]
        return None
    changed = [
        (variable, value)
        for variable, value in inside.items()  # pyright: ignore[reportPossiblyUnboundVariable]
        if outside.get(variable, _MISSING) is not value  # pyright: ignore[reportPossiblyUnboundVariable]
    ]
    return AnyIODetails(
        thread_locals,
        task_states,
        make_token,
        tuple(found.items()),  # pyright: ignore[reportPossiblyUnboundVariable]
        tuple(changed),
    )


def _look_around(thread_locals: Any) -> tuple[dict[str, Any], Context]:
    """Return the thread-local values of AnyIO and the context; runs in a thread of AnyIO's."""
    return dict(vars(thread_locals)), copy_context()


def _token_maker(token: Any, loop: asyncio.AbstractEventLoop) -> TokenMaker | None:
    """Return a function that makes AnyIO's token of an event loop, given the one of `loop`."""
    if token is loop:
        return _same
    kind: Any = type(token)
    backend = getattr(token, "backend_class", None)
    try:
        known = kind(backend, loop) == token
    except TypeError:
        return None
    return functools.partial(kind, backend) if known else None


def _same(loop: asyncio.AbstractEventLoop) -> object:
    """Return the event loop: before AnyIO 4.11 it was its own token."""
    return loop


pool = Pool()
"""The pool that all event loops of the process share."""
