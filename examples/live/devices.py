"""Sessions in the store: a list of your devices, and a logout that reaches the other window at once."""

from live.showcase import LIVE, Demo, templates
from live.state import channels, sessions
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses import EventSourceResponse, RedirectResponse, Response
from spica.routing import Route

MAX_NAME = 30


def device_of(request: Request) -> str:
    """Return a short name for the browser of a request."""
    agent = request.headers.get("user-agent", "")
    for name in ("Edg", "Firefox", "Chrome", "Safari", "curl"):
        if name in agent:
            return "Edge" if name == "Edg" else name
    return "unknown browser"


async def login(request: Request) -> Response:
    """Log in. ``bind`` gives the session a new id, and puts it on the list of the user."""
    async with request.form() as form:
        name = str(form.get("name", "")).strip()[:MAX_NAME]
    if not name:
        raise HTTPException(422, "Choose a name.")
    request.session["user"] = name
    request.session.bind(name, device=device_of(request))
    return RedirectResponse(request.url_for("devices"), status_code=303)


async def logout(request: Request) -> Response:
    """End this session."""
    user = request.session.get("user")
    request.session.clear()
    if user:
        await channels.publish(f"devices:{user}", "logout")
    return RedirectResponse(request.url_for("devices"), status_code=303)


async def revoke(request: Request) -> Response:
    """End another session of the same user. Its windows see it at once."""
    user = request.session.get("user")
    async with request.form() as form:
        id_hash = str(form.get("session", ""))
    own = await sessions.of(user) if user else []
    if id_hash not in {session.id_hash for session in own}:
        raise HTTPException(404, "There is no such session.")
    await sessions.revoke(id_hash)
    await channels.publish(f"devices:{user}", "revoke")
    return RedirectResponse(request.url_for("devices"), status_code=303)


async def changes(request: Request) -> Response:
    """Stream the changes of the user's sessions."""
    user = request.session.get("user")
    if not user:
        return EventSourceResponse.stop()
    return EventSourceResponse(channels.events(f"devices:{user}"))


async def show(request: Request) -> Response:
    """Show the login, or the list of devices."""
    user = request.session.get("user")
    context = {
        "demo": page,
        "sessions": await sessions.of(user) if user else [],
        "own": request.session.id_hash if user else None,
    }
    return templates.TemplateResponse(request, "devices.html", context)


page = Demo(
    LIVE,
    __name__,
    "Your devices",
    "Sessions on the server: see where you are logged in, and log out elsewhere.",
    ("login", "revoke"),
    "sessions",
)

routes = [
    Route("/devices", show, name="devices"),
    Route("/devices/changes", changes, name="device_changes"),
    Route("/devices/login", login, methods=["POST"], name="login"),
    Route("/devices/logout", logout, methods=["POST"], name="logout"),
    Route("/devices/revoke", revoke, methods=["POST"], name="revoke"),
]
