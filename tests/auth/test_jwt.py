"""Tests of spica/auth/jwt.py."""

import base64
import json
import math

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from token_issuer import Issuer, make_key, sign

from spica.applications import Spica
from spica.auth.jwt import JWTBackend, from_scope_claim
from spica.authentication import AuthenticationError, requires
from spica.datastructures import Secret
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.requests import HTTPConnection
from spica.responses import JSONResponse
from spica.testclient import AsyncTestClient

pytestmark = pytest.mark.anyio

SECRET = "s" * 32


def make_backend(fake, **options):
    defaults = {
        "issuer": "https://id.example/",
        "audience": "api",
        "jwks_url": fake.url,
        "algorithms": ["ES256"],
        "client": fake.client,
        "clock": fake.clock,
    }
    return JWTBackend(**{**defaults, **options})


def own_key_backend(issuer, key, *algorithms):
    return make_backend(issuer, jwks_url=None, client=None, key=key, algorithms=algorithms)


def bearer(token):
    headers = [(b"authorization", b"Bearer " + token.encode())]
    return HTTPConnection({"type": "http", "path": "/", "headers": headers})


def encode(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


async def refusal_of(token, issuer=None, **options):
    backend = make_backend(issuer or Issuer(), **options)
    with pytest.raises(AuthenticationError) as caught:
        await backend.verify(token)
    return str(caught.value)


async def test_a_token_names_the_user_and_the_scopes():
    issuer = Issuer()
    credentials, user = await make_backend(issuer).authenticate(bearer(issuer.token(name="Ann")))
    assert credentials.scopes == ["authenticated", "read", "write"]
    assert (user.identity, user.display_name, user.is_authenticated) == ("7", "Ann", True)
    assert user.claims["aud"] == "api"


async def test_no_token_is_no_user():
    conn = HTTPConnection({"type": "http", "path": "/", "headers": []})
    assert await make_backend(Issuer()).authenticate(conn) is None


async def test_a_token_may_come_from_a_cookie():
    issuer = Issuer()
    backend = make_backend(issuer, token=lambda conn: conn.cookies.get("token"))
    headers = [(b"cookie", b"token=" + issuer.token().encode())]
    conn = HTTPConnection({"type": "http", "path": "/", "headers": headers})
    _, user = await backend.authenticate(conn)
    assert user.display_name == "7"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://other.example/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"iss": ["https://id.example/"]}, "another issuer"),
        ({"aud": "other"}, "another audience"),
        ({"aud": ["a", "b"]}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": None}, "no audience"),
        ({"aud": {"api": 1}}, "no audience"),
        ({"aud": ["api", 7]}, "no audience"),
        ({"exp": None}, "no claim exp"),
        ({"exp": 1_000_000 - 30}, "expired"),
        ({"exp": "2000000"}, "exp of the token is malformed"),
        ({"exp": True}, "exp of the token is malformed"),
        ({"nbf": 1_000_031}, "not valid yet"),
        ({"iat": 1_000_031}, "not valid yet"),
        ({"nbf": [0]}, "nbf of the token is malformed"),
        ({"sub": 7}, "sub of the token is malformed"),
    ],
)
async def test_wrong_claims_are_refused(changes, reason):
    issuer = Issuer()
    assert reason in await refusal_of(issuer.token(**changes), issuer)  # RFC 7519 s.4.1


@pytest.mark.parametrize(
    "changes", [{"exp": 1_000_000 - 29}, {"nbf": 1_000_030}, {"aud": ["other", "api"]}], ids=str
)
async def test_claims_at_the_limit_are_accepted(changes):
    issuer = Issuer()
    assert await make_backend(issuer).verify(issuer.token(**changes))


async def test_required_claims_are_required():
    issuer = Issuer()
    reason = await refusal_of(issuer.token(), issuer, required=["exp", "jti"])
    assert reason == "The token has no claim jti."


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"alg": "none"}, "algorithm"),
        ({"alg": "HS256"}, "algorithm"),
        ({"alg": "ES384"}, "algorithm"),
        ({"alg": ["ES256"]}, "algorithm"),
        ({"alg": {}}, "algorithm"),
        ({"alg": None}, "algorithm"),
        ({"alg": "ES256", "typ": "logout+jwt"}, "another type"),
        ({"alg": "ES256", "typ": 7}, "header of the token is malformed"),
        ({"alg": "ES256", "kid": 7}, "header of the token is malformed"),
        ({"alg": "ES256", "crit": ["b64"], "b64": False}, "critical extensions"),
        ({"alg": "ES256", "kid": "other"}, "unknown key"),
        ({"alg": "ES256", "jwk": {}}, "signature of the token is wrong"),
        ([], "header of the token is malformed"),
        (None, "header of the token is malformed"),
        (b"{", "header of the token is malformed"),
        (b"[" * 3000, "header of the token is malformed"),
    ],
    ids=repr,
)
async def test_wrong_headers_are_refused(header, reason):
    token = f"{encode(header)}.{encode(Issuer().claims())}.{encode(b'x' * 64)}"
    assert reason in await refusal_of(token)  # RFC 8725 s.3.1, s.3.11


