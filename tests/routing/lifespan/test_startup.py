"""An application that cannot start says so through the lifespan protocol."""

from typing import Any

import pytest
from asgi_kit import Exchange

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.cors import CORSMiddleware
from spica.routing.lifespan.run import StartupGuard

pytestmark = pytest.mark.anyio

STARTUP = {"type": "lifespan.startup"}
SHUTDOWN = {"type": "lifespan.shutdown"}


async def start(app: Any) -> Exchange:
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    return await Exchange(scope, [STARTUP, SHUTDOWN]).run(app)


async def test_settings_that_a_middleware_refuses() -> None:
    app = Spica(middleware=[Middleware(CORSMiddleware, allow_origins=["example.org/"])])
    exchange = await start(app)
    assert exchange.types == ["lifespan.startup.failed"]
    message = exchange.sent[0]["message"]
    assert "ValueError: CORSMiddleware: allow_origins has 'example.org/'" in message
    assert (
        f"In Middleware(CORSMiddleware, allow_origins=['example.org/']), written at {__file__}:"
        in message
    )
    assert exchange.receive.calls == 1  # the question comes before the answer
    assert isinstance(exchange.error, ValueError)


async def test_a_middleware_that_takes_no_lifespan() -> None:
    class HTTPOnly:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                raise RuntimeError("HTTP only")

    exchange = await start(Spica(middleware=[Middleware(HTTPOnly)]))
    assert exchange.types == ["lifespan.startup.failed"]
    assert "RuntimeError: HTTP only" in exchange.sent[0]["message"]


async def test_what_was_told_is_told_once() -> None:
    def lifespan(app: Any) -> Any:
        raise OSError("no database")

    exchange = await start(Spica(lifespan=lifespan))
    assert exchange.types == ["lifespan.startup.failed"]
    assert "no database" in exchange.sent[0]["message"]


async def test_what_comes_after_the_start_is_no_failed_start() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise OSError("later")

    exchange = Exchange({"type": "lifespan"}, [STARTUP])
    with pytest.raises(OSError, match="later"):
        await StartupGuard(exchange.receive, exchange.send).run(app, exchange.scope)
    assert exchange.types == ["lifespan.startup.complete"]


async def test_a_good_start() -> None:
    exchange = await start(Spica())
    assert exchange.types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert exchange.error is None
