"""A fake issuer of tokens: it signs, publishes its keys, rotates them, and goes down."""

import json

import httpx2
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

_CACHE = {}


def make_key(kid, kty="EC"):
    """Return a private key. Keys are made once, since RSA keys take long."""
    if (kid, kty) not in _CACHE:
        parameters = {"kid": kid}
        _CACHE[kid, kty] = (
            ECKey.generate_key("P-256", parameters)
            if kty == "EC"
            else RSAKey.generate_key(2048, parameters)
        )
    return _CACHE[kid, kty]


class Issuer:
    """The issuer, with a transport for ``httpx2.AsyncClient`` that counts requests."""

    url = "https://id.example/jwks.json"

    def __init__(self, *kids):
        self.keys = [make_key(kid) for kid in kids or ("one",)]
        self.requests = 0
        self.now = 1_000_000.0
        self.failure = None  # a status, an exception, or a function that returns a response
        self.client = httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer))

    def clock(self):
        return self.now

    def document(self):
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    async def answer(self, request):
        assert str(request.url) == self.url
        self.requests += 1
        if isinstance(self.failure, Exception):
            raise self.failure
        if isinstance(self.failure, int):
            return httpx2.Response(self.failure)
        if self.failure is not None:
            return await self.failure(request)
        return httpx2.Response(200, json=self.document())

    def claims(self, **changes):
        claims = {
            "iss": "https://id.example/",
            "aud": "api",
            "sub": "7",
            "exp": int(self.now) + 300,
            "scope": "read write",
        }
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key=None, header=None, **changes):
        key = key or self.keys[0]
        fields = {"alg": "ES256", "kid": key.kid, "typ": "at+jwt", **(header or {})}
        fields = {name: value for name, value in fields.items() if value is not None}
        return sign(fields, json.dumps(self.claims(**changes)).encode(), key)


def sign(header, payload, key):
    registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
    return jws.serialize_compact(header, payload, key, registry=registry)