@pytest.mark.parametrize("token", ["", ".", "a.b", "..", "a.b.c", "a.b.c.d.e", "é.é.é", "=.=.="])
async def test_garbage_is_refused(token):
    assert "token" in await refusal_of(token)


async def test_a_huge_token_is_refused_before_it_is_decoded():
    assert "larger than 8192 bytes" in await refusal_of("a" * 8193)


async def test_a_changed_payload_is_refused():
    issuer = Issuer()
    header, _, signature = issuer.token().split(".")
    forged = f"{header}.{encode(issuer.claims(sub='admin'))}.{signature}"
    assert "signature" in await refusal_of(forged, issuer)


@pytest.mark.parametrize("payload", [b"[]", b"1", b"{", b'{"exp": NaN}', b"\xff"], ids=repr)
async def test_a_signed_payload_that_is_no_object_is_refused(payload):
    issuer = Issuer()
    token = sign({"alg": "ES256", "kid": "one"}, payload, issuer.keys[0])
    assert "payload of the token is malformed" in await refusal_of(token, issuer)


@pytest.mark.parametrize("kind", [None, "JWT", "jwt", "AT+JWT", "application/at+jwt"])
async def test_types_of_access_tokens_are_accepted(kind):
    issuer = Issuer()
    assert await make_backend(issuer).verify(issuer.token(header={"typ": kind}))


async def test_other_header_parameters_are_ignored():
    issuer = Issuer()
    token = issuer.token(header={"nonce": "x", "jku": "https://evil.example/"})
    assert await make_backend(issuer).verify(token)
    assert issuer.requests == 1


async def test_a_token_may_name_no_key():
    issuer = Issuer("one", "two")
    token = issuer.token(issuer.keys[1], header={"kid": None})
    assert await make_backend(issuer).verify(token)


# Keys of your own


async def test_a_shared_secret():
    issuer = Issuer()
    backend = own_key_backend(issuer, Secret(SECRET), "HS256")
    token = issuer.token(OctKey.import_key(SECRET), header={"alg": "HS256", "kid": None})
    assert (await backend.verify(token))["sub"] == "7"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864 prefers the name Ed25519
@pytest.mark.parametrize("as_pem", [True, False])
@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("ES256", make_key("one")),
        ("RS256", make_key("one", "RSA")),
        ("PS256", make_key("one", "RSA")),
        ("EdDSA", OKPKey.generate_key("Ed25519")),
    ],
    ids=["ES256", "RS256", "PS256", "EdDSA"],
)
async def test_a_public_key(algorithm, key, as_pem):
    issuer = Issuer()
    public = key.as_pem(private=False) if as_pem else key.as_dict(private=False)
    backend = own_key_backend(issuer, public, algorithm)
    assert await backend.verify(issuer.token(key, header={"alg": algorithm}))


async def test_a_set_of_keys_verifies_tokens_of_each_key():
    issuer = Issuer("new", "old")
    backend = own_key_backend(issuer, issuer.document(), "ES256")
    assert await backend.verify(issuer.token(issuer.keys[0]))
    assert await backend.verify(issuer.token(issuer.keys[1]))
    with pytest.raises(AuthenticationError, match="unknown key"):
        await backend.verify(issuer.token(make_key("other")))


async def test_a_public_key_is_no_secret():
    pem = make_key("one").as_pem(private=False)
    with pytest.raises(ValueError, match="PEM key, which is no secret"):  # RFC 8725 s.2.1
        own_key_backend(Issuer(), pem, "HS256")


