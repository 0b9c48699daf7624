"""Run a foreign ASGI app up to its response start, and wrap the rest as a Response.

A dispatch middleware needs a response. If an opaque app answers, that app is started: it runs in one task of
its own, in the caller's context, up to its response start. When the Response is sent, the app continues and
sends directly to the server. Streaming, trailers and pathsend are therefore untouched, and nothing is copied
between tasks.

A response that is never sent, because the middleware answered something else, does not lose the app: it
sees its client as gone (ASGI: ``send`` raises OSError, ``receive`` returns ``http.disconnect``), ends in good
order, and its background tasks run.
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
from spica.responses.base import Response
from spica.responses.sending import WITHOUT_BODY, keep_length, send_chunks, send_without_body

if TYPE_CHECKING:
    from spica._asgi.cleanup import Cleanup
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send

PATHSEND_CHUNK_SIZE = 256 * 1024
"""Bytes read at once where a file that was to be sent by its path is wanted as chunks."""


async def as_response(answer: ASGIApp, request: Request[Any]) -> Response:
    """Return an answer as a Response that the caller may change, replace or drop.

    A foreign app is started, and its response streams the rest. A Response is copied, since an endpoint may
    return the same object again. Its background task runs even if the response is never sent.
    """
    if not isinstance(answer, Response):
        return await start_app(answer, request, cleanup_of(request))
    response = answer._copy()
    if response.background is not None:
        # A function that sets another task, or returns another response, must not lose this one.
        cleanup_of(request).add_task(response.background)
        response.background = None
    return response


async def start_app(app: ASGIApp, request: Request[Any], cleanup: Cleanup) -> Response:
    """Run ``app`` up to its response start and return the response that continues it.

    ``cleanup`` is that of the request whose layer will send an answer; the app ends with it.

    Raises:
        RuntimeError: the app ended without starting a response.
        ClientDisconnect: it did so after it was told that the client has left.
        Exception: whatever the app raised before that.
    """
    started_app = StartedApp(app, request, cleanup)
    cleanup.add_started(started_app)
    return await started_app.start()


class StartedApp:
    """An app in a task of its own, and what it has sent so far."""

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
        self._target: Send | None = None  # where body messages go, once somebody wants them
        self._chunk_stream: _ChunkStream | None = None
        self._error: BaseException | None = None
        self._is_complete = False  # its last chunk was taken, though the app may still be at work
        self._is_discarded = False
        self._is_disconnected = False  # the app was told so, and may end early
        self._started = Signal()  # the response has started, or the app is over
        self._open = Signal()  # somebody wants the body, or nobody ever will
        self._over = Signal()
        # An app may wait in several tasks: in one for the body, in one for a disconnect.
        self._receive_scopes: set[anyio.CancelScope] = set()

    # -- the caller's side -----------------------------------------------------------------------------

    async def start(self) -> Response:
        """Begin the app and wait for its response start."""
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
                raise ClientDisconnect  # an app need not answer a client that has left
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
        """Raise why the app is over though its body is not."""
        if self._is_disconnected:
            raise ClientDisconnect
        raise RuntimeError("The app ended before the body of its response did.")

    def complete(self) -> None:
        """Take note that the last chunk of the body was taken. What the app does now, it does alone."""
        self._is_complete = True
        self._target = _drop
        if self._chunk_stream is not None:
            self._chunk_stream.receiver.close()

    def discard(self) -> None:
        """Let the app see its client as gone: nobody wants its response any more."""
        self._is_discarded = self._is_disconnected = True
        if not self._is_complete:
            self._target = _client_is_gone
        self._open.set()
        for scope in self._receive_scopes:
            scope.cancel()
        if self._chunk_stream is not None:
            # An iterator over it that was dropped inside another is not closed with that one.
            self._chunk_stream.receiver.close()

    async def finish(self) -> None:
        """End the app, whatever became of its response. Raise an error that is its own."""
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
        error, self._error = self._error, None  # raised once, to whoever asks first
        if error is not None:
            raise error

    # -- the app's side --------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._app(self._request.scope, self._receive, self._send)
        except Exception as exc:
            self._error = exc
        except BaseException as exc:
            # A cancellation is the task's own; the caller sees an app that ended.
            self._error = exc if not isinstance(exc, anyio.get_cancelled_exc_class()) else None
            raise
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
                    # A Request that the app has made notes it too: it shares the scope.
                    self._cleanup.restore_hand_send(self._hand_sent_before)
                self._started.set()
                # Now the caller goes on, and they share a context: one of them at a time.
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
    """The response of an app that has begun; sending it lets the app go on.

    ``body_iterator`` gives the body as chunks instead; set it to send another body.
    """

    _is_value, _receives = True, False  # the app has its own
    _iterator: AsyncIterator[bytes] | None = None

    def __init__(self, started_app: StartedApp, start: Message) -> None:
        self.started_app = started_app
        self.status_code = start["status"]
        # ASGI lets an app leave the headers out.
        self.raw_headers = list(start.get("headers", ()))
        self._start = start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the start as it is by now, and let the app send the rest."""
        if scope["type"] == "websocket":
            send = DenialSend(send, scope)
        chunks = self._replaced_body or self._iterator
        if self.status_code in WITHOUT_BODY and self.status_code != self._start["status"]:
            # A layer has set it, and nobody wants the app's body any more.
            await send_without_body(send, self.status_code, self.raw_headers, chunks)
            return
        scope[RESPONSE_STARTED] = True
        # Whatever else the message says, `trailers` for example, stays.
        await send({**self._start, "status": self.status_code, "headers": self.raw_headers})
        if chunks is not None:
            await send_chunks(chunks, keep_length(send, self.raw_headers, scope), self.charset)
        else:
            await self.started_app.pass_to(send)
        if self.background is not None:
            await self.background()

    def _body_chunks(self) -> AsyncIterator[Any]:
        """Return the body as chunks that are made as they are asked for; it can be had once."""
        if self._iterator is None:
            self._iterator = _iterate(self.started_app)
        return self._iterator


