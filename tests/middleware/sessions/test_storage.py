"""Sessions in a store: what is written, what is dropped, and that nothing ended is revived."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from interleaving import checkpoint, orders
from session_kit import KEY, Browser, CountingStore, app_with

from spica.middleware.sessions import Sessions
from spica.middleware.sessions.records import hash_id
from spica.responses import PlainTextResponse
from spica.signing import Keyring
from spica.stores import StoreUnavailable, open_store

pytestmark = pytest.mark.anyio

DAY = 86400.0


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


class Clock:
    """The time of the store and of sessions."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, store: CountingStore) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    store._space.clock = clock
    return clock


async def by_path(request: Any) -> None:
    """Do what the path says."""
    session = request.session
    match request.url.path.split("/")[1:]:
        case ["set", key, value]:
            session[key] = value
        case ["del", key]:
            del session[key]
        case ["append", key, value]:
            session.setdefault(key, []).append(value)
        case ["login", user]:
            session.bind(user, device="Firefox")
        case ["regenerate"]:
            session.regenerate()
        case ["start"]:
            session["a"] = "0"
            session.bind("7")
        case ["logout"]:
            session.clear()
        case ["switch", user]:
            session.clear()
            session["name"] = user
            session.bind(user)


def id_of(browser: Browser) -> str:
    """Return the id in a browser's cookie."""
    return Keyring(KEY).verify(browser.cookie.partition("=")[2], "spica.session")


async def test_a_session_is_kept_on_the_server(store: CountingStore) -> None:
    browser = Browser(app_with(by_path, store))
    response = await browser.get("/set/name/Ada")
    assert "Ada" not in response.headers["set-cookie"]
    assert (await browser.get("/")).text == "{'name': 'Ada'}"
    assert len(id_of(browser)) == 43


async def test_the_store_has_no_ids(store: CountingStore) -> None:
    browser = Browser(app_with(by_path, store))
    await browser.get("/set/name/Ada")
    assert [*store._space.records] == [f"session:{hash_id(id_of(browser))}"]


async def test_the_cookie_lasts_as_long_as_the_session_can(
    store: CountingStore, clock: Clock
) -> None:
    browser = Browser(app_with(by_path, store, absolute_seconds=5000, max_age=60))
    response = await browser.get("/set/name/Ada")
    _, path, lifetime, *flags = response.headers["set-cookie"].split("; ")
    assert [path, lifetime, *flags] == ["path=/", "Max-Age=5000", "httponly", "samesite=lax"]


async def test_without_max_age_the_cookie_ends_with_the_browser(store: CountingStore) -> None:
    browser = Browser(app_with(by_path, store, max_age=None))
    assert "Max-Age" not in (await browser.get("/set/name/Ada")).headers["set-cookie"]


async def test_without_a_cookie_the_store_is_not_asked(store: CountingStore) -> None:
    browser = Browser(app_with(by_path, store))
    response = await browser.get("/")
    assert "set-cookie" not in response.headers
    assert store.operations == []


@pytest.mark.parametrize(
    "value", ["", "null", "a.b", "x" * 4000, "é", Keyring("other").sign("a" * 43, "spica.session")]
)
async def test_junk_costs_no_access_to_the_store(store: CountingStore, value: str) -> None:
    browser = Browser(app_with(by_path, store), f"session={value}")
    assert (await browser.get("/")).text == "{}"
    assert store.operations == []


async def test_an_unknown_id_is_not_adopted(store: CountingStore) -> None:
    chosen = Keyring(KEY).sign("a" * 43, "spica.session")
    browser = Browser(app_with(by_path, store), f"session={chosen}")
    await browser.get("/set/name/Ada")
    assert id_of(browser) != "a" * 43
    assert (await browser.get("/")).text == "{'name': 'Ada'}"


