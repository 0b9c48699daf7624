"""The layer of an application that has a JSON codec of its own: it is in force for all that is inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from spica._asgi import codec
from spica._layers.responder import Responder
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.jsoncodec import JSONCodec
    from spica.requests import Request
    from spica.types import ASGIApp, Message, Receive, Scope, Send

Tasks = Sequence[Callable[[], Awaitable[None]]]


class JSONCodecLayer(Responder):
    """Put ``json_codec`` in force for an application, and for those mounted in it that have none."""

    def __init__(self, app: ASGIApp, json_codec: JSONCodec) -> None:
        self.app = app
        self.json_codec = json_codec
        codec.look_up()

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer, made with the codec; what is still to be made of it is made so too."""
        tasks = _put_off(request)
        token = codec.chosen.set(self.json_codec)
        try:
            answer = await self._layer_ask(request)
        finally:
            codec.chosen.reset(token)
        aftermath = request._aftermath
        if aftermath is not None and aftermath.tasks is not tasks:
            later = [
                _TaskWithCodec(task, self.json_codec) for task in aftermath.tasks[len(tasks) :]
            ]
            aftermath.tasks = [*tasks, *later]
        return answer if _is_made(answer) else _WithCodec(answer, self.json_codec)

    async def _layer_report(self, request: Request[Any], exc: Exception) -> bool:
        """Tell the layer inside, where that is one of ours."""
        app = self.app
        return not isinstance(app, Responder) or await app._layer_report(request, exc)

    async def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket or the lifespan with the codec."""
        await _WithCodec(self._layer_inner_connect, self.json_codec)(scope, receive, send)


def _put_off(request: Request[Any]) -> Tasks:
    """Return the background tasks that are to be run when the response has been sent."""
    return () if request._aftermath is None else request._aftermath.tasks


def _is_made(answer: ASGIApp) -> bool:
    """Return whether an answer has all that there will be of it: no stream, no app, no task."""
    return (
        isinstance(answer, Response)
        and type(answer).__call__ is Response.__call__
        and answer.background is None
        and answer._replaced_body is None
    )


class _TaskWithCodec:
    """Run a background task with a codec."""

    __slots__ = ("json_codec", "task")

    def __init__(self, task: Callable[[], Awaitable[None]], json_codec: JSONCodec) -> None:
        self.task = task
        self.json_codec = json_codec

    async def __call__(self) -> None:
        token = codec.chosen.set(self.json_codec)
        try:
            await self.task()
        finally:
            codec.chosen.reset(token)


class _WithCodec:
    """Run an app with a codec."""

    __slots__ = ("app", "json_codec")

    def __init__(self, app: ASGIApp, json_codec: JSONCodec) -> None:
        self.app = app
        self.json_codec = json_codec

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outward = _Outward(send, self.json_codec)
        codec.chosen.set(self.json_codec)
        try:
            await self.app(scope, receive, outward)
        finally:
            codec.chosen.set(outward.outside)


class _Outward:
    """Send with the codec outside: a dispatch middleware there goes on, in the same context, meanwhile."""

    __slots__ = ("inside", "outside", "send")

    def __init__(self, send: Send, inside: JSONCodec) -> None:
        self.send = send
        self.inside = inside
        self.outside = codec.chosen.get()

    async def __call__(self, message: Message) -> None:
        codec.chosen.set(self.outside)
        try:
            await self.send(message)
        finally:
            # The layers outside may have ended meanwhile, each with the codec further out.
            self.outside = codec.chosen.get()
            codec.chosen.set(self.inside)
