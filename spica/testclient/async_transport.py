"""The transport of `AsyncTestClient`: from a request of httpx2 to an exchange, and back.

The application runs in one task, and the request body in another, so that both directions flow at
the same time. Nothing is buffered beyond the window of the outbox.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Self

import anyio

from spica.requests import ClientDisconnect
from spica.testclient.async_exchange import AsyncHTTPExchange, BrokenOff
from spica.testclient.async_websocket import AsyncWebSocketSession
from spica.testclient.connections import Connections
from spica.testclient.exchange import Flag, Signal
from spica.testclient.http_exchange import DEBUG, EARLY_HINT, TRAILERS, HTTPState
from spica.testclient.interface import httpx
from spica.testclient.responses import AsyncReceivedResponse
from spica.testclient.scope import check_scheme, http_scope, websocket_scope
from spica.testclient.tasks import place_of_wait
from spica.testclient.transport import WEBSOCKET_SESSION, add_debug_information

READ_AT_ONCE = "spica.read_at_once"
"""The request extension that marks a response for the client to read completely before returning it."""


class UploadFailure:
    """The item of an outbox that carries an exception of the test's own generator."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class AsyncUpload(httpx.AsyncByteStream):
    """Read the request body from the test's generator, one piece each time the application asks.

    It replaces the stream of the request, which you can iterate over only once: a redirect sends
    the body again from its beginning.
    """

    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self._source: Any = None
        self._pieces: list[bytes] = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in tuple(self._pieces):
            yield piece
        while (piece_or_end := await self.next_piece()) is not None:
            yield piece_or_end

    async def next_piece(self) -> bytes | None:
        """Return the next piece, or None after the last.

        Raises:
            TypeError: the test's iterable yields a value that is not bytes.
        """
        if self._source is None:
            stream: Any = self._request.stream  # an asynchronous one: httpx2 rejects others
            self._source = aiter(stream)
            self._request.stream = self
        async for piece in self._source:
            if not isinstance(piece, bytes):
                raise TypeError(f"A request body consists of bytes, not of {piece!r:.80}.")
            self._pieces.append(piece)
            return piece
        if self._request.stream is self:
            # The test can read the whole body now: request.content
            self._request.stream = httpx.ByteStream(b"".join(self._pieces))
            await self._request.aread()
        return None

    async def run(self, exchange: AsyncHTTPExchange) -> None:
        """Feed an exchange until the body ends or the exchange cancels this task."""
        piece: bytes | None = b""
        try:
            while piece is not None:
                await exchange.body_wanted.wait()
                exchange.body_wanted = Flag()
                piece = await self.next_piece()
                exchange.feed(piece)
        except Exception as error:
            exchange.outbox.put(UploadFailure(error))

    async def aclose(self) -> None:
        """Close the test's generator."""
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


class AsyncResponseStream(httpx.AsyncByteStream):
    """The body of a response, taken from the application while the test reads it.

    Closing it before its end disconnects the client. If the application has sent its whole
    response, closing waits for its end, background tasks included.
    """

    def __init__(
        self, exchange: AsyncHTTPExchange, request: httpx.Request, connections: Connections
    ) -> None:
        self.name = f"{request.method} {request.url.raw_path.decode('ascii')}"
        self._exchange = exchange
        self._request = request
        self._connections = connections
        self._upload_scope: anyio.CancelScope | None = None
        self._is_finished = False

    async def begin(self, app: Any, scope: Any, *, has_upload: bool) -> None:
        """Start the application and wait for the start of its response, or its end."""
        runner = self._connections.runner
        self._connections.open.add(self)
        self._exchange.start_with(runner, app, scope, self.name)
        try:
            if has_upload:
                self._upload_scope = anyio.CancelScope()
                runner.start(self._run_upload(), f"upload of {self.name}")
            if await self._next_item() is Signal.ENDED:
                self._finish()
        except BaseException:
            await self.abandon()
            raise

    async def _run_upload(self) -> None:
        upload = AsyncUpload(self._request)
        assert self._upload_scope is not None
        with self._upload_scope:
            await upload.run(self._exchange)
        with anyio.CancelScope(shield=True):
            await upload.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._is_finished:
            item = await self._next_item()
            if item is Signal.ENDED:
                self._finish()
            elif item.body:
                body: bytes = item.body
                return body
        raise StopAsyncIteration

    def take_whole(self) -> bytes | None:
        """Return the body of a response that is complete already; None if it is not."""
        exchange = self._exchange
        if (
            exchange.outbox.last() is not Signal.ENDED
            or exchange.state is not HTTPState.COMPLETE
            or exchange.failure is not None
            or exchange.is_disconnected
            or self._upload_scope is not None
        ):
            return None
        self._release()
        return b"".join(item.body for item in exchange.outbox.take_all()[:-1])

    async def _next_item(self) -> Any:
        """Wait for the next step of the application; raise an error that ends the exchange."""
        try:
            item = await self._exchange.outbox.get()
        except TimeoutError as error:
            place = place_of_wait(self._exchange.running)
            await self.abandon()
            raise httpx.ReadTimeout(
                f"{self.name}: {error} It waits {place}.", request=self._request
            ) from None
        if isinstance(item, UploadFailure):
            await self.abandon()
            raise item.error
        if isinstance(item, BrokenOff):
            await self.abandon()
            raise httpx.ReadError(
                f"{self.name}: the connection broke {item.reason}, as client.faults() demands.",
                request=self._request,
            )
        return item

    async def aclose(self) -> None:
        """End the exchange in any state."""
        if self._is_finished:
            return
        if self._exchange.state is HTTPState.COMPLETE:
            try:
                while await self._next_item() is not Signal.ENDED:
                    pass
            except BaseException:
                await self.abandon()
                raise
            self._finish()
        else:
            await self.abandon()
            self._raise_failure()

    async def abandon(self) -> None:
        """Disconnect, and wait for the end of the application."""
        if not self._is_finished:
            self._release()
            await self._exchange.leave()

    def _finish(self) -> None:
        """Raise the exception of the application after its end."""
        self._release()
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure = self._exchange.take_failure()
        if failure is None:
            return
        if self._exchange.is_disconnected and isinstance(failure, (ClientDisconnect, OSError)):
            return  # An application normally ends like this after a disconnect.
        if self._connections.raise_app_exceptions or not isinstance(failure, Exception):
            raise failure

    def _release(self) -> None:
        self._is_finished = True
        self._connections.open.discard(self)
        if self._upload_scope is not None:
            self._upload_scope.cancel()


