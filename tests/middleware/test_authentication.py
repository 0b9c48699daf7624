"""Tests of spica/middleware/authentication.py."""

import base64
import binascii

import pytest

from spica.applications import Spica
from spica.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    SimpleUser,
    UnauthenticatedUser,
    requires,
)
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.requests import HTTPConnection, Request
from spica.responses.base import PlainTextResponse
from spica.testclient import TestClient

pytestmark = pytest.mark.anyio


class BasicAuth(AuthenticationBackend):
    """Believes every user name."""

    async def authenticate(self, conn):
        assert isinstance(conn, HTTPConnection)
        if "authorization" not in conn.headers:
            return None
        token = conn.headers["authorization"].removeprefix("Basic ")
        try:
            user = base64.b64decode(token, validate=True).decode()
        except (ValueError, binascii.Error) as exc:
            raise AuthenticationError("Invalid basic auth credentials") from exc
        return AuthCredentials(["authenticated"]), SimpleUser(user)


GOOD = [(b"authorization", b"Basic YW5u")]
BAD = [(b"authorization", b"Basic !")]


async def whoami(scope, receive, send):
    if scope["type"] == "http":
        request = Request(scope)
        user = request.user.display_name or type(request.user).__name__
        await PlainTextResponse(f"{user} {request.auth.scopes}")(scope, receive, send)
    else:
        await send({"type": "passed", "user": scope.get("user"), "auth": scope.get("auth")})


async def ask(middleware, headers=(), kind="http"):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "method": "GET", "path": "/", "headers": list(headers)}
    await middleware(scope, receive, send)
    return sent


def status_and_body(sent):
    return sent[0]["status"], sent[1]["body"].decode()


async def test_a_connection_with_credentials():
    sent = await ask(AuthenticationMiddleware(whoami, BasicAuth()), GOOD)
    assert status_and_body(sent) == (200, "ann ['authenticated']")


async def test_a_connection_without_credentials():
    sent = await ask(AuthenticationMiddleware(whoami, BasicAuth()))
    assert status_and_body(sent) == (200, "UnauthenticatedUser []")


async def test_wrong_credentials_are_400():
    sent = await ask(AuthenticationMiddleware(whoami, BasicAuth()), BAD)
    assert status_and_body(sent) == (400, "Invalid basic auth credentials")


def refuse(conn, exc):
    return PlainTextResponse(f"{conn.method} {exc}", status_code=401)


async def refuse_later(conn, exc):
    return refuse(conn, exc)


@pytest.mark.parametrize("on_error", [refuse, refuse_later])
async def test_on_error_makes_the_answer(on_error):
    sent = await ask(AuthenticationMiddleware(whoami, BasicAuth(), on_error=on_error), BAD)
    assert status_and_body(sent) == (401, "GET Invalid basic auth credentials")


async def test_on_error_must_return_a_response():
    middleware = AuthenticationMiddleware(whoami, BasicAuth(), on_error=lambda conn, exc: None)
    with pytest.raises(TypeError, match="returned None, but must return a Response"):
        await ask(middleware, BAD)


def test_the_default_on_error_is_public():
    conn = HTTPConnection({"type": "http", "headers": []})
    response = AuthenticationMiddleware.default_on_error(conn, AuthenticationError("why"))
    assert (response.status_code, response.body) == (400, b"why")


async def test_a_subclass_may_have_another_default():
    class Teapot(AuthenticationMiddleware):
        @staticmethod
        def default_on_error(conn, exc):
            return PlainTextResponse("teapot", status_code=418)

    assert status_and_body(await ask(Teapot(whoami, BasicAuth()), BAD)) == (418, "teapot")


async def test_a_websocket_with_credentials():
    [message] = await ask(AuthenticationMiddleware(whoami, BasicAuth()), GOOD, "websocket")
    assert message["user"].username == "ann"
    assert message["auth"].scopes == ["authenticated"]


async def test_a_websocket_without_credentials():
    [message] = await ask(AuthenticationMiddleware(whoami, BasicAuth()), kind="websocket")
    assert isinstance(message["user"], UnauthenticatedUser)


async def test_a_websocket_with_wrong_credentials_is_closed():
    sent = await ask(AuthenticationMiddleware(whoami, BasicAuth(), refuse), BAD, "websocket")
    assert sent == [{"type": "websocket.close", "code": 1000}]


async def test_the_lifespan_passes():
    [message] = await ask(AuthenticationMiddleware(whoami, BasicAuth()), kind="lifespan")
    assert message == {"type": "passed", "user": None, "auth": None}


async def test_a_pair_in_the_other_order():
    class Swapped(AuthenticationBackend):
        async def authenticate(self, conn):
            return SimpleUser("ann"), AuthCredentials(["authenticated"])

    with pytest.raises(TypeError) as caught:
        await ask(AuthenticationMiddleware(whoami, Swapped()))
    words = (
        "Swapped.authenticate() must return (credentials, user) or None, not (user, credentials)."
    )
    assert str(caught.value) == words


