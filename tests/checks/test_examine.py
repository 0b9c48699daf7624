"""What is found in an application without a request."""

import math
import secrets
import sys
from typing import Any

import pytest

from spica.applications import Spica
from spica.authentication import AuthenticationBackend
from spica.checks import Finding, Severity, examine
from spica.checks.routes import check_extras
from spica.concurrency import endpoint_threads
from spica.convertors import CONVERTOR_TYPES, Convertor
from spica.endpoints import HTTPEndpoint
from spica.formparsers import FormLimits
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.body_limit import RequestBodyLimitMiddleware
from spica.middleware.compression import CompressionMiddleware, DecompressionMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.crossorigin import CrossOriginMiddleware
from spica.middleware.errors import ServerErrorMiddleware
from spica.middleware.form_limit import FormLimitMiddleware
from spica.middleware.gzip import GZipMiddleware
from spica.middleware.proxyheaders import ProxyHeadersMiddleware
from spica.middleware.ratelimit import Limit, Rate, RateLimitMiddleware, by_header
from spica.middleware.securityheaders import CSP, SecurityHeadersMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.middleware.trustedhost import TrustedHostMiddleware
from spica.responses import PlainTextResponse
from spica.routing import Host, Mount, Route, Router, WebSocketRoute
from spica.schemas import OpenAPIResponse
from spica.stores import MemoryStore

ERROR, WARNING, INFO = Severity


class UserConvertor(Convertor[str]):
    regex = "(?!admin)[a-z]+"


async def index(request: Any) -> PlainTextResponse:
    return PlainTextResponse("index")


async def other(request: Any) -> PlainTextResponse:
    return PlainTextResponse("other")


async def chat(websocket: Any) -> None:
    await websocket.accept()


class ForeignLayer:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Nobody(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> None:
        return None


SECRET = secrets.token_hex(32)


def session(key: Any = SECRET, **options: Any) -> Any:
    return Middleware(SessionMiddleware, secret_key=key, **{"https_only": True, **options})


def codes(application: Any) -> list[tuple[Severity, str]]:
    return [(finding.severity, finding.code) for finding in examine(application)]


def with_middleware(*recipes: Any) -> Spica:
    return Spica(routes=[Route("/", index)], middleware=recipes)


def test_an_application_in_order_has_no_findings() -> None:
    app = Spica(
        routes=[
            Route("/", index),
            Mount("/a", routes=[Route("/", other)]),
            WebSocketRoute("/c", chat),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=["example.org"]),
            Middleware(
                CORSMiddleware, allow_origins=["https://example.org"], allow_credentials=True
            ),
            session(),
            Middleware(GZipMiddleware),
        ],
        max_body_size=1000,
        form_limits=FormLimits(max_files=3),
    )
    assert examine(app) == []
    assert app.middleware_stack is None  # it is as it was


def test_a_router_can_be_looked_at() -> None:
    router = Router([Route("/{a}", index), Route("/b", other)], max_body_size=math.inf)
    assert codes(router) == [(ERROR, "unreachable-route"), (WARNING, "limit-lifted")]


class TestRoutes:
    def test_kinds_of_problems_weigh_differently(self) -> None:
        routes = [
            Route("/a", index, name="a"),
            Route("/a", other, name="b"),
            Route("/c", index, name="c", methods=["GET"]),
            Route("/c", other, name="c", methods=["GET", "POST"]),
            Route("/d", index, name="a"),
        ]
        found = codes(Spica(routes=routes))
        assert sorted(found) == [
            (ERROR, "duplicate-route"),
            (WARNING, "duplicate-name-route"),
            (WARNING, "shadowed-route"),
        ]

    def test_they_have_a_place(self) -> None:
        (finding,) = examine(Spica(routes=[Route("/{a}", index), Route("/b", other)]))
        assert finding.place == f"{__file__}:{other.__code__.co_firstlineno}"
        assert finding.file_and_line == (__file__, other.__code__.co_firstlineno)

    @pytest.mark.filterwarnings("ignore::spica.exceptions.SpicaConfigurationWarning")
    def test_a_pattern_that_may_be_slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(CONVERTOR_TYPES, "user", UserConvertor())
        mount = Mount("/{a:path}/{b}", routes=[Route("/", index)])
        route = Route("/{a:path}-{b}-{c:user}", other)
        (finding,) = examine(Spica(routes=[Mount("/m", routes=[route, mount])]))
        assert (finding.severity, finding.code) == (WARNING, "slow-pattern")
        assert finding.message == (
            "Route '/m/{a:path}-{b}-{c:user}': the regular expression of the parameter 'c' has a construct "
            "such as a lookaround, an anchor or a backreference, so the time for a long path has no bound. "
            "Remove it, and check the value in convert(), which may raise ValueError."
        )
        assert finding.place == f"{__file__}:{other.__code__.co_firstlineno}"

    @pytest.mark.parametrize(
        ("methods", "found"),
        [
            (["PUT"], [(ERROR, "cors-without-options")]),
            (["PUT", "OPTIONS"], []),
        ],
    )
    def test_a_cors_policy_of_a_route_needs_options(self, methods: Any, found: Any) -> None:
        policy: list[Any] = [
            Middleware(GZipMiddleware),
            Middleware(CORSMiddleware, allow_methods=["PUT"]),
        ]
        route = Route("/", index, methods=methods, middleware=policy)
        assert codes(Spica(routes=[Mount("/a", routes=[route])])) == found

    def test_a_class_endpoint_answers_them_all(self) -> None:
        class Put(HTTPEndpoint):
            async def put(self, request: Any) -> PlainTextResponse:
                return PlainTextResponse("")

        route = Route("/", Put, middleware=[Middleware(CORSMiddleware)])
        assert codes(Spica(routes=[route])) == []


