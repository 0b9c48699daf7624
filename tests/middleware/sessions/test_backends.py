"""Sessions on every store, and while its server restarts."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from session_kit import Browser, app_with

from spica.middleware.sessions import Sessions
from spica.stores import open_store

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the drivers of Redis and Postgres work on asyncio only


async def by_path(request: Any) -> None:
    """Do what the path says."""
    session = request.session
    match request.url.path.strip("/").split("/"):
        case ["login", user]:
            session.bind(user, device="phone")
        case ["set", key, value]:
            session[key] = value
        case ["odd"]:
            session["\0 é"] = "\0 é"
        case ["regenerate"]:
            session.regenerate()


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('tmp_path')}/app.db"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


async def test_a_session_lives_and_ends_on_every_store(url: str) -> None:
    async with open_store(url, timeout_seconds=60) as store:
        phone, laptop = (Browser(app_with(by_path, store)) for _ in range(2))
        for browser in (phone, laptop):
            await browser.get("/set/name/Ada")
            await browser.get("/login/7")
        await phone.get("/regenerate")
        await phone.get("/odd")
        sessions = Sessions(store)
        assert [info.about for info in await sessions.of("7")] == [{"device": "phone"}] * 2
        kept = (await sessions.of("7"))[0].id_hash  # the phone was used last
        assert await sessions.revoke_all("7", keep=kept) == 1
        text = (await phone.get("/")).text
        assert "'name': 'Ada'" in text
        assert r"'\x00 é': '\x00 é'" in text
        assert (await laptop.get("/")).text == "{}"


async def test_a_server_that_restarts_costs_a_503_and_no_wait(redis_server: Any) -> None:
    async with open_store(redis_server.url, timeout_seconds=600) as store:
        browser = Browser(app_with(by_path, store))
        await browser.get("/set/name/Ada")
        redis_server.kill()
        with anyio.fail_after(60):
            response = await browser.get("/set/name/Bob")
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        redis_server.start()
        # This Redis kept nothing, so the id is unknown, and the client gets a session of its own.
        response = await browser.get("/set/name/Bob")
        assert (response.status, response.text) == (200, "{'name': 'Bob'}")