async def _iterate(started_app: StartedApp) -> AsyncIterator[bytes]:
    """Yield the body of a begun app; the app waits in ``send`` until its chunk is taken."""
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
            await started_app.pass_to(_drop)  # raises what the app has raised
            started_app.explain_missing_end()
    except BaseException:
        started_app.discard()
        raise
    # Whoever iterates need not wait for what the app does after its response: its background tasks.
    started_app.complete()


class _ChunkStream:
    """A ``send`` whose messages somebody else iterates over."""

    __slots__ = ("is_complete", "receiver", "sender")

    def __init__(self) -> None:
        self.sender, self.receiver = anyio.create_memory_object_stream[Any](0)
        self.is_complete = False

    async def __call__(self, message: Message) -> None:
        if self.is_complete:
            return  # trailers have no place among chunks
        self.is_complete = _ends_body(message)
        try:
            await self.sender.send(message)
        except anyio.BrokenResourceError as exc:
            raise ResponseUnwanted("The response's body is not read any further.") from exc


def _ends_body(message: Message) -> bool:
    kind = message["type"]
    is_body = kind == "http.response.body" and not message.get("more_body", False)
    return is_body or kind == "http.response.pathsend"


async def _read_file(path: str) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(PATHSEND_CHUNK_SIZE):
            yield chunk


class ResponseUnwanted(OSError):
    """An app's response is not sent, which the app learns as if its client had left."""


def _own_error(error: BaseException | None) -> BaseException | None:
    """Return ``error`` without what only tells that the response was not wanted."""
    if isinstance(error, (ResponseUnwanted, ClientDisconnect)):
        return None
    if isinstance(error, ExceptionGroup):
        rest = error.split((ResponseUnwanted, ClientDisconnect))[1]
        return rest.exceptions[0] if rest is not None and len(rest.exceptions) == 1 else rest
    return error


async def _client_is_gone(message: Message) -> None:
    raise ResponseUnwanted("The response was replaced by a middleware and nobody receives it.")


async def _drop(message: Message) -> None:
    """Take what comes after the body (trailers) and has no place among chunks."""
