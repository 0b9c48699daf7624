"""A JSON API: tokens with scopes, and bodies that are read into a class."""

import hashlib
import time
from dataclasses import dataclass, field
from typing import Literal

from joserfc import jwt
from joserfc.jwk import OctKey

from live.showcase import SERVICE, Demo
from live.state import SECRET
from spica.auth.jwt import JWTBackend
from spica.authentication import requires
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Mount, Route

ISSUER, AUDIENCE = "https://live.example/", "https://live.example/api"
SECONDS = 300

# A key of its own, so that no token can serve as a signed cookie.
KEY = hashlib.sha256(f"tokens {SECRET}".encode()).hexdigest()

backend = JWTBackend(issuer=ISSUER, audience=AUDIENCE, key=KEY, algorithms=["HS256"])


@dataclass
class Star:
    """A star, as clients send it."""

    name: str
    magnitude: float
    color: Literal["blue", "white", "yellow", "red"] = "white"
    tags: list[str] = field(default_factory=list)


@dataclass
class Wish:
    """The scopes that a client asks for. A real issuer would ask who you are first."""

    scope: Literal["stars:read", "stars:read stars:write"] = "stars:read"


async def issue(request: Request) -> Response:
    """Issue a token for five minutes. In production, an identity provider does this."""
    wish = await request.read(Wish)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "visitor",
        "scope": wish.scope,
        "exp": int(time.time()) + SECONDS,
    }
    token = jwt.encode({"alg": "HS256", "typ": "at+jwt"}, claims, OctKey.import_key(KEY))
    return JSONResponse({"token": token, "seconds": SECONDS}, headers={"cache-control": "no-store"})


@requires("stars:write")
async def add(request: Request) -> Response:
    """Read a star. A body that does not fit gets a 422 with all of its mistakes."""
    star = await request.read(Star)
    return JSONResponse({"added": star.name, "by": request.user.identity}, status_code=201)


page = Demo(
    SERVICE,
    __name__,
    "A JSON API",
    "Tokens with scopes, and typed bodies: see the 401, the 403, the 422 with its reasons, and the 201.",
    ("Star", "backend", "add"),
    "authentication",
)

routes = [
    Route("/api", page.show, name="api"),
    Route("/api/tokens", issue, methods=["POST"], name="issue_token"),
    Mount(
        "/api",
        routes=[Route("/stars", add, methods=["POST"], name="add_star")],
        middleware=[
            Middleware(AuthenticationMiddleware, backend=backend, challenge="Bearer"),
        ],
        name="stars",
    ),
]
