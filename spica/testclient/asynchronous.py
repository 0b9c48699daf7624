"""The async test client: requests to an application in the event loop of the test.

It uses no threads, sockets or buffers. Requests and responses flow at the same time, on asyncio and
trio.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import FunctionType, TracebackType
from typing import Any, Self, cast

import anyio

from spica._diagnostics.arguments import takes
from spica._http.cookies import show_changes
from spica.testclient.async_exchange import AsyncLifespan
from spica.testclient.async_transport import READ_AT_ONCE, AsyncApplicationTransport
from spica.testclient.async_websocket import AsyncWebSocketSession
from spica.testclient.checks import Checks, LeakCheck
from spica.testclient.client import encode_json_option
from spica.testclient.connections import Connections
from spica.testclient.faults import Faults
from spica.testclient.interface import as_asgi3, httpx
from spica.testclient.responses import AsyncReceivedResponse
from spica.testclient.scope import handshake_headers, websocket_url
from spica.testclient.transport import WEBSOCKET_SESSION
from spica.types import ASGIApp

_DEFAULT = httpx.USE_CLIENT_DEFAULT

MAX_KNOWN_URLS = 256
"""The number of merged URLs that a client caches."""


class AsyncTestClient(httpx.AsyncClient):
    """Send requests to an application, from an async test.

    It has all methods of ``httpx2.AsyncClient``. Enter it to run the application's lifespan; the
    state of the lifespan reaches the requests. ::

        async with AsyncTestClient(app) as client:
            response = await client.get("/")

    Args:
        app: the application, in the form of ASGI 3 or ASGI 2.
        base_url: the base of relative URLs.
        raise_app_exceptions: True raises the application's exceptions in the test. False turns
            them into a 500, or ends the response early, as a server does.
        headers: headers to send with every request.
        cookies: cookies to send with every request.
        client: the host and port of the peer in every scope.
        timeout_seconds: the time that a read waits for the application, 5 by default so that an
            application that hangs fails its test. None waits forever. Requests take ``timeout``.
        checks: the checks of the application; all by default.
        root_path: the path prefix of the application, as if a server mounted it there.
        follow_redirects: whether to follow redirects, as `TestClient` does.

    Attributes:
        app: the application.
        app_state: the state that the application's lifespan made; each request gets a copy.
    """

    __test__ = False

    def __init__(
        self,
        app: ASGIApp,
        base_url: str = "http://testserver",
        raise_app_exceptions: bool = True,
        headers: Mapping[str, str] | None = None,
        cookies: Any = None,
        client: tuple[str, int] = ("testclient", 50000),
        timeout_seconds: float | None = 5.0,
        checks: Checks = Checks(),  # noqa: B008  # frozen
        *,
        root_path: str = "",
        follow_redirects: bool = True,
    ) -> None:
        """Prepare a client. The application starts once you enter it.

        Raises:
            TypeError: `app` is not an ASGI application.
        """
        show_changes()
        self.app = as_asgi3(app)
        self.app_state: dict[str, Any] = {}
        self._checks = checks
        self._urls: dict[str, httpx.URL] = {}
        self._urls_base: Any = None
        self._connections = Connections(
            self.app,
            {"root_path": root_path, "client": client, "state": self.app_state},
            raise_app_exceptions=raise_app_exceptions,
            has_asgi_checks=checks.asgi,
            timeout_seconds=timeout_seconds,
        )
        all_headers = httpx.Headers(headers)
        all_headers.setdefault("user-agent", "testclient")
        super().__init__(
            base_url=base_url,
            headers=all_headers,
            cookies=cookies,
            follow_redirects=follow_redirects,
            timeout=timeout_seconds,
            transport=AsyncApplicationTransport(self._connections),
            trust_env=False,
        )

    # Lifespan

    async def __aenter__(self) -> Self:
        """Start the application.

        Raises:
            RuntimeError: the client was entered before, or the application failed to start. An
                exception of the application is raised unchanged.
            AssertionError: the application returned without a message.
        """
        connections = self._connections
        self._leak_check = LeakCheck(self._checks, connections)
        await super().__aenter__()
        await connections.accept()
        self._lifespan = AsyncLifespan(self.app, self.app_state, connections.outbox(None))
        self._lifespan.client = connections
        try:
            await self._lifespan.start_up(connections.runner)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._lifespan.cancel()
            await self._stop_tasks()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Disconnect from the open connections, stop the application, and look for leaks.

        Raises:
            AssertionError: the application left tasks, streams or files open; see `Checks`. An
                exception of the test itself takes precedence.
        """
        streams: list[str] = []
        try:
            # Shielded, so that a cancelled test still runs the application's shutdown
            with anyio.CancelScope(shield=True):
                streams = await self._connections.abandon_all()
                await self._lifespan.shut_down()
        finally:
            leftovers = await self._stop_tasks(streams)
        if leftovers and exc_value is None:
            raise AssertionError("At the exit of AsyncTestClient: " + "; ".join(leftovers) + ".")

    async def _stop_tasks(self, streams: Sequence[str] = ()) -> list[str]:
        """Stop the tasks of the client, and return the leaks."""
        runner = self._connections.refuse()
        with anyio.CancelScope(shield=True):
            leftovers = await self._leak_check.leftovers(list(streams))
            await super().__aexit__()
        await runner.stop()
        return leftovers  # pyright: ignore[reportPossiblyUnboundVariable]

    def shutdown(self) -> None:
        """Begin the application's drain, as a server does at SIGTERM.

        Raises:
            RuntimeError: the application has no ``shutdown.begin()``.
        """
        begin = getattr(getattr(self.app, "shutdown", None), "begin", None)
        if not callable(begin):
            raise RuntimeError(
                f"{type(self.app).__name__} has no drain: client.shutdown() calls "
                "app.shutdown.begin(). Leave the client to stop the application."
            )
        begin()

    # Requests

    def build_request(self, method: str, url: Any, **options: Any) -> httpx.Request:
        """Build a request as ``httpx2`` does; the application's codec encodes ``json``."""
        is_plain = type(url) is str and not options.get("params")
        known = self._known_url(url) if is_plain else None
        if known is not None and not options and not self.cookies:
            # The same request as httpx2 builds, without merging the options that are missing.
            extensions = {"timeout": self.timeout.as_dict()}
            return httpx.Request(method, known, headers=self.headers, extensions=extensions)
        encode_json_option(self, self.app, options)
        request = super().build_request(method, url if known is None else known, **options)
        if is_plain and known is None and not self.params:
            self._urls[url] = request.url
        return request

    def _known_url(self, url: str) -> httpx.URL | None:
        """Return the merged form of a URL from the cache. Merging takes a third of the time of a request."""
        if self._urls_base is not self.base_url or len(self._urls) > MAX_KNOWN_URLS or self.params:
            self._urls_base = self.base_url
            self._urls.clear()
        return self._urls.get(url)

    async def request(self, method: str, url: Any, **options: Any) -> AsyncReceivedResponse:
        """Send a request and read its response. The options are those of httpx2."""
        auth = options.pop("auth", _DEFAULT)
        follow_redirects = options.pop("follow_redirects", _DEFAULT)
        request = self.build_request(method, url, **options)
        return await self.send(request, auth=auth, follow_redirects=follow_redirects)

    async def send(
        self, request: httpx.Request, *, stream: bool = False, **options: Any
    ) -> AsyncReceivedResponse:
        """Send a request from `build_request`. The options are those of httpx2.

        Raises:
            RuntimeError: the client is not entered.
        """
        self._connections.require_open()
        if stream:
            request.extensions.pop(READ_AT_ONCE, None)
        else:
            request.extensions[READ_AT_ONCE] = True
        response = await super().send(request, stream=stream, **options)
        received = cast(AsyncReceivedResponse, response)  # made by the transport
        if stream:
            received.keep_iterators()
        return received

    async def get(self, url: Any, **options: Any) -> AsyncReceivedResponse:
        """Send a GET request."""
        return await self.request("GET", url, **options)

    async def options(self, url: Any, **options: Any) -> AsyncReceivedResponse:
        """Send an OPTIONS request."""
        return await self.request("OPTIONS", url, **options)

    async def head(self, url: Any, **options: Any) -> AsyncReceivedResponse:
        """Send a HEAD request."""
        return await self.request("HEAD", url, **options)

    async def post(self, url: Any, **options: Any) -> AsyncReceivedResponse:
        """Send a POST request."""
        return await self.request("POST", url, **options)

    async def put(self, url: Any, **options: Any) -> AsyncReceivedResponse:
        """Send a PUT request."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: Any, **options: Any) -> AsyncReceivedResponse:
        """Send a PATCH request."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: Any, **options: Any) -> AsyncReceivedResponse:
        """Send a DELETE request."""
        return await self.request("DELETE", url, **options)

    @asynccontextmanager
    async def stream(
        self, method: str, url: Any, **options: Any
    ) -> AsyncGenerator[AsyncReceivedResponse, None]:
        """Send a request and read its response while the application sends it.

        The response is available as soon as it starts, even before the request body has ended.
        Leaving the context before the end of the response disconnects the client.
        """
        async with super().stream(method, url, **options) as response:
            received: Any = response
            yield received

    @asynccontextmanager
    async def websocket(  # type: ignore[override]  # a session of the test, with its own errors
        self,
        url: Any,
        *,
        subprotocols: Sequence[str] | None = None,
        headers: Any = None,
        **options: Any,
    ) -> AsyncGenerator[AsyncWebSocketSession, None]:
        """Open a WebSocket.

        Args:
            url: a path, or a URL of the scheme ws or wss.
            subprotocols: the subprotocols to offer, the preferred one first.
            headers: headers of the handshake.
            **options: options of a request: ``params``, ``cookies``, ``auth``.

        Raises:
            WebSocketDisconnect: the application closed instead of accepting.
            WebSocketDenialResponse: the application sent a response of its own.
            RuntimeError: the URL has another scheme.
        """
        response = await self.request(
            "GET",
            websocket_url(self.base_url, str(url)),
            headers=handshake_headers(headers, subprotocols),
            **options,
        )
        session: AsyncWebSocketSession = response.extensions[WEBSOCKET_SESSION]
        async with session:
            yield session

    # Faults

    def faults(
        self,
        *,
        disconnect_after: int | None = None,
        send_fails_after: int | None = None,
        receive_chunk_size: int | None = None,
        delay_seconds: float = 0.0,
    ) -> "FaultsContext":
        """Set the faults of all connections that begin after this call. Without arguments, remove them.

        The result is a context manager that restores the earlier faults.

        Args:
            disconnect_after: bytes of content, of both directions together, after which the
                connection breaks. The application sees a disconnect, the test an
                ``httpx2.ReadError`` or, on a WebSocket, a `WebSocketDisconnect` with code 1006.
            send_fails_after: the number of messages that `send` takes before it raises an OSError.
                The connection is broken then, as above.
            receive_chunk_size: the largest piece, in bytes, of a body that the application receives.
            delay_seconds: the delay of each message, in both directions.

        Raises:
            ValueError: a value is out of range.
        """
        earlier = self._connections.faults
        faults = Faults(disconnect_after, send_fails_after, receive_chunk_size, delay_seconds)
        self._connections.faults = None if faults == Faults() else faults
        return FaultsContext(self._connections, earlier)


