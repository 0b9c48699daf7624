"""Tests of spica/middleware/ratelimit.py."""

import logging
import pickle

import anyio
import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope
from hypothesis import given
from hypothesis import strategies as st
from stable_ids import stable_id

import spica.middleware.ratelimit as ratelimit
from spica.applications import Spica
from spica.authentication import SimpleUser, UnauthenticatedUser
from spica.middleware import Middleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.ratelimit import (
    Allowance,
    Limit,
    Limiter,
    Rate,
    RateLimitExceeded,
    RateLimitMiddleware,
    by_client,
    by_header,
    by_session,
    by_user,
    format_policies,
    format_state,
)
from spica.requests import HTTPConnection
from spica.responses import JSONResponse, PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route, WebSocketRoute
from spica.stores import MemoryStore, StoreUnavailable, open_store
from spica.testclient import TestClient
from spica.websockets import WebSocketDisconnect

pytestmark = pytest.mark.anyio


class Clock:
    """The clock of a memory store, in seconds."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    store = MemoryStore()
    store._space.clock = clock
    return store


class DownStore(MemoryStore):
    """A store that is unavailable for as long as you say."""

    is_down = True

    async def take(self, key, rate, *, cost=1):
        if self.is_down:
            raise StoreUnavailable("DownStore", "take", "switched off")
        return await super().take(key, rate, cost=cost)

    def prefixed(self, prefix):
        return self


async def index(request):
    return PlainTextResponse("passed")


def application(*limits, store, **options):
    recipe = Middleware(RateLimitMiddleware, *limits, store=store, **options)
    return Spica(routes=[Route("/", index)], middleware=[recipe])


def three(name="default", **options):
    return Limit(Rate(3, 30), name=name, **options)


async def statuses(app, count, **scope):
    return [(await call(app, **scope)).status for _ in range(count)]


# -- requests --------------------------------------------------------------------------------------


async def test_requests_over_the_rate_are_429_until_time_has_passed(store, clock):
    app = application(three(), store=store)
    assert await statuses(app, 5) == [200, 200, 200, 429, 429]
    clock.now += 10
    assert await statuses(app, 2) == [200, 429]


async def test_retry_after_is_in_whole_seconds_rounded_up_and_only_on_429(store, clock):
    """RFC 6585 s.4, RFC 9110 s.10.2.3."""
    app = application(three(), store=store)
    for _ in range(3):
        assert "retry-after" not in (await call(app)).headers
    assert (await call(app)).headers["retry-after"] == "10"
    clock.now += 0.5
    assert (await call(app)).headers["retry-after"] == "10"
    clock.now += 9.4
    assert (await call(app)).headers["retry-after"] == "1"


async def test_responses_tell_the_policy_and_what_remains(store):
    """draft-ietf-httpapi-ratelimit-headers-11."""
    app = application(three(), store=store)
    exchange = await call(app)
    assert exchange.headers["ratelimit-policy"] == '"default";q=3;w=30'
    assert exchange.headers["ratelimit"] == '"default";r=2;t=10'
    await statuses(app, 2)
    refused = await call(app)
    assert refused.headers["ratelimit-policy"] == '"default";q=3;w=30'
    assert refused.headers["ratelimit"] == '"default";r=0;t=30'


async def test_a_refusal_lists_the_limits_that_have_a_key_for_the_request(store):
    absent = Limit(Rate(9, 60), name="absent", key=lambda conn: None)
    later = Limit(Rate(9, 60), name="later")
    app = application(three(), absent, later, store=store)
    assert await statuses(app, 3) == [200, 200, 200]
    refused = await call(app)
    assert refused.headers["ratelimit-policy"] == '"default";q=3;w=30, "later";q=9;w=60'


async def test_headers_can_be_left_out(store):
    app = application(three(), store=store, headers=False)
    assert not {"ratelimit", "ratelimit-policy"} & (await call(app)).headers.keys()
    await statuses(app, 2)
    refused = await call(app)
    assert "retry-after" in refused.headers
    assert "ratelimit" not in refused.headers


async def test_the_tightest_of_several_limits_is_reported(store):
    limits = three("short"), Limit(Rate(2, 3600), name="long")
    exchange = await call(application(*limits, store=store))
    assert exchange.headers["ratelimit-policy"] == '"short";q=3;w=30, "long";q=2;w=3600'
    assert exchange.headers["ratelimit"] == '"long";r=1;t=1800'


async def test_a_refused_request_takes_nothing_from_later_limits(store):
    first, second = Limit(Rate(1, 30), name="first"), three("second")
    app = application(first, second, store=store)
    assert await statuses(app, 4) == [200, 429, 429, 429]
    assert (await Limiter(store).try_take(_conn(), second, cost=0)).remaining == 2


async def test_layers_inside_each_other_report_all_their_limits(store):
    inner = Middleware(RateLimitMiddleware, Limit(Rate(9, 1), name="inner"), store=store)
    outer = Middleware(RateLimitMiddleware, three("outer"), store=store)
    app = Spica(routes=[Route("/", index, middleware=[inner])], middleware=[outer])
    headers = (await call(app)).headers
    assert headers["ratelimit-policy"] == '"inner";q=9;w=1, "outer";q=3;w=30'


async def test_a_limit_without_a_key_does_not_apply(store):
    nothing = Limit(Rate(1, 60), name="none", key=_nothing)
    app = application(nothing, store=store)
    exchange = await call(app)
    assert "ratelimit" not in exchange.headers
    assert await statuses(app, 3) == [200, 200, 200]
    both = await call(application(nothing, three(), store=store))
    assert both.headers["ratelimit-policy"] == '"default";q=3;w=30'


def _nothing(conn):
    return None


async def test_each_client_has_a_limit_of_its_own(store):
    app = application(Limit(Rate(1, 60)), store=store)
    assert await statuses(app, 2, client=("192.0.2.1", 1)) == [200, 429]
    assert await statuses(app, 2, client=("192.0.2.2", 1)) == [200, 429]
    assert await statuses(app, 1, client=("192.0.2.1", 2)) == [429]


async def test_limits_with_one_name_and_other_rates_do_not_share_counts(store):
    await statuses(application(Limit(Rate(1, 60)), store=store), 2)
    assert await statuses(application(Limit(Rate(2, 60)), store=store), 3) == [200, 200, 429]


async def test_a_cost_takes_more_than_one(store):
    assert await statuses(application(three(cost=2), store=store), 2) == [200, 429]


async def test_concurrent_requests_get_exactly_the_burst(store):
    app = application(Limit(Rate(10, 3600)), store=store)
    found = []

    async def one():
        found.append((await call(app)).status)

    async with anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(one)
    assert (found.count(200), found.count(429)) == (10, 30)


async def test_the_handler_for_429_makes_the_response(store):
    async def too_many(request, exc):
        return JSONResponse(exc.limit_name, status_code=429, headers=exc.headers)

    recipe = Middleware(RateLimitMiddleware, three(cost=3), store=store)
    app = Spica(routes=[Route("/", index)], middleware=[recipe], exception_handlers={429: too_many})
    await call(app)
    exchange = await call(app)
    assert (exchange.json, exchange.headers["retry-after"]) == ("default", "30")


async def test_the_status_can_be_another(store):
    app = application(three(cost=3), store=store, status_code=503)
    assert await statuses(app, 2) == [200, 503]


async def test_it_works_around_an_app_of_another_framework(store):
    app = RateLimitMiddleware(PlainTextResponse("passed"), Limit(Rate(1, 60)), store=store)
    first, second = await call(app), await call(app)
    assert (first.text, first.headers["ratelimit"]) == ("passed", '"default";r=0;t=60')
    assert (second.status, second.headers["retry-after"]) == (429, "60")


async def test_streams_and_mounted_apps_get_the_headers(store):
    async def stream(request):
        return StreamingResponse(iter([b"a", b"b"]))

    async def foreign(scope, receive, send):
        await PlainTextResponse("passed")(scope, receive, send)

    recipe = Middleware(RateLimitMiddleware, three(), store=store)
    app = Spica(routes=[Route("/", stream), Mount("/foreign", foreign)], middleware=[recipe])
    assert "ratelimit" in (await call(app)).headers
    assert "ratelimit" in (await call(app, path="/foreign/x")).headers


# -- the store is unavailable ------------------------------------------------------------------------


async def test_each_process_limits_alone_while_the_store_is_unavailable(caplog):
    store = DownStore()
    limiter = Limiter(store)
    app = application(three(), store=limiter)
    with caplog.at_level(logging.WARNING, "spica.ratelimit"):
        assert await statuses(app, 5) == [200, 200, 200, 429, 429]
    assert [record.getMessage() for record in caplog.records] == [
        "The store of the rate limits is unavailable, so each process limits alone: "
        "DownStore.take() failed: switched off (1 checks)"
    ]
    assert (limiter.is_degraded, limiter.checked_locally, limiter.refused) == (True, 5, 2)
    store.is_down = False
    assert await statuses(app, 1) == [200]
    assert not limiter.is_degraded


async def test_an_outage_is_logged_once_a_minute(caplog, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(ratelimit.time, "monotonic", clock)
    app = application(three(), store=DownStore())
    with caplog.at_level(logging.WARNING, "spica.ratelimit"):
        for seconds in (0, 59.9, 0.1, 30):
            clock.now += seconds
            await call(app)
    assert [record.args[-1] for record in caplog.records] == [1, 2]


async def test_requests_can_be_refused_while_the_store_is_unavailable():
    app = application(three(), store=DownStore(), on_unavailable="deny")
    exchange = await call(app)
    assert (exchange.status, exchange.headers["retry-after"]) == (503, "1")
    bare = RateLimitMiddleware(index, three(), store=DownStore(), on_unavailable="deny")
    assert (await call(bare)).status == 503


# -- endpoints and WebSockets ------------------------------------------------------------------------


async def test_an_endpoint_takes_by_its_own_key_only_on_failure(store):
    limiter = Limiter(store)
    account = Limit(Rate(2, 60), name="account", cost=0)

    async def login(request):
        name = request.query_params["name"]
        await limiter.take(request, account, key=name)
        if request.query_params["password"] != "right":
            await limiter.take(request, account, key=name, cost=1)
            return PlainTextResponse("wrong", 401)
        return PlainTextResponse("welcome")

    app = Spica(routes=[Route("/", login)])
    right, wrong = "/?name=ada&password=right", "/?name=ada&password=wrong"
    paths = [right, wrong, right, right, wrong, right, "/?name=bob&password=right"]
    found = [(await call(app, path=path)).status for path in paths]
    assert found == [200, 401, 200, 200, 401, 429, 200]


def _conn(**scope):
    return HTTPConnection(http_scope(**scope))


async def test_try_take_raises_nothing_and_tells_what_remains(store):
    limiter = Limiter(store)
    assert (await limiter.try_take(_conn(), three())).remaining == 2
    assert await limiter.try_take(_conn(), three(), cost=2)
    assert not await limiter.try_take(_conn(), three())
    assert await limiter.try_take(_conn(), Limit(Rate(1, 1), key=_nothing)) == (True, 1, 0.0, 0.0)


def socket_client(endpoint, store, *limits, **options):
    recipe = Middleware(RateLimitMiddleware, *limits, store=store, **options)
    middleware = [recipe] if limits or options else []
    return TestClient(Spica(routes=[WebSocketRoute("/", endpoint)], middleware=middleware))


async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def test_a_handshake_over_the_rate_is_429(store):
    app = Spica(
        routes=[WebSocketRoute("/", echo)],
        middleware=[Middleware(RateLimitMiddleware, Limit(Rate(1, 60)), store=store)],
    )

    async def shake():
        scope = websocket_scope(extensions={"websocket.http.response": {}})
        messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
        return await Exchange(scope, messages).run(app)

    assert (await shake()).sent[0]["type"] == "websocket.accept"
    refused = (await shake()).sent[0]
    assert (refused["type"], refused["status"]) == ("websocket.http.response.start", 429)
    assert dict(refused["headers"])[b"retry-after"] == b"60"


def test_messages_over_the_rate_close_the_websocket(store):
    with socket_client(echo, store, messages=[three()]).websocket_connect("/") as session:
        for _ in range(3):
            session.send_text("a")
            assert session.receive_text() == "a"
        session.send_text("a")
        with pytest.raises(WebSocketDisconnect) as caught:
            session.receive_text()
    assert (caught.value.code, caught.value.reason) == (1008, "Too many messages. Retry in 10 s.")


def test_messages_are_refused_while_the_store_is_unavailable_if_you_say_so():
    limiter = Limiter(DownStore(), on_unavailable="deny")
    with socket_client(echo, limiter, messages=[three()]).websocket_connect("/") as session:
        session.send_text("a")
        with pytest.raises(WebSocketDisconnect) as caught:
            session.receive_text()
    assert caught.value.code == 1013


def test_an_endpoint_that_sends_after_the_close_sees_a_disconnect(store):
    seen = []

    async def stubborn(websocket):
        await websocket.accept()
        try:
            while True:
                message = await websocket.receive()
                seen.append(message["type"])
                await websocket.send_text("a")
        except WebSocketDisconnect:
            seen.append("WebSocketDisconnect")

    limit = Limit(Rate(1, 60))
    with socket_client(stubborn, store, messages=[limit]).websocket_connect("/") as session:
        session.send_text("a")
        session.receive_text()
        session.send_text("a")
        with pytest.raises(WebSocketDisconnect):
            session.receive_text()
    assert seen == ["websocket.receive", "websocket.disconnect", "WebSocketDisconnect"]


async def served_by(app, count):
    """Serve a WebSocket that sends some messages at once, and return what the app received and sent."""
    seen = []

    async def watched(scope, receive, send):
        async def watched_receive():
            seen.append(await receive())
            return seen[-1]

        await app(scope, watched_receive, send)

    layer = RateLimitMiddleware(
        watched, three(), store=MemoryStore(), messages=[Limit(Rate(1, 60), name="messages")]
    )
    messages = [{"type": "websocket.receive", "text": "a"}] * count
    messages = [{"type": "websocket.connect"}, *messages]
    exchange = await Exchange(websocket_scope(), messages).run(layer)
    return [each["type"] for each in seen], [each["type"] for each in exchange.sent]


async def test_an_app_that_reads_on_after_the_close_gets_no_further_message():
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        for _ in range(5):
            await receive()

    seen, sent = await served_by(app, 4)
    assert seen == ["websocket.connect", "websocket.receive", *["websocket.disconnect"] * 3]
    assert sent == ["websocket.accept", "websocket.close"]


async def test_messages_after_the_close_of_the_app_are_not_limited():
    """A server refuses a second close with an error."""

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
        for _ in range(4):
            await receive()

    seen, sent = await served_by(app, 3)
    assert seen == ["websocket.connect", *["websocket.receive"] * 3]
    assert sent == ["websocket.accept", "websocket.close"]


async def test_a_key_is_a_string(store):
    app = application(three(key=lambda conn: 7), store=store)
    with pytest.raises(
        TypeError, match=r"Limit\('default'\): key must return a str or None, not 7"
    ):
        await call(app)


def test_an_endpoint_takes_for_each_message(store):
    limiter = Limiter(store)

    async def endpoint(websocket):
        await websocket.accept()
        async for text in websocket.iter_text():
            await limiter.take(websocket, three())
            await websocket.send_text(text)

    with socket_client(endpoint, store).websocket_connect("/") as session:
        for _ in range(3):
            session.send_text("a")
            assert session.receive_text() == "a"
        session.send_text("a")
        with pytest.raises(WebSocketDisconnect) as caught:
            session.receive_text()
    assert caught.value.code == 1008


# -- keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "key"),
    [
        (("192.0.2.1", 80), "192.0.2.1"),
        (("::ffff:192.0.2.1", 80), "192.0.2.1"),
        (("2001:db8:1:2:3::4", 80), "2001:0db8:0001:0002::/64"),
        (("2001:DB8:1:2:ffff::", 80), "2001:0db8:0001:0002::/64"),
        (("testclient", 80), "testclient"),
        (("", 0), "-"),
        (None, "-"),
    ],
    ids=str,
)
def test_the_key_of_a_client_is_its_address_or_network(client, key):
    assert by_client(_conn(client=client)) == key


class Identified(SimpleUser):
    identity = 7


@pytest.mark.parametrize(
    ("user", "key"),
    [(Identified("ada"), "7"), (SimpleUser("ada"), "ada"), (UnauthenticatedUser(), None)],
    ids=["identity", "display name", "anonymous"],
)
def test_the_key_of_a_user_is_the_identity(user, key):
    assert by_user(_conn(user=user)) == key


def test_a_key_that_needs_another_layer_names_it():
    with pytest.raises(AssertionError, match="AuthenticationMiddleware"):
        by_user(_conn())
    with pytest.raises(AssertionError, match="SessionMiddleware"):
        by_session(_conn())
    with pytest.raises(RuntimeError, match="Pass a store to SessionMiddleware"):
        by_session(_conn(session={}))


class Session(dict):
    id_hash = "5f"


def test_the_key_of_a_session_is_the_hash_of_its_id():
    session = Session()
    assert by_session(_conn(session=session)) == "5f"
    session.id_hash = None
    assert by_session(_conn(session=session)) is None


def test_the_key_of_a_header_does_not_contain_its_value():
    key = by_header("X-API-Key")
    found = key(_conn(headers=[("x-api-key", "secret")]))
    assert len(found) == 32
    assert "secret" not in found
    assert found != key(_conn(headers=[("x-api-key", "Secret")]))
    assert key(_conn()) is None


# -- headers and settings ----------------------------------------------------------------------------


def test_names_are_strings_of_structured_fields():
    """RFC 9651 s.3.3.3."""
    limit = Limit(Rate(5, 1.5), name='a "b" \\ c')
    assert format_policies([limit]) == r'"a \"b\" \\ c";q=5;w=2'
    assert format_state(limit, Allowance(True, 4, 0, 0.3)) == r'"a \"b\" \\ c";r=4;t=1'


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20))
def test_every_valid_name_can_be_read_back(name):
    if ":" in name:
        return
    value = format_policies([Limit(Rate(1, 1), name=name)])
    text, _, rest = value[1:].rpartition('"')
    assert rest == ";q=1;w=1"
    assert text.replace('\\"', '"').replace("\\\\", "\\") == name or "\\" in name


RATE = Rate(3, 30)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"rate": "3/minute"}, TypeError, "Write Rate.parse"),
        ({"name": 1}, TypeError, "name must be a string"),
        ({"name": ""}, ValueError, "printable ASCII"),
        ({"name": "a:b"}, ValueError, "without ':'"),
        ({"name": "é"}, ValueError, "printable ASCII"),
        ({"name": "a\n"}, ValueError, "printable ASCII"),
        ({"key": "x-api-key"}, TypeError, "such as by_header"),
        ({"key": index}, TypeError, "key must be a `def` function"),
        ({"cost": -1}, ValueError, "from 0 to the burst"),
        ({"cost": 4}, ValueError, "from 0 to the burst"),
        ({"cost": 1.5}, TypeError, "cost must be an int"),
    ],
    ids=stable_id,
)
def test_wrong_limits_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        Limit(**{"rate": RATE, **options})


@pytest.mark.parametrize(
    ("limits", "options", "error", "text"),
    [
        ([], {}, TypeError, "needs a limit"),
        ([RATE], {}, TypeError, r"must be Limits, .* Write Limit\(rate\)"),
        ([three(), three()], {}, ValueError, "two limits have the name 'default'"),
        ([three()], {"store": "memory://"}, TypeError, "open_store"),
        ([three()], {"store": None}, TypeError, "open_store"),
        ([three()], {"on_unavailable": "ignore"}, ValueError, "'allow' or 'deny'"),
        ([three()], {"headers": "no"}, TypeError, "True or False"),
        ([three()], {"status_code": 200}, ValueError, "from 400 to 599"),
        ([three()], {"status_code": "429"}, TypeError, "must be an int"),
    ],
    ids=stable_id,
)
def test_wrong_settings_are_refused(limits, options, error, text):
    with pytest.raises(error, match=text):
        RateLimitMiddleware(index, *limits, **{"store": MemoryStore(), **options})


def test_the_exception_can_be_pickled():
    error = RateLimitExceeded(three(), Allowance(False, 0, 1.5, 3.0))
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.status_code, copy.headers) == (429, {"Retry-After": "2"})
    assert (copy.limit_name, copy.allowance) == ("default", error.allowance)


async def test_a_refusal_has_the_headers_of_cors(store):
    limited = Middleware(RateLimitMiddleware, Limit(Rate(1, 60)), store=store)
    cors = Middleware(CORSMiddleware, allow_origins=["*"])
    app = Spica(routes=[Route("/", index)], middleware=[cors, limited])
    await call(app, headers=[("origin", "https://example.org")])
    refused = await call(app, headers=[("origin", "https://example.org")])
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (429, "*")


# -- a real Redis --------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_redis_that_stops_and_starts_again(redis_server):
    async with open_store(redis_server.url, timeout_seconds=60) as store:
        limiter = Limiter(store)
        app = application(Limit(Rate(2, 3600)), store=limiter)
        assert await statuses(app, 3) == [200, 200, 429]
        redis_server.stop()
        assert await statuses(app, 3) == [200, 200, 429]  # counted by this process
        assert limiter.is_degraded
        redis_server.start()
        with anyio.fail_after(90):
            while limiter.is_degraded:  # the breaker of the store probes it
                await limiter.try_take(_conn(), three("probe"))
                await anyio.sleep(0.01)
        assert await statuses(app, 3) == [200, 200, 429]  # a Redis that keeps nothing has forgotten


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_redis_that_hangs_delays_a_request_by_its_timeout_only(redis_server):
    async with open_store(redis_server.url, timeout_seconds=0.5) as store:
        app = application(three(), store=store)
        assert await statuses(app, 1) == [200]
        turns = 0

        async def count():
            nonlocal turns
            while True:
                await anyio.sleep(0.001)
                turns += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            redis_server.pause()
            try:
                with anyio.fail_after(30):
                    assert await statuses(app, 1) == [200]
            finally:
                redis_server.resume()
            tasks.cancel_scope.cancel()
        assert turns > 3  # other requests went on


def test_a_limit_has_one_positional_argument():
    with pytest.raises(TypeError, match="positional"):
        Limit(Rate(1, 1), "name")
