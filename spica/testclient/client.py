"""The test client: an HTTP client whose requests end in an application instead of a socket."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Literal, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from spica._diagnostics.call_site import user_line, warn_at
from spica._http.cookies import show_changes
from spica.exceptions import SpicaDeprecationWarning
from spica.testclient.interface import as_asgi3, check_backend, codec_of, httpx
from spica.testclient.lifespan import Lifespan
from spica.testclient.scope import handshake_headers, websocket_url
from spica.testclient.transport import WEBSOCKET_SESSION, ApplicationTransport
from spica.testclient.websocket import WebSocketTestSession
from spica.types import ASGIApp

_UNSET = httpx.USE_CLIENT_DEFAULT


class TestClient(httpx.Client):
    """Send requests to an application, from a test that is not async.

    It has all methods of ``httpx2.Client``. As a context manager it runs the application's lifespan,
    and all requests share one event loop. Otherwise each request has its own event loop. ::

        with TestClient(app) as client:
            response = client.get("/")

    Args:
        app: the application, in the form of ASGI 3 or ASGI 2.
        base_url: the base of relative URLs.
        raise_server_exceptions: True raises the application's exceptions in the test. False turns
            them into a 500, or ends the response early, as a server does.
        root_path: the path prefix of the application, as if a server mounted it there.
        backend: the event loop, "asyncio" or "trio".
        backend_options: the options of the event loop, as for ``anyio.run``.
        cookies: cookies to send with every request.
        headers: headers to send with every request.
        follow_redirects: whether to follow redirects.
        client: the host and port of the peer in every scope.

    Attributes:
        app: the application.
        app_state: the state that the application's lifespan made; each request gets a copy.
        async_backend: the arguments for ``anyio.from_thread.start_blocking_portal``.
        portal: the portal of the shared event loop, or None outside of the context.
        task: the future of the application's lifespan.
    """

    __test__ = False

    task: "Future[None]"
    portal: BlockingPortal | None = None

    def __init__(
        self,
        app: ASGIApp,
        base_url: str = "http://testserver",
        raise_server_exceptions: bool = True,
        root_path: str = "",
        backend: Literal["asyncio", "trio"] = "asyncio",
        backend_options: dict[str, Any] | None = None,
        cookies: Any = None,
        headers: Mapping[str, str] | None = None,
        follow_redirects: bool = True,
        client: tuple[str, int] = ("testclient", 50000),
    ) -> None:
        """Prepare a client. The application runs at the first request, or once you enter the client.

        Raises:
            TypeError: `app` is not an ASGI application.
            ValueError: AnyIO does not know `backend`.
        """
        show_changes()
        self.async_backend: dict[str, Any] = {
            "backend": check_backend(backend),
            "backend_options": backend_options or {},
        }
        self.app = as_asgi3(app)
        self.app_state: dict[str, Any] = {}
        self._exit_stack = ExitStack()
        all_headers = httpx.Headers(headers)
        all_headers.setdefault("user-agent", "testclient")
        super().__init__(
            base_url=base_url,
            headers=all_headers,
            follow_redirects=follow_redirects,
            cookies=cookies,
            transport=ApplicationTransport(
                self.app,
                self._portal_factory,
                raise_server_exceptions,
                root_path,
                client=client,
                app_state=self.app_state,
            ),
        )

    @contextmanager
    def _portal_factory(self) -> Iterator[BlockingPortal]:
        """Yield the shared portal, or a new one for a single request."""
        if self.portal is not None:
            yield self.portal
        else:
            with start_blocking_portal(**self.async_backend) as portal:
                yield portal

    # Requests

    def build_request(self, method: str, url: Any, **options: Any) -> httpx.Request:
        """Build a request as ``httpx2.Client`` does; the application's codec encodes ``json``."""
        if options.get("timeout", _UNSET) is not _UNSET:
            warn_at(
                user_line(),
                "You should not use the 'timeout' argument with the TestClient. It has no effect, "
                "since no network is involved; it will be refused in spica 2.0.",
                SpicaDeprecationWarning,
            )
        encode_json_option(self, self.app, options)
        return super().build_request(method, url, **options)

    def websocket_connect(
        self, url: str, subprotocols: Sequence[str] | None = None, **kwargs: Any
    ) -> WebSocketTestSession:
        """Prepare a WebSocket session; use the result as a context manager.

        Args:
            url: a path, or a URL of the scheme ws or wss.
            subprotocols: the subprotocols to offer, the preferred one first.
            **kwargs: the options of a request: ``headers``, ``params``, ``cookies``, ``auth``.

        Raises:
            RuntimeError: the URL has another scheme.
        """
        url = websocket_url(self.base_url, url)
        headers = handshake_headers(kwargs.pop("headers", None), subprotocols)
        response = self.request("GET", url, headers=headers, **kwargs)
        session: WebSocketTestSession = response.extensions[WEBSOCKET_SESSION]
        return session

    # Lifespan

    def __enter__(self) -> Self:
        """Start the application.

        Raises:
            RuntimeError: the client was entered before, or the application failed to start. An
                exception of the application is raised unchanged.
            AssertionError: the application returned without a message.
        """
        if self.portal is not None:
            raise RuntimeError("The TestClient is entered already: use one client for each `with`.")
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal(**self.async_backend))
            lifespan = Lifespan(self.app, self.app_state)
            self.task = lifespan.begin(portal)
            self.portal = portal
            stack.callback(self._forget_portal)
            stack.callback(lifespan.finish)
            stack.callback(self._transport.close)
            self._exit_stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Cancel the requests that still run, and stop the application."""
        self._exit_stack.close()

    def _forget_portal(self) -> None:
        self.portal = None


def encode_json_option(client: Any, app: Any, options: dict[str, Any]) -> None:
    """Replace the option ``json`` of a request by ``content``, which the application's codec encodes."""
    if options.get("json") is None or any(
        options.get(name) for name in ("content", "data", "files")
    ):
        return
    options["content"] = codec_of(app).encode(options.pop("json"))
    headers = httpx.Headers(options.get("headers"))
    if "content-type" not in headers and "content-type" not in client.headers:
        headers["content-type"] = "application/json"
    options["headers"] = headers