class FaultsContext:
    """Restore the earlier faults of a client at the end of a ``with``."""

    def __init__(self, connections: Connections, earlier: Faults | None) -> None:
        self._connections = connections
        self._earlier = earlier

    def __enter__(self) -> None:
        """Do nothing: `AsyncTestClient.faults` has set the faults."""

    def __exit__(self, *exc_info: object) -> None:
        """Restore the earlier faults."""
        self._connections.faults = self._earlier


@asynccontextmanager
async def cluster(
    make_app: Callable[[], ASGIApp], workers: int = 3, **options: Any
) -> AsyncIterator[list[AsyncTestClient]]:
    """Run several workers of an application in one event loop, each with its own client.

    ::

        async with cluster(make_app, workers=2) as (first, second):
            await first.post("/messages", json="hi")
            response = await second.get("/messages")

    Args:
        make_app: returns the application of a worker. Share a store between workers through it.
        workers: the number of workers, at least 1.
        **options: the options of each `AsyncTestClient`.

    Raises:
        ValueError: `workers` is less than 1.
        TypeError: `make_app` is not a function or has parameters, for example because it is an application.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers!r}.")
    call: Any = make_app
    if callable(call) and not isinstance(call, (FunctionType, type)):
        call = call.__call__
    if not callable(call) or not takes(call, 0):
        raise TypeError(
            "cluster: make_app must be a function without parameters that returns an application, not "
            f"{make_app!r:.80}. Each worker has an application of its own."
        )
    async with AsyncExitStack() as stack:
        clients = [AsyncTestClient(make_app(), **options) for _ in range(workers)]
        for client in clients:
            await stack.enter_async_context(client)
        yield clients
