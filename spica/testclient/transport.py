"""The transport of `TestClient`: from a request of httpx2 to an exchange, and back.

Everything here runs in the thread of the test. Only the methods of `Exchange` run in the event loop.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from anyio.from_thread import BlockingPortal

from spica.testclient.exchange import Signal
from spica.testclient.http_exchange import DEBUG, Chunk, HTTPExchange, HTTPState
from spica.testclient.interface import ASGI3App, httpx
from spica.testclient.responses import ReceivedResponse
from spica.testclient.scope import check_scheme, http_scope, websocket_scope
from spica.testclient.websocket import WebSocketTestSession

PortalFactory = Callable[[], AbstractContextManager[BlockingPortal]]

WEBSOCKET_SESSION = "spica.websocket_session"
"""The extension of a 101 response that contains the session."""


class Upload(httpx.SyncByteStream):
    """Read the request body from the test's generator, piece by piece.

    It replaces the stream of the request, which you can iterate over only once: a redirect sends the
    body again from its beginning.
    """

    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self._source: Iterator[bytes] | None = None
        self._pieces: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        yield from tuple(self._pieces)
        while (piece := self.next_piece()) is not None:
            yield piece

    def next_piece(self) -> bytes | None:
        """Return the next piece, or None after the last.

        Raises:
            TypeError: the test's iterable yields a value that is not bytes.
        """
        if self._source is None:
            stream: Any = self._request.stream  # a synchronous one: httpx2 rejects others
            self._source = iter(stream)
            self._request.stream = self
        for piece in self._source:
            if not isinstance(piece, bytes):
                raise TypeError(
                    f"A request body is made of bytes, but the test gave {piece!r:.80}."
                )
            self._pieces.append(piece)
            return piece
        if self._request.stream is self:
            # The test can read the whole body now: request.content
            self._request.stream = httpx.ByteStream(b"".join(self._pieces))
            self._request.read()
        return None


class ResponseStream(httpx.SyncByteStream):
    """The body of a response, taken from the application while the test reads it.

    Closing it before its end cancels the application. If the application has sent its whole response,
    closing waits for its end.
    """

    def __init__(
        self,
        exchange: HTTPExchange,
        upload: Upload,
        transport: "ApplicationTransport",
    ) -> None:
        self._exchange = exchange
        self._upload = upload
        self._transport = transport
        self._resources = ExitStack()
        self._is_finished = False

    def begin(self, app: ASGI3App, scope: Any) -> None:
        """Start the application and wait for the start of its response, or its end."""
        self._portal = self._resources.enter_context(self._transport.portal_factory())
        self._transport.streams.add(self)
        try:
            self._exchange.start(self._portal, app, scope)
            if self._next_event() is Signal.ENDED:
                self._finish()
        except BaseException:
            self.abandon()
            raise

    def __iter__(self) -> Iterator[bytes]:
        while not self._is_finished:
            event = self._next_event()
            if isinstance(event, Chunk):
                if event.body:
                    yield event.body
            else:
                self._finish()

    def _next_event(self) -> Any:
        """Wait for the next step of the application, and feed it the request body meanwhile."""
        while True:
            event = self._exchange.outbox.get()
            if event is Signal.BODY_WANTED:
                self._portal.start_task_soon(self._exchange.feed, self._upload.next_piece())
                continue
            if isinstance(event, Chunk) and event.taken is not None:
                self._portal.start_task_soon(event.taken.set)
            return event

    def close(self) -> None:
        """End the exchange in any state."""
        if self._is_finished:
            return
        if self._exchange.state is HTTPState.COMPLETE:
            try:
                while self._next_event() is not Signal.ENDED:
                    pass
            except BaseException:
                self.abandon()
                raise
            self._finish()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Cancel the application, and ignore its exception."""
        if not self._is_finished:
            self._portal.call(self._exchange.cancel)
            self._release()

    def _finish(self) -> None:
        """Raise the exception of the application after its end."""
        self._release()
        failure = self._exchange.take_failure()
        if failure is None:
            return
        if self._transport.raise_server_exceptions or not isinstance(failure, Exception):
            raise failure

    def _release(self) -> None:
        self._is_finished = True
        self._transport.streams.discard(self)
        self._resources.close()


class ApplicationTransport(httpx.BaseTransport):
    """Pass each request to the application.

    Args:
        app: the application, in the form of ASGI 3.
        portal_factory: returns a context manager for the portal of one request.
        raise_server_exceptions: whether an exception of the application reaches the test.
        root_path: the ``root_path`` of every scope.
        client: the ``client`` of every scope.
        app_state: the lifespan state. Every scope gets a copy.
    """

    def __init__(
        self,
        app: ASGI3App,
        portal_factory: PortalFactory,
        raise_server_exceptions: bool = True,
        root_path: str = "",
        *,
        client: tuple[str, int],
        app_state: dict[str, Any],
    ) -> None:
        self.app = app
        self.portal_factory = portal_factory
        self.raise_server_exceptions = raise_server_exceptions
        self.root_path = root_path
        self.client = client
        self.app_state = app_state
        self.streams: set[ResponseStream] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Run the application up to the start of its response.

        Raises:
            UnsupportedProtocol: the scheme of the URL is neither http nor that of a WebSocket.
        """
        check_scheme(request)
        if request.url.scheme in ("ws", "wss"):
            return self._upgrade(request)
        scope = http_scope(
            request, root_path=self.root_path, client=self.client, state=self.app_state
        )
        exchange = HTTPExchange(scope, _buffered_body(request))
        stream = ResponseStream(exchange, Upload(request), self)
        stream.begin(self.app, scope)
        return _make_response(request, exchange, stream)

    def _upgrade(self, request: httpx.Request) -> httpx.Response:
        """Answer a handshake with a session that is not connected yet."""
        scope = websocket_scope(
            request, root_path=self.root_path, client=self.client, state=self.app_state
        )
        session = WebSocketTestSession(self.app, scope, self.portal_factory)
        return httpx.Response(101, request=request, extensions={WEBSOCKET_SESSION: session})

    def close(self) -> None:
        """Cancel the requests that still run, background tasks included."""
        for stream in tuple(self.streams):
            stream.abandon()


def _buffered_body(request: httpx.Request) -> bytes | None:
    """Return a body of known size, or None for one that the test generates during the request."""
    if "content-length" in request.headers or isinstance(request.stream, httpx.ByteStream):
        return request.read()
    return None


def _make_response(
    request: httpx.Request, exchange: HTTPExchange, stream: ResponseStream
) -> httpx.Response:
    response = ReceivedResponse(
        exchange.status_code, headers=exchange.headers, stream=stream, request=request
    )
    # The same dict, not a copy: trailers come later
    response.extensions = exchange.extensions
    add_debug_information(response, exchange.extensions.get(DEBUG, {}))
    return response


def add_debug_information(response: Any, info: Any) -> None:
    """Set ``template`` and ``context`` on a response that a template rendered."""
    for name in ("template", "context"):
        if name in info:
            setattr(response, name, info[name])
