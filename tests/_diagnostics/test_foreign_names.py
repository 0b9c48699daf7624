"""Names and arguments of other frameworks get an error that says how to write the same with spica."""

import io
from typing import Any

import pytest

from spica._diagnostics.foreign_names import (
    ASSIGNMENTS_OF_APPLICATIONS,
    ASSIGNMENTS_OF_RESPONSES,
    FIXES_OF_APPLICATIONS,
    FIXES_OF_CLASS_ENDPOINTS,
    FIXES_OF_CONNECTIONS,
    FIXES_OF_KEYRINGS,
    FIXES_OF_REQUESTS,
    FIXES_OF_RESPONSES,
    FIXES_OF_SOCKETS,
    FIXES_OF_TEMPLATES,
    FIXES_OF_UPLOADS,
    ForeignName,
    explain_arguments,
    explain_names,
)
from spica.applications import Spica
from spica.datastructures import UploadFile
from spica.endpoints import HTTPEndpoint
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware.base import BaseHTTPMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse
from spica.routing import Host, Mount, Route, Router, WebSocketRoute
from spica.signing import Keyring
from spica.staticfiles import StaticFiles
from spica.templating import Jinja2Templates
from spica.websockets import WebSocket

REQUEST = Request({"type": "http", "headers": []})
SOCKET: WebSocket = WebSocket({"type": "websocket", "headers": []}, print, print)  # type: ignore[arg-type]

ENDPOINT = HTTPEndpoint(REQUEST.scope, print, print)  # type: ignore[arg-type]

CASES = [
    *((Spica(), name, fix) for name, fix in FIXES_OF_APPLICATIONS.items()),
    *((Router(), name, fix) for name, fix in FIXES_OF_APPLICATIONS.items()),
    *((REQUEST, name, fix) for name, fix in (FIXES_OF_CONNECTIONS | FIXES_OF_REQUESTS).items()),
    *((SOCKET, name, fix) for name, fix in (FIXES_OF_CONNECTIONS | FIXES_OF_SOCKETS).items()),
    *((PlainTextResponse(""), name, fix) for name, fix in FIXES_OF_RESPONSES.items()),
    *((UploadFile(io.BytesIO()), name, fix) for name, fix in FIXES_OF_UPLOADS.items()),
    *((Keyring("x" * 32), name, fix) for name, fix in FIXES_OF_KEYRINGS.items()),
    *((ENDPOINT, name, fix) for name, fix in FIXES_OF_CLASS_ENDPOINTS.items()),
    *((Jinja2Templates("."), name, fix) for name, fix in FIXES_OF_TEMPLATES.items()),
]


@pytest.mark.parametrize(
    ("instance", "name", "fix"), CASES, ids=[f"{type(c[0]).__name__}.{c[1]}" for c in CASES]
)
def test_the_error_names_the_fix(instance: Any, name: str, fix: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(instance, name)
    start = f"'{type(instance).__name__}' object has no attribute '{name}'. "
    assert str(caught.value) == start + fix


@pytest.mark.parametrize("instance", [Spica(), REQUEST, SOCKET, PlainTextResponse("")])
def test_the_names_are_no_attributes(instance: Any) -> None:
    names = {name for other, name, _ in CASES if other is instance}
    assert not any(hasattr(instance, name) or hasattr(type(instance), name) for name in names)
    assert names.isdisjoint(dir(instance))


def test_an_instance_may_have_the_name() -> None:
    app: Any = Spica()
    app.config = {"debug": True}
    assert app.config == {"debug": True}


def test_a_subclass_may_define_the_name() -> None:
    class Own(Spica):
        def include_router(self, router: Router) -> str:
            return "included"

    assert Own().include_router(Router()) == "included"


def test_a_name_that_the_class_has_stays() -> None:
    class Own:
        run = 1

    explain_names(Own, {"run": "no"})
    assert Own.run == 1


def test_the_application_has_no_foreign_name_of_its_own_api() -> None:
    fixes = [name for name in dir(Spica) if isinstance(vars(Spica).get(name), ForeignName)]
    assert fixes == []


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("on_startup", "pass it as lifespan=..."),
        ("error_handlers", "Write exception_handlers={404: handler}."),
        ("route", "Did you mean 'routes'?"),
        ("zebra", "Its parameters are debug, routes, middleware,"),
    ],
)
def test_an_unknown_argument_of_the_application(name: str, fix: str) -> None:
    with pytest.raises(TypeError) as caught:
        Spica(**{name: []})  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"Spica() got an unexpected keyword argument '{name}'. ")
    assert fix in str(caught.value)


