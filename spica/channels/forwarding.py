"""Send the events of channels to one WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from spica.channels.messages import ChannelsUnavailable
from spica.channels.subscription import Subscription
from spica.websockets import WebSocketDisconnect, WebSocketDisconnected

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from spica.websockets import WebSocket

CLOSE_SECONDS = 5.0
"""The time that a send may take after the subscription has ended. Then the connection is dropped."""

# RFC 6455 s.7.4.1, and the registry of IANA that it founds.
GOING_AWAY, TRY_AGAIN_LATER = 1001, 1013

_CODES = {
    "slow": (TRY_AGAIN_LATER, "Too slow"),
    "shutdown": (GOING_AWAY, "The server is shutting down"),
    "unavailable": (TRY_AGAIN_LATER, "Channels are unavailable"),
}


class Forwarding:
    """One call of `Channels.forward`: the sender, and a task that waits for the disconnect."""

    __slots__ = ("_error", "_is_single", "_reason", "_scope", "_task_status", "_websocket")

    def __init__(
        self, websocket: WebSocket, is_single: bool, task_status: TaskStatus[None]
    ) -> None:
        self._task_status = task_status
        self._websocket = websocket
        self._is_single = is_single
        self._reason: str | None = None
        self._error: BaseException | None = None
        self._scope = anyio.CancelScope()

    async def run(self, opening: AbstractAsyncContextManager[Subscription]) -> None:
        """Forward until the peer leaves, the subscription ends, or the backend is down at the start.

        Raises:
            Exception: The websocket or the subscription raised it.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            with self._scope:
                try:
                    await self._send_all(opening)
                except ChannelsUnavailable:
                    self._reason = "unavailable"
                    self._task_status.started()
                except (WebSocketDisconnect, WebSocketDisconnected):
                    pass  # the peer has left, or the endpoint has closed the connection
                except Exception as exc:
                    self._error = exc  # raised outside of the task group, which would wrap it
            tasks.cancel_scope.cancel()
        if self._error is not None:
            raise self._error
        if self._reason is not None:
            await self._close(*_CODES[self._reason])

    async def _send_all(self, opening: AbstractAsyncContextManager[Subscription]) -> None:
        async with opening as subscription:
            subscription.on_end = self._hurry
            self._task_status.started()
            send = self._websocket.send_text
            async for item in subscription:
                if self._is_single:
                    await send(item.to_json())
                else:
                    await send(item.to_json(subscription.position))
            self._reason = subscription.end_reason

    def _hurry(self, reason: str) -> None:
        """Limit a send that is under way: a peer that reads nothing must not hold the connection."""
        self._reason = reason
        self._scope.deadline = min(self._scope.deadline, anyio.current_time() + CLOSE_SECONDS)

    async def _watch(self) -> None:
        await self._websocket.wait_for_disconnect()
        self._scope.cancel()

    async def _close(self, code: int, reason: str) -> None:
        with anyio.move_on_after(CLOSE_SECONDS):
            try:
                await self._websocket.close(code, reason)
            except (WebSocketDisconnect, WebSocketDisconnected):
                pass  # the peer or the endpoint was faster
            else:
                self._websocket._was_lost = True