@pytest.mark.parametrize(
    ("key", "algorithms", "reason"),
    [
        ("short", ["HS256"], "32 bytes or more"),
        (SECRET, ["HS512"], "64 bytes or more"),
        (SECRET, ["HS256", "RS256"], "different keys"),
        (SECRET, ["RS256"], "must be a public RSA key"),
        (ECKey.generate_key("P-256").as_dict(private=False), ["RS256"], "public RSA key"),
        ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, ["RS256"], "public RSA key"),
        ({"keys": []}, ["RS256"], "a list of keys"),
        ({"keys": SECRET}, ["RS256"], "a list of keys"),
        ({"keys": [ECKey.generate_key("P-256").as_dict()]}, ["RS256"], "public RSA key"),
    ],
    ids=[
        *("short", "shorter than the hash", "two kinds", "secret", "curve", "weak"),
        *("empty set", "no list", "curve in a set"),
    ],
)
def test_a_wrong_key_is_refused_at_construction(key, algorithms, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        own_key_backend(Issuer(), key, *algorithms)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"algorithms": ["none"]}, "'none' is not allowed"),
        ({"algorithms": ["ES256", "NONE"]}, "'NONE' is not allowed"),
        ({"algorithms": ["HS256"]}, "need a shared secret"),
        ({"algorithms": []}, "algorithms must not be empty"),
        ({"algorithms": "ES256"}, "algorithms must be a list"),
        ({"issuer": ""}, "issuer needs strings that are not empty"),
        ({"audience": None}, "audience must be a list"),
        ({"audience": []}, "audience must not be empty"),
        ({"key": SECRET}, "either jwks_url or key"),
        ({"jwks_url": "id.example/jwks"}, "absolute http"),
        ({"leeway_seconds": -1}, "from 0 to 600"),
        ({"leeway_seconds": math.nan}, "from 0 to 600"),
        ({"leeway_seconds": "30"}, "must be a number"),
        ({"required": "exp"}, "required must be a list"),
    ],
    ids=str,
)
def test_unsafe_settings_are_refused(options, reason):
    with pytest.raises((TypeError, ValueError), match=reason):
        make_backend(Issuer(), **options)


def test_keys_without_tls_cause_a_warning():
    with pytest.warns(SpicaConfigurationWarning, match="has no TLS"):
        make_backend(Issuer(), jwks_url="http://id.example/jwks.json")
    make_backend(Issuer(), jwks_url="http://localhost:8080/jwks.json")


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [({}, []), ({"scope": "a  b"}, ["a", "b"]), ({"scope": ["a"]}, ["a"]), ({"scope": ""}, [])],
)
def test_scopes_come_from_the_claim(claims, scopes):
    assert from_scope_claim(claims) == scopes


def test_a_malformed_scope_claim_is_refused():
    with pytest.raises(AuthenticationError, match="claim scope"):
        from_scope_claim({"scope": {"a": 1}})


# In an application


@requires("read")
async def whoami(request):
    return JSONResponse(request.user.identity)


def make_client(issuer, **options):
    backend = make_backend(issuer, **options)
    app = Spica(middleware=[Middleware(AuthenticationMiddleware, backend=backend)])
    app.add_route("/", whoami)
    return AsyncTestClient(app)


async def test_an_application_answers_with_the_challenge():
    issuer = Issuer()
    async with make_client(issuer) as client:
        good = await client.get("/", headers={"authorization": f"Bearer {issuer.token()}"})
        bad = await client.get("/", headers={"authorization": "Bearer x"})
        none = await client.get("/")
    assert (good.status_code, good.json()) == (200, "7")
    assert bad.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert (bad.status_code, none.status_code) == (401, 401)


async def test_an_issuer_that_is_down_is_a_503():
    issuer = Issuer()
    issuer.failure = 500
    async with make_client(issuer) as client:
        response = await client.get("/", headers={"authorization": f"Bearer {issuer.token()}"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")


@pytest.mark.filterwarnings("ignore:Key size should be")  # the fake issuer's own key
async def test_weak_keys_of_the_issuer_are_skipped():
    issuer = Issuer()
    issuer.keys[0] = RSAKey.generate_key(1024, {"kid": "weak"})
    token = issuer.token(header={"alg": "RS256"})
    assert "unknown key" in await refusal_of(token, issuer, algorithms=["RS256"])


async def wait_for(value):
    return value


@pytest.mark.parametrize("name", ["scopes", "token", "clock"])
@pytest.mark.parametrize("function", [None, "x", wait_for])
def test_a_function_must_be_a_def_function(name, function):
    with pytest.raises(TypeError, match=f"{name} must be a def function"):
        make_backend(Issuer(), **{name: function})


def test_a_client_of_another_class_is_refused():
    with pytest.raises(TypeError, match=r"client must be an httpx2\.AsyncClient, not 'x'"):
        make_backend(Issuer(), client="x")


@pytest.mark.parametrize("scopes", ["read", [7]])
async def test_scopes_that_are_no_list_of_strings_are_an_error(scopes):
    # A string would give a scope for each of its letters.
    issuer = Issuer()
    backend = make_backend(issuer, scopes=lambda claims: scopes)
    with pytest.raises(TypeError, match=r"scopes\(\) must return a list of strings"):
        await backend.authenticate(bearer(issuer.token()))


async def test_a_token_that_is_no_string_is_an_error_without_the_token():
    backend = make_backend(Issuer(), token=lambda conn: b"secret")
    with pytest.raises(TypeError, match=r"token\(\) must return a string or None, not bytes"):
        await backend.authenticate(bearer("x"))
