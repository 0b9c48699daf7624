"""The parts of ``spica run --server granian`` that need no server. The others: tests/e2e/test_cli.py."""

from typing import Any

import pytest
from asgi_kit import Exchange

from spica.cli.granian_server import LoggedApp

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
