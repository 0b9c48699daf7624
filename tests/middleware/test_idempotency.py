"""A request with a key runs once."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio
import pytest
from asgi_kit import Exchange, body_messages, call, http_scope
from session_kit import CountingStore

from spica.applications import Spica
from spica.authentication import AuthCredentials, SimpleUser, api_key
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.idempotency import (
    MAX_STORED_SIZE,
    IdempotencyMiddleware,
    by_user_or_client,
    parse_key,
)
from spica.middleware.sessions import SessionMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route
from spica.stores import StoreUnavailable

pytestmark = pytest.mark.anyio


class Service:
    """An application that counts how often it has run."""

    def __init__(self, **settings: Any) -> None:
        self.runs = 0
        self.store = CountingStore()
        session = Middleware(SessionMiddleware, secret_key="k" * 32)
        layer = Middleware(IdempotencyMiddleware, store=self.store, **settings)
        methods = ["POST", "PATCH", "PUT"]
        self.app = Spica(
            routes=[
                Route("/", self.run, methods=methods),
                Route("/stream", self.stream, methods=methods),
                Route("/fail/{status:int}", self.fail, methods=methods),
                Route("/crash", self.crash, methods=methods),
                Route("/large/{size:int}", self.large, methods=methods),
                Route("/login", self.login, methods=methods),
                Route("/key", self.read_key, methods=methods),
                Mount("/foreign", self.foreign),
            ],
            middleware=[session, layer],
        )

    async def run(self, request: Any) -> Any:
        self.runs += 1
        body = (await request.body()).decode()
        return PlainTextResponse(f"{self.runs} {body}", 201, headers={"x-run": str(self.runs)})

    async def stream(self, request: Any) -> Any:
        self.runs += 1
        return StreamingResponse(iter(["a", str(self.runs)]))

    async def fail(self, request: Any) -> Any:
        self.runs += 1
        raise HTTPException(request.path_params["status"])

    async def login(self, request: Any) -> Any:
        self.runs += 1
        name = request.session["user"] = (await request.body()).decode()
        return PlainTextResponse(f"Hello, {name}")

    async def read_key(self, request: Any) -> Any:
        self.runs += 1
        return PlainTextResponse(f"Hello, {api_key(request, 'X-Shop-Key')}")

    async def crash(self, request: Any) -> Any:
        self.runs += 1
        raise ValueError

    async def large(self, request: Any) -> Any:
        self.runs += 1
        return PlainTextResponse("x" * request.path_params["size"])

    async def foreign(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        await PlainTextResponse((await receive())["body"])(scope, receive, send)

    async def post(
        self,
        path: str = "/",
        *keys: str,
        body: bytes = b"",
        method: str = "POST",
        cookie: str = "",
        host: str = "",
        **scope: Any,
    ) -> Exchange:
        headers = [("idempotency-key", key) for key in keys]
        headers += [pair for pair in (("cookie", cookie), ("host", host)) if pair[1]]
        return await call(self.app, method, path, headers=headers, body=body, **scope)


@pytest.mark.parametrize("path", ["/", "/stream", "/foreign/x", "/fail/404", "/large/0"])
async def test_a_repeated_request_gets_the_stored_response(path: str) -> None:
    service = Service()
    first = await service.post(path, "k", body=b"same")
    again = await service.post(path, "k", body=b"same")
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers == {**first.headers, "idempotent-replayed": "true"}
    assert service.runs == 1 or path == "/fail/404"


@pytest.mark.parametrize(
    ("path", "body", "method"), [("/?a=1", b"", "POST"), ("/", b"x", "POST"), ("/", b"", "PATCH")]
)
async def test_a_key_of_another_request_is_a_422(path: str, body: bytes, method: str) -> None:
    service = Service()
    await service.post("/", "k")
    response = await service.post(path, "k", body=body, method=method)
    assert (response.status, service.runs) == (422, 1)
    assert response.text == "This Idempotency-Key was used for another request."


async def test_a_key_whose_request_still_runs_is_a_409() -> None:
    service = Service()
    began, may_end = anyio.Event(), anyio.Event()

    async def wait(request: Any) -> Any:
        began.set()
        await may_end.wait()
        return PlainTextResponse("done")

    service.app.add_route("/wait", wait, methods=["POST"])
    async with anyio.create_task_group() as group:
        group.start_soon(service.post, "/wait", "k")
        await began.wait()
        response = await service.post("/wait", "k")
        may_end.set()
    assert (response.status, response.headers["retry-after"]) == (409, "1")
    assert (await service.post("/wait", "k")).text == "done"


@pytest.mark.parametrize("path", ["/fail/500", "/fail/503", "/crash"])
async def test_an_error_of_the_server_is_not_stored(path: str) -> None:
    service = Service()
    for _ in range(2):
        exchange = Exchange(http_scope("POST", path, headers=[("idempotency-key", "k")]))
        await exchange.run(service.app)
        assert "idempotent-replayed" not in exchange.headers
    assert service.runs == 2


@pytest.mark.parametrize("status", [401, 408, 421, 425, 429])
async def test_a_response_that_asks_for_another_try_is_not_stored(status: int) -> None:
    service = Service()
    for _ in range(2):
        await service.post(f"/fail/{status}", "k")
    assert service.runs == 2


@pytest.mark.parametrize(
    ("size", "runs"), [(MAX_STORED_SIZE - 400, 1), (MAX_STORED_SIZE, 2), (MAX_STORED_SIZE + 1, 2)]
)
async def test_a_large_response_is_not_stored(
    size: int, runs: int, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    for _ in range(2):
        assert len((await service.post(f"/large/{size}", "k")).body) == size
    assert service.runs == runs
    has_warned = f"The response to POST '/large/{size}' is a file, or has more" in caplog.text
    assert has_warned is (runs > 1)


async def test_requests_without_a_key_and_other_methods_pass() -> None:
    service = Service()
    await service.post("/")
    await service.post("/", "k", method="PUT")
    assert service.runs == 2
    assert service.store.operations == []


async def test_a_required_key_that_is_missing_is_a_400() -> None:
    service = Service(required=True)
    assert (await service.post("/")).status == 400
    assert (await service.post("/", "k", method="PUT")).status == 201


@pytest.mark.parametrize("keys", [[""], ['"'], ["a b"], ["a,b"], ["a", "b"], ["x" * 256], ["é"]])
async def test_a_wrong_key_is_a_400_and_costs_no_access_to_the_store(keys: list[str]) -> None:
    service = Service()
    response = await service.post("/", *keys)
    assert response.status == 400
    assert (service.runs, service.store.operations) == (0, [])


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("a-b", "a-b"),
        ('"a b"', "a b"),
        (r'"a\"\\b"', r'a"\b'),
        ("x" * 255, "x" * 255),
        ('"' + "x" * 255 + '"', "x" * 255),
        ('""', None),
        (r'"\x"', None),
        ('"a";p=1', None),
    ],
)
def test_a_key_is_a_string_or_a_token(field: str, key: str | None) -> None:
    assert parse_key([field]) == key


async def test_another_host_is_another_request() -> None:
    service = Service()
    await service.post("/", "k", host="a.example")
    assert (await service.post("/", "k", host="b.example")).status == 422


async def test_users_behind_one_address_do_not_share_a_response() -> None:
    service = Service()
    ann = cookie_of(await service.post("/login", body=b"ann"))
    bob = cookie_of(await service.post("/login", body=b"bob"))
    assert (await service.post("/", "k", cookie=ann)).status == 201
    for cookie in (bob, ""):
        assert (await service.post("/", "k", cookie=cookie)).status == 422
    assert service.runs == 3


async def test_a_changed_session_keeps_its_response() -> None:
    service = Service()
    ann = cookie_of(await service.post("/login", body=b"ann"))
    new = cookie_of(await service.post("/login", "k", body=b"eve", cookie=ann))
    for cookie in (ann, new):  # the client may have lost the response, and with it the new cookie
        assert (await service.post("/login", "k", body=b"eve", cookie=cookie)).text == "Hello, eve"
    assert service.runs == 2


def cookie_of(exchange: Exchange) -> str:
    return exchange.headers["set-cookie"].partition(";")[0]


async def test_the_keys_of_two_clients_are_different() -> None:
    service = Service()
    await service.post("/", "k", client=("192.0.2.1", 1))
    await service.post("/", "k", client=("192.0.2.2", 1))
    assert service.runs == 2


def test_a_sender_is_a_user_or_a_credential_or_an_address() -> None:
    scope = http_scope("POST", "/", headers=[("authorization", "Bearer x")])
    assert by_user_or_client(Request(http_scope("POST", "/"))) == "client 192.0.2.1"
    assert by_user_or_client(Request(scope)).startswith("authorization ")
    scope["user"] = "an object of another kind"
    assert by_user_or_client(Request(scope)).startswith("authorization ")
    scope["user"] = SimpleUser("ada")
    scope["auth"] = AuthCredentials([])
    assert by_user_or_client(Request(scope)) == "user ada"


@pytest.mark.parametrize("has_store", [True, False])
async def test_the_user_of_a_stored_session_is_the_sender(has_store: bool) -> None:
    senders: list[str] = []

    async def endpoint(request: Any) -> Any:
        if has_store:
            request.session.bind("7")
        senders.append(by_user_or_client(request))
        return PlainTextResponse("ok")

    options = {"store": CountingStore()} if has_store else {}
    layer = Middleware(SessionMiddleware, secret_key="k" * 32, **options)
    await call(Spica(routes=[Route("/", endpoint)], middleware=[layer]))
    assert senders == ["user 7" if has_store else "client 192.0.2.1"]


async def test_a_killed_worker_blocks_the_key_for_lease_seconds() -> None:
    service = Service(lease_seconds=60)
    now = 1000.0
    service.store._space.clock = lambda: now
    service.store.down.add("release")  # as if the worker had died before it could
    await service.post("/fail/500", "k")
    assert (await service.post("/", "k")).status == 409
    now += 61
    assert (await service.post("/", "k")).status == 201


async def test_a_request_is_refused_while_the_store_is_down() -> None:
    service = Service()
    service.store.down.add("get")
    response = await service.post("/", "k")
    assert (response.status, response.headers["retry-after"], service.runs) == (503, "1", 0)


async def test_a_response_that_can_not_be_stored_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    service.store.down.add("set")
    assert (await service.post("/", "k")).status == 201
    assert "A response could not be stored" in caplog.text


async def test_a_cancelled_request_ends_its_lease() -> None:
    service = Service()

    async def wait(request: Any) -> Any:
        service.runs += 1
        scope.cancel()
        await anyio.sleep_forever()

    service.app.add_route("/wait", wait, methods=["POST"])
    for _ in range(2):
        with anyio.CancelScope() as scope:
            await service.post("/wait", "k")
    assert service.runs == 2


async def test_a_body_in_pieces_is_the_same_request() -> None:
    service = Service()
    await service.post("/", "k", body=b"ab")
    scope = http_scope("POST", "/", headers=[("idempotency-key", "k")])
    exchange = await Exchange(scope, body_messages(b"a", b"b")).run(service.app)
    assert exchange.headers["idempotent-replayed"] == "true"


async def ask_somebody(request: Any) -> str:
    return "somebody"


async def test_a_scope_must_return_a_string() -> None:
    service = Service(scope=lambda request: None)
    with pytest.raises(TypeError, match="scope\\(\\) must return a string, not None"):
        await service.post("/", "k")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"methods": "POST"}, TypeError, "methods must be a list of strings"),
        ({"seconds": 0}, ValueError, "seconds must be above 0 and at most 100 years, not 0"),
        ({"seconds": math.inf}, ValueError, "seconds must be above 0 and at most 100 years"),
        ({"methods": []}, ValueError, "methods must name a method"),
        ({"required": "yes"}, TypeError, "required must be True or False"),
        ({"lease_seconds": "x"}, TypeError, "lease_seconds must be a number"),
        ({"scope": "user"}, TypeError, "scope must be a def function"),
        ({"scope": ask_somebody}, TypeError, "scope must be a def function"),
        ({"store": "redis://x"}, TypeError, "store must be a store such as open_store"),
    ],
)
def test_wrong_settings_are_refused(settings: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        IdempotencyMiddleware(PlainTextResponse("x"), **{"store": CountingStore(), **settings})


class StepStore(CountingStore):
    """A store that fails at one operation, or waits in it."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = 0
        self.waiting_in: list[str] = []
        self.began, self.may_go_on = anyio.Event(), anyio.Event()

    async def _run(self, operation: str, *args: Any) -> Any:
        if operation in self.waiting_in:
            self.began.set()
            await self.may_go_on.wait()
        result = await super()._run(operation, *args)
        if len(self.operations) == self.failing:
            raise StoreUnavailable("StepStore", operation, "the answer is lost")
        return result


