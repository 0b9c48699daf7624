"""Identify users by JSON Web Tokens: ``JWTBackend`` for ``AuthenticationMiddleware``.

It verifies the access tokens of an issuer such as Auth0, Entra ID, Keycloak or Okta, or your own. To issue
tokens, use joserfc. This module needs joserfc and httpx2: ``pip install 'spica[jwt]'``.

Standards: RFC 7519 (JWT), RFC 8725 (best current practices), RFC 9068 (access tokens), RFC 6750 (bearer).
"""

from __future__ import annotations

import binascii
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from spica.auth.jwks import Key, KeysUnavailable, OwnKeys, RemoteKeys, is_strong, read_public_key
from spica.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
    bearer_token,
)
from spica.concurrency import is_async_callable
from spica.datastructures import Secret

try:
    import httpx2
    from joserfc import jws
    from joserfc.errors import JoseError
    from joserfc.jwk import OctKey, import_key
except ImportError as error:
    raise ImportError(
        "spica.auth.jwt needs joserfc and httpx2: pip install 'spica[jwt]'."
    ) from error

if TYPE_CHECKING:
    from joserfc.jwk import Key as JoseKey

    from spica.requests import HTTPConnection

__all__ = ["JWTBackend", "KeysUnavailable", "TokenUser", "from_scope_claim"]

MAX_TOKEN_SIZE = 8192
"""The size of a token in bytes. Most servers limit a header line to this size or twice as much."""
MAX_TRIED_KEYS = 4
"""How many keys are tried for a token that names no key, or one that several keys share."""

# RFC 7518 s.3.1, RFC 8037 s.3.1, RFC 9864: the type and the curve of the key for each algorithm.
ALGORITHMS: dict[str, tuple[str, str | None]] = {
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", None),
    "Ed25519": ("OKP", "Ed25519"),
    "HS256": ("oct", None),
    "HS384": ("oct", None),
    "HS512": ("oct", None),
}


class TokenUser(BaseUser):
    """The user that a token names.

    Args:
        claims: The claims of the token. They are also an attribute.
    """

    def __init__(self, claims: dict[str, Any]) -> None:
        self.claims = claims

    @property
    def is_authenticated(self) -> bool:
        """Always true."""
        return True

    @property
    def identity(self) -> str:
        """The claim ``sub``, which is unique for an issuer; "" if the token has none."""
        return str(self.claims.get("sub", ""))

    @property
    def display_name(self) -> str:
        """The first of the claims ``name`` and ``preferred_username``, otherwise the identity."""
        for name in ("name", "preferred_username"):
            value = self.claims.get(name)
            if isinstance(value, str) and value:
                return value
        return self.identity


def from_scope_claim(claims: Mapping[str, Any]) -> list[str]:
    """Return the scopes in the claim ``scope``: a string with spaces (RFC 8693 s.4.2), or a list of strings.

    Raises:
        AuthenticationError: The claim is something else.
    """
    scope = claims.get("scope")
    if scope is None:
        return []
    if isinstance(scope, str):
        return scope.split()
    if isinstance(scope, list) and all(isinstance(each, str) for each in scope):
        return scope
    raise AuthenticationError("The claim scope of the token is malformed.")


