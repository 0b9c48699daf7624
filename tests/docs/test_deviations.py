"""What docs/deviations.md says of spica is so. One test for each thing that can be seen from outside."""

import asyncio
import contextlib
import contextvars
import datetime
import enum

import pytest

from spica.applications import Spica
from spica.authentication import AuthCredentials
from spica.background import BackgroundTask, BackgroundTasks
from spica.convertors import CONVERTOR_TYPES
from spica.datastructures import URL
from spica.endpoints import HTTPEndpoint, WebSocketEndpoint
from spica.exceptions import HTTPException, MisuseError, WebSocketException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.gzip import GZipMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.middleware.trustedhost import TrustedHostMiddleware
from spica.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from spica.routing import Mount, Route, WebSocketRoute
from spica.staticfiles import StaticFiles
from spica.testclient import TestClient
from spica.websockets import WebSocketDisconnect

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")
FORM = {"content-type": "multipart/form-data; boundary=b"}
FIELD = b'--b\r\nContent-Disposition: form-data; name="a"'


async def hello(request):
    return PlainTextResponse("hello")


async def read_json(request):
    await request.json()
    return PlainTextResponse("read")


async def echo_form(request):
    async with request.form() as form:
        return JSONResponse([[k, getattr(v, "filename", v)] for k, v in form.multi_items()])


def client_of(*routes, middleware=(), **options):
    app = Spica(routes=routes, middleware=middleware, **options)
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


def posted(endpoint, content, headers=None):
    return client_of(Route("/", endpoint, methods=["POST"])).post(
        "/", content=content, headers=headers
    )


# -- requests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"{", b"[NaN]", "[1]".encode("utf-16"), b'["\\ud800"]', b"[" * 1025 + b"]" * 1025],
    ids=["malformed", "NaN", "UTF-16", "lone surrogate", "1025 levels"],
)
def test_json_that_is_none_is_a_400(content):
    assert posted(read_json, content).status_code == 400


def test_json_of_1024_levels_is_read():
    assert posted(read_json, b"[" * 1024 + b"]" * 1024).status_code == 200


def test_a_raw_query_is_utf8():
    async def query(request):
        return PlainTextResponse(request.query_params["a"])

    scope = {"query_string": "a=ä".encode()}

    async def raw(scope_of_server, receive, send):
        await Spica(routes=[Route("/", query)])({**scope_of_server, **scope}, receive, send)

    assert TestClient(raw).get("/").text == "ä"


def test_a_parameter_of_a_url_is_not_none():
    with pytest.raises(ValueError, match="Must not be None"):
        Spica(routes=[Route("/{n}", hello)]).url_path_for("hello", n=None)


def test_a_number_larger_than_the_floats_is_a_404():
    assert client_of(Route("/{x:float}", hello)).get("/" + "9" * 400).status_code == 404


def test_content_and_cookies_of_another_type():
    with pytest.raises(TypeError, match="content must be str or bytes"):
        Response({"a": 1})
    with pytest.raises(TypeError, match="must be a str, not None"):
        Response().set_cookie("a", None)


def test_an_endpoint_takes_the_request():
    with pytest.raises(TypeError, match="calls the endpoint with one argument, the request"):
        Route("/", lambda: Response())


def test_a_url_is_hashable():
    assert len({URL("https://example.org"), URL("https://example.org")}) == 1


def test_a_client_that_leaves_is_no_error():
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    app = Spica(routes=[Route("/", read_json, methods=["POST"])])
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    asyncio.run(app(scope, receive, send))

    assert sent[0]["status"] == 400


@pytest.mark.parametrize(
    ("content", "status_code"),
    [
        (FIELD + b"\r\n\r\nx", 400),
        (FIELD + b"\r\n\r\nx\r\n--b\r\n", 400),
        (b"text", 400),
        (b"", 200),
        (FIELD + b"\r\n\r\nx\r\n--b--\r\n", 200),
        (b"preamble\r\n" + FIELD + b"\r\n\r\nx\r\n--b--\r\n", 200),
    ],
    ids=["cut", "no closing boundary", "no part", "no bytes", "whole", "preamble"],
)
def test_a_form_must_be_whole(content, status_code):
    assert posted(echo_form, content, FORM).status_code == status_code


