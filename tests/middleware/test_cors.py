"""What CORSMiddleware tells browsers: WHATWG Fetch s.3.2."""

from __future__ import annotations

import re
from typing import Any

import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

from spica._asgi.stack import Middleware
from spica.applications import Spica
from spica.datastructures import Headers, MutableHeaders
from spica.exceptions import HTTPException, SpicaConfigurationWarning
from spica.middleware.cors import ALL_METHODS, SAFELISTED_HEADERS, CORSMiddleware
from spica.responses import PlainTextResponse, Response
from spica.routing import Route

pytestmark = pytest.mark.anyio

ORIGIN = "https://example.org"
VARY_OF_PREFLIGHT = (
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
    "Access-Control-Request-Private-Network"
)
CONSTANT = PlainTextResponse("constant")


class Inner:
    """An opaque app that sends a response with these headers; None: it leaves them out."""

    def __init__(self, headers: Any = ()) -> None:
        self.headers = headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200}
        if self.headers is not None:
            start["headers"] = list(self.headers)
        await send(start)
        await send({"type": "http.response.body", "body": b"inner"})


async def get(layer: Any, origin: str | None = ORIGIN, method: str = "GET") -> Exchange:
    return await call(layer, method, headers=[] if origin is None else [("origin", origin)])


async def preflight(
    layer: Any, method: str = "GET", origin: str = ORIGIN, **fields: str
) -> Exchange:
    headers = [("origin", origin), ("access-control-request-method", method)]
    headers += [
        (f"access-control-request-{name.replace('_', '-')}", fields[name]) for name in fields
    ]
    return await call(layer, "OPTIONS", headers=headers)


def cors_headers(exchange: Exchange) -> dict[str, str]:
    return {
        name.removeprefix("access-control-"): value
        for name, value in exchange.headers.items()
        if name.startswith("access-control-") or name == "vary"
    }


# -- responses -----------------------------------------------------------------------------------------

SIMPLE = {
    "nothing allowed": ({}, {}),
    "all": ({"allow_origins": ["*"]}, {"allow-origin": "*"}),
    "all with credentials": (
        {"allow_origins": ["*"], "allow_credentials": True},
        {"allow-origin": ORIGIN, "allow-credentials": "true"},
    ),
    "named": ({"allow_origins": [ORIGIN]}, {"allow-origin": ORIGIN}),
    "named in a set": ({"allow_origins": {ORIGIN}}, {"allow-origin": ORIGIN}),
    "named with credentials": (
        {"allow_origins": [ORIGIN], "allow_credentials": True},
        {"allow-origin": ORIGIN, "allow-credentials": "true"},
    ),
    "another": ({"allow_origins": ["https://other.example"]}, {}),
    "by pattern": ({"allow_origin_regex": r"https://.*\.org"}, {"allow-origin": ORIGIN}),
    "by compiled pattern": (
        {"allow_origin_regex": re.compile(r"HTTPS://EXAMPLE\.ORG", re.IGNORECASE)},
        {"allow-origin": ORIGIN},
    ),
    "not by the beginning alone": ({"allow_origin_regex": r"https://example"}, {}),
    "exposed headers": (
        {"allow_origins": ["*"], "expose_headers": ["X-B", "X-A"]},
        {"allow-origin": "*", "expose-headers": "X-B, X-A"},
    ),
    "exposed headers of a set": (
        {"allow_origins": ["*"], "expose_headers": {"X-B", "X-A"}},
        {"allow-origin": "*", "expose-headers": "X-A, X-B"},
    ),
}


@pytest.mark.parametrize(("settings", "expected"), SIMPLE.values(), ids=SIMPLE.keys())
@pytest.mark.parametrize("app", [CONSTANT, Inner()], ids=["a response", "an opaque app"])
async def test_a_response_says_who_may_read_it(app: Any, settings: Any, expected: Any) -> None:
    exchange = await get(CORSMiddleware(app, **settings))
    assert cors_headers(exchange) == {**expected, "vary": "Origin"}


@pytest.mark.parametrize(
    "settings", [settings for settings, _ in SIMPLE.values()], ids=SIMPLE.keys()
)
async def test_a_request_without_origin_is_only_told_that_there_are_others(settings: Any) -> None:
    exchange = await get(CORSMiddleware(CONSTANT, **settings), origin=None)
    assert cors_headers(exchange) == {"vary": "Origin"}


