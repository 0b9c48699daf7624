"""Tests of spica/authentication.py."""

import functools
import inspect

import pytest

from spica.applications import Spica
from spica.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
    SimpleUser,
    UnauthenticatedUser,
    api_key,
    basic_credentials,
    bearer_token,
    has_required_scope,
    requires,
    same,
)
from spica.datastructures import URLPath
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses.base import RedirectResponse, Response
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


# Credentials in headers


def with_headers(*headers):
    return Request({"type": "http", "method": "GET", "path": "/", "headers": list(headers)})


def authorization(value):
    return with_headers((b"authorization", value))


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"Bearer abc.DEF-123_~+/==", "abc.DEF-123_~+/=="),
        (b"bearer abc", "abc"),
        (b"BEARER   abc", "abc"),
        (b"Basic YTpi", None),
        (b"Bearerabc", None),
        (b"", None),
    ],
)
def test_a_bearer_token_is_read(value, token):
    assert bearer_token(authorization(value)) == token  # RFC 6750 s.2.1


def test_no_header_is_no_bearer_token():
    assert bearer_token(with_headers()) is None


@pytest.mark.parametrize(
    "value", [b"Bearer", b"Bearer ", b"Bearer a b", b"Bearer a,b", b"Bearer \xe9", b"Bearer =a"]
)
def test_a_malformed_bearer_token_is_refused(value):
    with pytest.raises(AuthenticationError, match="Bearer credentials are missing or malformed"):
        bearer_token(authorization(value))


@pytest.mark.parametrize("read", [bearer_token, basic_credentials])
def test_two_authorization_headers_are_refused(read):
    header = (b"authorization", b"Bearer abc")
    with pytest.raises(AuthenticationError, match="one Authorization header"):
        read(with_headers(header, header))


@pytest.mark.parametrize(
    ("encoded", "credentials"),
    [
        (b"QWxhZGRpbjpvcGVuIHNlc2FtZQ==", ("Aladdin", "open sesame")),  # RFC 7617 s.2
        (b"dGVzdDoxMjPCow==", ("test", "123\u00a3")),  # RFC 7617 s.2.1
        (b"YTpiOmM=", ("a", "b:c")),
        (b"Og==", ("", "")),
    ],
)
def test_basic_credentials_are_read(encoded, credentials):
    assert basic_credentials(authorization(b"Basic " + encoded)) == credentials


@pytest.mark.parametrize(
    "encoded",
    [b"", b"YTpi=", b"YTp", b"YQ==", b"_w==", b"/zph", b"YTpiAA==", b"YTpi\xff", b"YQo6Yg=="],
    ids=str,
)
def test_malformed_basic_credentials_are_refused(encoded):
    with pytest.raises(AuthenticationError, match="Basic credentials"):
        basic_credentials(authorization(b"Basic " + encoded))


def test_an_api_key_is_read_from_its_header():
    assert api_key(with_headers((b"x-api-key", b"k-1"))) == "k-1"
    assert api_key(with_headers((b"x-key", b"k-2")), header="X-Key") == "k-2"
    assert api_key(with_headers()) is None


@pytest.mark.parametrize("values", [[b""], [b"a b"], [b"\xc3\xa9"], [b"a", b"b"]], ids=str)
def test_a_malformed_api_key_is_refused(values):
    with pytest.raises(AuthenticationError, match="one X-API-Key header"):
        api_key(with_headers(*((b"x-api-key", value) for value in values)))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("key", "key", True), ("key", b"key", True), ("\u00e9", "e", False), ("a", "ab", False)],
)
def test_secrets_are_compared(a, b, expected):
    assert same(a, b) is expected


def test_a_missing_secret_equals_nothing():
    with pytest.raises(TypeError, match="strings or bytes, not NoneType"):
        same(None, None)


def test_an_endpoint_that_is_a_route_already_is_refused() -> None:
    app = Spica()

    with pytest.raises(TypeError, match=r"show \(.*:\d+\) is a route already, and would stay open"):

        @requires("admin")
        @app.get("/")
        async def show(request: Request) -> Response:
            return Response()

    with pytest.raises(TypeError, match=r"listen .*is a route already"):

        @requires("admin")
        @app.websocket("/")
        async def listen(websocket: WebSocket) -> None: ...
