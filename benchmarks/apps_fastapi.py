"""FastAPI's apps, the same on whatever ``starlette`` means in this process."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from benchmarks.cases import SMALL, Apps, Material


class User(BaseModel):
    """What a client posts, and gets back."""

    id: int
    name: str
    active: bool
    tags: list[str]


async def plain() -> PlainTextResponse:
    return PlainTextResponse("Hello, world!")


async def small() -> dict[str, Any]:
    return SMALL


async def params(user_id: int, slug: str, q: str, page: int = 1) -> PlainTextResponse:
    return PlainTextResponse(f"{user_id} {slug} {q} {page}")


async def echo(user: User) -> User:
    return user


def greeting() -> str:
    return "Hello"


def subject() -> str:
    return "world"


def in_threads(
    greeting: Annotated[str, Depends(greeting)], subject: Annotated[str, Depends(subject)]
) -> PlainTextResponse:
    return PlainTextResponse(f"{greeting}, {subject}!")


async def let_pass(request: Request, call_next: Any) -> Any:
    return await call_next(request)


def apps(material: Material) -> Apps:
    """Return an app for each case."""
    made = {name: FastAPI() for name in ("plain", "json", "params", "body", "thread")}
    made["plain"].get("/")(plain)
    made["json"].get("/")(small)
    made["params"].get("/users/{user_id}/posts/{slug}")(params)
    made["body"].post("/")(echo)
    made["thread"].get("/")(in_threads)
    return made | {f"middleware-{number}": behind(number) for number in (1, 5)}


def behind(middlewares: int) -> FastAPI:
    """Return the app of the first case behind middlewares that let everything pass."""
    app = FastAPI()
    app.get("/")(plain)
    for _ in range(middlewares):
        app.middleware("http")(let_pass)
    return app