async def test_what_is_written_for_one_client_does_not_reach_the_next() -> None:
    layer = CORSMiddleware(CONSTANT, allow_origins=[ORIGIN, "https://other.example"])
    for origin in (ORIGIN, "https://other.example", ORIGIN):
        assert (await get(layer, origin)).headers["access-control-allow-origin"] == origin
    assert "access-control-allow-origin" not in (await get(layer, "https://evil.example")).headers
    assert b"vary" not in dict(CONSTANT.raw_headers)


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        ("Accept-Encoding", "Accept-Encoding, Origin"),
        ("origin", "origin"),
        ("A, Origin, B", "A, Origin, B"),
    ],
)
@pytest.mark.parametrize("opaque", [False, True], ids=["a response", "an opaque app"])
async def test_origin_is_added_once_to_a_vary_field(opaque: bool, vary: str, expected: str) -> None:
    app: Any = Inner([(b"vary", vary.encode())])
    if not opaque:
        app = PlainTextResponse("x", headers={"vary": vary})
    exchange = await get(CORSMiddleware(app, allow_origins=["*"]))
    assert exchange.headers["vary"] == expected


async def test_what_the_app_says_of_origins_is_replaced_and_not_repeated() -> None:
    app = PlainTextResponse("x", headers={"access-control-allow-origin": "https://own.example"})
    exchange = await get(CORSMiddleware(app, allow_origins=[ORIGIN]))
    assert exchange.headers["access-control-allow-origin"] == ORIGIN
    other = await get(CORSMiddleware(app, allow_origins=[ORIGIN]), origin=None)
    assert other.headers["access-control-allow-origin"] == "https://own.example"


async def test_an_app_may_leave_its_headers_out() -> None:
    exchange = await get(CORSMiddleware(Inner(None), allow_origins=["*"]))
    assert exchange.raw_headers == [(b"access-control-allow-origin", b"*"), (b"vary", b"Origin")]


async def test_origins_may_be_added_and_removed_while_serving() -> None:
    origins = ["https://other.example"]
    layer = CORSMiddleware(CONSTANT, allow_origins=origins)
    assert "access-control-allow-origin" not in (await get(layer)).headers
    origins.append(ORIGIN)
    assert (await get(layer)).headers["access-control-allow-origin"] == ORIGIN
    origins.remove(ORIGIN)
    assert "access-control-allow-origin" not in (await get(layer)).headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://a\x01b",
        "https://\xe9",
        "https://a\r\nX-Evil: 1",
        "",
        "https://a,https://b",
        "https://a ",
    ],
)
async def test_an_origin_that_can_not_be_written_is_not_allowed(origin: str) -> None:
    """RFC 6454 s.6.2: an origin is printable ASCII."""
    layer = CORSMiddleware(CONSTANT, allow_origins=["*"], allow_credentials=True)
    exchange = await get(layer, origin)
    assert exchange.status == 200
    assert "access-control-allow-origin" not in exchange.headers
    assert (await preflight(layer, origin=origin)).text == "Disallowed CORS origin"


async def test_a_pattern_is_only_tried_on_what_can_be_an_origin() -> None:
    layer = CORSMiddleware(CONSTANT, allow_origin_regex=r"https://.*\.org")
    longest = "https://" + "a" * (300 - 12) + ".org"
    assert layer.is_allowed_origin(longest)
    assert not layer.is_allowed_origin(longest.replace("a", "aa", 1))


# -- preflights ----------------------------------------------------------------------------------------


async def test_a_preflight_says_all_that_is_allowed() -> None:
    layer = CORSMiddleware(
        CONSTANT,
        allow_origins=[ORIGIN],
        allow_methods=["GET", "POST"],
        allow_headers=["X-Foo", "content-type"],
        max_age=5,
    )
    exchange = await preflight(layer, "POST", headers="x-foo, Content-Type,accept,")
    assert (exchange.status, exchange.text) == (200, "OK")
    assert cors_headers(exchange) == {
        "allow-origin": ORIGIN,
        "allow-methods": "GET, POST",
        "allow-headers": "Accept, Accept-Language, Content-Language, Content-Type, X-Foo",
        "max-age": "5",
        "vary": VARY_OF_PREFLIGHT,
    }


