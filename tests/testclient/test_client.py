import datetime
import threading
import warnings
from typing import Any

import pytest

from spica.exceptions import SpicaDeprecationWarning
from spica.testclient import TestClient
from spica.testclient.interface import httpx


class Recorder:
    """Answer everything, keep the scopes and bodies of requests, and live a life."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.bodies: list[bytes] = []
        self.log: list[str] = []
        self.threads: set[int] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.threads.add(threading.get_ident())
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["made"] = "at start-up"
            self.log.append("start-up")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.log.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.scopes.append(scope)
        self.log.append("request")
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        self.bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.scopes[-1]["headers"])


@pytest.fixture
def app() -> Recorder:
    return Recorder()


def test_it_is_a_client_of_httpx_and_no_test() -> None:
    assert issubclass(TestClient, httpx.Client)
    assert TestClient.__test__ is False


def test_the_defaults(app: Recorder) -> None:
    client = TestClient(app)
    client.get("/")
    assert app.headers[b"user-agent"] == b"testclient"
    assert app.scopes[0]["client"] == ("testclient", 50000)
    assert client.base_url == "http://testserver"
    assert client.app is app
    assert client.async_backend == {"backend": "asyncio", "backend_options": {}}
    assert client.app_state == {}
    assert client.portal is None
    assert client.follow_redirects is True


def test_the_options(app: Recorder, make_client: Any) -> None:
    options = {"x-a": "b", "User-Agent": "mine"}
    client = make_client(
        app,
        base_url="https://h:1/base",
        root_path="/r",
        cookies={"c": "d"},
        headers=options,
        client=("1.2.3.4", 5),
        follow_redirects=False,
    )
    client.get("/a")
    scope = app.scopes[0]
    assert (scope["scheme"], scope["server"], scope["path"]) == ("https", ["h", 1], "/base/a")
    assert (scope["root_path"], scope["client"]) == ("/r", ("1.2.3.4", 5))
    assert app.headers[b"cookie"] == b"c=d"
    assert app.headers[b"x-a"] == b"b"
    assert app.headers[b"user-agent"] == b"mine"
    assert client.follow_redirects is False
    assert options == {"x-a": "b", "User-Agent": "mine"}


def test_backend_options_reach_the_event_loop(app: Recorder) -> None:
    client = TestClient(app, backend_options={"debug": True})
    assert client.async_backend["backend_options"] == {"debug": True}
    assert client.get("/").text == "ok"


def test_what_is_no_application_is_refused() -> None:
    with pytest.raises(TypeError, match="not None"):
        TestClient(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["get", "options", "head", "post", "put", "patch", "delete"])
def test_every_verb(app: Recorder, method: str) -> None:
    assert getattr(TestClient(app), method)("/").status_code == 200
    assert app.scopes[0]["method"] == method.upper()


def test_cookies_of_a_response_are_kept(make_client: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"set-cookie", b"a=b")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    client = make_client(app)
    client.get("/")
    assert [cookie.name for cookie in client.cookies.jar] == ["a"]


# JSON


def test_json_is_encoded_with_the_codec_of_spica(app: Recorder) -> None:
    TestClient(app).post("/", json={"é": datetime.date(2024, 1, 2)})
    assert app.bodies == ['{"é":"2024-01-02"}'.encode()]
    assert app.headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize(
    ("of_client", "of_request"),
    [({"content-type": "a/b"}, {}), ({}, {"Content-Type": "a/b"})],
    ids=["client", "request"],
)
def test_json_keeps_a_content_type_that_is_given(
    app: Recorder, of_client: dict[str, str], of_request: dict[str, str]
) -> None:
    TestClient(app, headers=of_client).post("/", json=1, headers=of_request)
    assert app.headers[b"content-type"] == b"a/b"
    assert "content-type" not in of_request


def test_other_bodies_go_before_json_as_in_httpx(app: Recorder) -> None:
    TestClient(app).post("/", json=1, data={"a": "b"})
    assert app.bodies == [b"a=b"]


# timeout


@pytest.mark.parametrize("way", ["request", "stream"])
def test_a_timeout_warns_at_the_line_of_the_test(app: Recorder, way: str) -> None:
    client = TestClient(app)
    calls = {
        "request": lambda: client.get("/", timeout=1),
        "stream": lambda: client.stream("GET", "/", timeout=1).__enter__().close(),
    }
    with pytest.warns(SpicaDeprecationWarning, match="should not use the 'timeout'") as caught:
        calls[way]()
    line = calls[way].__code__.co_firstlineno
    assert [(warning.filename, warning.lineno) for warning in caught] == [(__file__, line)]


# WebSockets


@pytest.mark.parametrize(
    ("base_url", "url", "scheme", "server", "path"),
    [
        ("http://h", "/a", "ws", ["h", 80], "/a"),
        ("https://h", "/a", "wss", ["h", 443], "/a"),
        ("http://[::1]:9", "/a", "ws", ["::1", 9], "/a"),
        ("http://h/base", "a", "ws", ["h", 80], "/base/a"),
        ("http://h/base", "/a", "ws", ["h", 80], "/a"),
        ("http://h", "wss://other:1/a", "wss", ["other", 1], "/a"),
    ],
)
def test_a_websocket_url_is_relative_to_the_base_url(
    app: Recorder, base_url: str, url: str, scheme: str, server: list[Any], path: str
) -> None:
    session = TestClient(app, base_url=base_url).websocket_connect(url)
    found = {key: session.scope[key] for key in ("scheme", "server", "path")}
    assert found == {"scheme": scheme, "server": server, "path": path}


@pytest.mark.parametrize("url", ["http://h/", "https://h/", "ftp://h/"])
def test_a_websocket_url_of_another_scheme_is_refused(app: Recorder, url: str) -> None:
    with pytest.raises(RuntimeError, match="Expected a WebSocket upgrade"):
        TestClient(app).websocket_connect(url)


def test_a_handshake_has_its_headers_and_those_of_the_client(app: Recorder) -> None:
    client = TestClient(app, headers={"x-a": "b"}, cookies={"c": "d"})
    with client.websocket_connect("/", ["a", "b"], params={"q": "1"}, headers={"x-c": "d"}):
        pass
    assert app.headers == {
        b"host": b"testserver",
        b"accept": b"*/*",
        b"accept-encoding": app.headers[b"accept-encoding"],
        b"connection": b"upgrade",
        b"user-agent": b"testclient",
        b"x-a": b"b",
        b"x-c": b"d",
        b"cookie": b"c=d",
        b"sec-websocket-key": b"testserver==",
        b"sec-websocket-version": b"13",
        b"sec-websocket-protocol": b"a, b",
    }
    assert app.scopes[0]["query_string"] == b"q=1"
    assert app.scopes[0]["subprotocols"] == ["a", "b"]


def test_headers_of_a_handshake_can_be_replaced(app: Recorder) -> None:
    headers = {"Sec-WebSocket-Key": "mine", "Connection": "keep-alive, upgrade"}
    session = TestClient(app).websocket_connect("/", headers=headers)
    found = dict(session.scope["headers"])
    assert found[b"sec-websocket-key"] == b"mine"
    assert found[b"connection"] == b"keep-alive, upgrade"


# Lifespan


def test_the_context_runs_the_lifespan(app: Recorder, make_client: Any) -> None:
    with make_client(app) as client:
        assert app.log == ["start-up"]
        assert not client.task.done()
        client.get("/")
        with client.websocket_connect("/"):
            pass
    assert app.log == ["start-up", "request", "request", "shutdown"]
    assert client.task.done()
    assert client.portal is None


def test_the_context_has_one_event_loop(app: Recorder, make_client: Any) -> None:
    with make_client(app) as client:
        client.get("/")
        client.get("/")
        assert app.threads == {client.portal.call(threading.get_ident)}


def test_a_request_gets_a_copy_of_the_state(app: Recorder, make_client: Any) -> None:
    with make_client(app) as client:
        client.get("/")
        app.scopes[0]["state"]["mine"] = 1
        client.get("/")
        assert client.app_state == {"made": "at start-up"}
    assert app.scopes[1]["state"] == {"made": "at start-up"}


def test_a_client_can_be_used_before_in_and_after_the_context(
    app: Recorder, make_client: Any
) -> None:
    client = make_client(app)
    client.get("/")
    for _ in range(2):
        with client:
            client.get("/")
    client.get("/")
    cycle = ["start-up", "request", "shutdown"]
    assert app.log == ["request", *cycle, *cycle, "request"]


def test_a_client_cannot_be_entered_twice(app: Recorder, make_client: Any) -> None:
    with make_client(app) as client:
        with pytest.raises(RuntimeError, match="entered already"):
            client.__enter__()
    assert app.log == ["start-up", "shutdown"]


def test_leaving_without_entering_does_nothing(app: Recorder) -> None:
    TestClient(app).__exit__(None, None, None)
    assert app.log == []


def test_a_failing_start_leaves_the_client_usable(make_client: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("no start")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    client = make_client(app)
    with pytest.raises(ValueError, match="no start"):
        client.__enter__()
    assert client.portal is None
    assert client.get("/").status_code == 200


def test_open_streams_end_before_the_shutdown(make_client: Any) -> None:
    log = []

    class Streaming(Recorder):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await super().__call__(scope, receive, send)
                return
            try:
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": b"a", "more_body": True})
            finally:
                log.extend(app.log)

    app = Streaming()
    with make_client(app) as client:
        client.send(client.build_request("GET", "/"), stream=True)
    assert log == ["start-up"]
    assert app.log == ["start-up", "shutdown"]


def test_threads_may_share_a_client(app: Recorder, make_client: Any) -> None:
    answers = []
    with make_client(app) as client:
        threads = [
            threading.Thread(target=lambda: answers.append(client.get("/").text)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["ok"] * 8


def test_nothing_is_left_to_warn_of(app: Recorder, make_client: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with make_client(app) as client:
            client.get("/")
