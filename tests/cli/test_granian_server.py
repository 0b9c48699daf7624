"""The parts of ``spica run --server granian`` that need no server. The others: tests/e2e/test_cli.py."""

import signal
from typing import Any

import anyio
import pytest
from asgi_kit import Exchange

from spica.cli.granian_server import Hangup, LoggedApp

pytestmark = pytest.mark.anyio


async def test_an_exception_is_logged_with_its_cause_and_raised(caplog: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("second") from ValueError("first")

    exchange = await Exchange().run(LoggedApp(app))
    assert str(exchange.error) == "second"
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("spica.run", "ERROR")
    assert record.exc_info[1] is exchange.error


async def test_other_connections_log_nothing(caplog: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert (await Exchange().run(LoggedApp(app))).error is None
    assert not caplog.records


@pytest.mark.parametrize(
    "bodies",
    [
        [{"type": "http.response.body", "body": b"ab"}],
        [
            {"type": "http.response.body", "body": b"a", "more_body": True},
            {"type": "http.response.body"},
        ],
        [{"type": "http.response.pathsend", "path": __file__}],
    ],
    ids=["bytes", "stream", "file"],
)
async def test_the_response_to_a_head_request_has_no_body(bodies: list[Any]) -> None:
    """RFC 9110 s.9.3.2. Over HTTP/2, granian sends any body, which breaks the stream."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
        )
        for message in bodies:
            await send(message)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await LoggedApp(app)({"type": "http", "method": "HEAD"}, anyio.sleep_forever, send)
    assert sent[0]["headers"] == [(b"content-length", b"2")]
    assert {message["type"] for message in sent[1:]} == {"http.response.body"}
    assert not any(message.get("body") for message in sent[1:])
    assert not sent[-1].get("more_body", False)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize("is_closed", [False, True])
def test_a_hangup_stops_granian_only_if_its_terminal_was_closed(
    monkeypatch: Any, is_closed: bool
) -> None:
    received: list[Any] = []
    monkeypatch.setattr("signal.getsignal", lambda number: lambda *_: received.append("reload"))
    monkeypatch.setattr("signal.signal", lambda number, handler: received.append(handler))
    monkeypatch.setattr("signal.raise_signal", received.append)
    terminals = [0]
    monkeypatch.setattr("spica.cli.granian_server.find_terminal", lambda: terminals[-1])
    hangup = Hangup()
    hangup.install()
    terminals.append(None if is_closed else 0)
    hangup(signal.SIGHUP, None)
    assert received == [hangup, signal.SIGTERM if is_closed else "reload"]
