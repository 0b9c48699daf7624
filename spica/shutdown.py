"""The shutdown of an application, seen by its streams: ``app.shutdown``.

A server that gets SIGTERM stops to accept connections, and waits for the open ones. It does not tell an open
HTTP stream. So the application watches the signal itself, and the shutdown goes in this order:

1. ``is_begun`` becomes true, and a readiness check can return 503.
2. After ``readiness_delay_seconds`` the server learns of the signal. The streams of spica end, spread at
   random over the first half of ``drain_seconds``, so that the clients do not reconnect all at once.
   When they have ended, those of tasks that a lifespan has started end: they serve no client.
3. At the end of ``drain_seconds``, spica cancels the remaining streams.
4. The functions given to ``after_streams`` run, then the lifespans end.

Non-goal: to stop the server. The server does that, and this module passes each signal on to it.
"""

from __future__ import annotations

import contextlib
import math
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from spica._asgi.scope import IN_LIFESPAN, OUTER_APP, SHUTDOWN, find_shutdown
from spica._asgi.side_task import SideTask, running_asyncio_loop, start_timer

if TYPE_CHECKING:
    import asyncio

    from spica.types import Scope

__all__ = ["DrainingStream", "Ending", "Shutdown", "shutdown_of"]

CANCEL_SECONDS = 1.0
"""The time that cancelled streams have for their cleanup, before the lifespans end."""

RETRY_SECONDS = 0.05
"""The time until the next attempt to end a generator that waits for a slow client."""

_ASYNC_GENERATOR = 0x200  # inspect.CO_ASYNC_GENERATOR, without the import of inspect


class DrainingStream(Protocol):
    """A stream that a shutdown ends: see ``Shutdown.add_stream``."""

    end_after_seconds: float | None
    """Seconds between the end of the readiness delay and ``end()``.

    None: a random time, at most half of ``drain_seconds``; for a task that a lifespan has started, when the
    streams of the clients have ended. ``math.inf``: never, only ``cancel()`` is called.
    """

    def end(self) -> None:
        """End the stream in good order. It may be called more than once."""

    def cancel(self) -> None:
        """End the stream at once, because the drain is over."""


