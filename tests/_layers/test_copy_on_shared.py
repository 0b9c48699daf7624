"""Whether a response belongs to the request at hand. What follows from it: test_editor.py."""

from typing import Any

import pytest
from asgi_kit import Exchange, http_scope

from spica._layers import editing as ownership
from spica._layers.editing import own
from spica.applications import Spica
from spica.layers import Layer, as_response
from spica.middleware import Middleware
from spica.middleware.accesslog import AccessLogMiddleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, Response
from spica.routing import Route
from spica.stores.memory import MemoryStore


def test_what_only_the_caller_holds_is_its_own() -> None:
    response = PlainTextResponse("a")
    identity = id(response)
    assert id(own(response)) == identity


def test_what_a_list_holds_too_is_copied() -> None:
    response = PlainTextResponse("a")
    held = [response]
    copy = own(response)
    assert copy is not response
    assert copy.body == b"a"
    copy.headers["x-a"] = "1"
    assert "x-a" not in held[0].headers


def test_what_a_closure_holds_too_is_copied() -> None:
    response = PlainTextResponse("a")

    def holder() -> Any:
        return response

    assert own(holder()) is not response


def test_a_view_of_the_headers_does_not_leak_into_the_copy() -> None:
    response = PlainTextResponse("a")
    view = response.headers
    held = [response]
    own(response).headers["x-a"] = "1"
    assert "x-a" not in view
    assert held


@pytest.mark.anyio
async def test_as_response_copies_only_what_another_holder_has() -> None:
    request: Request = Request(http_scope())
    identity = 0

    async def make() -> Response:
        nonlocal identity
        response = PlainTextResponse("a")
        identity = id(response)
        return response

    assert id(await as_response(await make(), request)) == identity
    held = await make()
    assert await as_response(held, request) is not held

    async def get_held() -> Response:
        return held

    assert await as_response(await get_held(), request) is not held


def test_without_counts_everything_is_copied() -> None:
    assert ownership._no_count(object()) > 10**6


class Stamp(Layer):
    def edit_response(self, request: Request, response: Any) -> None:
        response.headers["x-stamp"] = "1"


async def stamp(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["x-stamp"] = "1"
    return response


LAYERS = {
    "layer": Middleware(Stamp),
    "dispatch": Middleware(BaseHTTPMiddleware, dispatch=stamp),
    "CORS": Middleware(CORSMiddleware, allow_origins=["https://example.org"]),
    "session": Middleware(SessionMiddleware, secret_key="x" * 32),
    "session in a store": Middleware(SessionMiddleware, secret_key="x" * 32, store=MemoryStore()),
    "access log": Middleware(AccessLogMiddleware),
}


@pytest.mark.skipif(not ownership.HELD_HERE, reason="this interpreter copies every response")
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.anyio
async def test_a_layer_does_not_copy_a_response_of_its_own(
    monkeypatch: pytest.MonkeyPatch, layer: Middleware
) -> None:
    copied = []
    copy = Response._copy
    monkeypatch.setattr(Response, "_copy", lambda self: copied.append(self) or copy(self))

    async def endpoint(request: Request) -> PlainTextResponse:
        if "session" in request.scope:
            request.session["user"] = "Ada"
        return PlainTextResponse("a")

    exchange = await Exchange().run(Spica(routes=[Route("/", endpoint)], middleware=[layer]))
    assert (exchange.text, copied) == ("a", [])
