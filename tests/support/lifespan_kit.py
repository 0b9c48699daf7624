"""A server that starts and stops an application, and lifespans that note what happens to them."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any


class Server:
    """The server's side of the lifespan protocol."""

    def __init__(self, *, has_state: bool = True) -> None:
        self.scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}}
        if has_state:
            self.scope["state"] = {}
        self.messages = ["lifespan.startup", "lifespan.shutdown"]
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return {"type": self.messages.pop(0)}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def run(self, app: Any) -> Any:
        await app(self.scope, self.receive, self.send)
        return self

    @property
    def types(self) -> list[str]:
        return [message["type"].removeprefix("lifespan.") for message in self.sent]


def noting(steps: list[Any], state: Any = None) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        steps.append(("start", app))
        yield state
        steps.append(("stop", app))

    return lifespan
