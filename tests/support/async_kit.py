"""Applications for the tests of the async test client."""

from typing import Any

import anyio
import anyio.lowlevel

START = {"type": "http.response.start", "status": 200}


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def live(receive: Any, send: Any) -> None:
    """Answer the lifespan."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


class WithLifespan:
    """An application whose lifespan does nothing, around one that has none."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
        else:
            await self.app(scope, receive, send)


class Script:
    """An application of steps: a message to send, an exception, or the name of an action."""

    with_lifespan = WithLifespan

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.log: list[str] = []
        self.received: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        try:
            for step in self.steps:
                await self.carry_out(step, receive, send)
            self.log.append("returned")
        except anyio.get_cancelled_exc_class():
            self.log.append("cancelled")
            raise

    async def carry_out(self, step: Any, receive: Any, send: Any) -> None:
        if isinstance(step, BaseException):
            raise step
        if step == "receive":
            self.received.append(await receive())
        elif step == "sleep":
            await anyio.sleep_forever()
        elif step == "checkpoint":
            await anyio.lowlevel.checkpoint()
        else:
            await send(step)


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Send the request body back piece by piece, each before receiving the next."""
    await send(START)
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send(body(message["body"], more))


echo = WithLifespan(_echo)
