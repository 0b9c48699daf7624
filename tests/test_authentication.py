"""Tests of spica/authentication.py."""

import functools
import inspect

import pytest

from spica.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    BaseUser,
    SimpleUser,
    UnauthenticatedUser,
    has_required_scope,
    requires,
)
from spica.datastructures import URLPath
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses.base import RedirectResponse
from spica.websockets import WebSocket

pytestmark = pytest.mark.anyio


class Router:
    """Knows one route."""

    def url_path_for(self, name):
        assert name == "login"
        return URLPath("/login")


def make_request(*scopes):
    return Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": "https",
            "path": "/secret",
            "query_string": b"a=1&b=2",
            "headers": [(b"host", b"example.org")],
            "auth": AuthCredentials(scopes),
            "router": Router(),
        }
    )


def make_websocket(*scopes):
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "auth": AuthCredentials(scopes)}
    return WebSocket(scope, None, send), sent


# Users and credentials


def test_credentials_without_scopes():
    assert AuthCredentials().scopes == []


def test_credentials_keep_their_scopes_as_a_list():
    assert AuthCredentials(("a", "b")).scopes == ["a", "b"]


def test_a_string_is_no_list_of_scopes():
    with pytest.raises(TypeError, match="AuthCredentials takes a list of scopes") as caught:
        AuthCredentials("admin")
    assert "admin" not in str(caught.value)


def test_a_simple_user():
    user = SimpleUser("ann")
    assert user.is_authenticated
    assert (user.username, user.display_name, user.identity) == ("ann", "ann", "ann")


def test_an_unauthenticated_user():
    user = UnauthenticatedUser()
    assert not user.is_authenticated
    assert (user.display_name, user.identity) == ("", "")


@pytest.mark.parametrize("name", ["is_authenticated", "display_name", "identity"])
def test_a_user_of_ones_own_defines_everything(name):
    with pytest.raises(NotImplementedError, match=f"BaseUser must define {name}"):
        getattr(BaseUser(), name)


async def test_a_backend_defines_authenticate():
    with pytest.raises(NotImplementedError, match="AuthenticationBackend must define authenticate"):
        await AuthenticationBackend().authenticate(make_request())


# has_required_scope


@pytest.mark.parametrize(
    ("granted", "needed", "expected"),
    [
        (["a", "b"], ["a"], True),
        (["a", "b"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        ([], [], True),
        (["admin"], "admin", True),
        (["a", "d", "m", "i", "n"], "admin", False),
    ],
)
def test_all_scopes_are_needed(granted, needed, expected):
    assert has_required_scope(make_request(*granted), needed) is expected


def test_without_the_middleware_there_are_no_credentials():
    request = Request({"type": "http", "headers": []})
    with pytest.raises(AssertionError, match="AuthenticationMiddleware must be installed"):
        has_required_scope(request, ["a"])


# requires


@requires("admin")
async def async_endpoint(request, more=None):
    return "passed"


@requires(["admin"])
def sync_endpoint(request, more=None):
    return "passed"


class Views:
    """Has endpoints as methods."""

    @requires("admin")
    async def method(self, request):
        return "passed"

    @requires("admin")
    def __call__(self, request):
        return "passed"


async def call(endpoint, *args, **kwargs):
    value = endpoint(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value


ENDPOINTS = pytest.mark.parametrize(
    "endpoint",
    [async_endpoint, sync_endpoint, Views().method, Views()],
    ids=["async", "sync", "method", "instance"],
)


@ENDPOINTS
async def test_who_has_the_scopes_passes(endpoint):
    assert await call(endpoint, make_request("admin")) == "passed"


@ENDPOINTS
async def test_the_request_may_be_given_by_name(endpoint):
    assert await call(endpoint, request=make_request("admin")) == "passed"


@ENDPOINTS
async def test_who_lacks_a_scope_gets_403(endpoint):
    with pytest.raises(HTTPException) as caught:
        await call(endpoint, make_request("other"))
    assert caught.value.status_code == 403


async def test_the_request_may_be_any_parameter():
    @requires("admin")
    async def endpoint(first, *, request):
        return first

    assert await endpoint(1, request=make_request("admin")) == 1
    with pytest.raises(HTTPException):
        await endpoint(1, request=make_request())


async def test_the_status_can_be_chosen():
    @requires("admin", status_code=404)
    async def endpoint(request):
        """Never reached."""

    with pytest.raises(HTTPException) as caught:
        await endpoint(make_request())
    assert caught.value.status_code == 404


async def test_a_redirect_keeps_the_url_that_was_asked_for():
    """RFC 9110 s.15.4.4: 303 See Other."""

    @requires("admin", redirect="login")
    async def endpoint(request):
        """Never reached."""

    response = await endpoint(make_request())
    assert isinstance(response, RedirectResponse)
    assert response.status_code == 303
    assert response.headers["location"] == (
        "https://example.org/login?next=https%3A%2F%2Fexample.org%2Fsecret%3Fa%3D1%26b%3D2"
    )


async def test_a_websocket_passes():
    @requires("admin")
    async def endpoint(websocket, seen):
        seen.append("passed")

    websocket, sent = make_websocket("admin")
    seen = []
    await endpoint(websocket, seen)
    assert (seen, sent) == (["passed"], [])


async def test_a_websocket_without_the_scopes_is_closed():
    @requires("admin")
    async def endpoint(websocket):
        """Never reached."""

    websocket, sent = make_websocket()
    await endpoint(websocket=websocket)
    assert sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]


@pytest.mark.parametrize("arguments", [(), ("text",)], ids=["nothing", "text"])
async def test_something_else_than_a_request(arguments):
    found = "str" if arguments else "NoneType"
    words = f"Parameter with name 'request' is required to be of type 'Request' not '{found}'"
    with pytest.raises(AssertionError) as caught:
        await async_endpoint(*arguments)
    assert str(caught.value) == words


async def test_something_else_than_a_websocket():
    @requires("admin")
    async def endpoint(websocket):
        """Never reached."""

    with pytest.raises(AssertionError, match="type 'WebSocket' not 'Request'"):
        await endpoint(make_request("admin"))


def test_a_function_without_a_connection():
    with pytest.raises(TypeError, match=r'^No "request" or "websocket" argument on function'):

        @requires("admin")
        def endpoint(req):
            """Never decorated."""


@pytest.mark.parametrize("status_code", [0, 1000, "403"])
def test_a_status_that_cannot_be_sent(status_code):
    with pytest.raises((TypeError, ValueError), match="status_code must"):
        requires("admin", status_code=status_code)


def test_the_kind_of_function_stays():
    assert inspect.iscoroutinefunction(async_endpoint)
    assert not inspect.iscoroutinefunction(sync_endpoint)


def test_the_name_of_the_function_stays():
    assert async_endpoint.__name__ == "async_endpoint"
    assert list(inspect.signature(sync_endpoint).parameters) == ["request", "more"]


async def test_decorators_may_be_stacked():
    endpoint = requires("a")(requires("b")(sync_endpoint))
    assert endpoint(make_request("a", "b", "admin")) == "passed"
    with pytest.raises(HTTPException):
        endpoint(make_request("b", "admin"))


async def test_a_partial_may_be_protected():
    async def endpoint(request, value):
        return value

    protected = requires("admin")(functools.partial(endpoint, value=1))
    assert await protected(make_request("admin")) == 1


def test_scopes_come_before_the_endpoint() -> None:
    with pytest.raises(
        TypeError, match=r"^requires\(\) needs the scopes first: write @requires\('"
    ):
        requires(lambda request: None)  # type: ignore[arg-type]
