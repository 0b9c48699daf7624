"""Run a foreign ASGI app up to its response start, and wrap the rest as a Response.

A dispatch middleware needs a response. If an opaque app answers, that app is started: it runs in one task of
its own, in the caller's context, up to its response start. When the Response is sent, the app continues and
sends directly to the server. Streaming, trailers and pathsend are therefore untouched, and nothing is copied
between tasks.

If the middleware returns another response, the app still ends normally, as if the client had left (ASGI HTTP
specification): ``send`` raises OSError, ``receive`` returns ``http.disconnect``, and background tasks run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NoReturn

import anyio

from spica._asgi.body import ClientDisconnect
from spica._asgi.cleanup import cleanup_of
from spica._asgi.scope import RESPONSE_STARTED
from spica._asgi.sending import DenialSend, has_started_by_hand
from spica._asgi.side_task import SideTask, Signal, start_side_task
from spica._layers.answers import describe_sent
from spica._layers.editing import own
from spica.responses.base import Response
from spica.responses.sending import WITHOUT_BODY, keep_length, send_chunks, send_without_body

if TYPE_CHECKING:
    from spica._asgi.cleanup import Cleanup
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send

PATHSEND_CHUNK_SIZE = 256 * 1024
"""Bytes per read when a layer iterates over a file that the app sent with ``http.response.pathsend``."""


async def as_response(answer: ASGIApp, request: Request[Any]) -> Response:
    """Return an answer as a Response that the caller may change, replace or drop.

    A foreign app is started, and its response streams the rest. A Response that someone else holds is copied,
    since an endpoint may return the same object again. Its background task runs even if the response is never
    sent.
    """
    if not isinstance(answer, Response):
        return await start_app(answer, request, cleanup_of(request))
    response = own(answer)
    if response.background is not None:
        # A function that sets another task, or returns another response, must not lose this one.
        cleanup_of(request).add_task(response.background)
        response.background = None
    return response


async def start_app(app: ASGIApp, request: Request[Any], cleanup: Cleanup) -> Response:
    """Run ``app`` up to its response start and return the response that continues it.

    ``cleanup`` belongs to the request whose layer sends the response. It ends the app.

    Raises:
        RuntimeError: The app ended without starting a response.
        ClientDisconnect: The app ended without a response after it received ``http.disconnect``.
        Exception: An exception that the app raised before its response started.
    """
    started_app = StartedApp(app, request, cleanup)
    cleanup.add_started(started_app)
    return await started_app.start()


class StartedApp:
    """Run one app in a task of its own, and hold it back until its response is sent."""

    __slots__ = (
        "_app",
        "_chunk_stream",
        "_cleanup",
        "_error",
        "_hand_sent_before",
        "_is_complete",
        "_is_discarded",
        "_is_disconnected",
        "_open",
        "_over",
        "_receive_scopes",
        "_request",
        "_start",
        "_started",
        "_target",
        "_task",
    )

    _task: SideTask

    def __init__(self, app: ASGIApp, request: Request[Any], cleanup: Cleanup) -> None:
        self._app = app
        self._request = request
        self._cleanup = cleanup
        self._hand_sent_before = cleanup.hand_send
        self._start: Message | None = None
        self._target: Send | None = None  # the `send` for the body, once it is known
        self._chunk_stream: _ChunkStream | None = None
        self._error: BaseException | None = None
        self._is_complete = False  # its last chunk was read; the app may still run
        self._is_discarded = False
        self._is_disconnected = False  # the app received `http.disconnect`, and may end early
        self._started = Signal()  # the response has started, or the app has ended
        self._open = Signal()  # the body has a target, or was discarded
        self._over = Signal()
        # An app may wait in several tasks: in one for the body, in one for a disconnect.
        self._receive_scopes: set[anyio.CancelScope] = set()

    # -- called by the layer -----------------------------------------------------------------------------

    async def start(self) -> Response:
        """Start the app and return the response that continues it."""
        self._task = start_side_task(self._run)
        try:
            await self._started.wait()
        except BaseException:
            await self.abandon()
            raise
        if self._start is None:
            self._raise_error()
            if has_started_by_hand(self._request):
                # The endpoint sent the response past this app's `send`, directly to the server.
                return describe_sent(self._request)
            if self._is_disconnected:
                raise ClientDisconnect  # an app may end without a response once the client has left
            raise RuntimeError("No response returned.")
        return StartedResponse(self, self._start)

    async def pass_to(self, send: Send) -> None:
        """Let the app send its body with ``send``, wait for its end, and raise its error."""
        self._target = send
        self._open.set()
        await self._wait_for_end()
        self._raise_error()
        self._cleanup.forget_started(self)

    def divert(self, chunk_stream: _ChunkStream) -> None:
        """Let the app send its body to ``chunk_stream``, which ends when the app does."""
        self._target = self._chunk_stream = chunk_stream
        self._open.set()
        if self._over.is_set:
            chunk_stream.sender.close()

    def explain_missing_end(self) -> NoReturn:
        """Raise the reason why the app ended before its body did."""
        if self._is_disconnected:
            raise ClientDisconnect
        raise RuntimeError("The app ended before the body of its response did.")

    def complete(self) -> None:
        """Let the app finish in the background: the reader has the last chunk of the body."""
        self._is_complete = True
        self._target = _drop
        if self._chunk_stream is not None:
            self._chunk_stream.receiver.close()

    def discard(self) -> None:
        """Let the app see its client as gone, because its response is not sent."""
        self._is_discarded = self._is_disconnected = True
        if not self._is_complete:
            self._target = _client_is_gone
        self._open.set()
        for scope in self._receive_scopes:
            scope.cancel()
        if self._chunk_stream is not None:
            # Closing an outer iterator does not close the inner one that reads this stream.
            self._chunk_stream.receiver.close()

    async def finish(self) -> None:
        """End the app. Raise its error, unless only the discarded response caused it."""
        if not self._over.is_set:
            self.discard()
            await self._wait_for_end()
        if self._is_discarded:
            self._error = _own_error(self._error)
        self._raise_error()

    async def abandon(self) -> None:
        """Cancel the app and wait for its end."""
        self._task.cancel()
        with anyio.CancelScope(shield=True):
            await self._over.wait()

    async def _wait_for_end(self) -> None:
        """Wait for the app; if the caller is cancelled meanwhile, so is the app."""
        try:
            await self._over.wait()
        except BaseException:
            await self.abandon()
            raise

    def _raise_error(self) -> None:
        error, self._error = self._error, None  # raised once
        if error is not None:
            raise error

    # -- called by the app --------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._app(self._request.scope, self._receive, self._send)
        except BaseException as exc:
            if isinstance(exc, anyio.get_cancelled_exc_class()):
                raise  # the task's own; the caller sees an app that ended
            # The caller raises it. Raised here, an exit request would end trio with an internal error.
            self._error = exc
        finally:
            self._started.set()
            self._over.set()
            if self._chunk_stream is not None:
                self._chunk_stream.sender.close()

    async def _receive(self) -> Message:
        if not self._is_discarded:
            scope = anyio.CancelScope()
            self._receive_scopes.add(scope)
            try:
                with scope:
                    message = await self._request.receive()
                    self._is_disconnected = message["type"] == "http.disconnect"
                    return message
            finally:
                self._receive_scopes.discard(scope)
        self._is_disconnected = True
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._start is None:
            if message["type"] == "http.response.start":
                self._start = message
                if self._cleanup.hand_send is not self._hand_sent_before:
                    # A Request that the app made recorded this start too, because it shares the scope.
                    self._cleanup.restore_hand_send(self._hand_sent_before)
                self._started.set()
                # The layer continues now. Both share a context, so only one of them runs at a time.
                if not self._open.is_set:
                    await self._open.wait()
            else:
                # Early hints, a push, a debug message: they come before the response.
                await self._request._send(message)
            return
        if not self._open.is_set:
            await self._open.wait()
        if self._target is not None:  # it is set before `_open` is
            await self._target(message)


class StartedResponse(Response):
    """The response of a started app. Sending it lets the app continue.

    Read ``body_iterator`` to get the body as chunks, or assign to it to send another body.
    """

    _is_value, _receives = True, False  # the app has its own
    _iterator: AsyncIterator[bytes] | None = None

    def __init__(self, started_app: StartedApp, start: Message) -> None:
        self.started_app = started_app
        self.background = None
        self.status_code = start["status"]
        # ASGI lets an app leave the headers out.
        self.raw_headers = list(start.get("headers", ()))
        self._start = start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the start with the changes of the layers, and let the app send the rest."""
        if scope["type"] == "websocket":
            send = DenialSend(send, scope)
        chunks = self._replaced_body or self._iterator
        if self.status_code in WITHOUT_BODY and self.status_code != self._start["status"]:
            # A layer has set a status without a body, so the app's body is dropped.
            await send_without_body(send, self.status_code, self.raw_headers, chunks)
            return
        scope[RESPONSE_STARTED] = True
        # The message keeps its other keys, for example `trailers`.
        await send({**self._start, "status": self.status_code, "headers": self.raw_headers})
        if chunks is not None:
            await send_chunks(chunks, keep_length(send, self.raw_headers, scope), self.charset)
        else:
            await self.started_app.pass_to(send)
        if self.background is not None:
            await self.background()

    def _body_chunks(self) -> AsyncIterator[Any]:
        """Return an iterator over the body, which the app produces chunk by chunk. There is only one."""
        if self._iterator is None:
            self._iterator = _iterate(self.started_app)
        return self._iterator


