"""Orders of middleware that are known to be mistakes."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from asgi_kit import call

from spica._diagnostics.middleware_order import find_order_problems, refuse_misplaced, traits_of
from spica.applications import Spica
from spica.authentication import AuthenticationBackend
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.cache import ResponseCacheMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.crossorigin import CrossOriginMiddleware
from spica.middleware.errors import ServerErrorMiddleware
from spica.middleware.exceptions import ExceptionMiddleware
from spica.middleware.gzip import GZipMiddleware
from spica.middleware.httpsredirect import HTTPSRedirectMiddleware
from spica.middleware.idempotency import IdempotencyMiddleware
from spica.middleware.proxyheaders import ProxyHeadersMiddleware
from spica.middleware.requestid import RequestIdMiddleware
from spica.middleware.securityheaders import SecurityHeadersMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.middleware.trustedhost import TrustedHostMiddleware
from spica.responses import PlainTextResponse
from spica.routing import Mount, Route, Router

anyio = pytest.mark.anyio


class Nobody(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> None:
        return None


class Encrypting:
    middleware_traits: tuple[str, ...] = ("encrypts",)

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class RateLimit(Encrypting):
    middleware_traits = ("answers",)


class Foreign(Encrypting):
    middleware_traits = ()


def cors() -> Any:
    return Middleware(CORSMiddleware)


def hosts() -> Any:
    return Middleware(TrustedHostMiddleware, allowed_hosts=["testserver"])


def session(name: str = "session") -> Any:
    return Middleware(SessionMiddleware, secret_key="secret", session_cookie=name)


def authentication() -> Any:
    return Middleware(AuthenticationMiddleware, backend=Nobody())


async def hello(request: Any) -> PlainTextResponse:
    return PlainTextResponse("hello")


WRONG: list[Any] = [
    pytest.param(
        lambda: [Middleware(HTTPSRedirectMiddleware), cors()],
        "CORSMiddleware is inside HTTPSRedirectMiddleware: HTTPSRedirectMiddleware answers some",
        id="CORS inside a redirect",
    ),
    pytest.param(
        lambda: [authentication(), Middleware(Foreign), cors()],
        "CORSMiddleware is inside AuthenticationMiddleware: ",
        id="CORS inside authentication",
    ),
    pytest.param(
        lambda: [Middleware(RateLimit), cors()],
        "CORSMiddleware is inside RateLimit: ",
        id="CORS inside a class of the user's",
    ),
    pytest.param(
        lambda: [Middleware(CrossOriginMiddleware), cors()],
        "CORSMiddleware is inside CrossOriginMiddleware: ",
        id="CORS inside the check of origins",
    ),
    pytest.param(
        lambda: [Middleware(CrossOriginMiddleware), Middleware(SecurityHeadersMiddleware)],
        "SecurityHeadersMiddleware is inside CrossOriginMiddleware: CrossOriginMiddleware answers",
        id="security headers inside a layer that answers",
    ),
    pytest.param(
        lambda: [Middleware(GZipMiddleware), Middleware(GZipMiddleware)],
        "GZipMiddleware is inside another layer that compresses, GZipMiddleware: only the inner",
        id="compression twice",
    ),
    pytest.param(
        lambda: [session(), Middleware(ResponseCacheMiddleware)],
        "ResponseCacheMiddleware is inside SessionMiddleware: ResponseCacheMiddleware does not see",
        id="a cache inside a session",
    ),
    pytest.param(
        lambda: [Middleware(ResponseCacheMiddleware), Middleware(GZipMiddleware)],
        "GZipMiddleware is inside ResponseCacheMiddleware: ResponseCacheMiddleware stores a compressed",
        id="a cache outside compression",
    ),
    pytest.param(
        lambda: [Middleware(ResponseCacheMiddleware), Middleware(RequestIdMiddleware)],
        "RequestIdMiddleware is inside ResponseCacheMiddleware: ResponseCacheMiddleware stores the id",
        id="request ids inside a cache",
    ),
    pytest.param(
        lambda: [Middleware(IdempotencyMiddleware), session()],
        "SessionMiddleware is inside IdempotencyMiddleware: IdempotencyMiddleware does not see the users",
        id="a session inside idempotency",
    ),
    pytest.param(
        lambda: [Middleware(IdempotencyMiddleware), authentication()],
        "AuthenticationMiddleware is inside IdempotencyMiddleware: IdempotencyMiddleware does not see",
        id="authentication inside idempotency",
    ),
    pytest.param(
        lambda: [session(), hosts()],
        "TrustedHostMiddleware is inside SessionMiddleware: SessionMiddleware reads and",
        id="a session outside the trusted host",
    ),
    pytest.param(
        lambda: [Middleware(HTTPSRedirectMiddleware), hosts()],
        "TrustedHostMiddleware is inside HTTPSRedirectMiddleware: HTTPSRedirectMiddleware redirects",
        id="a redirect outside the trusted host",
    ),
    pytest.param(
        lambda: [Middleware(GZipMiddleware), Middleware(Encrypting)],
        "Encrypting is inside GZipMiddleware: the bodies of Encrypting can't be compressed",
        id="compression outside encryption",
    ),
    pytest.param(
        lambda: [cors(), Middleware(Foreign), cors()],
        "CORSMiddleware is inside another CORSMiddleware: the outer one answers all preflights",
        id="CORS twice",
    ),
    pytest.param(
        lambda: [session(), session()],
        "SessionMiddleware is inside another SessionMiddleware with the cookie 'session': each",
        id="two sessions in one cookie",
    ),
    pytest.param(
        lambda: [Middleware(SessionMiddleware, "secret", "a"), session("a")],
        "SessionMiddleware is inside another SessionMiddleware with the cookie 'a': each",
        id="two sessions in one cookie that is named by position",
    ),
    pytest.param(
        lambda: [
            Middleware(functools.partial(GZipMiddleware, minimum_size=1)),
            Middleware(Encrypting),
        ],
        "Encrypting is inside GZipMiddleware",
        id="a partial",
    ),
    pytest.param(
        lambda: [Middleware(ExceptionMiddleware)],
        "ExceptionMiddleware does not belong in a list of middleware: every application already has one",
        id="an exception layer",
    ),
]


@pytest.mark.parametrize(("recipes", "text"), WRONG)
def test_a_known_mistake_is_found(recipes: Callable[[], list[Any]], text: str) -> None:
    (problem,) = find_order_problems(recipes())
    assert problem.text.startswith(text)
    assert not problem.is_error
    assert problem.place is not None
    assert problem.place.file == __file__


RIGHT: list[Any] = [
    pytest.param(
        lambda: [hosts(), cors(), Middleware(GZipMiddleware), session()], id="all of ours"
    ),
    pytest.param(lambda: [cors(), Middleware(HTTPSRedirectMiddleware)], id="CORS outside"),
    pytest.param(
        lambda: [hosts(), Middleware(HTTPSRedirectMiddleware)], id="host outside redirect"
    ),
    pytest.param(lambda: [Middleware(Foreign), cors()], id="a foreign class"),
    pytest.param(
        lambda: [Middleware(RequestIdMiddleware), Middleware(ProxyHeadersMiddleware)],
        id="request ids outside the headers of proxies",
    ),
    pytest.param(
        lambda: (
            [Middleware(GZipMiddleware), Middleware(ResponseCacheMiddleware), session()]
            + [authentication(), Middleware(IdempotencyMiddleware)]
        ),
        id="compression, cache, sessions, users, idempotency",
    ),
    pytest.param(lambda: [session(), session("other")], id="two sessions in two cookies"),
    pytest.param(
        lambda: [Middleware(SessionMiddleware, "secret", "other"), session()],
        id="two sessions in two cookies, one named by position",
    ),
    pytest.param(
        lambda: [Middleware(Encrypting), Middleware(GZipMiddleware)], id="compressed first"
    ),
    pytest.param(lambda: [Middleware(lambda app: app), cors()], id="a function"),
    pytest.param(list, id="nothing"),
]


@pytest.mark.parametrize("recipes", RIGHT)
def test_what_is_in_order_is_never_spoken_of(recipes: Callable[[], list[Any]]) -> None:
    assert list(find_order_problems(recipes())) == []


@pytest.mark.parametrize(
    "traits", ["cors", b"cors", 3, None, [4]], ids=["text", "bytes", "int", "None", "not text"]
)
def test_traits_that_are_something_else_are_none(traits: Any) -> None:
    class Odd:
        middleware_traits = traits

    assert not traits_of(Odd)


class TestMisplaced:
    def test_the_error_layer_is_an_error_that_says_where_it_belongs(self) -> None:
        recipes = [Middleware(ServerErrorMiddleware, debug=True)]
        with pytest.raises(ValueError, match="does not belong in a list of middleware") as caught:
            refuse_misplaced(recipes, "Spica")
        line = (
            self.test_the_error_layer_is_an_error_that_says_where_it_belongs.__code__.co_firstlineno
        )
        assert str(caught.value) == (
            "Spica: ServerErrorMiddleware does not belong in a list of middleware: every application "
            "already has one as its outermost layer, which would then never see an exception. Remove it, "
            "and pass its handler to the application: exception_handlers={500: handler}. Pass debug=True "
            "to the application, too. "
            f"(created at {__file__}:{line + 1})"
        )

    @anyio
    async def test_the_application_does_not_start_with_it(self) -> None:
        app = Spica(routes=[Route("/", hello)])
        app.add_middleware(ServerErrorMiddleware)
        with pytest.raises(ValueError, match=r"^Spica: ServerErrorMiddleware does not belong"):
            await call(app)

    def test_a_subclass_of_it_is_warned_of_alone(self) -> None:
        class Special(ServerErrorMiddleware):
            pass

        (problem,) = find_order_problems([Middleware(Special)])
        assert not problem.is_error
        refuse_misplaced([Middleware(Special)], "Spica")


class TestWarnings:
    def wrong(self) -> Any:
        return [session(), hosts()]

    @anyio
    async def test_an_application_warns_once_when_its_stack_is_built(self) -> None:
        app = Spica(routes=[Route("/", hello)], middleware=self.wrong())
        with pytest.warns(SpicaConfigurationWarning, match="is inside") as caught:
            await call(app, headers=[("host", "testserver")])
        assert len(caught) == 1
        assert caught[0].filename == __file__
        await call(app, headers=[("host", "testserver")])  # an error if it warned again

    @anyio
    async def test_so_does_one_that_builds_its_stack_itself(self) -> None:
        class Own(Spica):
            def build_middleware_stack(self) -> Any:
                return self.router

        app = Own(routes=[Route("/", hello)], middleware=self.wrong())
        with pytest.warns(SpicaConfigurationWarning, match="is inside"):
            assert (await call(app)).text == "hello"

    @pytest.mark.parametrize(
        "make",
        [
            lambda wrong: Route("/", hello, middleware=wrong),
            lambda wrong: Mount("/", routes=[], middleware=wrong),
            lambda wrong: Router(middleware=wrong),
        ],
        ids=["route", "mount", "router"],
    )
    def test_other_lists_warn_where_they_are_given(self, make: Any) -> None:
        with pytest.warns(SpicaConfigurationWarning, match="is inside"):
            make(self.wrong())

    def test_the_text_says_how_to_silence_it(self) -> None:
        (problem,) = find_order_problems(self.wrong())
        _, _, remedy = problem.text.partition("If this is intended: ")
        assert remedy == (
            'warnings.filterwarnings("ignore", "TrustedHostMiddleware is inside SessionMiddleware").'
        )
        with warnings.catch_warnings():
            exec(remedy.rstrip("."), {"warnings": warnings})
            Router(middleware=self.wrong())
