"""What stands before the server's send."""

from typing import Any

import pytest

from spica._asgi.sending import DenialSend, SendHook, StartedSend

pytestmark = pytest.mark.anyio


class Sent(list):
    async def __call__(self, message: Any) -> None:
        self.append(message)


async def test_the_start_is_remembered() -> None:
    sent = Sent()
    send = StartedSend(sent)
    await send({"type": "http.response.early_hint"})
    assert not send.has_started
    await send({"type": "http.response.start"})
    await send({"type": "http.response.body"})
    assert send.has_started
    assert len(sent) == 3


async def test_a_start_that_could_not_be_sent_counts() -> None:
    """The server may have begun to write it: no other response can follow."""

    async def fail(message: Any) -> None:
        raise OSError("gone")

    send = StartedSend(fail)
    with pytest.raises(OSError, match="gone"):
        await send({"type": "http.response.start"})
    assert send.has_started


async def test_a_denial_is_sent_under_its_own_names() -> None:
    sent = Sent()
    send = DenialSend(sent, {"extensions": {"websocket.http.response": {}}})
    start = {"type": "http.response.start", "status": 403, "headers": []}
    await send(start)
    await send({"type": "http.response.body", "body": b"no"})
    await send({"type": "websocket.close"})
    assert sent == [
        {"type": "websocket.http.response.start", "status": 403, "headers": []},
        {"type": "websocket.http.response.body", "body": b"no"},
        {"type": "websocket.close"},
    ]
    assert start["type"] == "http.response.start"


@pytest.mark.parametrize(
    "scope",
    [{"asgi": {}}, {"asgi": {}, "extensions": None}, {"extensions": {"tls": {}}}],
    ids=str,
)
async def test_a_denial_that_the_server_does_not_offer_is_a_plain_refusal(scope: Any) -> None:
    sent = Sent()
    send = DenialSend(sent, scope)
    await send({"type": "http.response.start", "status": 403, "headers": []})
    await send({"type": "http.response.body", "body": b"no"})
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


async def test_a_scope_that_is_no_server_s_offers_it() -> None:
    sent = Sent()
    await DenialSend(sent, {"type": "websocket"})({"type": "http.response.start"})
    assert sent == [{"type": "websocket.http.response.start"}]


async def test_a_hook_replaces_the_start_and_lets_the_rest_pass() -> None:
    sent = Sent()
    send = SendHook(sent, lambda message: {**message, "status": 201})
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"x"})
    assert [*sent] == [
        {"type": "http.response.start", "status": 201},
        {"type": "http.response.body", "body": b"x"},
    ]


async def test_a_hook_that_returns_none_only_watches() -> None:
    seen: list[Any] = []
    sent = Sent()
    send = SendHook(sent, seen.append, ("http.response.body",))
    message = {"type": "http.response.body", "body": b"x"}
    await send(message)
    assert (seen, [*sent]) == ([message], [message])


async def test_a_hook_knows_whether_it_has_run() -> None:
    send = SendHook(Sent(), lambda message: None)
    assert not send.has_run
    await send({"type": "http.response.debug"})
    assert not send.has_run
    await send({"type": "http.response.start", "status": 200})
    assert send.has_run


async def test_an_error_of_a_hook_reaches_the_app_and_sends_nothing() -> None:
    def refuse(message: Any) -> None:
        raise RuntimeError("refused")

    sent = Sent()
    with pytest.raises(RuntimeError, match="refused"):
        await SendHook(sent, refuse)({"type": "http.response.start", "status": 200})
    assert [*sent] == []