async def _iterate(started_app: StartedApp) -> AsyncIterator[bytes]:
    """Yield the body of a started app. The app waits in ``send`` until its chunk is read."""
    chunk_stream = _ChunkStream()
    started_app.divert(chunk_stream)
    try:
        async for message in chunk_stream.receiver:
            if message["type"] == "http.response.pathsend":
                async for chunk in _read_file(message["path"]):
                    yield chunk
            elif chunk := message.get("body", b""):
                yield chunk
            if _ends_body(message):
                break
        else:
            await started_app.pass_to(_drop)  # raises the error of the app
            started_app.explain_missing_end()
    except BaseException:
        started_app.discard()
        raise
    # The reader need not wait for the background tasks of the app.
    started_app.complete()


class _ChunkStream:
    """A ``send`` whose messages a layer iterates over."""

    __slots__ = ("is_complete", "receiver", "sender")

    def __init__(self) -> None:
        self.sender, self.receiver = anyio.create_memory_object_stream[Any](0)
        self.is_complete = False

    async def __call__(self, message: Message) -> None:
        if self.is_complete:
            return  # chunks can't represent trailers
        self.is_complete = _ends_body(message)
        try:
            await self.sender.send(message)
        except anyio.BrokenResourceError as exc:
            raise ResponseUnwanted(
                "The middleware has stopped reading the body of the response."
            ) from exc


def _ends_body(message: Message) -> bool:
    kind = message["type"]
    is_body = kind == "http.response.body" and not message.get("more_body", False)
    return is_body or kind == "http.response.pathsend"


async def _read_file(path: str) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(PATHSEND_CHUNK_SIZE):
            yield chunk


class ResponseUnwanted(OSError):
    """Raised by ``send`` in an app whose response is not sent, as if its client had left."""


def _own_error(error: BaseException | None) -> BaseException | None:
    """Return ``error`` without the exceptions that only report the discarded response."""
    if isinstance(error, (ResponseUnwanted, ClientDisconnect)):
        return None
    if isinstance(error, ExceptionGroup):
        rest = error.split((ResponseUnwanted, ClientDisconnect))[1]
        return rest.exceptions[0] if rest is not None and len(rest.exceptions) == 1 else rest
    return error


async def _client_is_gone(message: Message) -> None:
    raise ResponseUnwanted("A middleware has replaced the response, so it is not sent.")


async def _drop(message: Message) -> None:
    """Ignore messages after the body (trailers), which chunks can't represent."""