async def test_reading_writes_nothing(store: CountingStore) -> None:
    browser = Browser(app_with(by_path, store))
    await browser.get("/set/name/Ada")
    store.operations.clear()
    response = await browser.get("/")
    assert response.headers["vary"] == "Cookie"
    assert "set-cookie" not in response.headers
    assert store.operations == ["read"]


async def test_only_the_keys_whose_json_changed_are_written(store: CountingStore) -> None:
    browser = Browser(app_with(by_path, store))
    await browser.get("/set/a/1")
    await browser.get("/append/b/2")
    written: list[Any] = []
    merge = store._space.merge
    store._space.merge = lambda *args: written.append(args[1]) or merge(*args)  # type: ignore[func-returns-value]
    for path in ("/append/b/3", "/set/a/1", "/del/a"):
        await browser.get(path)
    assert written == [{".b": b'["2","3"]'}, {".a": None}]


async def test_the_idle_time_is_renewed_after_touch_seconds(
    store: CountingStore, clock: Clock
) -> None:
    browser = Browser(app_with(by_path, store, max_age=100, touch_seconds=10))
    await browser.get("/set/name/Ada")
    for seconds, operations in ((10, ["read"]), (1, ["read", "merge"]), (10, ["read"])):
        clock.now += seconds
        store.operations.clear()
        await browser.get("/")
        assert store.operations == operations


async def test_a_request_that_does_not_use_the_session_renews_it_too(
    store: CountingStore, clock: Clock
) -> None:
    async def unused(request: Any) -> Any:
        return PlainTextResponse("unused") if request.url.path == "/unused" else None

    browser = Browser(app_with(by_path, store, max_age=100))
    await browser.get("/set/name/Ada")
    clock.now += 50
    browser.app = app_with(unused, store, max_age=100)
    assert "vary" not in (await browser.get("/unused")).headers
    clock.now += 60
    assert (await browser.get("/")).text == "{'name': 'Ada'}"


@pytest.mark.parametrize(("seconds", "is_alive"), [(99, True), (100, False)])
async def test_an_idle_session_ends(
    store: CountingStore, clock: Clock, seconds: int, is_alive: bool
) -> None:
    browser = Browser(app_with(by_path, store, max_age=100))
    await browser.get("/set/name/Ada")
    clock.now += seconds
    assert (await browser.get("/")).text == ("{'name': 'Ada'}" if is_alive else "{}")


async def test_no_use_moves_the_absolute_end(store: CountingStore, clock: Clock) -> None:
    browser = Browser(app_with(by_path, store, max_age=100, absolute_seconds=250))
    await browser.get("/set/name/Ada")
    for _ in range(4):
        clock.now += 60
        assert (await browser.get("/regenerate")).text == "{'name': 'Ada'}"
    clock.now += 10
    assert (await browser.get("/")).text == "{}"


async def test_a_login_starts_a_new_absolute_time(store: CountingStore, clock: Clock) -> None:
    browser = Browser(app_with(by_path, store, max_age=100, absolute_seconds=150))
    await browser.get("/set/name/Ada")
    clock.now += 90
    await browser.get("/login/7")
    clock.now += 90
    assert (await browser.get("/")).text == "{'name': 'Ada'}"


@pytest.mark.parametrize("path", ["/regenerate", "/login/7"])
async def test_a_new_id_makes_the_old_one_invalid(store: CountingStore, path: str) -> None:
    browser = Browser(app_with(by_path, store))
    await browser.get("/set/name/Ada")
    old = Browser(browser.app, browser.cookie)
    await browser.get(path)
    assert browser.cookie != old.cookie
    assert (await browser.get("/")).text == "{'name': 'Ada'}"
    assert (await old.get("/")).text == "{}"


async def test_logout_ends_the_session_and_removes_the_cookie(store: CountingStore) -> None:
    browser = Browser(app_with(by_path, store))
    await browser.get("/set/name/Ada")
    old = Browser(browser.app, browser.cookie)
    response = await browser.get("/logout")
    assert response.headers["set-cookie"].startswith(
        "session=null; path=/; expires=Thu, 01 Jan 1970"
    )
    assert (await old.get("/")).text == "{}"
    assert not store._space.records