class AsyncApplicationTransport(httpx.AsyncBaseTransport):
    """Pass each request to the application.

    Args:
        connections: the settings and the open connections of the client.
    """

    def __init__(self, connections: Connections) -> None:
        self.connections = connections

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Run the application up to the start of its response.

        Raises:
            UnsupportedProtocol: the scheme of the URL is neither http nor that of a WebSocket.
            RuntimeError: the client was not entered.
            ReadTimeout: the application sends nothing in time.
        """
        connections = self.connections
        check_scheme(request)
        if request.url.scheme in ("ws", "wss"):
            return self._upgrade(request)
        scope = http_scope(request, **connections.scope_options)
        scope["extensions"][EARLY_HINT] = {}
        body = await _buffered_body(request)
        seconds = request.extensions.get("timeout", {}).get("read")
        exchange = AsyncHTTPExchange(scope, body, connections.outbox(seconds))
        app = connections.prepare(exchange)
        stream = AsyncResponseStream(exchange, request, connections)
        clock = connections.runner.clock
        begin = clock()
        await stream.begin(app, scope, has_upload=body is None)
        content = stream.take_whole() if _is_read_at_once(request, exchange) else None
        response = _make_response(request, exchange, stream, content)
        if content is not None:
            response.elapsed = timedelta(seconds=clock() - begin)
        return response

    def _upgrade(self, request: httpx.Request) -> httpx.Response:
        """Answer a handshake with a session that is not connected yet."""
        scope = websocket_scope(request, **self.connections.scope_options)
        session = AsyncWebSocketSession(scope, self.connections)
        return AsyncReceivedResponse(101, request=request, extensions={WEBSOCKET_SESSION: session})


async def _buffered_body(request: httpx.Request) -> bytes | None:
    """Return a body that is complete, or None for one that the test generates during the request."""
    stream = request.stream
    # A multipart body is a stream of both kinds: its files are read at once
    if isinstance(stream, (httpx.ByteStream, httpx.SyncByteStream)):
        content: bytes = await request.aread()
        return content
    return None


def _is_read_at_once(request: httpx.Request, exchange: AsyncHTTPExchange) -> bool:
    """Return whether the client reads the whole body, and needs no decoder for it.

    httpx2 needs a third of the time for a response that has its content from the beginning. It
    would add a missing Content-Length, so the response must have one.
    """
    names = [name.lower() for name, _ in exchange.headers]
    return (
        READ_AT_ONCE in request.extensions
        and b"content-length" in names
        and b"content-encoding" not in names
    )


def _make_response(
    request: httpx.Request,
    exchange: AsyncHTTPExchange,
    stream: AsyncResponseStream,
    content: bytes | None,
) -> AsyncReceivedResponse:
    body: dict[str, Any] = {"stream": stream} if content is None else {"content": content}
    response = AsyncReceivedResponse(
        exchange.status_code, headers=exchange.headers, request=request, **body
    )
    response.exchange = exchange
    # The same dict, not a copy: trailers come later
    response.extensions = exchange.extensions
    if TRAILERS in exchange.extensions:
        exchange.extensions["trailers"] = exchange.extensions[TRAILERS]
    if DEBUG in exchange.extensions:
        add_debug_information(response, exchange.extensions[DEBUG])
    return response