class TestMiddleware:
    def test_an_order_that_is_a_mistake(self) -> None:
        (finding,) = examine(
            with_middleware(session(), Middleware(TrustedHostMiddleware, allowed_hosts=["a.b"]))
        )
        assert (finding.severity, finding.code) == (WARNING, "middleware-order")
        assert finding.place.startswith(f"{__file__}:")

    def test_a_layer_that_belongs_to_the_application(self) -> None:
        assert codes(with_middleware(Middleware(ServerErrorMiddleware))) == [
            (ERROR, "middleware-order")
        ]

    def test_settings_that_are_refused_at_start_up(self) -> None:
        recipe: Any = Middleware(CORSMiddleware, allow_origins="https://a.b")
        (finding,) = examine(with_middleware(recipe))
        assert (finding.severity, finding.code) == (ERROR, "middleware")
        assert finding.message == (
            "The application can't start: TypeError: CORSMiddleware: allow_origins must be a list of "
            "strings, not the string 'https://a.b'. Write ['https://a.b']."
        )
        assert finding.place == str(recipe._place)

    def test_settings_that_are_warned_of(self) -> None:
        recipe = Middleware(CORSMiddleware, allow_origin_regex=r"https://a.example.org")
        (finding,) = examine(with_middleware(recipe))
        assert (finding.severity, finding.code) == (WARNING, "configuration")

    def test_a_package_that_a_layer_needs(self) -> None:
        def needs_more(app: Any) -> Any:
            raise ImportError("it needs more: pip install 'spica[more]'")

        (finding,) = examine(with_middleware(Middleware(needs_more)))
        assert (finding.severity, finding.code) == (ERROR, "missing-extra")
        assert finding.message.endswith("ImportError: it needs more: pip install 'spica[more]'")

    def test_authentication_outside_the_session(self) -> None:
        recipes = [Middleware(AuthenticationMiddleware, backend=Nobody()), session()]
        assert codes(with_middleware(*recipes)) == [(INFO, "middleware-order")]
        assert codes(with_middleware(*reversed(recipes))) == []

    @pytest.mark.parametrize(
        ("size", "found"),
        [
            (15, [(ERROR, "short-secret")]),
            (16, [(WARNING, "short-secret")]),
            (31, [(WARNING, "short-secret")]),
            (32, []),
        ],
    )
    def test_a_short_secret(self, size: int, found: Any) -> None:
        assert codes(with_middleware(session("s" * size))) == found

    def test_the_shortest_of_several_counts_and_is_not_shown(self) -> None:
        (finding,) = examine(with_middleware(session(["s" * 32, "hunter2"])))
        assert "has 7 bytes" in finding.message
        assert "hunter2" not in finding.message

    def test_a_cookie_without_tls(self) -> None:
        assert codes(with_middleware(session(https_only=False))) == [(INFO, "insecure-cookie")]

    def test_sessions_that_go_on_without_their_store(self) -> None:
        recipe = session(store=MemoryStore(), on_unavailable="empty")
        assert codes(with_middleware(recipe)) == [(WARNING, "sessions-optional")]

    def test_sessions_in_the_memory_of_one_of_several_workers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WEB_CONCURRENCY", "2")
        app = with_middleware(session(store=MemoryStore().prefixed("shop")))
        assert codes(app) == [(WARNING, "memory-of-one-worker")]

    def test_every_host(self) -> None:
        recipe = Middleware(TrustedHostMiddleware, allowed_hosts=["*"])
        assert codes(with_middleware(recipe)) == [(INFO, "any-host")]

    @pytest.mark.parametrize(
        "origins", [{"allow_origins": ["*"]}, {"allow_origin_regex": ".*"}], ids=["star", "pattern"]
    )
    def test_every_origin_with_credentials(self, origins: Any) -> None:
        assert codes(with_middleware(Middleware(CORSMiddleware, **origins))) == []
        recipe = Middleware(CORSMiddleware, allow_credentials=True, **origins)
        assert codes(with_middleware(recipe)) == [(WARNING, "cors-open")]

    @pytest.mark.parametrize(("age", "found"), [(86400, []), (86401, [(INFO, "cors-max-age")])])
    def test_preflights_that_no_browser_keeps_so_long(self, age: int, found: Any) -> None:
        assert codes(with_middleware(Middleware(CORSMiddleware, max_age=age))) == found

    @pytest.mark.parametrize(
        ("origin", "methods", "found"),
        [
            ("https://a.example", ["GET", "POST"], [(WARNING, "cross-origin")]),
            ("https://a.example", ["GET"], []),
            ("https://b.example", ["GET", "POST"], []),
            ("*", ["POST"], []),
        ],
    )
    def test_an_origin_that_may_send_and_is_refused(
        self, origin: str, methods: Any, found: Any
    ) -> None:
        cors = Middleware(CORSMiddleware, allow_origins=[origin], allow_methods=methods)
        guard = Middleware(CrossOriginMiddleware, trusted_origins=["https://b.example"])
        assert codes(Spica(middleware=[cors, guard])) == found

    @pytest.mark.parametrize(
        ("policy", "found"),
        [
            (CSP.default(), []),
            (None, []),
            (CSP(script_src=[CSP.UNSAFE_INLINE]), [(WARNING, "csp-unsafe")]),
            (CSP(default_src=[CSP.SELF, CSP.UNSAFE_INLINE]), [(WARNING, "csp-unsafe")]),
            (CSP(script_src=[CSP.UNSAFE_INLINE, CSP.NONCE]), []),
        ],
    )
    def test_a_policy_that_stops_no_script(self, policy: Any, found: Any) -> None:
        recipe = Middleware(SecurityHeadersMiddleware, csp=policy, hsts_seconds=60)
        assert codes(with_middleware(recipe)) == found

    @pytest.mark.parametrize("layer", [CompressionMiddleware, DecompressionMiddleware])
    def test_an_encoding_without_its_package(
        self, layer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert codes(with_middleware(Middleware(layer))) == []
        for name in ("brotli", "brotlicffi"):
            monkeypatch.setitem(sys.modules, name, None)
        assert codes(with_middleware(Middleware(layer))) == [(WARNING, "missing-encoding")]
        assert codes(with_middleware(Middleware(layer, encodings=["gzip"]))) == []

    def test_no_strict_transport_security(self) -> None:
        assert codes(with_middleware(Middleware(SecurityHeadersMiddleware))) == [(INFO, "hsts-off")]

    def test_limits_by_address_without_the_headers_of_proxies(self) -> None:
        limit = Limit(Rate(1, 1))
        recipe = Middleware(RateLimitMiddleware, limit, store=MemoryStore())
        inner = Route("/inner", index, middleware=[recipe])
        found = [(INFO, "limit-by-address")]
        assert codes(with_middleware(recipe)) == found
        assert codes(Spica(routes=[Mount("/a", routes=[inner])])) == found
        assert codes(Spica(routes=[Mount("/a", routes=[], middleware=[recipe])])) == found
        assert codes(with_middleware(Middleware(ProxyHeadersMiddleware), recipe)) == []
        by_key = Limit(Rate(1, 1), key=by_header("x-api-key"))
        other = Middleware(RateLimitMiddleware, by_key, store=MemoryStore())
        assert codes(with_middleware(other)) == []

    def test_default_scopes_without_authentication(self) -> None:
        layer = Middleware(AuthenticationMiddleware, backend=Nobody())
        protected = Spica(default_scopes=["authenticated"])
        assert codes(protected) == [(ERROR, "default-scopes")]
        assert codes(Spica(default_scopes=["authenticated"], middleware=[layer])) == []
        foreign = Middleware(ForeignLayer)  # it may set request.auth
        assert codes(Spica(default_scopes=["authenticated"], middleware=[foreign])) == [
            (WARNING, "default-scopes")
        ]
        assert codes(Spica(routes=[Mount("/a", protected)])) == [(WARNING, "default-scopes")]
        assert codes(Spica(routes=[Mount("/a", protected)], middleware=[layer])) == []
        assert codes(Spica(routes=[Mount("/a", protected, middleware=[layer])])) == []

    def test_that_of_a_mounted_application(self) -> None:
        inner = with_middleware(session("short"))
        app = Spica(routes=[Mount("/a", inner), Host("a.b", inner)])
        assert codes(app) == [(ERROR, "short-secret")]  # once


class TestSettings:
    @pytest.mark.parametrize(
        ("variable", "value", "is_found"),
        [
            ("UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN", "5", True),
            ("UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN", "8", False),
            ("UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN", "never", False),
            ("GRANIAN_WORKERS_KILL_TIMEOUT", "7.5", True),
            ("GUNICORN_CMD_ARGS", "--workers 2 --graceful-timeout=3", True),
            ("GUNICORN_CMD_ARGS", "--workers 2", False),
        ],
    )
    def test_a_drain_that_the_server_cuts(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, is_found: bool
    ) -> None:
        monkeypatch.setenv(variable, value)
        inner = Spica(drain_seconds=60)  # the settings of the outermost application count
        found = codes(Spica(routes=[Mount("/inner", inner)]))
        assert found == ([(WARNING, "drain-cut")] if is_found else [])

    def test_a_drain_that_is_longer_than_that_of_docker(self) -> None:
        assert codes(Spica(drain_seconds=8, readiness_delay_seconds=2)) == []
        assert codes(Spica(drain_seconds=8, readiness_delay_seconds=2.5)) == [(INFO, "drain-long")]

    def test_debug(self) -> None:
        (finding,) = examine(Spica(debug=True))
        assert (finding.severity, finding.code) == (WARNING, "debug")

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Spica(max_body_size=math.inf),
            lambda: Spica(form_limits=FormLimits(max_files=math.inf)),
            lambda: Spica(routes=[Mount("/a", Router(max_body_size=math.inf))]),
            lambda: Spica(routes=[Mount("/a", routes=[], max_body_size=math.inf)]),
            lambda: Spica(
                routes=[Route("/a", index, form_limits=FormLimits(max_part_size=math.inf))]
            ),
            lambda: with_middleware(Middleware(RequestBodyLimitMiddleware, None)),
            lambda: with_middleware(
                Middleware(FormLimitMiddleware, limits=FormLimits(max_fields=math.inf))
            ),
        ],
        ids=["body", "form", "router", "mount", "route", "body layer", "form layer"],
    )
    def test_a_limit_that_was_lifted(self, make: Any) -> None:
        assert codes(make()) == [(WARNING, "limit-lifted")]

    def test_it_names_the_route(self) -> None:
        (finding,) = examine(
            Spica(routes=[Mount("/a", routes=[Route("/b", index, max_body_size=math.inf)])])
        )
        assert finding.message.startswith("Route '/a/b' has no limit for max_body_size, so ")
        assert finding.place == f"{__file__}:{index.__code__.co_firstlineno}"

    def test_calls_that_wait_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(endpoint_threads, "max_wait_seconds", None)
        assert codes(Spica()) == [(INFO, "unbounded-wait")]


