"""A JSON codec of the application's own: in force for all that reads and writes JSON in it."""

import json
from typing import Any

import anyio
import pytest
from asgi_kit import Exchange, call, http_scope

from spica._asgi import current_codec as codec
from spica.applications import Spica
from spica.background import BackgroundTask, BackgroundTasks
from spica.endpoints import WebSocketEndpoint
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.requests import ClientDisconnect, Request
from spica.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from spica.routing import Mount, Route, WebSocketRoute
from spica.testclient import TestClient


class Marked:
    """JSON after a mark, so that it can be seen who wrote it, and who can read it."""

    def __init__(self, mark: str = "#") -> None:
        self.mark = mark

    def encode(self, value: Any) -> bytes:
        return f"{self.mark}{json.dumps(value)}".encode()

    def decode(self, data: bytes | str) -> Any:
        text = data if isinstance(data, str) else data.decode()
        if not text.startswith(self.mark):
            raise ValueError(f"a secret of the client: {text}")
        return json.loads(text[len(self.mark) :])


class Pass:
    """A layer that is not ours."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


async def echo(request: Request) -> Response:
    return JSONResponse(await request.json())


def plain_echo(request: Request) -> Response:
    return JSONResponse({"thread": True})


async def pass_on(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


async def respond_with_json(request: Request, call_next: Any) -> Response:
    await call_next(request)
    return JSONResponse("outside")


async def handler(request: Request, exc: Exception) -> Response:
    return JSONResponse(type(exc).__name__, status_code=500)


async def fail(request: Request) -> Response:
    raise ValueError("broken")


ECHO = Route("/", echo, methods=["POST"])


@pytest.mark.anyio
class TestInForce:
    @pytest.mark.parametrize("layers", [[], [Middleware(Pass)]], ids=["value", "message"])
    async def test_request_and_response(self, layers: Any) -> None:
        app = Spica(routes=[ECHO], middleware=layers, json_codec=Marked())
        assert (await call(app, "POST", body=b'#{"a": 1}')).body == b'#{"a": 1}'

    @pytest.mark.parametrize("layers", [[], [Middleware(Pass)]], ids=["value", "message"])
    async def test_what_is_not_its_json_is_a_400_that_repeats_nothing(self, layers: Any) -> None:
        app = Spica(routes=[ECHO], middleware=layers, json_codec=Marked())
        exchange = await call(app, "POST", body=b'{"a": 1}')
        assert exchange.status == 400
        assert exchange.text == "Malformed JSON: Not JSON: line 1 column 1 (char 0)"

    @pytest.mark.parametrize("layers", [[], [Middleware(Pass)]], ids=["value", "message"])
    async def test_its_own_decode_error_is_told_as_it_is(self, layers: Any) -> None:
        app = Spica(routes=[ECHO], middleware=layers, json_codec=Marked())
        exchange = await call(app, "POST", body=b'#{"a": ]')
        assert exchange.status == 400
        assert exchange.text == "Malformed JSON: Expecting value: line 1 column 7 (char 6)"

    async def test_in_a_thread(self) -> None:
        app = Spica(routes=[Route("/", plain_echo)], json_codec=Marked())
        assert (await call(app)).body == b'#{"thread": true}'

    async def test_in_a_dispatch_middleware(self) -> None:
        layer = Middleware(BaseHTTPMiddleware, dispatch=respond_with_json)
        app = Spica(routes=[Route("/", plain_echo)], middleware=[layer], json_codec=Marked())
        assert (await call(app)).body == b'#"outside"'

    @pytest.mark.parametrize("key", [500, Exception, ValueError])
    async def test_in_handlers(self, key: Any) -> None:
        app = Spica(
            routes=[Route("/", fail)], exception_handlers={key: handler}, json_codec=Marked()
        )
        assert (await Exchange().run(app)).body == b'#"ValueError"'

    async def test_in_a_handler_for_what_a_middleware_raises(self) -> None:
        async def refuse(request: Request, call_next: Any) -> Response:
            raise HTTPException(403)

        app = Spica(
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=refuse)],
            exception_handlers={403: handler},
            json_codec=Marked(),
        )
        assert (await call(app)).body == b'#"HTTPException"'

    async def test_in_a_session(self) -> None:
        async def visit(request: Request) -> Response:
            request.session["seen"] = 1
            return PlainTextResponse("")

        async def seen(request: Request) -> Response:
            return PlainTextResponse(str(request.session["seen"]))

        app = Spica(
            routes=[Route("/visit", visit), Route("/seen", seen)],
            middleware=[Middleware(SessionMiddleware, secret_key="a secret of some length")],
            json_codec=Marked(),
        )
        cookie = (await call(app, path="/visit")).headers["set-cookie"].partition(";")[0]
        assert (await call(app, path="/seen", headers=[("cookie", cookie)])).text == "1"
        value = cookie.partition("=")[2].partition(".")[0]
        import base64

        assert base64.b64decode(value) == b'#{"seen": 1}'

    async def test_elsewhere_it_is_the_default(self) -> None:
        Spica(json_codec=Marked())
        assert (await call(Spica(routes=[ECHO]), "POST", body=b'{"a":1}')).body == b'{"a":1}'

    async def test_two_applications_at_once(self) -> None:
        apps = [Spica(routes=[ECHO], json_codec=Marked(mark)) for mark in "#%"]
        bodies = []

        async def run(app: Any, mark: str) -> None:
            bodies.append((await call(app, "POST", body=f"{mark}[1]".encode())).text)

        async with anyio.create_task_group() as group:
            for app, mark in zip(apps, "#%", strict=True):
                group.start_soon(run, app, mark)
        assert sorted(bodies) == ["#[1]", "%[1]"]

    async def test_a_subclass_that_does_not_call_init_has_the_default(self) -> None:
        assert Spica.json_codec is None


@pytest.mark.anyio
class TestMounted:
    async def test_an_application_without_one_uses_that_around_it(self) -> None:
        app = Spica(routes=[Mount("/in", Spica(routes=[ECHO]))], json_codec=Marked())
        assert (await call(app, "POST", "/in/", body=b"#[1]")).body == b"#[1]"

    @pytest.mark.parametrize("layers", [[], [Middleware(Pass)]], ids=["value", "message"])
    async def test_an_application_with_one_uses_its_own(self, layers: Any) -> None:
        inner = Spica(routes=[ECHO], middleware=layers, json_codec=Marked("%"))
        app = Spica(routes=[Mount("/in", inner)], json_codec=Marked())
        before = codec.chosen.get()
        assert (await call(app, "POST", "/in/", body=b"%[1]")).body == b"%[1]"
        assert codec.chosen.get() is before

    async def test_a_middleware_outside_uses_that_of_its_application(self) -> None:
        inner = Spica(routes=[ECHO], json_codec=Marked("%"))
        layer = Middleware(BaseHTTPMiddleware, dispatch=respond_with_json)
        app = Spica(routes=[Mount("/in", inner)], middleware=[layer], json_codec=Marked())
        assert (await call(app, "POST", "/in/", body=b"%[1]")).body == b'#"outside"'


@pytest.mark.anyio
class TestErrors:
    async def test_a_client_that_leaves_is_no_error(self) -> None:
        async def read(request: Request) -> Response:
            raise ClientDisconnect

        assert (
            await Exchange().run(Spica(routes=[Route("/", read)], json_codec=Marked()))
        ).error is None

    async def test_a_client_that_leaves_a_stream_is_none_either(self) -> None:
        async def chunks() -> Any:
            while True:
                yield b"x"

        async def stream(request: Request) -> Response:
            return StreamingResponse(chunks())

        app = Spica(routes=[Route("/", stream)], json_codec=Marked())
        assert (await Exchange(gone_after=3).run(app)).error is None

    async def test_a_stream_that_fails_is_told_to_the_handler(self) -> None:
        told = []

        async def note(request: Request, exc: Exception) -> Response:
            told.append(exc)
            return PlainTextResponse("")

        async def chunks() -> Any:
            yield b"x"
            raise KeyError("midway")

        async def stream(request: Request) -> Response:
            return StreamingResponse(chunks())

        app = Spica(
            routes=[Route("/", stream)], exception_handlers={500: note}, json_codec=Marked()
        )
        exchange = await Exchange().run(app)
        assert not exchange.is_complete
        assert [exchange.error] == told


def test_a_websocket_and_the_test_client() -> None:
    async def echo_socket(websocket: Any) -> None:
        await websocket.accept()
        value = await websocket.receive_json()
        await websocket.send_json(value)
        await websocket.send_text("unmarked")
        await websocket.send_json(await websocket.receive_json(mode="binary"), mode="binary")

    class Endpoint(WebSocketEndpoint):
        encoding = "json"

        async def on_receive(self, websocket: Any, data: Any) -> None:
            await websocket.send_json(data)

    app = Spica(
        routes=[WebSocketRoute("/f", echo_socket), WebSocketRoute("/c", Endpoint), ECHO],
        json_codec=Marked(),
    )
    client = TestClient(app)
    assert client.post("/", json=[1]).content == b"#[1]"
    with client.websocket_connect("/f") as session:
        session.send_json([1])
        assert session.receive_text() == "#[1]"
        assert session.receive_text() == "unmarked"
        session.send_json([2], mode="binary")
        assert session.receive_json(mode="binary") == [2]
    with client.websocket_connect("/c") as session:
        session.send_json([1])
        assert session.receive_json() == [1]


class TestWhatIsNoCodec:
    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (json, "Spica: json_codec must have encode(value) -> bytes and decode(data), but "),
            ("orjson", "Spica: json_codec must have encode(value) -> bytes and decode(data), but "),
            (
                json.JSONEncoder(),
                "Spica: json_codec must have encode(value) -> bytes and decode(data), but ",
            ),
        ],
        ids=["module", "name", "encoder"],
    )
    def test_without_the_methods(self, given: Any, text: str) -> None:
        with pytest.raises(TypeError) as caught:
            Spica(json_codec=given)
        assert str(caught.value).startswith(text)

    def test_a_class(self) -> None:
        class Codec:
            def encode(self, value: Any) -> bytes:
                return b""

            def decode(self, data: Any) -> Any: ...

        with pytest.raises(TypeError) as caught:
            Spica(json_codec=Codec)  # type: ignore[arg-type]
        assert str(caught.value) == (
            "Spica: json_codec must not be the class Codec: write Codec()."
        )

    def test_that_writes_text(self) -> None:
        class Text:
            encode = staticmethod(json.dumps)
            decode = staticmethod(json.loads)

        with pytest.raises(TypeError) as caught:
            Spica(json_codec=Text())  # type: ignore[arg-type]
        assert str(caught.value) == (
            "Spica: encode() of json_codec must return bytes, in UTF-8, not str."
        )


def test_the_default_is_called_directly_until_there_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from spica import jsoncodec

    monkeypatch.setattr(codec, "encode", jsoncodec.encode)
    monkeypatch.setattr(codec, "decode", jsoncodec.decode)
    Spica().build_middleware_stack()
    assert codec.encode is jsoncodec.encode
    codec.look_up()
    assert codec.encode is not jsoncodec.encode
    assert codec.encode([1]) == b"[1]"


@pytest.mark.anyio
async def test_the_context_is_left_as_it_was() -> None:
    app = Spica(routes=[ECHO], json_codec=Marked())
    before = codec.chosen.get()
    await app(http_scope(), Exchange().receive, Exchange().send)
    assert codec.chosen.get() is before


async def stream(request: Request) -> Response:
    async def chunks() -> Any:
        yield JSONResponse(1).body
        yield JSONResponse(2).body

    return StreamingResponse(chunks())


LAYERS: dict[str, list[Any]] = {
    "value": [],
    "message": [Middleware(Pass)],
    "dispatch": [Middleware(BaseHTTPMiddleware, dispatch=pass_on)],
    "dispatch and message": [Middleware(BaseHTTPMiddleware, dispatch=pass_on), Middleware(Pass)],
}


@pytest.mark.anyio
@pytest.mark.parametrize("inside", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("outside", LAYERS.values(), ids=LAYERS)
class TestWhatIsMadeLater:
    """A stream, and a background task: when the answer was passed on already."""

    async def test_a_stream(self, inside: list[Any], outside: list[Any]) -> None:
        inner = Spica(routes=[Route("/", stream)], middleware=inside, json_codec=Marked())
        app = Spica(routes=[Mount("/", inner)], middleware=outside)
        assert (await call(inner)).body == (await call(app)).body == b"#1#2"

    async def test_a_task(self, inside: list[Any], outside: list[Any]) -> None:
        written = []

        async def task() -> None:
            written.append(JSONResponse("later").body)

        def in_thread() -> None:
            written.append(JSONResponse("thread").body)

        async def endpoint(request: Request) -> Response:
            tasks = BackgroundTasks([BackgroundTask(task), BackgroundTask(in_thread)])
            return PlainTextResponse("now", background=tasks)

        inner = Spica(routes=[Route("/", endpoint)], middleware=inside, json_codec=Marked())
        app = Spica(routes=[Mount("/", inner)], middleware=outside)
        before = codec.chosen.get()
        assert (await call(app)).text == "now"
        assert written == [b'#"later"', b'#"thread"']
        assert codec.chosen.get() is before