def use(service: Service) -> StepStore:
    store = StepStore()
    layer: Any = Middleware(IdempotencyMiddleware, store=store)
    service.app.user_middleware[1:] = [layer]
    return store


@pytest.mark.parametrize("failing", [1, 2, 3], ids=["get", "acquire", "second get"])
async def test_an_outage_before_the_run_does_not_block_the_key(failing: int) -> None:
    service = Service()
    use(service).failing = failing
    exchange = Exchange(http_scope("POST", headers=[("idempotency-key", "k")]))
    await exchange.run(service.app)
    assert isinstance(exchange.error, StoreUnavailable) or exchange.status == 503
    assert (await service.post("/", "k")).status == 201


@pytest.mark.parametrize("path", ["/", "/stream", "/foreign/x"])
async def test_a_response_is_stored_although_the_request_is_cancelled_meanwhile(path: str) -> None:
    service = Service()
    store = use(service)
    store.waiting_in = ["set"]
    async with anyio.create_task_group() as group:
        group.start_soon(service.post, path, "k")
        await store.began.wait()
        group.cancel_scope.cancel()
        store.may_go_on.set()
    assert "idempotent-replayed" in (await service.post(path, "k")).headers


@pytest.mark.parametrize("path", ["/", "/foreign/x"])
@pytest.mark.parametrize("gone_after", [0, 1])
async def test_a_response_is_stored_although_its_client_has_left(
    path: str, gone_after: int
) -> None:
    service = Service()
    scope = http_scope("POST", path, headers=[("idempotency-key", "k")])
    exchange = await Exchange(scope, gone_after=gone_after).run(service.app)
    assert not exchange.is_complete
    assert "idempotent-replayed" in (await service.post(path, "k")).headers
    assert service.runs == 1


