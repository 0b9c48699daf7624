"""GET and HEAD are answered with 304 where the client has the response."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_kit import call

from spica.applications import Spica
from spica.layers import Layer, as_response
from spica.middleware import Middleware
from spica.middleware.conditional import ConditionalMiddleware
from spica.responses import JSONResponse, PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route

pytestmark = pytest.mark.anyio

SHARED = PlainTextResponse("shared")


async def shared(request: Any) -> Any:
    return SHARED


async def stream(request: Any) -> Any:
    return StreamingResponse(iter(["a", "b"]), headers={"etag": '"s"'})


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"etag", b'"f"'), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def large(scope: Any, receive: Any, send: Any) -> None:
    size = int(scope["path"].rpartition("/")[2])
    await PlainTextResponse("x" * size)(scope, receive, send)


async def endless(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


class Exclaim(Layer):
    async def respond(self, request: Any) -> Any:
        response = await as_response(await self.inner.respond(request), request)
        response.body_iterator = exclaim(response.body_iterator)
        return response


async def exclaim(chunks: Any) -> Any:
    async for chunk in chunks:
        yield bytes(chunk) + b"!"


async def post(request: Any) -> Any:
    return JSONResponse({"done": True})


APP = Spica(
    routes=[
        Route("/shared", shared),
        Route("/stream", stream),
        Route("/post", post, methods=["POST"]),
        Route("/replaced", shared, middleware=[Middleware(Exclaim)]),
        Mount("/foreign", foreign),
        Mount("/large", large),
        Mount("/endless", endless),
    ],
    middleware=[Middleware(ConditionalMiddleware)],
)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/shared", "/stream", "/foreign/"])
async def test_a_second_request_is_answered_with_304(path: str, method: str) -> None:
    first = await call(APP, "GET", path)
    condition = [("if-none-match", first.headers["etag"])]
    again = await call(APP, method, path, headers=condition)
    assert (first.status, again.status, again.body) == (200, 304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert "content-length" not in again.headers
    assert (await call(APP, "GET", path)).body == first.body


async def test_a_replaced_body_has_a_tag_of_its_own() -> None:
    replaced, original = await call(APP, "GET", "/replaced"), await call(APP, "GET", "/shared")
    assert (replaced.body, replaced.headers["content-length"]) == (b"shared!", "7")
    assert replaced.headers["etag"] != original.headers["etag"]
    condition = [("if-none-match", replaced.headers["etag"])]
    assert (await call(APP, "GET", "/replaced", headers=condition)).status == 304


@pytest.mark.parametrize(("size", "has_tag"), [(10, True), (11, False)])
async def test_a_foreign_response_gets_a_tag_up_to_the_limit(size: int, has_tag: bool) -> None:
    layer = Middleware(ConditionalMiddleware, max_body_size=10)
    app = Spica(routes=[Mount("/", large)], middleware=[layer])
    response = await call(app, "GET", f"/{size}")
    assert len(response.body) == size
    assert ("etag" in response.headers) is has_tag


async def test_a_foreign_stream_gets_no_tag() -> None:
    assert "etag" not in (await call(APP, "GET", "/endless/")).headers


async def test_a_shared_response_is_not_changed() -> None:
    await call(APP, "GET", "/shared")
    assert "etag" not in SHARED.headers


async def test_other_methods_pass() -> None:
    response = await call(APP, "POST", "/post", headers=[("if-match", '"x"')])
    assert response.status == 200
    assert "etag" not in response.headers


async def test_a_failed_condition_of_a_get_is_a_412() -> None:
    assert (await call(APP, "GET", "/stream", headers=[("if-match", '"x"')])).status == 412


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (-1, ValueError, "max_body_size must be 0 or more bytes, not -1"),
        (float("nan"), ValueError, "max_body_size must be 0 or more bytes, not nan"),
        ("1", TypeError, "max_body_size must be a number of bytes, not '1'"),
    ],
)
def test_a_wrong_limit_is_refused(size: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        ConditionalMiddleware(foreign, max_body_size=size)