async def test_keys_after_a_logout_get_a_new_session(store: CountingStore) -> None:
    browser = Browser(app_with(by_path, store))
    await browser.get("/set/basket/tea")
    old = Browser(browser.app, browser.cookie)
    await browser.get("/switch/Bob")
    assert (await browser.get("/")).text == "{'name': 'Bob'}"
    assert (await old.get("/")).text == "{}"


async def test_a_new_id_keeps_what_another_request_wrote_meanwhile(store: CountingStore) -> None:
    browser = Browser(app_with(by_path, store))

    async def slow(request: Any) -> None:
        request.session["mine"] = 1
        request.session.regenerate()
        await Browser(app_with(by_path, store), browser.cookie).get("/set/other/2")

    await browser.get("/set/a/0")
    browser.app = app_with(slow, store)
    await browser.get("/")
    browser.app = app_with(by_path, store)
    assert (await browser.get("/")).text == "{'a': '0', 'other': '2', 'mine': 1}"


def during(store: CountingStore, browser: Browser, action: Any, change: Any) -> Any:
    """Return an app whose endpoint changes its session while something else happens."""

    async def endpoint(request: Any) -> None:
        assert request.session == {"a": "0"}
        change(request.session)
        await action()

    return app_with(endpoint, store)


CHANGES = {
    "a key": lambda session: session.update(late=1),
    "a new id": lambda session: session.regenerate(),
}
ENDINGS = ("logout", "revoke", "revoke_all")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_request_does_not_revive_a_session_that_has_ended(
    store: CountingStore, caplog: pytest.LogCaptureFixture, ending: str, change: Any
) -> None:
    browser = Browser(app_with(by_path, store))
    await browser.get("/login/7")
    await browser.get("/set/a/0")
    old = Browser(browser.app, browser.cookie)
    sessions = Sessions(store)
    actions = {
        "logout": lambda: Browser(old.app, old.cookie).get("/logout"),
        "revoke": lambda: sessions.revoke(hash_id(id_of(old))),
        "revoke_all": lambda: sessions.revoke_all("7"),
    }
    browser.app = during(store, browser, actions[ending], change)
    with caplog.at_level(logging.INFO, "spica.sessions"):
        response = await browser.get("/")
    assert "set-cookie" not in response.headers
    assert "Dropped the changes of a request to session" in caplog.text
    assert (await old.get("/")).text == "{}"
    assert not store._space.records


async def test_a_login_after_the_old_session_ended_keeps_nothing_of_it(
    store: CountingStore,
) -> None:
    browser = Browser(app_with(by_path, store))
    await browser.get("/set/a/0")
    other = Browser(browser.app, browser.cookie)

    def login(session: Any) -> None:
        session["name"] = "Ada"
        session.bind("7")

    browser.app = during(store, browser, lambda: other.get("/logout"), login)
    await browser.get("/")
    assert (await Browser(other.app, browser.cookie).get("/")).text == "{'name': 'Ada'}"


# -- all orders ----------------------------------------------------------------------------------------


class SteppingStore(CountingStore):
    """A store before each of whose operations another request may run."""

    def __init__(self) -> None:
        super().__init__()
        self.generations: list[bool] = []  # whether each call has bumped it

    async def _run(self, operation: str, *args: Any) -> Any:
        await checkpoint()
        if operation == "generation":
            self.generations.append(args[-1])
        return await super()._run(operation, *args)


def run(steps: Any) -> Any:
    """Run a coroutine alone."""
    while True:
        try:
            steps.send(None)
        except StopIteration as stop:
            return stop.value