@pytest.mark.parametrize("name", ["X-API-Key", "X-Forwarded-User"])
async def test_users_with_a_usual_field_have_keys_of_their_own(name: str) -> None:
    service = Service()
    for user, runs in [("ann", 1), ("bob", 2), ("ann", 2)]:
        headers = [("idempotency-key", "k"), (name, user)]
        await call(service.app, "POST", "/", headers=headers)
        assert service.runs == runs


async def test_users_with_other_api_keys_do_not_share_responses() -> None:
    service = Service()
    statuses = []
    for key in ["ann", "bob", "", "ann"]:
        headers = [("idempotency-key", "k"), *([("x-shop-key", key)] if key else [])]
        statuses.append((await call(service.app, "POST", "/key", headers=headers)).status)
    assert (statuses, service.runs) == ([200, 422, 422, 200], 1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("operation", ["set", "release"])
async def test_a_task_that_asyncio_cancels_stores_the_response_and_leaves_no_lease(
    operation: str,
) -> None:
    service = Service()
    store = use(service)
    store.waiting_in = [operation]
    task = asyncio.ensure_future(service.post("/", "k"))
    await store.began.wait()
    task.cancel()
    store.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.operations[-1] == "release"
    assert "idempotent-replayed" in (await service.post("/", "k")).headers


async def test_users_without_a_name_have_keys_of_their_own() -> None:
    senders = set()
    for token in ["Bearer a", "Bearer b"]:
        scope = http_scope("POST", headers=[("authorization", token)])
        scope["user"] = SimpleUser("")
        senders.add(by_user_or_client(Request(scope)))
    assert len(senders) == 2


async def test_a_second_layer_inside_leaves_the_request_to_the_first() -> None:
    service = Service()
    service.app.user_middleware.append(service.app.user_middleware[-1])
    assert (await service.post("/", "k")).status == 201
    assert "idempotent-replayed" in (await service.post("/", "k")).headers
    assert service.runs == 1