@pytest.mark.parametrize(
    ("parameter", "filename"),
    [(b'filename="C:\\x\\y.txt"', "C:\\x\\y.txt"), (b"filename*=utf-8''%c3%a4.txt", "ä.txt")],
    ids=["with directories", "extended"],
)
def test_file_names_are_as_sent(parameter, filename):
    content = FIELD + b"; " + parameter + b"\r\n\r\nx\r\n--b--\r\n"

    assert posted(echo_form, content, FORM).json() == [["a", filename]]


def test_a_form_that_is_not_closed_is_closed_when_the_request_is_over():
    kept = []

    async def keep(request):
        kept.append((await request.form())["a"])
        return PlainTextResponse("kept")

    client_of(Route("/", keep, methods=["POST"])).post("/", files={"a": b"x"})

    assert kept[0].file.closed


# -- responses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{"a": "b\r\nc: d"}, {"a b": "c"}], ids=["value with CR LF", "name with a blank"]
)
def test_a_header_that_could_not_be_sent_is_refused(headers):
    with pytest.raises(ValueError, match="header"):
        Response(headers=headers)


@pytest.mark.parametrize(
    "options",
    [
        {"key": "a b"},
        {"key": "a", "path": "/;x"},
        {"key": "a", "domain": "x;y"},
        {"key": "a", "expires": datetime.datetime(2030, 1, 1)},
        {"key": "a", "samesite": "some"},
    ],
    ids=["name", "path", "domain", "naive date", "samesite"],
)
def test_a_cookie_that_could_not_be_sent_is_refused(options):
    with pytest.raises(ValueError, match=r"cookie|samesite"):
        Response().set_cookie(**options)


def test_partitioned_cookies_work_everywhere():
    response = Response()
    response.set_cookie("a", "b", partitioned=True, secure=True)

    assert "Partitioned" in response.headers["set-cookie"]


def test_a_204_is_sent_without_content():
    async def empty(request):
        return PlainTextResponse("not sent", status_code=204)

    assert client_of(Route("/", empty)).get("/").content == b""


class Colour(str, enum.Enum):  # noqa: UP042
    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [(datetime.date(2026, 1, 2), b'"2026-01-02"'), (Colour.RED, b'"red"'), (1e-07, b"1e-7")],
    ids=["date", "enum", "float"],
)
def test_json_has_more_types(value, text):
    assert JSONResponse(value).body == text


@pytest.mark.parametrize(
    ("value", "error"),
    [({1}, TypeError), (b"x", TypeError), (float("nan"), ValueError)],
    ids=["set", "bytes", "NaN"],
)
def test_json_refuses_what_has_no_one_form(value, error):
    with pytest.raises(error):
        JSONResponse(value)


def test_all_background_tasks_run():
    ran = []

    def work(number):
        ran.append(number)
        if number % 2:
            raise ValueError(number)

    async def start(request):
        tasks = BackgroundTasks([BackgroundTask(work, number) for number in range(4)])
        return Response(background=tasks)

    with pytest.raises(ExceptionGroup, match="2 background tasks failed"):
        TestClient(Spica(routes=[Route("/", start)])).get("/")
    assert ran == [0, 1, 2, 3]


def test_a_background_task_runs_when_sending_fails():
    ran = []
    response = Response(background=BackgroundTask(ran.append, 1))

    async def send(message):
        raise OSError

    with pytest.raises(OSError):
        asyncio.run(response({"type": "http"}, None, send))
    assert ran == [1]


def test_files_ignore_unknown_units_and_heed_conditions_on_request(tmp_path):
    (tmp_path / "a.txt").write_text("hello")

    async def plain(request):
        return FileResponse(tmp_path / "a.txt")

    async def conditional(request):
        return FileResponse(tmp_path / "a.txt", conditional=True)

    client = client_of(Route("/plain", plain), Route("/conditional", conditional))

    assert client.get("/plain", headers={"range": "lines=1-2"}).status_code == 200
    assert client.get("/plain", headers={"if-none-match": "*"}).status_code == 200
    assert client.get("/conditional", headers={"if-none-match": "*"}).status_code == 304


