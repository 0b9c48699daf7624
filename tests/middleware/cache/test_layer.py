"""Responses that are stored, and the requests that they answer."""

from __future__ import annotations

import math
from functools import partial
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from asgi_kit import Exchange, call, http_scope
from session_kit import CountingStore

from spica.applications import Spica
from spica.authentication import api_key
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.cache import ResponseCacheMiddleware, invalidate
from spica.middleware.cache.layer import MAX_STORED_SIZE
from spica.middleware.securityheaders import CSP, SecurityHeadersMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from spica.routing import Mount, Route
from spica.stores import MemoryStore

pytestmark = pytest.mark.anyio

PUBLIC = "public, max-age=60"


class Service:
    """An application that counts how often it has computed a response."""

    def __init__(self, store: Any = None, outside: Any = (), **settings: Any) -> None:
        self.runs = 0
        self.now = 1_000_000.0
        self.control = PUBLIC
        self.fields: dict[str, str] = {}
        self.failure: Any = None
        self.failures: list[Any] = []
        self.store = CountingStore() if store is None else store
        self.gate: Any = None
        self.layer: Any = None
        recipe = Middleware(self.make, store=self.store, **settings)
        methods = ["GET", "POST"]
        self.app = Spica(
            routes=[
                Mount("/foreign", self.foreign),
                Route("/stream", self.stream),
                Route("/{rest:path}", self.run, methods=methods),
            ],
            middleware=[*outside, recipe],
        )

    def make(self, app: Any, **settings: Any) -> Any:
        self.layer = ResponseCacheMiddleware(app, **settings)
        self.layer._clock = lambda: self.now
        return self.layer

    def headers(self) -> dict[str, str]:
        control = {"cache-control": self.control} if self.control else {}
        return {**control, **self.fields}

    async def run(self, request: Any) -> Any:
        self.runs += 1
        text = f"run {self.runs}"
        if self.gate is not None:
            await self.gate.wait()
        failure = self.failures.pop(0) if self.failures else self.failure
        if isinstance(failure, Exception):
            raise failure
        fields = {} if failure else self.headers()
        return PlainTextResponse(text, failure or 200, headers=fields)

    async def stream(self, request: Any) -> Any:
        self.runs += 1
        return StreamingResponse(iter(["a", str(self.runs)]), headers=self.headers())

    async def foreign(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        await PlainTextResponse(f"run {self.runs}", headers=self.headers())(scope, receive, send)

    async def get(self, path: str = "/", method: str = "GET", **fields: str) -> Exchange:
        headers = [(name.replace("_", "-"), value) for name, value in fields.items()]
        exchange = await Exchange(http_scope(method, path, headers=headers)).run(self.app)
        if exchange.error is not None:
            raise exchange.error
        return exchange


@pytest.mark.parametrize("path", ["/", "/stream", "/foreign/x"])
async def test_a_response_is_stored_and_answers_later_requests(path: str) -> None:
    service = Service()
    first = await service.get(path)
    service.now += 40
    again = await service.get(path)
    assert (service.runs, again.body, again.status) == (1, first.body, 200)
    assert again.headers["age"] == "40"
    assert again.headers["cache-status"] == "spica;hit;ttl=20"
    assert first.headers["cache-status"].startswith("spica;fwd=uri-miss")


async def test_a_stale_response_is_computed_again() -> None:
    service = Service()
    await service.get()
    service.now += 60
    assert (await service.get()).text == "run 2"
    assert (await service.get()).text == "run 2"


@pytest.mark.parametrize(
    "control", ["", "private", "no-store", "max-age=60", "public, no-cache, max-age=60"]
)
async def test_other_responses_are_not_stored(control: str) -> None:
    service = Service()
    service.control = control
    assert [(await service.get()).text for _ in range(2)] == ["run 1", "run 2"]


async def test_default_seconds_stores_responses_to_nobody() -> None:
    service = Service(default_seconds=60)
    service.control = ""
    assert [(await service.get()).text for _ in range(2)] == ["run 1", "run 1"]
    assert (await service.get(cookie="a=b")).text == "run 2"
    assert (await service.get(authorization="x")).text == "run 3"
    assert (await service.get()).text == "run 1"


async def test_default_seconds_does_not_store_responses_to_an_api_key() -> None:
    service = Service(default_seconds=60)
    service.control = ""

    async def show(request: Any) -> Any:
        return PlainTextResponse(str(api_key(request)), headers=service.headers())

    service.app.router.routes.insert(0, Route("/me", show))
    assert [(await service.get("/me", x_api_key=key)).text for key in "ab"] == ["a", "b"]
    assert (await service.get("/me")).text == "None"


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_response_with_values_of_an_outer_session_is_not_stored(is_stream: bool) -> None:
    # The order is wrong, and the order checker warns of it.
    service = Service(outside=[Middleware(SessionMiddleware, secret_key="k" * 32)])
    served: list[int] = []

    async def values(request: Any) -> Any:
        served.append(1)
        yield str(request.session.get("user"))

    async def show(request: Any) -> Any:
        if is_stream:
            return StreamingResponse(values(request), headers=service.headers())
        (text,) = [each async for each in values(request)]
        return PlainTextResponse(text, headers=service.headers())

    service.app.router.routes.insert(0, Route("/me", show))
    for _ in range(2):
        await service.get("/me")
    assert len(served) == 2
    assert [(await service.get()).text for _ in range(2)] == ["run 1", "run 1"]


async def test_the_varied_fields_belong_to_the_key() -> None:
    service = Service()
    service.fields = {"vary": "Accept-Language"}
    texts = [(await service.get(accept_language=each)).text for each in ("de", "en", "de", "en")]
    assert texts == ["run 1", "run 2", "run 1", "run 2"]
    assert (await service.get(accept_language="fr")).headers["cache-status"] == (
        "spica;fwd=vary-miss;stored"
    )


async def test_a_response_that_varies_by_more_keeps_both_fields() -> None:
    service = Service()
    service.fields = {"vary": "A"}
    await service.get(a="1", b="1")
    service.fields = {"vary": "B"}
    await service.get(a="2", b="1")
    texts = [(await service.get(a="2", b=each)).text for each in ("1", "2", "1")]
    assert texts == ["run 2", "run 3", "run 2"]


async def test_head_is_answered_from_the_entry_of_get() -> None:
    service = Service()
    await service.get(method="HEAD")
    assert service.runs == 1
    await service.get()
    head = await service.get(method="HEAD")
    assert (head.body, head.headers["content-length"], service.runs) == (b"", "5", 2)


@pytest.mark.parametrize(
    ("fields", "status", "body"),
    [
        ({"if_none_match": '"v1"'}, 304, b""),
        ({"if_none_match": '"v2"'}, 200, b"run 1"),
        ({"if_match": '"v2"'}, 412, b"Precondition Failed"),
        ({"range": "bytes=1-2"}, 206, b"un"),
        ({"range": "bytes=-2"}, 206, b" 1"),
        ({"range": "bytes=9-"}, 416, b"Range Not Satisfiable"),
        ({"range": "bytes=2-1"}, 200, b"run 1"),
        ({"range": "bytes=0-0,2-2"}, 200, b"run 1"),
        ({"range": "bytes=1-2", "if_range": '"v1"'}, 206, b"un"),
        ({"range": "bytes=1-2", "if_range": '"v2"'}, 200, b"run 1"),
        ({"range": "bytes=1-2", "if_none_match": '"v1"'}, 304, b""),
    ],
)
async def test_conditions_and_ranges_are_answered_from_the_entry(
    fields: Any, status: int, body: bytes
) -> None:
    service = Service()
    service.fields = {"etag": '"v1"'}
    await service.get()
    response = await service.get(**fields)
    assert (response.status, response.body, service.runs) == (status, body, 1)
    if status == 206:
        assert response.headers["content-range"].endswith("/5")
        assert response.headers["content-length"] == "2"


async def test_a_response_without_a_validator_gets_a_tag() -> None:
    service = Service()
    tag = (await service.get()).headers["etag"]
    assert (await service.get(if_none_match=tag)).status == 304


@pytest.mark.parametrize("directive", ["no-cache", "max-age=0", "min-fresh=61"])
async def test_a_request_can_ask_for_a_new_response(directive: str) -> None:
    service = Service()
    await service.get()
    response = await service.get(cache_control=directive)
    assert (response.text, response.headers["cache-status"]) == (
        "run 2",
        "spica;fwd=request;stored",
    )
    assert (await service.get()).text == "run 2"


async def test_a_request_can_ask_for_a_stored_response_only() -> None:
    service = Service()
    assert (await service.get(cache_control="only-if-cached")).status == 504
    await service.get()
    assert (await service.get(cache_control="only-if-cached")).status == 200
    assert service.runs == 1


async def test_a_stale_response_is_sent_while_a_new_one_is_computed() -> None:
    service = Service()
    service.control += ", stale-while-revalidate=30"
    await service.get()
    service.now += 70
    stale = await service.get(if_none_match='"x"')
    assert (stale.text, stale.headers["cache-status"]) == ("run 1", "spica;hit;ttl=-10")
    fresh = await service.get()
    assert (fresh.text, fresh.headers["age"], service.runs) == ("run 2", "0", 2)
    service.now += 90
    assert (await service.get()).text == "run 3"


@pytest.mark.parametrize("failure", [500, 503, HTTPException(503), ValueError()], ids=repr)
async def test_a_stale_response_replaces_an_error(failure: Any) -> None:
    service = Service()
    service.control += ", stale-if-error=30"
    await service.get()
    service.now += 70
    service.failure = failure
    assert (await service.get()).text == "run 1"
    assert len(service.layer._flights) == 0


@pytest.mark.parametrize("failure", [404, HTTPException(404)], ids=repr)
async def test_an_error_of_the_client_is_not_replaced(failure: Any) -> None:
    service = Service()
    service.control += ", stale-if-error=30"
    await service.get()
    service.now += 70
    service.failure = failure
    assert (await service.get()).status == 404


async def test_a_change_removes_the_response_of_its_uri() -> None:
    service = Service()
    service.fields = {"vary": "accept"}
    await service.get()
    await service.get("/b")
    await service.get(method="POST")
    assert (await service.get()).text == "run 4"
    assert (await service.get("/b")).text == "run 2"


async def test_a_change_removes_all_responses_that_vary() -> None:
    service = Service()
    service.fields = {"vary": "accept"}
    for accept in ("a", "b"):
        await service.get(accept=accept)
    await service.get(method="POST")
    texts = [(await service.get(accept=each)).text for each in ("a", "b", "a")]
    assert texts == ["run 4", "run 5", "run 4"]


async def test_a_safe_request_with_a_body_removes_nothing() -> None:
    service = Service()
    service.app.router.routes.insert(0, Route("/", service.run, methods=["GET", "QUERY"]))
    await service.get()
    await service.get(method="QUERY")
    assert (await service.get()).text == "run 1"


async def test_a_change_that_fails_removes_nothing() -> None:
    service = Service()
    await service.get()
    service.failure = 400
    await service.get(method="POST")
    assert (await service.get()).text == "run 1"


async def test_a_tag_invalidates_all_its_responses() -> None:
    service = Service()
    service.fields = {"cache-tag": "items, a"}
    await service.get("/1")
    service.fields = {"cache-tag": "b"}
    await service.get("/2")
    await invalidate("items", store=service.store)
    assert (await service.get("/1")).text == "run 3"
    assert (await service.get("/2")).text == "run 2"


async def test_an_endpoint_invalidates_without_naming_the_store() -> None:
    service = Service()

    async def change(request: Any) -> Response:
        await invalidate("items")
        return Response()

    service.app.router.routes.insert(0, Route("/change", change, methods=["POST"]))
    service.fields = {"cache-tag": "items"}
    await service.get()
    await service.get("/change", "POST")
    assert (await service.get()).text == "run 2"


@pytest.mark.parametrize("method", ["POST", "tag"])
async def test_a_response_that_is_outdated_before_its_end_is_not_stored(method: str) -> None:
    service = Service()
    service.fields = {"cache-tag": "items"}
    service.gate = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(service.get)
        await anyio.wait_all_tasks_blocked()
        gate, service.gate = service.gate, None
        await (invalidate("items", store=service.store) if method == "tag" else change(service))
        gate.set()
    count = service.runs
    await service.get()
    assert service.runs == count + 1
    assert service.store.operations.count("set") == 1  # at no time was the first one in the store


class Racing(CountingStore):
    """A store in which another worker acts before each operation of a kind."""

    def __init__(self) -> None:
        super().__init__()
        self.races: dict[str, Any] = {}

    async def _run(self, operation: str, *args: Any) -> Any:
        action = self.races.pop(operation, None)
        if action is not None:
            await action()
        return await super()._run(operation, *args)


@pytest.mark.parametrize("vary", ["", "accept"])
@pytest.mark.parametrize("method", ["POST", "tag"])
async def test_an_invalidation_while_the_response_is_stored_is_not_lost(
    method: str, vary: str
) -> None:
    service = Service(Racing())
    service.fields = {"cache-tag": "items"} | ({"vary": vary} if vary else {})
    other = Service(service.store)

    async def invalidated() -> None:
        await (invalidate("items", store=service.store) if method == "tag" else change(other))

    service.store.races["set"] = invalidated
    await service.get()
    await service.get()
    assert service.runs == 2


async def test_a_change_while_a_response_is_stored_brings_no_older_one_back() -> None:
    service = Service(Racing())
    service.fields = {"vary": "accept"}
    other = Service(service.store)
    await service.get(accept="a")
    service.store.races["set"] = partial(change, other)
    await service.get(accept="b")
    assert (await service.get(accept="a")).text == "run 3"


async def change(service: Service) -> None:
    await service.get(method="POST")


STORES = [CountingStore, MemoryStore]
"""With a lease for each computation, and without: a store in memory has all its users in this process."""


@pytest.mark.parametrize("store", STORES)
async def test_requests_wait_for_one_computation(store: Any) -> None:
    service = Service(store())
    answers: list[Exchange] = []
    await _together(service, [service] * 50, answers)
    assert service.runs == 1
    assert {answer.text for answer in answers} == {"run 1"}
    assert sum("collapsed" in answer.headers["cache-status"] for answer in answers) == 49


async def _together(first: Service, services: Any, answers: list[Exchange]) -> None:
    gate = anyio.Event()
    for service in services:
        service.gate = gate

    async def ask(service: Service) -> None:
        answers.append(await service.get())

    async with anyio.create_task_group() as group:
        for service in services:
            group.start_soon(ask, service)
        await anyio.wait_all_tasks_blocked()
        gate.set()


@pytest.mark.parametrize("store", STORES)
async def test_two_workers_compute_once(store: Any) -> None:
    first = Service(store())
    second = Service(first.store)
    answers: list[Exchange] = []
    await _together(first, [first, second] * 25, answers)
    assert first.runs + second.runs == 1
    assert {answer.text for answer in answers} == {"run 1"}


async def test_requests_do_not_share_what_is_not_stored() -> None:
    service = Service()
    service.control = "private"
    answers: list[Exchange] = []
    await _together(service, [service] * 5, answers)
    assert len({answer.text for answer in answers}) == service.runs == 5


@pytest.mark.parametrize("is_raised", [False, True])
async def test_one_of_those_who_wait_tries_again_after_a_failure(is_raised: bool) -> None:
    service = Service()
    answers: list[Exchange] = []
    service.failures = [HTTPException(503) if is_raised else 503]
    await _together(service, [service] * 20, answers)
    assert sorted({answer.status for answer in answers}) == [200, 503]
    assert sum(answer.status == 503 for answer in answers) == 1
    assert service.runs == 2


async def test_all_requests_compute_for_themselves_after_a_second_failure() -> None:
    service = Service()
    answers: list[Exchange] = []
    service.failures = [503, 503]
    await _together(service, [service] * 5, answers)
    assert service.runs == 5
    service.control = PUBLIC  # and after that, requests wait for each other again
    service.now += 60
    await _together(service, [service] * 5, [])
    assert service.runs == 6


async def test_a_failure_gives_all_who_wait_the_stale_response() -> None:
    service = Service()
    service.control = "s-maxage=60, stale-if-error=600"
    await service.get()
    service.now += 61
    service.failures = [500]
    answers: list[Exchange] = []
    await _together(service, [service] * 20, answers)
    assert {answer.text for answer in answers} == {"run 1"}
    assert service.runs == 2


async def test_one_of_those_who_wait_tries_again_after_a_broken_stream() -> None:
    service = Service()
    gate = anyio.Event()
    runs: list[int] = []

    async def chunks(number: int) -> Any:
        yield "a"
        await gate.wait()
        if number == 1:
            raise ValueError
        yield "b"

    async def stream(request: Any) -> Any:
        runs.append(1)
        return StreamingResponse(chunks(len(runs)), headers=service.headers())

    async def ask() -> None:
        exchange = await Exchange(http_scope("GET", "/breaks")).run(service.app)
        assert exchange.body in (b"a", b"ab")

    service.app.router.routes.insert(0, Route("/breaks", stream))
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert len(runs) == 2


async def test_another_request_takes_over_from_a_cancelled_one() -> None:
    service = Service()
    service.gate = anyio.Event()
    answers: list[Exchange] = []
    client = anyio.CancelScope()

    async def lead() -> None:
        with client:
            await service.get()

    async def follow() -> None:
        answers.append(await service.get())

    async with anyio.create_task_group() as group:
        group.start_soon(lead)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        client.cancel()
        await anyio.wait_all_tasks_blocked()
        service.gate.set()
    assert (answers[0].text, len(service.layer._flights)) == ("run 2", 0)


async def test_a_request_that_waits_too_long_computes_the_response_itself() -> None:
    service = Service(wait_seconds=0.01)
    service.gate = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(service.get)
        await anyio.wait_all_tasks_blocked()
        gate, service.gate = service.gate, None
        assert (await service.get()).text == "run 2"
        gate.set()


@pytest.mark.parametrize("operation", ["get", "set", "acquire", "generation", "release", "all"])
async def test_a_store_that_is_down_is_bypassed(operation: str) -> None:
    service = Service()
    service.store.down.add(operation)
    assert [(await service.get()).status for _ in range(2)] == [200, 200]
    assert (await service.get(method="POST")).status == 200


async def test_a_used_nonce_is_not_stored() -> None:
    csp = CSP(script_src=[CSP.NONCE])
    service = Service(outside=[Middleware(SecurityHeadersMiddleware, csp=csp)])

    async def page(request: Any) -> Any:
        service.runs += 1
        return PlainTextResponse(request.csp_nonce, headers=service.headers())

    service.app.router.routes.insert(0, Route("/page", page))
    nonces = {(await service.get("/page")).text for _ in range(2)}
    assert (service.runs, len(nonces)) == (2, 2)
    assert (await service.get()).text == (await service.get()).text


async def test_a_file_is_not_stored() -> None:
    service = Service()
    route = Route("/file", lambda request: FileResponse(__file__, headers=service.headers()))
    service.app.router.routes.insert(0, route)
    await service.get("/file")
    assert "hit" not in (await service.get("/file")).headers["cache-status"]


@pytest.mark.parametrize("size", [MAX_STORED_SIZE, 5])
async def test_a_large_response_is_not_stored(size: int) -> None:
    service = Service(max_body_size=4 if size == 5 else size)
    service.app.router.routes.insert(
        0, Route("/x", lambda request: PlainTextResponse("x" * size, headers=service.headers()))
    )
    for _ in range(2):
        response = await service.get("/x")
        assert (len(response.body), "hit" in response.headers["cache-status"]) == (size, False)


async def test_a_stream_that_breaks_off_is_not_stored() -> None:
    service = Service()

    async def chunks() -> Any:
        yield "a"
        raise ValueError

    service.app.router.routes.insert(
        0, Route("/x", lambda request: StreamingResponse(chunks(), headers=service.headers()))
    )
    for _ in range(2):
        with pytest.raises(ValueError):
            await service.get("/x")
    assert len(service.layer._flights) == 0
    assert "set" not in service.store.operations


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"store": "memory://"}, TypeError),
        ({"store": CountingStore(), "default_seconds": 0}, ValueError),
        ({"store": CountingStore(), "wait_seconds": "5"}, TypeError),
        ({"store": CountingStore(), "max_body_size": True}, TypeError),
        ({"store": CountingStore(), "max_body_size": 0}, ValueError),
        ({"store": CountingStore(), "default_seconds": math.inf}, ValueError),
    ],
)
def test_a_wrong_setting_is_an_error(settings: Any, error: Any) -> None:
    with pytest.raises(error, match="ResponseCacheMiddleware"):
        ResponseCacheMiddleware(call, **settings)