class Race:
    """A store with a session of user 7, and two requests or calls that race."""

    def __init__(self, first: str, second: str) -> None:
        self.names = first, second

    def make(self) -> list[Any]:
        self.store = SteppingStore()
        self.app = app_with(by_path, self.store)
        self.sessions = Sessions(self.store)
        browser = Browser(self.app)
        run(browser.get("/start"))
        self.cookie = browser.cookie
        self.browsers = [Browser(self.app, self.cookie) for _ in self.names]
        return [self.start(*pair) for pair in zip(self.names, self.browsers, strict=True)]

    def start(self, name: str, browser: Browser) -> Any:
        if name == "revoke":
            return self.sessions.revoke(hash_id(id_of(browser)))
        if name == "revoke_all":
            return self.sessions.revoke_all("7")
        return browser.get(name)

    def contents(self, browser: Browser) -> str:
        return str(run(browser.get("/")).text)

    def count(self) -> int:
        """Return how many sessions the user has."""
        return len(run(self.sessions._store.members("7")))


def test_no_order_of_two_writes_loses_a_key() -> None:
    race = Race("/set/b/1", "/set/c/2")
    for _ in orders(race.make):
        fields = run(race.sessions._store.read(hash_id(id_of(race.browsers[0])))).fields
        assert {key: value for key, value in fields.items() if key != "user"} == {
            ".a": b'"0"',
            ".b": b'"1"',
            ".c": b'"2"',
        }


@pytest.mark.parametrize("ending", ["/logout", "revoke", "revoke_all"])
@pytest.mark.parametrize("change", ["/set/b/1", "/regenerate", "/"])
def test_no_order_revives_a_session(change: str, ending: str) -> None:
    race = Race(change, ending)
    for order in orders(race.make):
        changed, _ = race.browsers
        assert race.contents(Browser(race.app, race.cookie)) == "{}", order
        alive = race.count()
        if change == "/regenerate" and ending != "revoke_all":
            # If the new id came first, the old one, which the other request ended, was no login any more.
            assert (race.contents(changed) != "{}") == bool(alive), order
        else:
            # A request that begins after the end starts a new session, which has nothing of the old one.
            assert race.contents(changed) in ("{}", "{'b': '1'}"), order
            assert not alive, order


def test_no_order_lets_two_requests_give_one_session_two_ids() -> None:
    race = Race("/regenerate", "/regenerate")
    for order in orders(race.make):
        ids = {hash_id(id_of(browser)) for browser in race.browsers}
        (alive,) = run(race.sessions._store.members("7"))
        assert alive in ids, order


def test_no_order_lets_a_login_survive_a_revocation_that_came_after_bind() -> None:
    """bind() is called before the first step, and so before revoke_all() begins."""
    survivors = 0
    for late in (False, True):
        race = LoginRace(late)
        for order in orders(race.make):
            alive = race.count()
            if race.bound_first:
                assert alive == 0, order
            survivors += alive
    assert survivors  # a login that came after the revocation


def test_the_generation_protects_where_clocks_differ() -> None:
    """The login runs on a machine whose clock is ahead, so the time of the revocation tells nothing."""
    race = LoginRace(late=False, bound_at=time.time() + DAY)
    for order in orders(race.make):
        is_bumped_first = race.store.generations[0]
        assert is_bumped_first or race.count() == 0, order


class LoginRace(Race):
    """A login without a cookie races with revoke_all()."""

    def __init__(self, late: bool, bound_at: float | None = None) -> None:
        super().__init__("login", "revoke_all")
        self.late = late
        self.bound_at = bound_at

    def make(self) -> list[Any]:
        self.store = SteppingStore()
        self.sessions = Sessions(self.store)
        self.bound_first = self.has_begun = False
        self.browser = Browser(app_with(self.login, self.store))
        return [self.browser.get(), self.revoke()]

    async def login(self, request: Any) -> None:
        if self.late:
            await checkpoint()
        self.bound_first = not self.has_begun
        request.session.bind("7")
        if self.bound_at is not None:
            request.session._bound_at = self.bound_at
        await checkpoint()

    async def revoke(self) -> None:
        self.has_begun = True
        await self.sessions.revoke_all("7")


