"""A chat with presence. Every message reaches every page once, whichever worker serves it."""

from functools import partial

import anyio

from live.showcase import LIVE, Demo
from live.state import channels
from spica.exceptions import WebSocketException
from spica.requests import Request
from spica.responses import EventSourceResponse, Response
from spica.routing import Route, WebSocketRoute
from spica.websockets import WebSocket

MAX_LENGTH = 500


async def live(websocket: WebSocket) -> None:
    """Receive the messages of a page, and send it those of all pages."""
    name = str(websocket.session.get("user") or websocket.query_params.get("name", ""))[:30]
    if not name.strip():
        raise WebSocketException(1008, "Choose a name first.")

    async def say(text: str) -> None:
        if text.strip():
            await channels.publish("chat", {"name": name, "text": text[:MAX_LENGTH]})

    await websocket.accept()
    after = websocket.query_params.get("after")
    async with channels.presence.track("chat", name), anyio.create_task_group() as group:
        group.start_soon(partial(channels.forward, websocket, "chat", after=after))
        await websocket.run(say, max_messages_per_second=5)
        group.cancel_scope.cancel()


async def people(request: Request) -> Response:
    """Stream the people in the chat: first all of them, then joins and leaves."""
    return EventSourceResponse(channels.presence.events("chat"))


page = Demo(
    LIVE,
    __name__,
    "Chat",
    "Messages and presence over WebSockets, on all workers, without a lost message.",
    ("live", "people"),
    "channels",
)

routes = [
    Route("/chat", page.show, name="chat"),
    Route("/chat/people", people, name="people"),
    WebSocketRoute("/chat/live", live, name="chat_live"),
]