async def test_what_a_backend_must_return():
    class Odd(AuthenticationBackend):
        async def authenticate(self, conn):
            return "token-of-ann"

    with pytest.raises(TypeError) as caught:
        await ask(AuthenticationMiddleware(whoami, Odd()))
    words = "Odd.authenticate() must return (credentials, user) or None, not str."
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("backend", "shown"),
    [(BasicAuth, "not the class BasicAuth"), (None, "not None"), ("basic", "not 'basic'")],
)
def test_a_backend_is_an_object_with_authenticate(backend, shown):
    with pytest.raises(TypeError, match=f"AuthenticationMiddleware: backend must be .*{shown}"):
        AuthenticationMiddleware(whoami, backend)


def test_on_error_is_a_function():
    with pytest.raises(TypeError, match="AuthenticationMiddleware: on_error must be a function"):
        AuthenticationMiddleware(whoami, BasicAuth(), on_error=401)


def test_a_session_that_is_further_in_is_named():
    class Backend(AuthenticationBackend):
        async def authenticate(self, conn):
            conn.session.get("user")

    recipes = [
        Middleware(AuthenticationMiddleware, backend=Backend()),
        Middleware(SessionMiddleware, secret_key="k" * 32),
    ]
    with pytest.raises(AssertionError, match="Put SessionMiddleware before that one in the list"):
        TestClient(Spica(middleware=recipes)).get("/")


# A challenge


def challenge_of(sent):
    return dict(sent[0]["headers"]).get(b"www-authenticate")


@pytest.mark.parametrize(
    ("challenge", "header"),
    [
        ("Bearer", b'Bearer error="invalid_token"'),
        ('Bearer realm="api"', b'Bearer realm="api", error="invalid_token"'),
        ('Basic realm="stars"', b'Basic realm="stars"'),
    ],
)
async def test_wrong_credentials_get_a_401_with_the_challenge(challenge, header):
    sent = await ask(AuthenticationMiddleware(whoami, BasicAuth(), challenge=challenge), BAD)
    assert status_and_body(sent) == (401, "Invalid basic auth credentials")
    assert challenge_of(sent) == header


async def test_a_backend_may_have_the_challenge():
    class Backend(BasicAuth):
        challenge = "Basic"

    sent = await ask(AuthenticationMiddleware(whoami, Backend(), status_code=401), BAD)
    assert (sent[0]["status"], challenge_of(sent)) == (401, b"Basic")


async def test_another_status():
    sent = await ask(AuthenticationMiddleware(whoami, BasicAuth(), status_code=403), BAD)
    assert (sent[0]["status"], challenge_of(sent)) == (403, None)


async def test_a_websocket_with_wrong_credentials_gets_the_response():
    middleware = AuthenticationMiddleware(whoami, BasicAuth(), challenge="Basic")
    sent = []

    async def send(message):
        sent.append(message)

    extensions = {"websocket.http.response": {}}
    scope = {"type": "websocket", "path": "/", "headers": BAD, "extensions": extensions}
    await middleware(scope, None, send)
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 401)


def test_a_401_needs_a_challenge():
    with pytest.raises(ValueError, match="status_code=401 needs a challenge"):
        AuthenticationMiddleware(whoami, BasicAuth(), status_code=401)


@pytest.mark.parametrize("status_code", [200, 302, 500])
def test_the_status_is_that_of_a_clients_error(status_code):
    with pytest.raises(ValueError, match=f"400 to 499, not {status_code}"):
        AuthenticationMiddleware(whoami, BasicAuth(), status_code=status_code)


@pytest.mark.parametrize("challenge", ["", 401, "Bearer\r\nx: y"])
def test_the_challenge_is_a_header_value(challenge):
    with pytest.raises((TypeError, ValueError)):
        AuthenticationMiddleware(whoami, BasicAuth(), challenge=challenge)


class Limited(AuthenticationBackend):
    """A user without scopes."""

    async def authenticate(self, conn):
        if conn.headers.get("x-error"):
            raise HTTPException(503, "Keys are missing", headers={"Retry-After": "5"})
        return (AuthCredentials(), SimpleUser("ann")) if "authorization" in conn.headers else None


@requires(["read", 'o"dd'])
async def protected(request):
    return PlainTextResponse("secret")


def protected_client(**options):
    recipe = Middleware(AuthenticationMiddleware, backend=Limited(), **options)
    app = Spica(middleware=[recipe])
    app.add_route("/", protected)
    return TestClient(app)


def test_requires_answers_a_request_without_user_with_the_challenge():
    response = protected_client(challenge="Bearer").get("/")
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


def test_requires_names_the_missing_scopes_to_a_user():
    response = protected_client(challenge="Bearer").get("/", headers={"authorization": "x"})
    # RFC 6750 s.3.1
    expected = 'Bearer error="insufficient_scope", scope="read"'
    assert (response.status_code, response.headers["www-authenticate"]) == (403, expected)


def test_requires_answers_403_without_a_challenge():
    response = protected_client().get("/")
    assert (response.status_code, "www-authenticate" in response.headers) == (403, False)


def test_a_backend_may_raise_an_http_exception():
    response = protected_client().get("/", headers={"x-error": "1"})
    assert (response.status_code, response.text) == (503, "Keys are missing")
    assert response.headers["retry-after"] == "5"