async def test_a_login_after_revoke_all_in_the_same_request_stays(store: CountingStore) -> None:
    async def login(request: Any) -> None:
        await Sessions(store).revoke_all("7")
        request.session.bind("7")

    await Browser(app_with(login, store)).get()
    assert len(await Sessions(store).of("7")) == 1


@pytest.mark.parametrize("method", ["bind", "regenerate"])
async def test_revoke_all_can_keep_the_new_id_of_its_own_request(
    store: CountingStore, method: str
) -> None:
    browser = Browser(app_with(by_path, store))
    await browser.get("/login/7")
    await browser.get("/set/a/0")
    await Browser(browser.app).get("/login/7")

    async def change_password(request: Any) -> None:
        session = request.session
        session.regenerate() if method == "regenerate" else session.bind("7")
        await Sessions(store).revoke_all("7", keep=session.id_hash)

    changing = Browser(app_with(change_password, store), browser.cookie)
    await changing.get()
    assert [info.id_hash for info in await Sessions(store).of("7")] == [hash_id(id_of(changing))]


# -- limits ----------------------------------------------------------------------------------------------


async def test_a_session_over_max_size_names_its_largest_entries(store: CountingStore) -> None:
    async def fill(request: Any) -> None:
        request.session.update(small=1, large="x" * 70, medium="y" * 30)

    with pytest.raises(ValueError, match="has 121 bytes, and max_size is 120") as caught:
        await Browser(app_with(fill, store, max_size=120)).get()
    assert str(caught.value).endswith("in bytes: 'large' (72), 'medium' (32), 'small' (1).")
    assert not store._space.records
    await Browser(app_with(fill, store, max_size=121)).get()


@pytest.mark.parametrize(("count", "fits"), [(127, True), (128, False)])
async def test_a_session_has_at_most_127_keys(store: CountingStore, count: int, fits: bool) -> None:
    async def fill(request: Any) -> None:
        request.session.update({str(number): number for number in range(count)})
        request.session.bind("7")

    browser = Browser(app_with(fill, store))
    if fits:
        await browser.get()
        assert store._space.records
    else:
        with pytest.raises(ValueError, match="the session has 128 keys, and a store takes 127"):
            await browser.get()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"bad": object()}, r"session\['bad'\] can't be stored"),
        ({1: 2}, "the keys of a session must be strings, not 1"),
    ],
)
async def test_values_that_are_not_json_are_a_type_error(
    store: CountingStore, contents: Any, message: str
) -> None:
    async def fill(request: Any) -> None:
        dict.update(request.session, contents)

    with pytest.raises(TypeError, match=message):
        await Browser(app_with(fill, store)).get()