def test_an_unknown_argument_of_a_route() -> None:
    with pytest.raises(TypeError, match=r"'method'. Write methods=\['POST'\]"):
        Route("/", lambda request: None, method="POST")  # type: ignore[call-arg]


def test_a_folder_without_its_keyword() -> None:
    with pytest.raises(
        TypeError, match=r"positional argument 'static'. Write StaticFiles\(directory="
    ):
        StaticFiles("static")  # type: ignore[misc]


def test_the_signature_stays_for_those_who_inspect_it() -> None:
    import inspect

    assert [*inspect.signature(Spica).parameters][:2] == ["debug", "routes"]


def test_a_default_and_every_kind_of_parameter_still_work() -> None:
    class Own:
        @explain_arguments({})
        def __init__(self, a: int, b: int = 2, *, c: int = 3) -> None:
            self.values = a, b, c

    assert Own(1).values == (1, 2, 3)
    assert Own(1, 4, c=5).values == (1, 4, 5)
    assert Own(a=1, b=6).values == (1, 6, 3)


def test_a_dispatch_method_of_the_wrong_arity_fails_where_it_is_defined() -> None:
    with pytest.raises(TypeError, match=r"Write async def dispatch\(self, request, call_next\)"):

        class Own(BaseHTTPMiddleware):
            async def dispatch(self, request: Request) -> Any:  # type: ignore[override]
                """Take one argument too few."""


def test_a_dispatch_function_of_the_wrong_arity_is_refused() -> None:
    async def dispatch(request: Request) -> Any:
        """Take one argument too few."""

    with pytest.raises(TypeError, match=r"Write async def dispatch\(request, call_next\)"):
        BaseHTTPMiddleware(Spica(), dispatch=dispatch)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "handler",
    [lambda request: None, PlainTextResponse("no"), BaseHTTPMiddleware.dispatch],
    ids=["a function", "a response", "three parameters"],
)
def test_an_exception_handler_of_the_wrong_arity_is_refused(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"for 404 is called with two arguments, \(request, exc\)"):
        Spica(exception_handlers={404: handler})
    with pytest.raises(TypeError, match="called with two arguments"):
        Spica().add_exception_handler(404, handler)


@pytest.mark.parametrize(
    ("instance", "name", "fix"),
    [
        *((Spica(), name, fix) for name, fix in ASSIGNMENTS_OF_APPLICATIONS.items()),
        *((PlainTextResponse(""), name, fix) for name, fix in ASSIGNMENTS_OF_RESPONSES.items()),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_an_assignment_without_effect_is_warned_of(instance: Any, name: str, fix: str) -> None:
    with pytest.warns(SpicaConfigurationWarning) as caught:
        setattr(instance, name, 1)
    assert caught[0].filename == __file__
    assert str(caught[0].message).startswith(
        f"{type(instance).__name__}.{name} = ... has no effect"
    )
    assert str(caught[0].message).endswith(fix)
    assert getattr(instance, name) == 1


def test_a_subclass_may_set_the_names() -> None:
    class Own(PlainTextResponse):
        pass

    response: Any = Own("")
    response.status = 3
    assert response.status == 3


@pytest.mark.parametrize(
    ("cls", "arguments", "fix"),
    [
        (
            Router,
            {"prefix": "/api"},
            "Give the prefix where you mount the router: app.mount('/prefix', router).",
        ),
        (Mount, {"prefix": "/api"}, "The path comes first: Mount('/prefix', ...)."),
        (Host, {"routes": []}, "Write app=Router(routes=[...])."),
        (WebSocketRoute, {"methods": ["GET"]}, "A WebSocket has no methods."),
    ],
)
def test_an_unknown_argument_of_a_router_or_mount(cls: Any, arguments: Any, fix: str) -> None:
    with pytest.raises(TypeError) as caught:
        cls(**arguments)
    assert str(caught.value).endswith(fix)