class TestExtras:
    """Names in the code of an endpoint tell what it will ask for."""

    def missing(self, endpoint: Any, *installed: str) -> list[Finding]:
        app = Spica(routes=[Route("/upload", endpoint)])
        return list(check_extras(app, lambda module: module in installed))

    def test_a_schema_needs_a_writer(self) -> None:
        async def schema(request: Any) -> Any:
            return OpenAPIResponse({})

        (finding,) = self.missing(schema)
        assert (finding.severity, finding.code) == (ERROR, "missing-extra")
        assert finding.message == (
            "The endpoint of '/upload' seems to use an OpenAPI schema, which needs 'yaml': "
            "pip install 'spica[schemas]'."
        )
        assert self.missing(schema, "yaml") == []

    def test_a_form_needs_nothing(self) -> None:
        async def upload(request: Any) -> Any:
            async with request.form() as form:
                return PlainTextResponse(form["a"])

        assert self.missing(upload) == []

    def test_within_a_class_and_a_comprehension(self) -> None:
        class Upload(HTTPEndpoint):
            async def post(self, request: Any) -> Any:
                return [OpenAPIResponse(part) async for part in request.parts()]

        assert len(self.missing(Upload)) == 1

    def test_what_does_not_use_it_needs_nothing(self) -> None:
        assert self.missing(index) == []

    def test_sockets_need_a_package_under_uvicorn(self) -> None:
        app = Spica(routes=[WebSocketRoute("/", chat)])
        (finding,) = check_extras(app, lambda module: module in ("uvicorn", "yaml"))
        assert finding.message.startswith(
            "The application has WebSocket routes. uvicorn needs websockets or wsproto"
        )
        assert list(check_extras(app, lambda module: module in ("uvicorn", "wsproto"))) == []


def test_the_gravest_come_first_and_each_once() -> None:
    first = Finding(INFO, "a", "text", "a.py:2")
    second = Finding(WARNING, "b", "text", "b.py:1")
    third = Finding(WARNING, "b", "text", "a.py:10")
    fourth = Finding(WARNING, "b", "text", "a.py:9")
    assert examine(Spica(), [first, second, third, first, fourth]) == [fourth, third, second, first]