@pytest.mark.parametrize(
    ("tags", "error"),
    [
        *(((), TypeError), ((7,), TypeError), (("a,b",), ValueError), (("",), ValueError)),
        *(((" a",), ValueError), (("a\n",), ValueError), (("\u65e5",), ValueError)),
    ],
)
async def test_a_tag_that_no_response_has_is_an_error(tags: Any, error: Any) -> None:
    with pytest.raises(error, match=r"invalidate\(\)"):
        await invalidate(*tags, store=MemoryStore())


@pytest.mark.parametrize("tag", ["a", "item 7", "caf\xe9", 'a"b'])
async def test_a_tag_of_any_other_characters_is_invalidated(tag: str) -> None:
    service = Service()
    service.fields = {"cache-tag": f"{tag}, z"}
    await service.get()
    await invalidate(tag, store=service.store)
    assert (await service.get()).text == "run 2"


@pytest.mark.parametrize(
    "control",
    ["public, max-age=99999999999, stale-if-error=99999999999", "public"],
)
async def test_a_response_that_is_fresh_for_centuries_is_stored(control: str) -> None:
    service = Service()
    service.control = control
    service.fields = {"expires": "Fri, 31 Dec 9999 23:59:59 GMT"}
    assert [(await service.get()).text for _ in range(2)] == ["run 1", "run 1"]


