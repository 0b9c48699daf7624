"""An endpoint for the dependency injection of another framework is refused where its route is made."""

import uuid
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

from spica.datastructures import UploadFile
from spica.requests import HTTPConnection, Request
from spica.routing import Route, WebSocketRoute


@dataclass
class Star:
    name: str


class Options(TypedDict):
    name: str


class Struct(msgspec.Struct):
    name: str


class Model(pydantic.BaseModel):
    name: str


class OwnRequest(Request[Any]):
    pass


def takes_path_parameter(item_id: Any) -> None: ...
def takes_int(number: int) -> None: ...
def takes_string_annotation(q: "str") -> None: ...
def takes_list(names: list[int]) -> None: ...
def takes_uuid(key: uuid.UUID) -> None: ...
def takes_dataclass(star: Star) -> None: ...
def takes_quoted_dataclass(star: "Star") -> None: ...
def takes_typed_dict(options: Options) -> None: ...
def takes_struct(struct: Struct) -> None: ...
def takes_model(model: Model) -> None: ...
def takes_file(file: UploadFile) -> None: ...


class Methods:
    def takes_int(self, number: int) -> None: ...
    def takes_request(self, request: Request) -> None: ...


@pytest.mark.parametrize(
    ("function", "fix"),
    [
        (
            takes_path_parameter,
            "takes 'item_id'. Name the parameter 'request', and read request.path_params[",
        ),
        (
            takes_int,
            "takes 'number' of type int. Name the parameter 'request', and read request.path_params[",
        ),
        (takes_string_annotation, "takes 'q' of type str."),
        (takes_list, "takes 'names' of type list."),
        (takes_uuid, "takes 'key' of type UUID."),
        (
            takes_dataclass,
            "takes 'star' of type Star. Name the parameter 'request', and call `await request.read(Star)`.",
        ),
        (takes_quoted_dataclass, "takes 'star' of type Star."),
        (takes_typed_dict, "takes 'options' of type Options."),
        (takes_struct, "takes 'struct' of type Struct."),
        (takes_model, "takes 'model' of type Model."),
        (
            takes_file,
            "takes the file 'file'. Name the parameter 'request', and read (await request.form())['file'].",
        ),
        (Methods().takes_int, "takes 'number' of type int."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_function_for_values_is_refused_with_the_fix(function: Any, fix: str) -> None:
    with pytest.raises(TypeError) as caught:
        Route("/{item_id}", function)
    assert str(caught.value).startswith(
        "Route('/{item_id}'): spica calls the endpoint with one argument"
    )
    assert f"({__file__}:" in str(caught.value)
    assert fix in str(caught.value)


def test_a_parameter_of_fastapi_is_refused() -> None:
    default = type("Depends", (), {"__module__": "fastapi.params"})()

    def endpoint(request: Request, database: Any = default) -> None: ...

    with pytest.raises(TypeError, match="spica has no dependency injection"):
        Route("/", endpoint)  # type: ignore[arg-type]


def test_a_websocket_is_named() -> None:
    async def endpoint(room: str) -> None: ...

    with pytest.raises(
        TypeError, match=r"Name the parameter 'websocket', and read websocket\.path_params"
    ):
        WebSocketRoute("/{room}", endpoint)  # type: ignore[arg-type]


def plain(request): ...  # type: ignore[no-untyped-def]
def annotated(request: Request) -> None: ...
def wider(conn: HTTPConnection) -> None: ...
def own(request: OwnRequest) -> None: ...
def anything(request: Any) -> None: ...
def unknown(request: "Unknown") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def generic(request: "Request[Any]") -> None: ...
def rest(*args: int) -> None: ...
def later(request: Any, number: int = 1) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        plain,
        annotated,
        wider,
        own,
        anything,
        unknown,
        generic,
        rest,
        later,
        Methods().takes_request,
    ],
    ids=lambda function: function.__name__,
)
def test_a_function_for_a_request_passes(function: Any) -> None:
    Route("/{item_id}", function)


def test_a_path_parameter_may_have_the_name_of_the_connection():
    async def show(request):
        pass

    async def read(item: Request):
        pass

    assert Route("/logs/{request}", show).path == "/logs/{request}"

    async def save(request: Star):
        pass

    with pytest.raises(TypeError, match="takes 'request' of type Star"):
        Route("/stars", save)
    assert Route("/items/{item}", read).path == "/items/{item}"