class Subclass(CORSMiddleware):
    """Writes its headers message by message."""

    async def send(self, message: Any, send: Any, request_headers: Any) -> None:
        await super().send(message, send, request_headers)


@pytest.mark.parametrize("cls", [CORSMiddleware, Subclass])
@pytest.mark.parametrize(
    "settings",
    [
        {"allow_origins": [ORIGIN, "https://b.org"]},
        {"allow_origins": ["*"], "allow_credentials": True},
    ],
)
async def test_of_two_origins_that_contradict_each_other_none_is_allowed(
    cls: Any, settings: Any
) -> None:
    """RFC 6454 s.7.3: a user agent sends one. A proxy may have looked at the other one."""
    layer = cls(CONSTANT, **settings)
    fields = [("origin", ORIGIN), ("origin", "https://b.org")]
    request_method = ("access-control-request-method", "GET")
    for headers in (fields, fields[::-1]):
        exchange = await call(layer, headers=headers)
        assert "access-control-allow-origin" not in exchange.headers
        exchange = await call(layer, "OPTIONS", headers=[*headers, request_method])
        assert (exchange.status, exchange.text) == (400, "Disallowed CORS origin")
    exchange = await call(layer, headers=[fields[0], fields[0]])
    assert exchange.headers["access-control-allow-origin"] == ORIGIN


async def test_of_two_methods_that_contradict_each_other_none_is_allowed() -> None:
    name = "access-control-request-method"
    headers = [("origin", ORIGIN), (name, "GET"), (name, "DELETE")]
    exchange = await call(CORSMiddleware(CONSTANT, [ORIGIN]), "OPTIONS", headers=headers)
    assert (exchange.status, exchange.text) == (400, "Disallowed CORS method")


@pytest.mark.parametrize(
    ("allowed", "status"), [(["X-A"], 400), (["X-A", "X-B"], 200), (["*"], 200)]
)
async def test_several_lines_of_header_names_are_one_list(allowed: Any, status: int) -> None:
    """RFC 9110 s.5.3."""
    name = "access-control-request-headers"
    headers = [("origin", ORIGIN), ("access-control-request-method", "GET")]
    layer = CORSMiddleware(CONSTANT, [ORIGIN], allow_headers=allowed)
    exchange = await call(layer, "OPTIONS", headers=[*headers, (name, "x-a"), (name, "x-b")])
    assert exchange.status == status
    if allowed == ["*"]:
        assert exchange.headers["access-control-allow-headers"] == "x-a, x-b"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_only_options_asks_for_a_preflight(method: str) -> None:
    exchange = await call(
        CORSMiddleware(CONSTANT, allow_origins=[ORIGIN]),
        method,
        headers=[("origin", ORIGIN), ("access-control-request-method", "PUT")],
    )
    assert exchange.status == 200
    assert cors_headers(exchange) == {"allow-origin": ORIGIN, "vary": "Origin"}
    assert exchange.text == "constant"


async def test_a_preflight_where_all_is_allowed() -> None:
    layer = CORSMiddleware(CONSTANT, ["*"], ["*"], ["*"])
    exchange = await preflight(layer, "QUERY", headers="X-Anything, x-other")
    assert exchange.status == 200
    assert cors_headers(exchange) == {
        "allow-origin": "*",
        "allow-methods": ", ".join(ALL_METHODS),
        "allow-headers": "X-Anything, x-other",
        "max-age": "600",
        "vary": VARY_OF_PREFLIGHT,
    }


async def test_a_preflight_with_credentials_names_the_origin() -> None:
    layer = CORSMiddleware(CONSTANT, allow_origins=["*"], allow_credentials=True)
    exchange = await preflight(layer)
    assert exchange.headers["access-control-allow-origin"] == ORIGIN
    assert exchange.headers["access-control-allow-credentials"] == "true"


REFUSED: dict[str, tuple[Any, str]] = {
    "origin": ({"origin": "https://evil.example"}, "origin"),
    "method": ({"method": "PUT"}, "method"),
    "method in lower case": ({"method": "get"}, "method"),
    "headers": ({"headers": "X-Foo, X-Bar"}, "headers"),
    "private network": ({"private_network": "true"}, "private-network"),
    "all": (
        {"origin": "null", "method": "", "headers": "X-Bar", "private_network": "true"},
        "origin, method, headers, private-network",
    ),
}