@pytest.mark.parametrize("path", ["/stream", "/foreign/x"])
@pytest.mark.parametrize("length", ["1", "10", "x"])
async def test_a_body_of_another_length_than_announced_is_not_stored(
    path: str, length: str
) -> None:
    service = Service()
    service.fields = {"content-length": length}
    exchange = Exchange(http_scope("GET", path))
    await exchange.run(service.app)
    assert "set" not in service.store.operations


@pytest.mark.parametrize("failure", [404, 410, HTTPException(404), None], ids=repr)
@pytest.mark.parametrize("use", ["stale-while-revalidate", "stale-if-error"])
async def test_a_stale_response_ends_with_a_new_one_that_is_not_stored(
    failure: Any, use: str
) -> None:
    service = Service()
    service.control += f", {use}=1000"
    await service.get()
    service.now += 70
    service.failure, service.control = failure, ""
    await service.get()
    service.failure = 500
    assert (await service.get()).status == 500


async def test_a_new_response_for_one_user_does_not_end_the_stale_one_for_all() -> None:
    service = Service()
    service.control += ", stale-if-error=1000"
    await service.get()
    service.now += 70
    service.control = ""
    assert (await service.get(cookie="a=b")).text == "run 2"
    service.failure = 500
    assert (await service.get()).text == "run 1"