class Shutdown:
    """The shutdown of one application. Read it as ``app.shutdown``; do not create it yourself.

    ```python
    async def ready(request):
        return PlainTextResponse("stopping" if request.app.shutdown.is_begun else "ready")
    ```

    Mounted applications share the object of the outermost one.

    Args:
        app: The outermost application. Its ``drain_seconds`` and ``readiness_delay_seconds`` apply.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._begun_at: float | None = None
        self._loops: list[_LoopStreams] = []
        self._joined: list[Shutdown] = []
        self._steps: list[Callable[[], Awaitable[object]]] = []
        # Lifespans that run now: an RSGI server may have one for each of several loops.
        self._runs = 0
        self._has_run = False
        self._is_cut_short = False
        self._waits: set[anyio.CancelScope] = set()
        self.reason = ""

    @property
    def is_begun(self) -> bool:
        """Whether the shutdown has begun."""
        return self._begun_at is not None

    @property
    def _delay(self) -> float:
        return float(self._app.readiness_delay_seconds)

    @property
    def _drain(self) -> float:
        return float(self._app.drain_seconds)

    def begin(self, reason: str = "") -> None:
        """Begin the shutdown. Later calls have no effect.

        You may call it from any thread and from a signal handler. The server continues to run: call it by
        hand only if the process ends soon afterwards.

        Args:
            reason: A few words for logs. They become ``shutdown.reason``.
        """
        if self._begun_at is not None:
            return
        self.reason = reason
        self._begun_at = time.monotonic()
        for streams in list(self._loops):
            streams.post(partial(streams.begin, self._delay))
        for other in self._joined:
            other.begin(reason)

    def _cut_short(self) -> None:
        """Let the end of the lifespan wait for nothing more. The caller cancels the requests."""
        self._is_cut_short = True
        for scope in self._waits:
            scope.cancel()

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Let `_cut_short` cancel the block, which waits at the end of the lifespan."""
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.remove(scope)

    async def wait(self) -> None:
        """Return when the shutdown begins."""
        if not self.is_begun:
            streams = self._here()
            if streams.begun is None:
                streams.begun = anyio.Event()
            await streams.begun.wait()

    def deadline(self) -> float:
        """Return the seconds until spica cancels the remaining streams; ``math.inf`` before the begin."""
        begun_at = self._begun_at
        if begun_at is None:
            return math.inf
        if self._is_cut_short:
            return 0.0
        for streams in self._loops:
            if streams.starts_at is not None and streams.is_here():
                return max(0.0, streams.starts_at + self._drain - streams.clock())
        return max(0.0, begun_at + self._delay + self._drain - time.monotonic())

    def cancel_soon(self, seconds: float | None = None) -> Ending:
        """Return an async context manager that cancels its block when the shutdown has begun.

        The code after the block continues. ``ending.is_over`` tells whether the block was cancelled. On
        asyncio, the block may contain ``yield``. On trio it must not, as for any cancel scope.

        ```python
        async def ticks():
            async with app.shutdown.cancel_soon(seconds=2):
                while True:
                    yield f"{time.time()}\\n"
                    await anyio.sleep(1)
            yield "The server restarts.\\n"
        ```

        Args:
            seconds: Seconds that the block may continue. They count from the end of the readiness delay, and
                the end of ``drain_seconds`` cuts them short. By default a random time, at most half of
                ``drain_seconds``, so that many clients do not reconnect at once. A task that a lifespan has
                started is cancelled when the streams of the clients have ended.

        Raises:
            ValueError: ``seconds`` is negative or not finite.
        """
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError(
                f"cancel_soon: seconds must be a number from 0, or None for a random time, not {seconds!r}."
            )
        return Ending(self, seconds, _is_stream(sys._getframe(1)))

    def add_stream(self, stream: DrainingStream) -> None:
        """Register a stream on the event loop that runs in this thread; the lowest level of the drain.

        The loop calls ``stream.end()`` when the turn of the stream has come, and ``stream.cancel()`` at the
        end of ``drain_seconds``. Neither may raise or block. A stream that is added during the drain gets its
        turn, too. Until ``remove_stream``, the lifespans wait for the stream, at most until the end of the
        drain.
        """
        self._here().add(stream)

    def remove_stream(self, stream: DrainingStream) -> None:
        """Remove a stream that has ended."""
        for streams in self._loops:
            streams.remove(stream)

    def after_streams(self, function: Callable[[], Awaitable[object]]) -> None:
        """Register an async function to await after the streams have ended, before the lifespans end.

        The functions run in reverse order of their registration, once in each run of the lifespan. An error
        of one does not keep the others from running. A function that is registered already is not added
        again.
        """
        if function not in self._steps:
            self._steps.append(function)

    # -- the lifespan of the application ---------------------------------------------------------------

    async def finish(self) -> None:
        """End the streams of this event loop, and run the functions of ``after_streams``.

        The lifespan of the application awaits this at its end. Streams that would still wait for the
        readiness delay get their turn, because the server accepts no more connections.

        Raises:
            Exception: A function of ``after_streams`` failed. Several errors form an ExceptionGroup.
        """
        self.begin("The server ends the lifespan.")
        streams = self._here()
        streams.begin(0.0)
        if streams.is_busy():
            with self._waiting(), anyio.move_on_after(self.deadline()):
                await streams.wait_for_clients()
                streams.end_lifespan_streams()
                await streams.wait_until_empty()
            streams.cancel_all()
            with anyio.move_on_after(CANCEL_SECONDS):
                await streams.wait_until_empty()
        errors = []
        for step in reversed(self._steps):
            try:
                await step()
            except Exception as exc:
                errors.append(exc)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("Several functions of after_streams() failed", errors)

    def _open(self) -> _SignalChain:
        """Prepare for a run of the lifespan, and watch the signals. Call ``_close`` at its end."""
        if self._has_run and not self._runs:  # a second run, for example in tests
            self._begun_at = None
            self._is_cut_short = False
            self.reason = ""
            self._loops.clear()
        self._runs += 1
        self._has_run = True
        chain = _SignalChain(self, self._here())
        chain.install()
        return chain

    def _close(self, chain: _SignalChain) -> None:
        chain.uninstall()
        self._runs -= 1
        streams = self._here()
        streams.stop()
        self._loops.remove(streams)

    def _here(self) -> _LoopStreams:
        """Return the streams of the event loop that runs in this thread."""
        loop = _current_loop()
        for streams in self._loops:
            if streams.loop is loop:
                return streams
        self._loops = [streams for streams in self._loops if not streams.is_closed()]
        streams = _LoopStreams(self, loop)
        self._loops.append(streams)
        if self._begun_at is not None:  # after the append: `begin` may run in another thread
            streams.begin(self._delay)
        return streams

    def _join(self, other: Shutdown) -> None:
        """Let ``other``, which the user has read before its application was mounted, begin with this one."""
        if other is not self and other not in self._joined:
            self._joined.append(other)


def shutdown_of(app: Any) -> Shutdown:
    """Return the shutdown of the outermost application around ``app``, and create it if there is none."""
    state = app.__dict__
    while OUTER_APP in state:
        app = state[OUTER_APP]
        state = app.__dict__
    if SHUTDOWN not in state:
        state[SHUTDOWN] = Shutdown(app)
    shutdown: Shutdown = state[SHUTDOWN]
    return shutdown


