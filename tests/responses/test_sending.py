"""What leaves is well formed: no body where none may be, and the length that was announced."""

from http import HTTPStatus
from typing import Any

import pytest
from asgi_kit import Exchange, http_scope

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.requests import Request
from spica.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from spica.routing import Mount, Route

pytestmark = pytest.mark.anyio


async def chunks(*items: Any) -> Any:
    for item in items:
        yield item


class App:
    """An app that is only known by running it."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"5"), (b"x-kept", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})


def endpoints() -> dict[str, Any]:
    async def text(request: Request) -> Response:
        return PlainTextResponse("hello", headers={"x-kept": "1"})

    async def stream(request: Request) -> Response:
        return StreamingResponse(
            chunks(b"hel", "lo"), headers={"content-length": "5", "x-kept": "1"}
        )

    async def file(request: Request) -> Response:
        return FileResponse(__file__, headers={"x-kept": "1"})

    async def replaced(request: Request) -> Response:
        response = PlainTextResponse("hello", headers={"x-kept": "1"})
        response.body_iterator = chunks(b"HELLO")
        return response

    return {"text": text, "stream": stream, "file": file, "replaced": replaced}


def application(kind: str, *layers: Any) -> Spica:
    route = Mount("", App()) if kind == "app" else Route("/", endpoints()[kind])
    return Spica(
        routes=[route],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=layer) for layer in layers],
    )


KINDS = ["text", "stream", "file", "replaced", "app"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [204, 205, 304])
@pytest.mark.parametrize("reads", [False, True], ids=["unread", "with an iterator"])
async def test_a_status_that_a_layer_sets_leaves_no_body(
    kind: str, status: int, reads: bool
) -> None:
    """RFC 9110 s.6.4.1, s.8.6, s.15.3.6."""

    async def set_status(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.status_code = status
        if reads:
            response.body_iterator = chunks(b"something else")
        return response

    exchange = await Exchange().run(application(kind, set_status))
    assert exchange.error is None
    assert (exchange.status, exchange.body, exchange.is_complete) == (status, b"", True)
    assert exchange.headers["x-kept"] == "1"
    assert exchange.headers.get("content-length") == ("0" if status == 205 else None)


@pytest.mark.parametrize("make", [Response, PlainTextResponse])
@pytest.mark.parametrize(("status", "length"), [(100, None), (204, None), (205, "0"), (304, None)])
async def test_a_status_without_a_body(make: Any, status: int, length: Any) -> None:
    exchange = await Exchange().run(make("text", status))
    assert exchange.body == b""
    assert exchange.headers.get("content-length") == length


async def test_the_iterator_of_a_body_that_is_not_sent_is_closed() -> None:
    closed = []

    class Chunks:
        def __aiter__(self) -> Any:
            raise AssertionError

        async def aclose(self) -> None:
            closed.append(True)

    await Exchange().run(StreamingResponse(Chunks(), 204))
    assert closed == [True]


class TestLength:
    """A length that can't be kept leaves the response without an end (RFC 9112 s.8)."""

    @pytest.mark.parametrize(
        ("length", "error"),
        [
            (4, "longer than its Content-Length: 4 bytes were announced"),
            (5, None),
            (6, "shorter than its Content-Length: 6 bytes were announced, and 1 of them"),
        ],
    )
    @pytest.mark.parametrize("body", [["hello"], [b"he", b"", "llo"], [memoryview(b"hello")]])
    async def test_of_a_stream(self, length: int, error: str | None, body: Any) -> None:
        response = StreamingResponse(chunks(*body), headers={"content-length": str(length)})
        exchange = await Exchange().run(response)
        assert exchange.is_complete == (error is None)
        if error is not None:
            assert isinstance(exchange.error, RuntimeError)
            assert error in str(exchange.error)

    async def test_characters_are_counted_as_bytes(self) -> None:
        response = StreamingResponse(chunks("é"), headers={"content-length": "2"})
        assert (await Exchange().run(response)).is_complete

    async def test_a_stream_that_is_too_long_is_closed(self) -> None:
        closed = []

        async def endless() -> Any:
            try:
                while True:
                    yield b"xx"
            finally:
                closed.append(True)

        response = StreamingResponse(endless(), headers={"content-length": "5"})
        exchange = await Exchange().run(response)
        assert exchange.body == b"xxxx"
        assert closed == [True]

    @pytest.mark.parametrize("kind", KINDS)
    async def test_of_a_body_that_a_layer_replaces(self, kind: str) -> None:
        async def replace(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            response.body_iterator = chunks(b"abc")
            return response

        exchange = await Exchange().run(application(kind, replace))
        assert not exchange.is_complete
        assert "shorter than its Content-Length" in str(exchange.error)

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_layer_that_hands_the_body_on_keeps_it(self, kind: str) -> None:
        async def wrap(body: Any) -> Any:
            async for chunk in body:
                yield chunk

        async def hand_on(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            response.body_iterator = wrap(response.body_iterator)
            return response

        exchange = await Exchange().run(application(kind, hand_on))
        assert exchange.error is None
        assert exchange.is_complete
        assert len(exchange.body) == int(exchange.headers["content-length"])

    async def test_the_answer_to_a_head_announces_what_a_get_would_get(self) -> None:
        response = StreamingResponse(chunks(), headers={"content-length": "5"})
        exchange = await Exchange(http_scope("HEAD")).run(response)
        assert exchange.error is None
        assert exchange.headers["content-length"] == "5"

    async def test_without_one_any_length_is_right(self) -> None:
        assert (await Exchange().run(StreamingResponse(chunks(b"a", b"b")))).body == b"ab"


class TestStatus:
    @pytest.mark.parametrize("status", ["200", None, 200.5, b"200"])
    @pytest.mark.parametrize("make", [Response, StreamingResponse])
    def test_what_is_no_int(self, make: Any, status: Any) -> None:
        with pytest.raises(TypeError) as caught:
            make("x", status)
        assert str(caught.value) == f"The status_code of a response must be an int, not {status!r}."

    @pytest.mark.parametrize(
        ("status", "is_allowed"), [(99, False), (100, True), (999, True), (1000, False)]
    )
    def test_three_digits(self, status: int, is_allowed: bool) -> None:
        """RFC 9112 s.4."""
        if is_allowed:
            assert Response("x", status).status_code == status
        else:
            with pytest.raises(ValueError, match="must have three digits"):
                Response("x", status)

    def test_a_status_by_name(self) -> None:
        assert Response("x", HTTPStatus.CREATED).status_code == 201
