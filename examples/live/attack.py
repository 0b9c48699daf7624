"""A page of another origin attacks this one. The page shows what the attacker sees, and why it fails.

For a browser, ``localhost`` and ``127.0.0.1`` are two sites, so this server can play both of them.
"""

from typing import Any

from live.showcase import FRONT, Demo, templates
from live.state import channels
from spica.exceptions import HTTPException
from spica.layers import Answer, Layer
from spica.middleware.securityheaders import CSP
from spica.requests import Request
from spica.responses import EventSourceResponse, PlainTextResponse, Response
from spica.routing import Route, WebSocketRoute
from spica.types import Message, Receive, Scope, Send
from spica.websockets import WebSocket

OTHER_NAMES = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}


def other_origin(request: Request, scheme: str = "http") -> str | None:
    """Return the origin of this server under its other name, or None if it has no other name."""
    name = OTHER_NAMES.get(request.url.hostname or "")
    return f"{scheme}://{name}:{request.url.port}" if name else None


async def transfer(request: Request) -> Response:
    """Send money. The layer CrossOriginMiddleware lets no other site come this far."""
    return PlainTextResponse("The money is on its way.")


async def account(request: Request) -> Response:
    """Show a page that nobody may put in a frame. The browser reports whoever tries."""
    policy = CSP(default_src=[CSP.SELF], frame_ancestors=[CSP.NONE], report_uri=["/attack/reports"])
    return PlainTextResponse("1,000 €", headers={"content-security-policy": policy.serialize()})


async def feed(websocket: WebSocket) -> None:
    """Stream the private messages of the user whose cookie came with the handshake."""
    await websocket.accept()
    await websocket.close()


class Witness(Layer):
    """Publish the reason of each 403 for this page. It is outside the layer that refuses."""

    async def respond(self, request: Request[Any]) -> Answer:
        """Look at the answer to a request, which is a value."""
        answer = await self.inner.respond(request)
        if isinstance(answer, Response) and answer.status_code == 403:
            await self.testify(request.scope, bytes(answer.body))
        return answer

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at the messages that deny a WebSocket."""

        async def watch(message: Message) -> None:
            if message["type"] == "websocket.http.response.body":
                await self.testify(scope, message.get("body", b""))
            await send(message)

        await self.inner.connect(scope, receive, watch if scope["type"] == "websocket" else send)

    async def testify(self, scope: Scope, reason: bytes) -> None:
        """Publish a refusal."""
        if scope["path"].startswith("/attack/"):
            attempt = "socket" if scope["type"] == "websocket" else "post"
            await channels.publish(
                "attacks", {"attempt": attempt, "reason": f"403: {reason.decode()}"}
            )


async def take_report(request: Request) -> Response:
    """Take a report of the browser: it has refused something that the page's policy forbids."""
    content = await request.json()
    violation = content.get("csp-report") if isinstance(content, dict) else None
    if not isinstance(violation, dict):
        raise HTTPException(422, "This is not a report of a violation.")
    directive = str(violation.get("effective-directive", ""))[:40]
    attempt = "frame" if directive == "frame-ancestors" else "script"
    reason = f"The browser reports a violation of {directive} in the policy."
    await channels.publish("attacks", {"attempt": attempt, "reason": reason})
    return Response(status_code=204)


async def events(request: Request) -> Response:
    """Stream the refusals."""
    return EventSourceResponse(channels.events("attacks"))


async def show(request: Request) -> Response:
    """Show the page of the victim, which has the page of the attacker in a frame."""
    attacker = other_origin(request)
    policy = CSP(
        default_src=[CSP.SELF],
        frame_src=[attacker or CSP.NONE],
        img_src=[CSP.SELF, "data:"],
        report_uri=["/attack/reports"],
    )
    context = {"demo": page, "attacker": attacker}
    headers = {"content-security-policy": policy.serialize()}
    return templates.TemplateResponse(request, "attack.html", context, headers=headers)


async def attacker(request: Request) -> Response:
    """Show the page of the attacker. Its own policy lets it reach the victim."""
    victim = other_origin(request)
    sources = [victim, str(other_origin(request, "ws"))] if victim else [CSP.NONE]
    policy = CSP(
        default_src=[CSP.SELF],
        connect_src=sources,
        frame_src=sources[:1],
        frame_ancestors=sources[:1],
    )
    headers = {"content-security-policy": policy.serialize()}
    return templates.TemplateResponse(request, "attacker.html", {"victim": victim}, headers=headers)


page = Demo(
    FRONT,
    __name__,
    "An attack",
    "Another site tries a forged form, a frame, a script and a WebSocket. See each of them fail, and why.",
    ("transfer", "account", "Witness", "take_report"),
    "browser-safety",
)

routes = [
    Route("/attack", show, name="attack"),
    Route("/attack/attacker", attacker, name="attacker"),
    Route("/attack/account", account),
    Route("/attack/transfer", transfer, methods=["POST"]),
    Route("/attack/events", events, name="attack_events"),
    Route("/attack/reports", take_report, methods=["POST"], name="csp_reports"),
    WebSocketRoute("/attack/feed", feed),
]
