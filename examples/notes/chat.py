"""A chat in one room, without names in a session or messages in a database."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from spica.exceptions import WebSocketException
from spica.websockets import WebSocket, WebSocketDisconnect

MAX_TEXT_LENGTH = 500
MAX_NAME_LENGTH = 30
MAX_WAITING = 100
"""How many messages may wait for a guest whose line is slow, before the guest is let go."""

Message = dict[str, str]


class Room:
    """Pass what one guest says to all of them. Nobody waits for the slowest."""

    def __init__(self) -> None:
        self.guests: set[MemoryObjectSendStream[Message]] = set()

    @contextmanager
    def enter(self) -> Iterator[MemoryObjectReceiveStream[Message]]:
        """Be a guest for a while; yields the stream of what is said."""
        door, inbox = anyio.create_memory_object_stream[Message](MAX_WAITING)
        self.guests.add(door)
        try:
            with door, inbox:
                yield inbox
        finally:
            self.guests.discard(door)

    def say(self, name: str, text: str) -> None:
        for door in list(self.guests):
            try:
                door.send_nowait({"name": name, "text": text})
            except anyio.WouldBlock:
                self.guests.discard(door)
                door.close()


async def live(websocket: WebSocket) -> None:
    """Let one guest talk: text comes in, ``{"name": ..., "text": ...}`` goes out to everybody."""
    room: Room = websocket.state.chat_room
    name = websocket.query_params.get("name", "").strip()[:MAX_NAME_LENGTH] or "guest"
    problem: WebSocketException | None = None
    await websocket.accept()
    with room.enter() as inbox:
        room.say("", f"{name} has come in.")
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pass_on, inbox, websocket, tasks.cancel_scope)
                problem = await listen(websocket, room, name)
                tasks.cancel_scope.cancel()
        finally:
            room.say("", f"{name} has left.")
    if problem is not None:
        raise problem  # outside of the task group, which would wrap it in an ExceptionGroup


async def listen(websocket: WebSocket, room: Room, name: str) -> WebSocketException | None:
    """Tell the room what a guest says, until the guest leaves; return what the guest did wrong."""
    try:
        async for text in websocket.iter_text():
            if text.strip():
                room.say(name, text.strip()[:MAX_TEXT_LENGTH])
    except WebSocketException as problem:  # something other than text
        return problem
    return None


async def pass_on(
    inbox: MemoryObjectReceiveStream[Message], websocket: WebSocket, scope: anyio.CancelScope
) -> None:
    """Tell a guest what is said in the room, until the room has let the guest go."""
    try:
        async for message in inbox:
            await websocket.send_json(message)
        await websocket.close(code=1008, reason="Your line is too slow.")
    except WebSocketDisconnect:  # whoever listens to the guest notices that too
        pass
    scope.cancel()
