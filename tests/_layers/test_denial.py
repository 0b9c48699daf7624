"""Tests of spica/_layers/denial.py."""

import pytest

from spica._layers.denial import deny
from spica.responses.base import PlainTextResponse

pytestmark = pytest.mark.anyio


async def sent_for(scope):
    sent = []

    async def receive():
        raise AssertionError("nothing is to be received")

    async def send(message):
        sent.append(message)

    response = PlainTextResponse("no", status_code=400)
    await deny(response, {"type": "websocket", **scope}, receive, send)
    return sent


async def test_the_response_is_sent_where_the_server_can():
    sent = await sent_for({"extensions": {"websocket.http.response": {}}})
    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert sent[0]["status"] == 400


@pytest.mark.parametrize("scope", [{}, {"extensions": None}, {"extensions": {}}])
async def test_else_the_handshake_is_closed(scope):
    assert await sent_for(scope) == [{"type": "websocket.close", "code": 1008, "reason": ""}]