def shutdown_of_scope(scope: Scope) -> Shutdown | None:
    """Return the shutdown that a connection takes part in; None outside an application of spica."""
    found = find_shutdown(scope)
    if found is None and hasattr(type(scope.get("app")), "readiness_delay_seconds"):
        found = shutdown_of(scope["app"])
    return found if isinstance(found, Shutdown) else None


class _LoopStreams:
    """The streams of one event loop. Every method except ``post`` runs in the thread of the loop."""

    def __init__(self, shutdown: Shutdown, loop: Any) -> None:
        self.loop = loop
        self.begun: anyio.Event | None = None  # for `wait`
        self.starts_at: float | None = None
        """The end of the readiness delay, by the clock of the loop. None before the begin."""
        self._shutdown = shutdown
        self._streams: set[DrainingStream] = set()
        self._lifespan_streams: set[DrainingStream] = set()
        """Those of ``_streams`` that serve no client, and so end last."""
        self._changed: anyio.Event | None = None
        self._timers: list[SideTask] = []
        if running_asyncio_loop() is not None:
            self._post = loop.call_soon_threadsafe
            self.clock: Callable[[], float] = loop.time
            self._is_asyncio = True
        else:
            import trio

            self._post = loop.run_sync_soon
            self.clock = trio.current_time
            self._is_asyncio = False

    def is_here(self) -> bool:
        """Return whether this loop runs in this thread."""
        try:
            return _current_loop() is self.loop
        except RuntimeError:
            return False

    def is_closed(self) -> bool:
        """Return whether the loop has ended."""
        if self._is_asyncio:
            return bool(self.loop.is_closed())
        try:
            self._post(_do_nothing)
        except RuntimeError:
            return True
        return False

    def post(self, function: Callable[[], None]) -> None:
        """Let the loop call ``function``. This works from any thread and from a signal handler."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and so have its streams
            self._post(function)

    def begin(self, delay: float) -> None:
        """Give each stream its turn. A second call without a delay ends the delay of the first."""
        now = self.clock()
        if self.starts_at is not None and self.starts_at <= now + delay:
            return
        self.starts_at = now + delay
        if self.begun is not None:
            self.begun.set()
        for stream in list(self._streams):
            self._schedule(stream)
        self._timers.append(start_timer(delay + self._shutdown._drain, self.cancel_all))

    def _schedule(self, stream: DrainingStream) -> None:
        assert self.starts_at is not None
        now = self.clock()
        if stream.end_after_seconds == math.inf or stream in self._lifespan_streams:
            return
        if stream.end_after_seconds is None:
            earliest = max(now, self.starts_at)
            latest = self.starts_at + self._shutdown._drain / 2
            turn = random.uniform(earliest, max(earliest, latest))
        else:
            turn = self.starts_at + stream.end_after_seconds
        self._timers.append(start_timer(max(0.0, turn - now), partial(self._end, stream)))

    def stop(self) -> None:
        """Stop the timers, because the lifespans have ended."""
        for timer in self._timers:
            timer.cancel()

    def end_lifespan_streams(self) -> None:
        """End the streams of tasks that a lifespan has started."""
        for stream in list(self._lifespan_streams):
            stream.end()

    def _end(self, stream: DrainingStream) -> None:
        if stream in self._streams:
            stream.end()

    def cancel_all(self) -> None:
        """Cancel the streams that are left, because the drain is over."""
        for stream in list(self._streams):
            stream.cancel()

    def is_busy(self) -> bool:
        """Return whether a stream is open."""
        return bool(self._streams)

    def has(self, stream: DrainingStream) -> bool:
        """Return whether a stream is registered."""
        return stream in self._streams

    def add(self, stream: DrainingStream) -> None:
        """Register a stream."""
        self._streams.add(stream)
        if stream.end_after_seconds is None and IN_LIFESPAN.get():
            self._lifespan_streams.add(stream)
        if self.starts_at is not None:
            self._schedule(stream)

    def remove(self, stream: DrainingStream) -> None:
        """Remove a stream that has ended."""
        self._streams.discard(stream)
        self._lifespan_streams.discard(stream)
        if self._changed is not None:
            self._changed.set()

    async def wait_for_clients(self) -> None:
        """Return when all streams of clients have ended."""
        while len(self._streams) > len(self._lifespan_streams):
            await self._wait_for_change()

    async def wait_until_empty(self) -> None:
        """Return when all streams have ended."""
        while self._streams:
            await self._wait_for_change()

    async def _wait_for_change(self) -> None:
        self._changed = anyio.Event()
        await self._changed.wait()


def _current_loop() -> Any:
    loop = running_asyncio_loop()
    if loop is None:
        if "trio" not in sys.modules:
            raise RuntimeError("No event loop runs in this thread.")
        import trio

        return trio.lowlevel.current_trio_token()
    return loop


def _do_nothing() -> None:
    pass


class Ending:
    """The block of ``Shutdown.cancel_soon``. ``is_over`` tells whether the shutdown has cancelled it."""

    __slots__ = (
        "_cancelling",
        "_is_generator",
        "_scope",
        "_shutdown",
        "_task",
        "end_after_seconds",
        "is_over",
    )

    def __init__(self, shutdown: Shutdown, seconds: float | None, is_generator: bool) -> None:
        self._shutdown = shutdown
        self._is_generator = is_generator
        self._task: asyncio.Task[Any] | None = None
        self._scope: anyio.CancelScope | None = None
        self.end_after_seconds = seconds
        self.is_over = False

    async def __aenter__(self) -> Ending:
        if running_asyncio_loop() is None:
            self._scope = anyio.CancelScope()
            self._scope.__enter__()
        else:
            # Like asyncio.timeout, and unlike a cancel scope, this works around a `yield`. Scopes must be
            # left in order, but a closed generator leaves its blocks while outer code has scopes open.
            self._task = sys.modules["asyncio"].current_task()
            assert self._task is not None
            self._cancelling = self._task.cancelling()
        self._shutdown.add_stream(self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._shutdown.remove_stream(self)
        if self._scope is not None:
            is_caught = self._scope.__exit__(exc_type, exc, traceback)
            self.is_over = self._scope.cancelled_caught
            return is_caught
        assert self._task is not None
        if not self.is_over:
            return None
        is_ours = self._task.uncancel() <= self._cancelling
        return is_ours and exc_type is sys.modules["asyncio"].CancelledError

    def end(self) -> None:
        """Cancel the block: the shutdown calls this."""
        if self._scope is not None:
            self._scope.cancel()
        elif self._task is not None and not self.is_over:
            if self._is_generator and not _awaits_generator(self._task):
                start_timer(RETRY_SECONDS, self._try_again)
                return
            self.is_over = True
            self._task.cancel()

    def _try_again(self) -> None:
        if any(streams.has(self) for streams in self._shutdown._loops):
            self.end()

    def cancel(self) -> None:
        """Cancel the block, because the drain is over."""
        self.end()


def _is_stream(frame: FrameType) -> bool:
    """Return whether a frame is that of an async generator whose consumer runs between two values.

    The body of an async context manager runs at the ``yield`` of its generator, so it is cancelled there.
    """
    if not frame.f_code.co_flags & _ASYNC_GENERATOR:
        return False
    return frame.f_back is None or frame.f_back.f_code.co_filename != contextlib.__file__


def _awaits_generator(task: asyncio.Task[Any]) -> bool:
    """Return whether a task waits inside an async generator, so that a cancellation arrives there.

    Otherwise the generator is suspended at a ``yield``, and its consumer waits, perhaps for a slow client.
    """
    awaited: Any = task.get_coro()
    while awaited is not None:
        name = type(awaited).__name__
        if name in ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper"):
            return True
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return False


class _SignalChain:
    """The signal handlers that begin a shutdown, and then call the handlers of the server.

    They exist only where the server has its own: otherwise the process must die of the signal, as before.
    """

    def __init__(self, shutdown: Shutdown, streams: _LoopStreams) -> None:
        self._shutdown = shutdown
        self._streams = streams
        self._earlier: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._is_passed = False
        self._is_delayed = False

    def install(self) -> None:
        """Install the handlers, if this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            earlier = signal.getsignal(number)
            # Python's default handler of SIGINT raises KeyboardInterrupt. It is not a server's handler.
            if callable(earlier) and earlier is not signal.default_int_handler:
                self._earlier[number] = earlier
                signal.signal(number, self)

    def uninstall(self) -> None:
        """Restore the earlier handlers, where ours are still installed."""
        self._is_passed = True
        if threading.current_thread() is threading.main_thread():
            for number, earlier in self._earlier.items():
                if signal.getsignal(number) is self:
                    signal.signal(number, earlier)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal. The second one reaches the server at once."""
        self._shutdown.begin(signal.Signals(number).name)
        if self._shutdown._delay > 0 and not self._is_delayed:
            self._is_delayed = True
            self._streams.post(partial(self._pass_later, number))
            return
        self.uninstall()
        self._earlier[number](number, frame)

    def _pass_later(self, number: int) -> None:
        start_timer(self._shutdown._delay, partial(self._pass, number))

    def _pass(self, number: int) -> None:
        """Raise the signal again for the server.

        A direct call is not enough: uvloop runs a handler of ``add_signal_handler`` at a signal only.
        """
        if not self._is_passed:
            self.uninstall()
            signal.raise_signal(number)