# -- routing -------------------------------------------------------------------------------------------


def test_options_and_allow_are_of_all_routes():
    client = client_of(Route("/", hello), Route("/", hello, methods=["POST"]))

    assert client.options("/").status_code == 200
    assert client.put("/").headers["allow"] == "GET, HEAD, POST"


def test_a_class_serves_what_it_defines_and_leaves_the_rest_to_others():
    class Page(HTTPEndpoint):
        async def get(self, request):
            return PlainTextResponse("hello")

    client = client_of(Route("/", Page), Route("/", hello, methods=["POST"]))

    assert client.post("/").status_code == 200
    assert client.put("/").headers["allow"] == "GET, HEAD, POST"
    assert client.options("/").headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_lifespans_of_mounted_applications_run():
    started = []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        started.append(app)
        yield

    inner = Spica(lifespan=lifespan)
    with client_of(Mount("/inner", inner)):
        assert started == [inner]


def test_a_failing_lifespan_is_not_thrown_into_those_around_it():
    ended = []

    @contextlib.asynccontextmanager
    async def around(app):
        yield
        ended.append(app)

    @contextlib.asynccontextmanager
    async def failing(app):
        raise ConnectionError
        yield

    with pytest.raises(ConnectionError):
        client_of(lifespan=[around, failing]).__enter__()
    assert len(ended) == 1


def test_the_rest_of_a_path_may_have_line_feeds():
    assert client_of(Route("/{rest:path}", hello)).get("/a%0Ab").status_code == 200


@pytest.mark.parametrize("path", ["/a%0a", "/" + "1" * 5000], ids=["line feed", "5000 digits"])
def test_what_is_no_match_is_a_404(path):
    client = client_of(Route("/a", hello), Route("/{number:int}", hello))

    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [("text", "50% ?#", "/text/50%25%20%3F%23"), ("float", 0.1, "/float/0.1")],
    ids=["encoded", "short"],
)
def test_urls_lead_to_their_path(name, value, path):
    routes = [
        Route("/text/{a}", hello, name="text"),
        Route("/float/{a:float}", hello, name="float"),
    ]

    assert Spica(routes=routes).url_path_for(name, a=value) == path


def test_a_fraction_is_no_int():
    with pytest.raises(ValueError, match=r"1\.5 is not a whole number"):
        CONVERTOR_TYPES["int"].to_string(1.5)


def test_slash_redirects_are_paths_where_the_method_matches():
    client = client_of(Route("/a/", hello))

    assert client.get("/a?x=1").headers["location"] == "/a/?x=1"
    assert client.post("/a").status_code == 404


@pytest.mark.parametrize(
    ("make", "errors"),
    [
        (lambda: Route("a", hello), (ValueError, AssertionError)),
        (lambda: Route("/{a:b}", hello), (ValueError, AssertionError)),
        (lambda: Route("/", hello, methods="GET"), (TypeError,)),
        (lambda: HTTPException(42), (ValueError,)),
        (lambda: WebSocketException(1005), (ValueError,)),
        (lambda: AuthCredentials("admin"), (TypeError,)),
        (lambda: StaticFiles(), (ValueError,)),
    ],
    ids=["path", "convertor", "methods", "status", "close code", "scopes", "no files"],
)
def test_wrong_arguments_are_errors(make, errors):
    with pytest.raises(errors[0]) as caught:
        make()
    assert isinstance(caught.value, errors)


def test_misuse_is_an_assertion_error_too():
    assert issubclass(MisuseError, ValueError)
    assert issubclass(MisuseError, AssertionError)


# -- middleware ----------------------------------------------------------------------------------------


async def set_variable(request):
    VARIABLE.set("endpoint")
    return PlainTextResponse("x")


def set_variable_in_thread(request):
    VARIABLE.set("endpoint")
    return PlainTextResponse("x")