async def test_a_value_that_can_not_be_read_is_left_out_and_logged(
    store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(app_with(by_path, store))
    await browser.get("/set/a/0")
    await store.prefixed("session").merge(
        hash_id(id_of(browser)), {".b": b"{", ".c": b"1"}, idle_seconds=60
    )
    assert (await browser.get("/")).text == "{'a': '0', 'c': 1}"
    assert "A session has a value that can't be read: 'b'" in caplog.text


# -- a store that is down ------------------------------------------------------------------------------


async def use_if_asked(request: Any) -> Any:
    return await by_path(request) if request.url.path != "/static" else PlainTextResponse("static")


async def test_requests_that_use_a_session_are_refused_while_the_store_is_down(
    store: CountingStore,
) -> None:
    browser = Browser(app_with(use_if_asked, store))
    await browser.get("/set/a/0")
    store.down.add("all")
    for path in ("/", "/set/a/1", "/logout"):
        response = await browser.get(path)
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        assert "set-cookie" not in response.headers
    assert (await browser.get("/static")).status == 200
    assert (await Browser(browser.app).get("/")).status == 200
    store.down.clear()
    assert (await browser.get("/")).text == "{'a': '0'}"


async def test_a_client_retries_soon_also_while_the_circuit_breaker_is_open() -> None:
    class OpenBreaker(CountingStore):
        async def _run(self, operation: str, *args: Any) -> Any:
            if "all" in self.down:
                raise StoreUnavailable("OpenBreaker", operation, "", retry_after_seconds=16)
            return await super()._run(operation, *args)

    store = OpenBreaker()
    browser = Browser(app_with(by_path, store))
    await browser.get("/set/a/0")
    store.down.add("all")
    assert (await browser.get("/")).headers["retry-after"] == "1"
    assert (await Browser(browser.app).get("/set/a/1")).headers["retry-after"] == "1"


@pytest.mark.parametrize("operation", ["merge", "create"])
async def test_a_response_whose_session_could_not_be_written_is_a_503(
    store: CountingStore, operation: str
) -> None:
    browser = Browser(app_with(by_path, store))
    if operation == "merge":
        await browser.get("/set/a/0")
    store.down.add(operation)
    response = await browser.get("/set/a/1")
    assert (response.status, response.headers["retry-after"]) == (503, "1")
    assert "set-cookie" not in response.headers


async def test_a_login_that_fails_leaves_no_session_in_the_list(store: CountingStore) -> None:
    browser = Browser(app_with(by_path, store))
    store.down.add("get")  # after the new record was created
    assert (await browser.get("/login/7")).status == 503
    store.down.clear()
    assert await Sessions(store).of("7") == []


async def test_a_renewal_that_fails_hurts_nobody(store: CountingStore, clock: Clock) -> None:
    async def unused(request: Any) -> Any:
        return PlainTextResponse("ok")

    browser = Browser(app_with(by_path, store))
    await browser.get("/set/a/0")
    clock.now += 2 * DAY
    store.down.add("merge")
    browser.app = app_with(unused, store)
    assert (await browser.get("/")).text == "ok"


async def test_empty_goes_on_without_the_store_and_does_not_replace_the_session(
    store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(app_with(by_path, store, on_unavailable="empty"))
    await browser.get("/set/a/0")
    cookie = browser.cookie
    store.down.add("all")
    assert (await browser.get("/")).text == "{}"
    assert (await browser.get("/set/a/1")).text == "{'a': '1'}"
    assert (await Browser(browser.app).get("/set/a/1")).text == "{'a': '1'}"
    assert browser.cookie == cookie
    assert caplog.text.count("Sessions go without their store") == 1
    store.down.clear()
    assert (await browser.get("/")).text == "{'a': '0'}"


async def test_empty_still_removes_the_cookie_at_logout(store: CountingStore) -> None:
    browser = Browser(app_with(by_path, store, on_unavailable="empty"))
    await browser.get("/set/a/0")
    store.down.add("all")
    await browser.get("/logout")
    assert browser.cookie == ""


async def test_save_raises_what_the_store_raises(store: CountingStore) -> None:
    raised: list[Any] = []

    async def save(request: Any) -> None:
        request.session["a"] = 1
        try:
            await request.session.save()
        except StoreUnavailable as error:
            raised.append(error)
            store.down.clear()

    store.down.add("create")
    assert (await Browser(app_with(save, store)).get()).status == 200
    assert len(raised) == 1
    assert store._space.records


async def test_sessions_work_on_sqlite(tmp_path: Any) -> None:
    async with open_store(f"sqlite:///{tmp_path}/app.db", timeout_seconds=60) as store:
        browser = Browser(app_with(by_path, store))
        await browser.get("/set/name/Ada")
        await browser.get("/login/7")
        assert (await browser.get("/")).text == "{'name': 'Ada'}"
        assert len(await Sessions(store).of("7")) == 1
        await browser.get("/logout")
        assert await Sessions(store).of("7") == []