@pytest.mark.parametrize("name", ["location", "content-location"])
@pytest.mark.parametrize(
    ("reference", "is_removed"),
    [
        *(("/items/7?a=1", True), ("7?a=1", True), ("http://LOCALHOST/items/7?a=1#x", True)),
        *(("//elsewhere/items/7?a=1", False), ("/items/7", False), ("http://[", False)),
    ],
)
async def test_a_change_removes_the_responses_that_it_names(
    name: str, reference: str, is_removed: bool
) -> None:
    service = Service()
    await service.get("/items/7?a=1", host="localhost")
    service.fields = {name: reference}
    await service.get("/items/", method="POST", host="localhost")
    service.fields = {}
    text = (await service.get("/items/7?a=1", host="localhost")).text
    assert text == ("run 3" if is_removed else "run 1")


async def test_invalidate_outside_of_a_request_needs_a_store() -> None:
    with pytest.raises(RuntimeError, match="store=store"):
        await invalidate("a")


CREDENTIALS = (
    {},
    {"cookie": "id=1"},
    {"cookie": "id=2"},
    {"authorization": "1"},
    {"authorization": "2"},
)
RULES: Any = (
    {},
    {"cache-control": "private, max-age=60"},
    {"cache-control": "no-store"},
    {"cache-control": "max-age=60"},
    {"cache-control": "public, max-age=60", "vary": "Cookie, Authorization"},
    {"cache-control": "s-maxage=1, stale-while-revalidate=60", "vary": "Authorization, Cookie"},
    {"cache-control": "public, max-age=60", "set-cookie": "id=3"},
    {"cache-control": "public, max-age=60", "vary": "*"},
    {"cache-control": "public, no-cache, max-age=60"},
)


@pytest.mark.parametrize("seed", range(10))
async def test_a_stored_response_never_reaches_another_user(seed: int) -> None:
    random = Random(seed)
    service = Service(default_seconds=random.choice([None, 60]), wait_seconds=1)

    async def show(request: Any) -> Any:
        user = f"{request.headers.get('cookie')} {request.headers.get('authorization')}"
        await anyio.lowlevel.checkpoint()
        if random.random() < 0.3:
            return StreamingResponse(iter([user]), headers=random.choice(RULES))
        return PlainTextResponse(user, headers=random.choice(RULES))

    async def ask() -> None:
        fields = random.choice(CREDENTIALS)
        user = f"{fields.get('cookie')} {fields.get('authorization')}"
        service.now += random.choice([0, 0, 2])
        response = await service.get(random.choice(["/u/1", "/u/2"]), **fields)
        assert response.text == user

    service.app.router.routes.insert(0, Route("/u/{page}", show))
    for _ in range(40):
        async with anyio.create_task_group() as group:
            for _ in range(random.randrange(1, 8)):
                group.start_soon(ask)
    assert len(service.layer._flights) == 0