class Look(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        return PlainTextResponse(f"{type(response).__name__} {VARIABLE.get()}")


@pytest.mark.parametrize("endpoint", [set_variable, set_variable_in_thread], ids=["async", "def"])
def test_a_dispatch_middleware_sees_the_response_and_context_variables(endpoint):
    client = client_of(Route("/", endpoint), middleware=[Middleware(Look)])

    assert client.get("/").text == "PlainTextResponse endpoint"


class Refuse(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        raise HTTPException(418, "tea")


def test_an_http_exception_of_a_middleware_is_answered():
    assert client_of(Route("/", hello), middleware=[Middleware(Refuse)]).get("/").text == "tea"


def test_a_handler_for_500_sees_http_exceptions():
    async def fail(request):
        raise HTTPException(500)

    async def handler(request, exc):
        return PlainTextResponse(type(exc).__name__, status_code=500)

    client = client_of(Route("/", fail), exception_handlers={500: handler})

    assert client.get("/").text == "HTTPException"


def test_a_500_has_the_headers_of_the_layers_around_it():
    async def fail(request):
        raise LookupError

    middleware = [Middleware(CORSMiddleware, allow_origins=["https://a.org"])]
    response = client_of(Route("/", fail), middleware=middleware).get(
        "/", headers={"origin": "https://a.org"}
    )

    assert response.status_code == 500
    assert response.headers["access-control-allow-origin"] == "https://a.org"


@pytest.mark.parametrize(
    ("accepted", "coding", "etag"),
    [("gzip", "gzip", 'W/"a"'), ("*", "gzip", 'W/"a"'), ("gzip;q=0", None, '"a"')],
    ids=["gzip", "star", "refused"],
)
def test_gzip_heeds_weights(accepted, coding, etag):
    async def large(request):
        return PlainTextResponse("x" * 1000, headers={"etag": '"a"'})

    client = client_of(Route("/", large), middleware=[Middleware(GZipMiddleware)])
    response = client.get("/", headers={"accept-encoding": accepted})

    assert response.headers.get("content-encoding") == coding
    assert response.headers["etag"] == etag


def test_changes_inside_a_session_are_found():
    async def grow(request):
        request.session.setdefault("list", []).append(1)
        return PlainTextResponse(str(len(request.session["list"])))

    client = client_of(Route("/", grow), middleware=[Middleware(SessionMiddleware, secret_key="k")])

    assert [client.get("/").text for _ in range(3)] == ["1", "2", "3"]


def test_a_host_below_another_has_a_name():
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=["*.a.org"])]

    response = client_of(Route("/", hello), middleware=middleware).get(
        "/", headers={"host": ".a.org"}
    )

    assert response.status_code == 400


# -- WebSockets, files ---------------------------------------------------------------------------------


async def receive_text(websocket):
    await websocket.accept()
    await websocket.receive_text()


async def receive_json(websocket):
    await websocket.accept()
    await websocket.receive_json()


class TextOnly(WebSocketEndpoint):
    encoding = "text"


@pytest.mark.parametrize(
    ("endpoint", "message", "code"),
    [
        (receive_text, {"bytes": b"x"}, 1003),
        (receive_json, {"text": "{"}, 1007),
        (TextOnly, {"bytes": b"x"}, 1003),
    ],
    ids=["binary for text", "no JSON", "endpoint class"],
)
def test_wrong_frames_close_the_connection(endpoint, message, code):
    client = client_of(WebSocketRoute("/", endpoint))

    with client.websocket_connect("/") as session:
        session.send({"type": "websocket.receive", **message})
        with pytest.raises(WebSocketDisconnect) as caught:
            session.receive_text()
    assert caught.value.code == code


def test_static_files_hide_dotfiles_and_heed_preconditions(tmp_path):
    (tmp_path / ".env").write_text("SECRET")
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.html").write_text("page")
    client = client_of(Mount("/s", StaticFiles(directory=tmp_path, html=True)))

    assert client.get("/s/.env").status_code == 404
    assert client.get("/s/a.txt", headers={"if-match": '"other"'}).status_code == 412
    assert client.get("/s/pages?x=1").headers["location"] == "/s/pages/?x=1"
