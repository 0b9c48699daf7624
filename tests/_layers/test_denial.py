"""Refusing a WebSocket handshake (ASGI "WebSocket Denial Response")."""

from typing import Any

import pytest
from asgi_kit import websocket_scope

from spica._layers.exception_handlers import deny
from spica.background import BackgroundTask
from spica.responses import PlainTextResponse

pytestmark = pytest.mark.anyio


async def denied(response: Any = None, **scope: Any) -> list[Any]:
    response = response or PlainTextResponse("no", 403)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await deny(response, websocket_scope(**scope), None, send)  # type: ignore[arg-type]
    return sent


async def test_a_response_where_the_server_can() -> None:
    sent = await denied(extensions={"websocket.http.response": {}})
    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert sent[0]["status"] == 403


@pytest.mark.parametrize("extensions", [{}, None])
async def test_a_close_where_it_cannot(extensions: Any) -> None:
    sent = await denied(extensions=extensions)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


@pytest.mark.parametrize(
    "extensions", [{}, {"websocket.http.response": {}}], ids=["close", "response"]
)
async def test_the_background_task_of_the_response_runs(extensions: Any) -> None:
    done = []

    async def task() -> None:
        done.append("done")

    await denied(
        PlainTextResponse("no", 403, background=BackgroundTask(task)), extensions=extensions
    )
    assert done == ["done"]
