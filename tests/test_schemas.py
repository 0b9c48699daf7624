"""Schemas from docstrings."""

import functools
import sys
from typing import Any

import pytest
import yaml

from spica.applications import Spica
from spica.endpoints import HTTPEndpoint
from spica.requests import Request
from spica.responses import Response
from spica.routing import Host, Mount, Route, Router, WebSocketRoute
from spica.schemas import BaseSchemaGenerator, EndpointInfo, OpenAPIResponse, SchemaGenerator

BASE = {"openapi": "3.2.0", "info": {"title": "x"}}


def described(request: Any) -> Response:
    """
    Say what it is.

    ---
    responses:
      200:
        description: ok
    """
    return Response()


DESCRIPTION = {"responses": {200: {"description": "ok"}}}


def bare(request: Any) -> Response:
    """Answer, without a schema."""
    return Response()


class Endpoint(HTTPEndpoint):
    def get(self, request: Request) -> Response:
        """
        x: 1
        """
        return Response()

    def query(self, request: Request) -> Response:
        """
        x: 2
        """
        return Response()


def paths(*routes: Any, base: dict[str, Any] = BASE) -> dict[str, Any]:
    schema = SchemaGenerator(base).get_schema(list(routes))
    result: dict[str, Any] = schema["paths"]
    return result


def test_the_schema_is_the_base_with_the_paths() -> None:
    schema = SchemaGenerator(BASE).get_schema([Route("/a", described)])

    assert schema == {**BASE, "paths": {"/a": {"get": DESCRIPTION}}}
    assert "paths" not in BASE


def test_paths_of_the_base_are_kept_and_not_changed() -> None:
    base = {"paths": {"/a": {"post": {"x": 1}}}}

    assert paths(Route("/a", described), base=base) == {
        "/a": {"post": {"x": 1}, "get": DESCRIPTION}
    }
    assert base == {"paths": {"/a": {"post": {"x": 1}}}}


def test_each_method_of_a_route_is_listed_in_order() -> None:
    endpoints = SchemaGenerator({}).get_endpoints(
        [Route("/a", described, methods=["POST", "GET", "DELETE"])]
    )

    assert endpoints == [
        EndpointInfo("/a", "delete", described),
        EndpointInfo("/a", "get", described),
        EndpointInfo("/a", "post", described),
    ]


def test_each_method_of_a_class_is_described() -> None:
    assert paths(Route("/a", Endpoint)) == {"/a": {"get": {"x": 1}, "query": {"x": 2}}}


@pytest.mark.parametrize(
    ("version", "has_query"),
    [
        ("3.0.0", False),
        ("3.1", False),
        ("3.2.0", True),
        ("3.10", True),
        ("4.0", True),
        ("x", False),
        (None, False),
    ],
)
def test_query_is_described_from_openapi_3_2_on(version: Any, has_query: bool) -> None:
    described_methods = paths(Route("/a", Endpoint), base={"openapi": version})["/a"]

    assert ("query" in described_methods) is has_query


def test_convertors_are_no_part_of_a_path() -> None:
    assert list(paths(Route("/a/{id:int}/{rest:path}", described))) == ["/a/{id}/{rest}"]


def test_mounts_and_hosts_are_walked() -> None:
    app = Spica(routes=[Route("/z", described)])

    assert list(
        paths(
            Mount("/sub/{x:int}", routes=[Mount("/deep", routes=[Route("/a", described)])]),
            Mount("/app", app=app),
            Host("{h}.example.org", app=Router(routes=[Route("/hosted", described)])),
        )
    ) == ["/sub/{x}/deep/a", "/app/z", "/hosted"]


def test_what_says_nothing_is_left_out() -> None:
    async def websocket(ws: Any) -> None: ...

    assert (
        paths(
            Route("/bare", bare),
            Route("/hidden", described, include_in_schema=False),
            WebSocketRoute("/ws", websocket),
        )
        == {}
    )


def test_the_function_in_a_partial_is_described() -> None:
    assert paths(Route("/a", functools.partial(described))) == {"/a": {"get": DESCRIPTION}}


@pytest.mark.parametrize(
    ("doc", "schema"),
    [
        (None, {}),
        ("", {}),
        ("Prose only.", {}),
        ("Prose: with: colons [", {}),
        ("- a\n- b", {}),
        ("a: 1", {"a": 1}),
        ("Prose.\n---\na: 1", {"a": 1}),
        ("x: 0\n---\nx: 1\n---\na: 'b---c'", {"a": "b---c"}),
        ("Prose.\n    ---\n    a:\n      b: 1\n    ", {"a": {"b": 1}}),
    ],
)
def test_the_yaml_of_a_docstring_is_parsed(doc: str | None, schema: dict[str, Any]) -> None:
    def func() -> None: ...

    func.__doc__ = doc

    assert BaseSchemaGenerator().parse_docstring(func) == schema


def test_yaml_that_does_not_parse_is_an_error_that_names_the_endpoint() -> None:
    def func() -> None:
        """
        ---
        a: [
        """

    with pytest.raises(ValueError, match=r"The docstring of .*func has no YAML after '---'"):
        BaseSchemaGenerator().parse_docstring(func)


def test_a_generator_without_its_method_says_so() -> None:
    with pytest.raises(NotImplementedError, match="BaseSchemaGenerator must define get_schema"):
        BaseSchemaGenerator().get_schema([])


def test_a_request_is_answered_with_the_schema_of_its_application() -> None:
    app = Spica(routes=[Route("/a", described)])
    response = SchemaGenerator(BASE).OpenAPIResponse(Request({"type": "http", "app": app}))

    assert response.headers["content-type"] == "application/vnd.oai.openapi"
    assert yaml.safe_load(bytes(response.body)) == {**BASE, "paths": {"/a": {"get": DESCRIPTION}}}


def test_a_schema_that_is_no_dict_is_refused() -> None:
    with pytest.raises(TypeError, match="OpenAPIResponse should be a dictionary, not list"):
        OpenAPIResponse([1])


def test_a_missing_yaml_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(RuntimeError, match=r"pip install 'spica\[schemas\]'"):
        OpenAPIResponse({})
