"""Who are you to me: the client as the application sees it, without and with trusted proxies."""

from dataclasses import dataclass, field
from typing import NamedTuple

from live.showcase import FRONT, Demo, templates
from spica.middleware.proxyheaders import ProxyHeadersMiddleware
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Route
from spica.types import ASGIApp, Message, Receive, Scope, Send

PROXY, STRANGER = "10.0.0.1", "198.51.100.7"


class Field(NamedTuple):
    """A header field of proxies: an example, the fact that it reports, and why it may have no effect."""

    example: str
    fact: str
    reason: str


FIELDS = {
    "x-forwarded-for": Field("6.6.6.6, 203.0.113.9", "client", "the last entry is not an address"),
    "x-forwarded-proto": Field("https", "scheme", "the scheme must be http, https, ws or wss"),
    "x-forwarded-host": Field("shop.example", "host", "it is not a valid host"),
    "x-forwarded-prefix": Field("/shop", "prefix", "a prefix is a clean path such as /shop"),
    "forwarded": Field(
        "for=6.6.6.6", "", "the application reads X-Forwarded, and believes one kind only"
    ),
}


@dataclass
class Arrival:
    """A request to play: who has opened the connection, and the fields that came with it."""

    peer: str = PROXY
    fields: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.peer not in (PROXY, STRANGER):
            raise ValueError("has a peer that this page does not know")
        self.fields = {name: self.fields[name].strip() for name in FIELDS if self.fields.get(name)}


def facts_of(request: Request) -> dict[str, str]:
    """Return the facts that applications decide by."""
    return {
        "client": request.client.host if request.client else "unknown",
        "scheme": request.url.scheme,
        "host": request.url.netloc,
        "prefix": request.scope.get("root_path") or "none",
    }


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Note the facts, in place of an application."""
    scope["seen"].update(facts_of(Request(scope)))
    await Response()(scope, receive, send)


trusting = ProxyHeadersMiddleware(application, trusted=["10.0.0.0/8"], host=True, prefix=True)


async def discard(message: Message) -> None:
    """Send a message to nobody."""


async def arrive(app: ASGIApp, request: Request, arrival: Arrival) -> dict[str, str]:
    """Play the arrival of a request, and return the facts that the application sees."""
    seen: dict[str, str] = {}
    fields = {"host": "app:8000", **arrival.fields}
    played: Scope = {
        **request.scope,
        "client": (arrival.peer, 50000),
        "scheme": "http",
        "root_path": "",
        "headers": [(name.encode(), value.encode("utf-8")) for name, value in fields.items()],
        "seen": seen,
    }
    await app(played, request.receive, discard)
    return seen


def explain(arrival: Arrival, plain: dict[str, str], seen: dict[str, str]) -> dict[str, str]:
    """Return for each field whether it has counted, and why not."""
    if arrival.peer != PROXY:
        reason = (
            f"Ignored: {arrival.peer} is not one of your proxies, so it may have made the field up."
        )
        return dict.fromkeys(arrival.fields, reason)
    reasons = {}
    for name, value in arrival.fields.items():
        _, fact, reason = FIELDS[name]
        has_counted = bool(fact) and (seen[fact] != plain[fact] or value in (plain[fact], "ws"))
        reasons[name] = "Used." if has_counted else f"Ignored: {reason}."
        if has_counted and fact == "client" and "," in value:
            reasons[name] = (
                f"Used: {seen[fact]}, which your proxy has added. The client wrote the rest."
            )
    return reasons


async def play(request: Request) -> Response:
    """Play a request twice: without the layer, and with it."""
    arrival = await request.read(Arrival)
    plain, trusted = [await arrive(app, request, arrival) for app in (application, trusting)]
    fields = explain(arrival, plain, trusted)
    return JSONResponse({"without": plain, "trusted": trusted, "fields": fields})


async def show(request: Request) -> Response:
    """Show the page, with the facts of the request for it."""
    context = {
        "demo": page,
        "own": facts_of(request),
        "fields": FIELDS,
        "peers": (PROXY, STRANGER),
    }
    return templates.TemplateResponse(request, "whoami.html", context)


page = Demo(
    FRONT,
    __name__,
    "Who are you to me",
    "The client's address, scheme, host and prefix, and which proxy's word for them counts.",
    ("facts_of", "trusting", "play"),
    "proxies",
)

routes = [
    Route("/whoami", show, name="whoami"),
    Route("/whoami/play", play, methods=["POST"], name="play_arrival"),
]
