"""The test client: an HTTP client whose requests end in an application instead of a socket."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Literal, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from spica._diagnostics.call_site import user_line, warn_at
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

    All methods of ``httpx2.Client`` are there. As a context manager it runs the application's
    lifespan, and all requests share one event loop; otherwise each request has a loop of its own.

    Args:
        app: the application; ASGI 2 is understood too.
        base_url: what relative URLs are relative to.
        raise_server_exceptions: True raises in the test what the application raises. False makes a
            500 of it, or ends the response where it is, as a server does.
        root_path: the path below which the application seems to be mounted.
        backend: the event loop, "asyncio" or "trio".
        backend_options: options for it, as for ``anyio.run``.
        cookies: cookies to send with every request.
        headers: headers to send with every request.
        follow_redirects: whether redirects are followed.
        client: host and port that the requests seem to come from.

    Attributes:
        app: the application.
        app_state: the state that the application's lifespan made; a request gets a copy.
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
        """Prepare a client; nothing runs before the first request.

        Raises:
            TypeError: `app` is no ASGI application.
            ValueError: `backend` is no event loop that AnyIO knows.
        """
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
        """Give the shared portal, or one of its own to whoever needs one now."""
        if self.portal is not None:
            yield self.portal
        else:
            with start_blocking_portal(**self.async_backend) as portal:
                yield portal

    # Requests

    def build_request(self, method: str, url: Any, **options: Any) -> httpx.Request:
        """Build a request as ``httpx2.Client`` does; ``json`` is encoded with the application's codec."""
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
            subprotocols: the subprotocols to offer, most wanted first.
            **kwargs: options of a request: ``headers``, ``params``, ``cookies``, ``auth``.

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
            RuntimeError: the client is entered already, or the application says that it cannot
                start. What the application raises is raised as it is.
            AssertionError: the application returned without a word.
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
        """Cancel what is still being answered, and stop the application."""
        self._exit_stack.close()

    def _forget_portal(self) -> None:
        self.portal = None


def encode_json_option(client: Any, app: Any, options: dict[str, Any]) -> None:
    """Replace the option ``json`` of a request by content that the application's codec encodes."""
    if options.get("json") is None or any(
        options.get(name) for name in ("content", "data", "files")
    ):
        return
    options["content"] = codec_of(app).encode(options.pop("json"))
    headers = httpx.Headers(options.get("headers"))
    if "content-type" not in headers and "content-type" not in client.headers:
        headers["content-type"] = "application/json"
    options["headers"] = headers
