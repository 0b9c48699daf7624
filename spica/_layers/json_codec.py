"""The layer of an application that has its own JSON codec."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from spica._asgi import current_codec as codec
from spica._layers.layer import BaseLayer
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.jsoncodec import JSONCodec
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send

Tasks = Sequence[Callable[[], Awaitable[None]]]


class JSONCodecLayer(BaseLayer):
    """Select ``json_codec`` for an application, and for mounted applications that have none.

    Args:
        app: The app inside.
        json_codec: Reads and writes the JSON of requests and responses.
    """

    def __init__(self, app: ASGIApp, json_codec: JSONCodec) -> None:
        self.app = app
        self.json_codec = json_codec
        codec.look_up()

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the inner answer. The endpoint, the stream and the background tasks use the codec."""
        tasks = _registered_tasks(request)
        token = codec.chosen.set(self.json_codec)
        try:
            answer = await self._layer_inner.respond(request)
        finally:
            codec.chosen.reset(token)
        cleanup = request._cleanup
        if cleanup is not None and cleanup.tasks is not tasks:
            later = [_TaskWithCodec(task, self.json_codec) for task in cleanup.tasks[len(tasks) :]]
            cleanup.tasks = [*tasks, *later]
        return answer if _is_complete_response(answer) else _WithCodec(answer, self.json_codec)

    async def _layer_report(self, request: Request[Any], exc: Exception) -> bool:
        """Pass the error to the layer inside, if it is a ``BaseLayer``."""
        app = self.app
        return not isinstance(app, BaseLayer) or await app._layer_report(request, exc)

    async def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket or the lifespan with the codec."""
        await _WithCodec(self._layer_inner.connect, self.json_codec)(scope, receive, send)


def _registered_tasks(request: Request[Any]) -> Tasks:
    """Return the background tasks that are registered so far."""
    return () if request._cleanup is None else request._cleanup.tasks


def _is_complete_response(answer: ASGIApp) -> bool:
    """Return whether ``answer`` is complete: not a stream or an app, and without a background task."""
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
    """Run an app with a codec.

    An app that a dispatch middleware runs shares the context of the middleware. On trio the codec stays
    selected there until the app returns (docs/decisions/0010-codec-per-application.md).
    """

    __slots__ = ("app", "json_codec")

    def __init__(self, app: ASGIApp, json_codec: JSONCodec) -> None:
        self.app = app
        self.json_codec = json_codec

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = codec.chosen.set(self.json_codec)
        try:
            await self.app(scope, receive, send)
        finally:
            codec.chosen.reset(token)
