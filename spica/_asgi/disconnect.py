"""Stop sending when the client leaves.

A server reports a disconnect as an ``http.disconnect`` message from ``receive``. Since ASGI spec version 2.4,
``send`` also raises OSError. A stream may be idle for a long time between two sends, so this module watches
``receive`` on every server.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from spica._asgi.body import BodyChannel, ClientDisconnect
from spica._asgi.cleanup import Cleanup
from spica._asgi.scope import CLEANUP, find_shutdown, send_raises_on_disconnect
from spica._asgi.sending import SendHook
from spica._asgi.side_task import running_asyncio_loop

if TYPE_CHECKING:
    import asyncio

    from spica._asgi.listener import Listener
    from spica.types import Message, Scope, Send


Operation = Callable[["Send"], Awaitable[None]]
"""A function that sends a response with the ``send`` that it gets."""


async def run_until_disconnect(operation: Operation, send: Send, channel: BodyChannel) -> bool:
    """Await ``operation(send)`` and cancel it when the client leaves; return whether it completed.

    An error of ``receive`` cancels the operation too and propagates. It is ignored on servers whose ``send``
    raises OSError after a disconnect.
    """
    loop = running_asyncio_loop()
    if loop is None:
        return await _run_with_task_group(operation, send, channel)
    return await _DisconnectWatch(loop, channel).run(operation, send)


async def _run_with_task_group(operation: Operation, send: Send, channel: BodyChannel) -> bool:
    is_complete = False
    error: Exception | None = None
    watch = anyio.CancelScope()
    shutdown = find_shutdown(channel.scope)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(_watch, watch, channel, task_group.cancel_scope)
        stream = _DrainedScope(task_group.cancel_scope)
        try:
            if shutdown is not None:
                shutdown.add_stream(stream)
            hook = functools.partial(_stop_at_end, watch)
            await operation(SendHook(send, hook, ("http.response.body",)))
            is_complete = True
        except Exception as exc:
            error = exc  # raised outside the group, which would wrap it in an ExceptionGroup
        finally:
            if shutdown is not None:
                shutdown.remove_stream(stream)
        task_group.cancel_scope.cancel()
    if error is not None:
        raise error
    return is_complete


def _stop_at_end(watch: anyio.CancelScope, message: Message) -> None:
    """Stop watching before the last message is sent.

    ``http.disconnect`` also arrives after a complete response (ASGI, "Disconnect - receive event"). hypercorn
    delivers it during the last ``send``, and then prepares the connection for the next request or closes it.
    Cancelling that ``send`` would leave the connection in an undefined state, and the next request on it
    would get no response.
    """

    if not message.get("more_body", False):
        watch.cancel()


async def _watch(watch: anyio.CancelScope, channel: BodyChannel, scope: anyio.CancelScope) -> None:
    with watch:
        await _cancel_on_disconnect(channel, scope)


async def _cancel_on_disconnect(channel: BodyChannel, scope: anyio.CancelScope) -> None:
    try:
        await channel.wait_for_disconnect()
    except Exception:
        if send_raises_on_disconnect(channel.scope):
            return
        scope.cancel()
        raise
    scope.cancel()


class _DrainedScope:
    """A stream that knows nothing of the shutdown of its application: the end of the drain cancels it."""

    __slots__ = ("_scope",)
    end_after_seconds = math.inf

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope

    def end(self) -> None:
        """Do nothing."""

    def cancel(self) -> None:
        """Cancel the stream."""
        self._scope.cancel()


class _DisconnectWatch(_DrainedScope):
    """Run an operation on asyncio, without cost for an operation that never waits.

    A callback of the loop creates the listening task, so it exists only once the operation has yielded to
    the loop. The operation itself stays in the caller's task.
    """

    __slots__ = ("_channel", "_loop", "_shutdown", "_task")

    # The class of AnyIO's scopes on asyncio. Without it, AnyIO looks up the event loop for each scope, which
    # takes longer than making the scope.
    _scope_class: type[anyio.CancelScope] | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: BodyChannel) -> None:
        self._loop = loop
        self._channel = channel
        self._task: asyncio.Task[None] | None = None
        self._shutdown: Any = None
        self._scope = (self._scope_class or anyio.CancelScope)()
        if self._scope_class is None:
            _DisconnectWatch._scope_class = type(self._scope)

    async def run(self, operation: Operation, send: Send) -> bool:
        handle = self._loop.call_soon(self._begin)
        is_complete = False
        try:
            with self._scope:
                await operation(send)
                is_complete = True
        finally:
            handle.cancel()
            task = self._task
            if task is not None:
                if self._shutdown is not None:
                    self._shutdown.remove_stream(self)
                await _end(task)
        return is_complete

    def _begin(self) -> None:
        self._shutdown = find_shutdown(self._channel.scope)
        if self._shutdown is not None:
            self._shutdown.add_stream(self)
        self._task = self._loop.create_task(_cancel_on_disconnect(self._channel, self._scope))


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel ``task`` if it still runs, wait for its end, and raise its error."""
    if not task.done():
        task.cancel()
        with anyio.CancelScope(shield=True):
            try:
                await task
            except BaseException:  # raised below
                pass
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


class CancelOnDisconnect:
    """A block that is cancelled when the client leaves. ClientDisconnect is raised at its end.

    Entering and leaving await nothing, so this is a plain context manager, like a cancel scope. The listener
    runs until the request is over (see ``spica._asgi.listener``).
    """

    __slots__ = ("_listener", "_scope")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __enter__(self) -> None:
        self._scope = anyio.CancelScope()
        self._scope.__enter__()
        self._listener.scopes.add(self._scope)
        if self._listener.is_over:
            self._scope.cancel()  # the client has already left

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self.stop()
        is_swallowed = self._scope.__exit__(exc_type, exc_value, traceback)
        if self._scope.cancelled_caught:
            self._listener.raise_error()
            raise ClientDisconnect
        return is_swallowed

    def stop(self, message: Message | None = None) -> None:
        """Let the block continue even if the client leaves. The parameter makes it usable in ``SendHook``."""
        self._listener.scopes.discard(self._scope)


class Listening(Protocol):
    """The part of a request that `listen` needs."""

    scope: Scope
    _cleanup: Cleanup | None

    def _channel(self) -> BodyChannel: ...


def listen(request: Listening) -> Listener:
    """Return the request's listener, which waits for the disconnect until the request is over.

    Raises:
        RuntimeError: no event loop runs in this thread.
    """
    try:
        listener = request._channel().listen()
    except RuntimeError as exc:
        raise RuntimeError(
            "A disconnect can be detected only on the event loop. A `def` endpoint runs in a thread, "
            "which can't be cancelled: write `async def`."
        ) from exc
    cleanup = request._cleanup
    if cleanup is None:
        # Prefer the cleanup of a dispatch layer, which runs when the original request ends.
        cleanup = request.scope.get(CLEANUP)
        if cleanup is None:
            cleanup = request._cleanup = Cleanup()
    if listener not in cleanup.started:
        cleanup.add_started(listener)
    return listener
