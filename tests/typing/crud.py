"""A JSON API with typed state: type checkers must accept every line, and know the types it asserts."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypedDict, assert_type

from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Mount, Route, Router


@dataclass
class Database:
    notes: dict[int, str] = field(default_factory=dict[int, str])


class State(TypedDict):
    database: Database


@asynccontextmanager
async def lifespan(app: Spica) -> AsyncGenerator[State]:
    yield {"database": Database()}


async def list_notes(request: Request[State]) -> JSONResponse:
    database = request.state["database"]
    assert_type(database, Database)
    assert_type(request.query_params.get("page"), str | None)
    assert_type(request.query_params.get("page", "1"), str)
    assert_type(request.query_params["page"], str)
    assert_type(request.query_params.getlist("tag"), list[str])
    assert_type(request.headers.get("accept"), str | None)
    assert_type(request.headers.get("accept", ""), str)
    assert_type(request.cookies.get("theme"), str | None)
    return JSONResponse(list(database.notes.items()))


async def add_note(request: Request[State]) -> Response:
    data: Any = await request.json()
    if not isinstance(data, str):
        raise HTTPException(400, detail="a note is a string")
    notes = request.state["database"].notes
    notes[len(notes)] = data
    url = request.url_for("note", id=len(notes) - 1)
    return Response(status_code=201, headers={"location": str(url)})


def read_note(request: Request[State]) -> JSONResponse:
    return JSONResponse(request.state["database"].notes[request.path_params["id"]])


class Notes:
    """A class whose bound method is an endpoint."""

    async def count(self, request: Request[State]) -> JSONResponse:
        return JSONResponse(len(request.state["database"].notes))


app = Spica(
    routes=[
        Route("/notes", list_notes, methods=["GET"]),
        Route("/notes", add_note, methods=["POST"]),
        Route("/notes/{id:int}", read_note, name="note"),
        Mount("/v1", routes=[Route("/count", Notes().count)]),
        Mount("/v2", app=Router([Route("/count", Notes().count)])),
    ],
    lifespan=lifespan,
)


@app.get("/health")
async def health(request: Request) -> Response:
    return Response()


@app.route("/both", methods=["GET", "POST"])
def both(request: Request[State]) -> Response:
    return Response()


async def use(request: Request[State]) -> None:
    assert_type(both(request), Response)
