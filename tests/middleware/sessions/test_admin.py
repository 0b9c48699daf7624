"""The sessions of users: what is listed, and what is revoked."""

from __future__ import annotations

from typing import Any

import pytest
from session_kit import Browser, CountingStore, app_with

from spica.middleware.sessions import SessionInfo, Sessions

pytestmark = pytest.mark.anyio


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


async def login(request: Any) -> None:
    """Log in by the path: /user/device, or read the session at /."""
    user, _, device = request.path_params["rest"].partition("/")
    if user:
        request.session.bind(user, device=device)


async def log_in(store: CountingStore, path: str) -> Browser:
    browser = Browser(app_with(login, store))
    await browser.get(path)
    return browser


async def test_the_sessions_of_a_user_are_listed_the_last_used_first(store: CountingStore) -> None:
    for path in ("/7/phone", "/8/phone", "/7/laptop"):
        await log_in(store, path)
    found = await Sessions(store).of("7")
    assert [info.about for info in found] == [{"device": "laptop"}, {"device": "phone"}]
    first = found[0]
    assert isinstance(first, SessionInfo)
    assert first.user_id == "7"
    assert (
        first.created_at == first.last_used_at == pytest.approx(first.ends_at - 30 * 86400, abs=1)
    )
    assert await Sessions(store).of("9") == []


async def test_revoke_ends_one_session(store: CountingStore) -> None:
    sessions = Sessions(store)
    await log_in(store, "/7/phone")
    await log_in(store, "/7/laptop")
    laptop, phone = await sessions.of("7")
    assert await sessions.revoke(phone.id_hash)
    assert not await sessions.revoke(phone.id_hash)
    assert await sessions.of("7") == [laptop]


async def test_revoke_all_ends_all_but_one(store: CountingStore) -> None:
    sessions = Sessions(store)
    for path in ("/7/a", "/7/b", "/7/c", "/8/d"):
        await log_in(store, path)
    keep = (await sessions.of("7"))[1].id_hash
    assert await sessions.revoke_all("7", keep=keep) == 2
    assert [info.id_hash for info in await sessions.of("7")] == [keep]
    assert await sessions.revoke_all("7") == 1
    assert len(await sessions.of("8")) == 1


@pytest.mark.parametrize("junk", ["", "x", "é", "\0", "x" * 5000, "7"])
async def test_junk_revokes_nothing(store: CountingStore, junk: str) -> None:
    await log_in(store, "/7/a")
    before = len(store.operations)
    assert not await Sessions(store).revoke(junk)
    assert len(store.operations) == before
    assert len(await Sessions(store).of("7")) == 1


async def test_the_session_describes_itself(store: CountingStore) -> None:
    seen: list[Any] = []

    async def note(request: Any) -> None:
        session = request.session
        seen.append((session.user_id, session.id_hash, session.created_at, session.last_used_at))

    browser = Browser(app_with(note, store))
    await browser.get()
    await browser.get("/")
    assert seen == [(None, None, None, None)] * 2
    browser.app = app_with(login, store)
    await browser.get("/7/phone")
    browser.app = app_with(note, store)
    await browser.get("/")
    info = (await Sessions(store).of("7"))[0]
    assert seen[2] == ("7", info.id_hash, info.created_at, info.last_used_at)


async def test_a_new_id_keeps_the_time_of_creation(store: CountingStore) -> None:
    async def regenerate(request: Any) -> None:
        request.session.regenerate()

    browser = await log_in(store, "/7/phone")
    before = (await Sessions(store).of("7"))[0]
    browser.app = app_with(regenerate, store)
    await browser.get("/")
    after = (await Sessions(store).of("7"))[0]
    assert after.id_hash != before.id_hash
    assert (after.created_at, after.ends_at) == (before.created_at, before.ends_at)
    assert after.about == before.about


async def test_views_of_a_store_have_sessions_of_their_own(store: CountingStore) -> None:
    browser = Browser(app_with(login, store.prefixed("shop")))
    await browser.get("/7/phone")
    assert len(await Sessions(store.prefixed("shop")).of("7")) == 1
    assert await Sessions(store).of("7") == []


@pytest.mark.parametrize(
    ("arguments", "about", "message"),
    [
        ((7,), {}, r"user_id must be a string that is not empty, not 7\. Convert a number"),
        (("",), {}, "user_id must be a string that is not empty"),
        (("7",), {"age": 7}, "age must be a string, not 7"),
    ],
)
async def test_wrong_arguments_of_bind_are_refused(
    store: CountingStore, arguments: Any, about: Any, message: str
) -> None:
    async def endpoint(request: Any) -> None:
        request.session.bind(*arguments, **about)

    with pytest.raises(TypeError, match=message):
        await Browser(app_with(endpoint, store)).get()


@pytest.mark.parametrize("store", ["redis://localhost", Sessions, None])
def test_sessions_of_anything_but_a_store_are_refused(store: Any) -> None:
    with pytest.raises(TypeError, match=r"Sessions: store must be a store.*open_store"):
        Sessions(store)