class JWTBackend(AuthenticationBackend):
    """Identify the user of a connection by a signed token.

    The user is a ``TokenUser``. The scopes are "authenticated" and those of the token. A connection without a
    token has no user. An invalid token is an AuthenticationError. If the keys of the issuer can't be fetched,
    the client gets a 503.

    Args:
        issuer: The issuer, exactly as in the claim ``iss``.
        audience: The name of your API, which must be in the claim ``aud``; or several names. Never leave this
            to chance: a token for another API of the same issuer would be accepted.
        jwks_url: The URL of the issuer's keys (``jwks_uri``). Give this or ``key``.
        key: A secret string of 32 bytes or more for the algorithms ``HS...``. A public key as PEM or JWK for
            the others. To rotate keys, a JWK set: ``{"keys": [new, old]}``.
        algorithms: The algorithms that the issuer uses, for example ``["RS256"]``.
        leeway_seconds: How much the clocks may differ (30).
        required: The claims that a token must have, besides ``iss`` and ``aud``.
        scopes: A function from the claims to the scopes.
        types: The values of the header ``typ`` that are accepted, so that a token of another kind, such as a
            logout token, is not accepted (RFC 8725 s.3.11). A token without ``typ`` counts as "JWT".
        token: A function from the connection to its token or None, for example to read a cookie.
        client: The client that fetches the keys, for a proxy or certificates of your own. You close it.
        clock: The time in seconds since 1970, for tests.

    Raises:
        TypeError, ValueError: An argument has the wrong type, contradicts another, or is not safe.

    Example:
        ``JWTBackend(issuer="https://id.example.org/", audience="https://api.example.org",
        jwks_url="https://id.example.org/jwks.json", algorithms=["RS256"])``
    """

    challenge = "Bearer"

    def __init__(
        self,
        issuer: str,
        audience: str | Sequence[str],
        *,
        algorithms: Sequence[str],
        jwks_url: str | None = None,
        key: str | bytes | Secret | Mapping[str, Any] | None = None,
        leeway_seconds: float = 30,
        required: Sequence[str] = ("exp",),
        scopes: Callable[[dict[str, Any]], Sequence[str]] = from_scope_claim,
        types: Sequence[str] = ("JWT", "at+jwt"),
        token: Callable[[HTTPConnection[Any]], str | None] = bearer_token,
        client: httpx2.AsyncClient | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if (jwks_url is None) == (key is None):
            raise TypeError("JWTBackend: give either jwks_url or key.")
        self.issuer = _check_names([issuer], "issuer")[0]
        names = [audience] if isinstance(audience, str) else audience
        self.audience = frozenset(_check_names(names, "audience"))
        self.algorithms = _check_algorithms(algorithms, is_remote=jwks_url is not None)
        self.leeway_seconds = _check_leeway(leeway_seconds)
        self.required = tuple(_check_names(required, "required", may_be_empty=True))
        self.types = frozenset(name.lower() for name in _check_names(types, "types"))
        self.scopes = _check_function(scopes, "scopes")
        self.token = _check_function(token, "token")
        self._clock = _check_function(clock, "clock")
        # Other header parameters are allowed, and ignored (RFC 7515 s.4): never follow `jku` or `x5u`.
        self._registry = jws.JWSRegistry(
            algorithms=list(self.algorithms), strict_check_header=False
        )
        self._keys: OwnKeys | RemoteKeys
        if jwks_url is not None:
            self._keys = RemoteKeys(jwks_url, _check_client(client))
        else:
            self._keys = OwnKeys(_read_own_keys(key, self.algorithms))

    async def authenticate(
        self, conn: HTTPConnection[Any]
    ) -> tuple[AuthCredentials, BaseUser] | None:
        """Return the scopes and the user of ``conn``, or None if the client sends no token.

        Raises:
            AuthenticationError: The token is not valid.
            KeysUnavailable: The keys of the issuer can't be fetched.
        """
        token = self.token(conn)
        if token is None:
            return None
        if not isinstance(token, str):  # the message does not have it, since it is secret
            raise TypeError(
                f"JWTBackend: token() must return a string or None, not {type(token).__name__}."
            )
        claims = await self.verify(token)
        scopes = self.scopes(claims)
        if isinstance(scopes, str) or not all(isinstance(scope, str) for scope in scopes):
            raise TypeError(
                f"JWTBackend: scopes() must return a list of strings, not {scopes!r:.80}."
            )
        return AuthCredentials(["authenticated", *scopes]), TokenUser(claims)

    async def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of a token whose signature, issuer, audience and times are right.

        Raises:
            AuthenticationError: The token is not valid. The message says why.
            KeysUnavailable: The keys of the issuer can't be fetched.
        """
        if len(token) > MAX_TOKEN_SIZE:
            raise AuthenticationError(f"The token is larger than {MAX_TOKEN_SIZE} bytes.")
        parts = token.split(".")
        if len(parts) != 3:
            raise AuthenticationError("The token is not a signed JSON Web Token.")
        header = _read_object(parts[0], "header")
        algorithm, kid = self._check_header(header)
        keys = await self._keys.select(partial(_accepts, algorithm, kid))
        if not keys:
            raise AuthenticationError("The token is signed with an unknown key.")
        if not any(self._is_signed(token, key) for key in keys[:MAX_TRIED_KEYS]):
            raise AuthenticationError("The signature of the token is wrong.")
        claims = _read_object(parts[1], "payload")
        self._check_claims(claims)
        return claims

    def _check_header(self, header: dict[str, Any]) -> tuple[str, str | None]:
        """Return the algorithm and the name of the key."""
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if algorithm not in self.algorithms:  # RFC 8725 s.3.1
            raise AuthenticationError("The algorithm of the token is not allowed.")
        if not isinstance(kind, str) or not isinstance(kid, str | None):
            raise AuthenticationError("The header of the token is malformed.")
        # RFC 7515 s.4.1.9: "application/" may be left out, and upper case does not matter.
        if kind.lower().removeprefix("application/") not in self.types:
            raise AuthenticationError("The token has another type.")
        if "crit" in header:  # RFC 7515 s.4.1.11: no extension is supported
            raise AuthenticationError("The token has critical extensions.")
        return algorithm, kid

    def _is_signed(self, token: str, key: Key) -> bool:
        try:
            jws.deserialize_compact(token, key.value, registry=self._registry)
        except (JoseError, ValueError, TypeError, RecursionError):
            return False
        return True

    def _check_claims(self, claims: dict[str, Any]) -> None:
        if claims.get("iss") != self.issuer:
            raise AuthenticationError("The token has another issuer.")
        self._check_audience(claims)
        for name in self.required:
            if claims.get(name) is None:
                raise AuthenticationError(f"The token has no claim {name}.")
        if not isinstance(claims.get("sub", ""), str):
            raise AuthenticationError("The claim sub of the token is malformed.")
        now, leeway = self._clock(), self.leeway_seconds
        if _read_time(claims, "exp", math.inf) <= now - leeway:
            raise AuthenticationError("The token has expired.")
        if max(_read_time(claims, name, -math.inf) for name in ("nbf", "iat")) > now + leeway:
            raise AuthenticationError("The token is not valid yet.")

    def _check_audience(self, claims: dict[str, Any]) -> None:
        audience = claims.get("aud")
        names = [audience] if isinstance(audience, str) else audience
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise AuthenticationError("The token has no audience.")
        if self.audience.isdisjoint(names):
            raise AuthenticationError("The token is for another audience.")


def _accepts(algorithm: str, kid: str | None, key: Key) -> bool:
    """Return whether ``key`` may verify a token with this algorithm and key name."""
    kty, crv = ALGORITHMS[algorithm]
    return (
        (kid is None or key.kid is None or key.kid == kid)
        and key.kty == kty
        and (crv is None or key.crv == crv)
        and key.alg in (None, algorithm)
    )


def _read_object(part: str, name: str) -> dict[str, Any]:
    """Return the JSON object in a part of a token."""
    try:
        # RFC 7515 s.2: base64 for URLs without padding
        padded = part.encode("ascii").translate(_TO_STANDARD) + b"=" * (-len(part) % 4)
        value = orjson.loads(binascii.a2b_base64(padded, strict_mode=True))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise AuthenticationError(f"The {name} of the token is malformed.")
    return value


# "+" and "/" are invalid here, so they become an invalid byte.
_TO_STANDARD = bytes.maketrans(b"-_+/", b"+/!!")


def _read_time(claims: dict[str, Any], name: str, default: float) -> float:
    value = claims.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise AuthenticationError(f"The claim {name} of the token is malformed.")
    return value


def _check_names(names: Any, place: str, may_be_empty: bool = False) -> list[str]:
    if isinstance(names, (str, bytes)) or not isinstance(names, Sequence):
        raise TypeError(f"JWTBackend: {place} must be a list of strings, not {names!r:.80}.")
    if not names and not may_be_empty:
        raise ValueError(f"JWTBackend: {place} must not be empty.")
    for name in names:
        if not isinstance(name, str) or not name:
            raise TypeError(
                f"JWTBackend: {place} needs strings that are not empty, not {name!r:.80}."
            )
    return list(names)


def _check_function(function: Any, place: str) -> Any:
    if not callable(function) or is_async_callable(function):
        raise TypeError(f"JWTBackend: {place} must be a def function, not {function!r:.80}.")
    return function


def _check_client(client: Any) -> Any:
    if client is not None and not isinstance(client, httpx2.AsyncClient):
        raise TypeError(f"JWTBackend: client must be an httpx2.AsyncClient, not {client!r:.80}.")
    return client


def _check_algorithms(algorithms: Any, is_remote: bool) -> tuple[str, ...]:
    names = _check_names(algorithms, "algorithms")
    for name in names:
        if name not in ALGORITHMS:  # above all "none" (RFC 8725 s.3.2)
            raise ValueError(
                f"JWTBackend: the algorithm {name!r:.80} is not allowed. Allowed: {', '.join(ALGORITHMS)}."
            )
    kinds = {ALGORITHMS[name][0] for name in names}
    if is_remote and "oct" in kinds:
        raise ValueError(
            "JWTBackend: algorithms HS... need a shared secret, which jwks_url can't publish. Name the "
            'algorithms of the issuer, nearly always ["RS256"] or ["ES256"].'
        )
    if len(kinds) > 1 and not is_remote:
        raise ValueError(
            f"JWTBackend: one key can't serve the algorithms {', '.join(names)}: they need different keys."
        )
    return tuple(names)


def _check_leeway(seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"JWTBackend: leeway_seconds must be a number, not {seconds!r:.80}.")
    if not 0 <= seconds <= 600:
        raise ValueError(f"JWTBackend: leeway_seconds must be from 0 to 600, not {seconds!r}.")
    return float(seconds)


def _read_own_keys(key: Any, algorithms: tuple[str, ...]) -> list[Key]:
    """Return the keys of the application: one, or those of a JWK set (RFC 7517 s.5)."""
    if not isinstance(key, Mapping) or "keys" not in key:
        return [_read_own_key(key, algorithms)]
    keys = key["keys"]
    if not isinstance(keys, Sequence) or isinstance(keys, (str, bytes)) or not keys:
        raise ValueError("JWTBackend: key is a JWK set, so it needs a list of keys.")
    return [_read_own_key(each, algorithms) for each in keys]


def _read_own_key(key: Any, algorithms: tuple[str, ...]) -> Key:
    """Return the key of the application. Messages never contain it."""
    kty = ALGORITHMS[algorithms[0]][0]
    if isinstance(key, Secret):
        key = str(key)
    if kty == "oct":
        return Key(None, "oct", None, None, _read_secret(key, algorithms))
    found = read_public_key(key) if isinstance(key, Mapping) else _read_pem(key, kty)
    if found is None or found.kty != kty or not is_strong(found):
        raise ValueError(
            f"JWTBackend: key must be a public {kty} key for {', '.join(algorithms)}, as PEM or JWK, and an "
            "RSA key must have 2048 bits or more."
        )
    return found


def _read_pem(key: Any, kty: Any) -> Key | None:
    try:
        value: JoseKey = import_key(key, kty)
        crv = value.as_dict(private=False).get("crv")
    except (JoseError, ValueError, TypeError):
        return None
    return Key(None, kty, crv if isinstance(crv, str) else None, None, value)


def _read_secret(key: Any, algorithms: tuple[str, ...]) -> OctKey:
    if isinstance(key, Mapping) and isinstance(key.get("k"), str):
        key = OctKey.import_key(dict(key)).raw_value
    secret = key.encode() if isinstance(key, str) else key
    if not isinstance(secret, bytes):
        raise TypeError("JWTBackend: key must be a secret string or bytes for the algorithms HS...")
    if b"-----BEGIN" in secret:
        # RFC 8725 s.2.1: everybody knows the public key, so everybody could sign with it.
        raise ValueError(
            "JWTBackend: key is a PEM key, which is no secret for the algorithms HS..."
        )
    # RFC 7518 s.3.2: at least as long as the hash
    shortest = max(int(name[2:]) for name in algorithms) // 8
    if len(secret) < shortest:
        raise ValueError(
            f"JWTBackend: key must have {shortest} bytes or more for {', '.join(algorithms)} (RFC 7518 "
            "s.3.2). Take one from secrets.token_hex(64)."
        )
    return OctKey.import_key(secret)
