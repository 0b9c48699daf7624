"""GET and HEAD are answered with 304 where the client has the response."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_kit import call

from spica.applications import Spica
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


async def post(request: Any) -> Any:
    return JSONResponse({"done": True})


APP = Spica(
    routes=[
        Route("/shared", shared),
        Route("/stream", stream),
        Route("/post", post, methods=["POST"]),
        Mount("/foreign", foreign),
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


async def test_a_shared_response_is_not_changed() -> None:
    await call(APP, "GET", "/shared")
    assert "etag" not in SHARED.headers


async def test_other_methods_pass() -> None:
    response = await call(APP, "POST", "/post", headers=[("if-match", '"x"')])
    assert response.status == 200
    assert "etag" not in response.headers


async def test_a_failed_condition_of_a_get_is_a_412() -> None:
    assert (await call(APP, "GET", "/stream", headers=[("if-match", '"x"')])).status == 412


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="max_body_size must be 0 or more bytes, not -1"):
        ConditionalMiddleware(foreign, max_body_size=-1)