@pytest.mark.parametrize(("request_", "reasons"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_refused_preflight_names_the_reasons(request_: Any, reasons: str) -> None:
    exchange = await preflight(
        CORSMiddleware(CONSTANT, [ORIGIN], allow_headers=["X-Foo"]), **request_
    )
    assert (exchange.status, exchange.text) == (400, f"Disallowed CORS {reasons}")
    assert ("access-control-allow-origin" in exchange.headers) == ("origin" not in reasons)
    assert exchange.headers["vary"] == VARY_OF_PREFLIGHT


async def test_private_networks_are_open_where_they_are_allowed() -> None:
    layer = CORSMiddleware(CONSTANT, allow_origins=[ORIGIN], allow_private_network=True)
    exchange = await preflight(layer, private_network="true")
    assert exchange.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-private-network" not in (await preflight(layer)).headers
    exchange = await preflight(CORSMiddleware(CONSTANT, [ORIGIN]), private_network="false")
    assert exchange.status == 200


async def test_header_names_that_can_not_be_written_are_refused() -> None:
    exchange = await preflight(CORSMiddleware(CONSTANT, ["*"], allow_headers=["*"]), headers="X\nY")
    assert (exchange.status, exchange.text) == (400, "Disallowed CORS headers")


async def test_an_empty_list_of_headers_asks_for_nothing() -> None:
    """RFC 9110 s.5.6.1.2."""
    assert (await preflight(CORSMiddleware(CONSTANT, ["*"]), headers=" ,, ")).status == 200


@pytest.mark.parametrize(
    ("max_age", "expected"), [(0, "0"), (None, None)], ids=["not kept", "left to the browser"]
)
async def test_max_age_means_what_it_says(max_age: Any, expected: Any) -> None:
    exchange = await preflight(CORSMiddleware(CONSTANT, ["*"], max_age=max_age))
    assert exchange.headers.get("access-control-max-age") == expected


@pytest.mark.parametrize(
    "headers",
    [[("origin", ORIGIN)], [("access-control-request-method", "GET")]],
    ids=["no method", "no origin"],
)
async def test_other_options_requests_reach_the_app(headers: Any) -> None:
    exchange = await call(CORSMiddleware(CONSTANT, ["*"]), "OPTIONS", headers=headers)
    assert exchange.text == "constant"


async def test_methods_of_a_set_come_in_one_order() -> None:
    exchange = await preflight(
        CORSMiddleware(CONSTANT, ["*"], allow_methods={"PUT", "GET", "POST"})
    )
    assert exchange.headers["access-control-allow-methods"] == "GET, POST, PUT"


# -- errors, and what is not HTTP ----------------------------------------------------------------------


def failing_app(error: Exception, *layers: Any) -> Spica:
    async def fail(request: Any) -> Response:
        raise error

    return Spica(
        routes=[Route("/", fail)], middleware=[Middleware(CORSMiddleware, [ORIGIN]), *layers]
    )


async def test_an_error_page_can_be_read_by_the_page_that_asked() -> None:
    error = ValueError("lost")
    exchange = Exchange(http_scope(headers=[("origin", ORIGIN)]))
    await exchange.run(failing_app(error))
    assert exchange.error is error
    assert exchange.status == 500
    assert cors_headers(exchange) == {"allow-origin": ORIGIN, "vary": "Origin"}


async def test_an_error_of_an_opaque_app_too() -> None:
    class Failing:
        def __init__(self, app: Any) -> None:
            pass

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            raise KeyError("lost")

    exchange = Exchange(http_scope(headers=[("origin", ORIGIN)]))
    await exchange.run(failing_app(ValueError(), Middleware(Failing)))
    assert exchange.status == 500
    assert cors_headers(exchange) == {"allow-origin": ORIGIN, "vary": "Origin"}


async def test_an_answered_exception_has_the_headers() -> None:
    exchange = await get(failing_app(HTTPException(403)))
    assert exchange.status == 403
    assert exchange.headers["access-control-allow-origin"] == ORIGIN


async def test_a_websocket_passes_through() -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append((scope, receive, send))

    scope = websocket_scope(headers=[("origin", "https://evil.example")])
    await CORSMiddleware(app, allow_origins=[ORIGIN])(scope, 1, 2)  # type: ignore[arg-type]
    assert sent == [(scope, 1, 2)]


# -- subclasses ----------------------------------------------------------------------------------------


async def test_a_subclass_decides_about_origins() -> None:
    class Mine(CORSMiddleware):
        def is_allowed_origin(self, origin: str) -> bool:
            return origin.endswith(".example")

    layer = Mine(CONSTANT, allow_origins=[ORIGIN])
    assert "access-control-allow-origin" not in (await get(layer)).headers
    exchange = await get(layer, "https://any.example")
    assert exchange.headers["access-control-allow-origin"] == "https://any.example"
    assert (await preflight(layer, origin="https://any.example")).status == 200


async def test_a_subclass_answers_preflights() -> None:
    class Mine(CORSMiddleware):
        def preflight_response(self, request_headers: Headers) -> Response:
            return PlainTextResponse(request_headers["origin"], 203)

    exchange = await preflight(Mine(CONSTANT))
    assert (exchange.status, exchange.text) == (203, ORIGIN)


async def test_a_subclass_may_write_each_message() -> None:
    class Mine(CORSMiddleware):
        async def send(self, message: Any, send: Any, request_headers: Headers) -> None:
            seen.append((message["type"], request_headers.get("origin")))
            await super().send(message, send, request_headers)

    seen: list[Any] = []
    exchange = await get(Mine(CONSTANT, allow_origins=[ORIGIN]))
    assert seen == [("http.response.start", ORIGIN), ("http.response.body", ORIGIN)]
    assert cors_headers(exchange) == {"allow-origin": ORIGIN, "vary": "Origin"}
    assert exchange.text == "constant"


async def test_a_subclass_may_write_the_origin() -> None:
    class Mine(CORSMiddleware):
        @staticmethod
        def allow_explicit_origin(headers: MutableHeaders, origin: str) -> None:
            headers["access-control-allow-origin"] = origin + ":1"

    exchange = await get(Mine(CONSTANT, allow_origins=[ORIGIN]))
    assert exchange.headers["access-control-allow-origin"] == ORIGIN + ":1"


async def test_a_subclass_may_stand_around_the_whole_response() -> None:
    class Mine(CORSMiddleware):
        async def simple_response(
            self, scope: Any, receive: Any, send: Any, request_headers: Headers
        ) -> None:
            await super().simple_response(scope, receive, send, request_headers)
            after.append(scope["path"])

    after: list[str] = []
    exchange = await get(Mine(CONSTANT, allow_origins=["*"]), origin=None)
    assert cors_headers(exchange) == {"vary": "Origin"}
    assert after == ["/"]


async def test_a_subclass_may_add_to_what_is_written() -> None:
    class Mine(CORSMiddleware):
        def __init__(self, app: Any, **settings: Any) -> None:
            super().__init__(app, **settings)
            self.simple_headers["X-Mine"] = "1"
            self.preflight_headers["X-Mine"] = "2"

    layer = Mine(CONSTANT, allow_origins=[ORIGIN])
    assert (await get(layer)).headers["x-mine"] == "1"
    layer.simple_headers["X-Mine"] = "3"
    assert (await get(layer)).headers["x-mine"] == "3"
    assert (await preflight(layer)).headers["x-mine"] == "2"


def test_an_origin_is_written_by_hand() -> None:
    headers = MutableHeaders({"vary": "Accept"})
    CORSMiddleware.allow_explicit_origin(headers, ORIGIN)
    assert headers.items() == [("vary", "Accept, Origin"), ("access-control-allow-origin", ORIGIN)]


# -- settings ------------------------------------------------------------------------------------------


def test_everything_may_be_written_without_a_list() -> None:
    written, listed = (
        CORSMiddleware(None, allow_origins=all_, allow_methods=all_, allow_headers=all_)  # type: ignore[arg-type]
        for all_ in ("*", ["*"])
    )
    for name in ("simple_headers", "preflight_headers", "allow_all_origins", "allow_methods"):
        assert getattr(written, name) == getattr(listed, name)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "a string of origins": (
        {"allow_origins": ORIGIN},
        TypeError,
        "CORSMiddleware: allow_origins must be a list of strings, not the string "
        "'https://example.org'. Write ['https://example.org'].",
    ),
    "a string of methods": (
        {"allow_methods": "GET"},
        TypeError,
        "CORSMiddleware: allow_methods must be a list of strings, not the string 'GET'. Write ['GET'].",
    ),
    "a trailing slash": (
        {"allow_origins": [ORIGIN + "/"]},
        ValueError,
        "CORSMiddleware: allow_origins has 'https://example.org/', which can never match: "
        "it has a trailing slash: write 'https://example.org'.",
    ),
    "a wildcard in a host": (
        {"allow_origins": ["https://*.example.org"]},
        ValueError,
        "CORSMiddleware: allow_origins has 'https://*.example.org', which can never match: "
        "it has a '*', which matches only a literal '*' here: use allow_origin_regex.",
    ),
    "two methods in one": (
        {"allow_methods": ["GET, POST"]},
        ValueError,
        "CORSMiddleware: allow_methods has 'GET, POST', which can never match: "
        "use only letters, digits and !#$%&'*+-.^_`|~, and one name per item.",
    ),
    "a header that is none": (
        {"allow_headers": ["X Foo"]},
        ValueError,
        "CORSMiddleware: allow_headers has 'X Foo', which can never match: "
        "use only letters, digits and !#$%&'*+-.^_`|~, and one name per item.",
    ),
    "an exposed header with a line break": (
        {"expose_headers": ["X\r\nY"]},
        ValueError,
        "CORSMiddleware: expose_headers has 'X\\r\\nY', which can never match: "
        "use only letters, digits and !#$%&'*+-.^_`|~, and one name per item.",
    ),
    "a pattern that is none": (
        {"allow_origin_regex": r"https://(a|b\.org"},
        ValueError,
        "CORSMiddleware: allow_origin_regex is 'https://(a|b\\\\.org', which is not a regular "
        "expression: missing ), unterminated subpattern at position 8.",
    ),
    "a list of patterns": (
        {"allow_origin_regex": ["a"]},
        TypeError,
        "CORSMiddleware: allow_origin_regex must be a string, not ['a'].",
    ),
    "a pattern of bytes": (
        {"allow_origin_regex": re.compile(b"a")},
        TypeError,
        "CORSMiddleware: allow_origin_regex must be a string, not re.compile(b'a').",
    ),
    "a negative age": (
        {"max_age": -1},
        ValueError,
        "CORSMiddleware: max_age must not be negative, but is -1.",
    ),
    "an age in text": (
        {"max_age": "600"},
        TypeError,
        "CORSMiddleware: max_age must be a number of seconds or None, not '600'.",
    ),
}


@pytest.mark.parametrize(("settings", "error", "text"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_setting_is_an_error_that_names_it(settings: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        CORSMiddleware(CONSTANT, **settings)
    assert str(caught.value) == text


DOUBTFUL: dict[str, tuple[Any, str]] = {
    "an origin in capitals": (
        {"allow_origins": ["https://Example.org"]},
        "allow_origins has 'https://Example.org', which no browser sends: "
        "it writes this origin as 'https://example.org'.",
    ),
    "a default port": (
        {"allow_origins": ["http://localhost:80"]},
        "allow_origins has 'http://localhost:80', which no browser sends: "
        "it writes this origin as 'http://localhost'.",
    ),
    "a method in lower case": (
        {"allow_methods": ["post"]},
        "allow_methods has 'post', which is not 'POST'.",
    ),
    "a loose pattern": (
        {"allow_origin_regex": r"https://.*example.co.uk"},
        "allow_origin_regex is 'https://.*example.co.uk', which matches more origins than it seems to: "
        "at position 8 anything may precede the name there; "
        "at position 17 '.' is any character there: write '\\.'.",
    ),
}


@pytest.mark.parametrize(("settings", "text"), DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_a_doubtful_setting_is_warned_of(settings: Any, text: str) -> None:
    with pytest.warns(SpicaConfigurationWarning) as caught:
        CORSMiddleware(CONSTANT, **settings)
    assert [str(warning.message) for warning in caught] == [f"CORSMiddleware: {text}"]
    assert caught[0].filename == __file__


def test_what_the_settings_became_can_be_read() -> None:
    layer = CORSMiddleware(CONSTANT, ["*"], ["*"], ["X-Foo"], allow_origin_regex="null")
    assert layer.allow_all_origins
    assert not layer.allow_all_headers
    assert layer.allow_methods == ALL_METHODS
    assert layer.allow_headers == sorted({name.lower() for name in SAFELISTED_HEADERS} | {"x-foo"})
    assert layer.allow_origin_regex is not None
    assert layer.allow_origin_regex.pattern == "null"
