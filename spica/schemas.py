"""OpenAPI schemas from the YAML in the docstrings of endpoints. It needs PyYAML: ``spica[schemas]``.

A generator walks through the routes, mounts and hosts, finds the endpoints and their methods, and adds the
YAML of their docstrings to the paths of the schema. It does not validate the content.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

from spica._diagnostics.call_site import unwrap_partial
from spica.requests import Request
from spica.responses import Response
from spica.routing import BaseRoute, Host, Mount, Route

_METHODS_OF_CLASSES = ("get", "post", "put", "patch", "delete", "options", "query")
_MARKER = re.compile(r"^---[ \t]*$", re.MULTILINE)
_CONVERTOR = re.compile(r":[^{}]*\}")


def _import_yaml() -> ModuleType:
    try:
        import yaml
    except ImportError as error:
        raise RuntimeError(
            "PyYAML must be installed to use spica.schemas: pip install 'spica[schemas]'"
        ) from error
    return yaml


class OpenAPIResponse(Response):
    """A response with a schema as YAML.

    Args:
        content: The schema, a dict.
        status_code: The status code. Default: 200.
        headers: More headers.
        media_type: The media type. Default: ``application/vnd.oai.openapi``.
        background: A task to run after the response.
    """

    media_type = "application/vnd.oai.openapi"

    def render(self, content: Any) -> bytes:
        """Return the schema as YAML in UTF-8.

        Raises:
            TypeError: `content` is not a dict.
            RuntimeError: PyYAML is not installed.
        """
        if not isinstance(content, dict):
            raise TypeError(
                "The schema passed to OpenAPIResponse should be a dictionary, "
                f"not {type(content).__name__}."
            )
        text: str = _import_yaml().dump(content, default_flow_style=False)
        return text.encode("utf-8")


class EndpointInfo(NamedTuple):
    """One operation of a schema: the function that serves a method at a path.

    Args:
        path: The path, without convertors: ``/users/{id}``.
        http_method: The method in lower case.
        func: The function.
    """

    path: str
    http_method: str
    func: Callable[..., Any]


class BaseSchemaGenerator:
    """Find the endpoints of an application. A subclass builds a schema from them in `get_schema`."""

    def get_schema(self, routes: list[BaseRoute]) -> dict[str, Any]:
        """Return the schema of the routes. Subclasses define this method."""
        raise NotImplementedError(f"{type(self).__name__} must define get_schema()")

    def get_endpoints(self, routes: list[BaseRoute]) -> list[EndpointInfo]:
        """Return the endpoints of the routes, and of the routes below mounts and hosts.

        The methods of a function are in lower case and sorted, without HEAD. A class endpoint has an entry
        for each of its methods. Routes with ``include_in_schema=False`` are left out.
        """
        return list(self._walk("", routes))

    def parse_docstring(self, func_or_method: Callable[..., Any]) -> dict[str, Any]:
        """Return the YAML of a docstring: the part after its last line of ``---``, or the whole docstring.

        Anything but a mapping, for example prose, gives an empty dict.

        Raises:
            ValueError: The part after ``---`` is not YAML.
            RuntimeError: PyYAML is not installed.
        """
        *prose, text = _MARKER.split(inspect.cleandoc(func_or_method.__doc__ or ""))
        if not text:
            return {}
        yaml = _import_yaml()
        try:
            schema = yaml.safe_load(text)
        except yaml.YAMLError as error:
            if not prose:  # without a marker it is probably prose
                return {}
            name = getattr(func_or_method, "__qualname__", repr(func_or_method))
            raise ValueError(f"The docstring of {name} has no YAML after '---': {error}") from error
        return schema if isinstance(schema, dict) else {}

    def OpenAPIResponse(self, request: Request) -> Response:
        """Return a response with the schema of the application that received the request."""
        return OpenAPIResponse(self.get_schema(request.app.routes))

    def _walk(self, prefix: str, routes: Iterable[BaseRoute]) -> Iterator[EndpointInfo]:
        for route in routes:
            if isinstance(route, (Mount, Host)):
                path = self._remove_converter(route.path) if isinstance(route, Mount) else ""
                yield from self._walk(prefix + path, route.routes or [])
            elif isinstance(route, Route) and route.include_in_schema:
                path = prefix + self._remove_converter(route.path)
                for method, func in _methods_of(route):
                    yield EndpointInfo(path, method, func)

    def _remove_converter(self, path: str) -> str:
        """Return a path in the notation of OpenAPI: ``/users/{id}`` for ``/users/{id:int}``."""
        return _CONVERTOR.sub("}", path)


def _methods_of(route: Route) -> Iterator[tuple[str, Callable[..., Any]]]:
    endpoint = unwrap_partial(route.endpoint)
    if inspect.isfunction(endpoint) or inspect.ismethod(endpoint):
        for method in sorted(route.methods or ["GET"]):
            if method != "HEAD":
                yield method.lower(), endpoint
    else:
        for method in _METHODS_OF_CLASSES:
            func = getattr(endpoint, method, None)
            if func is not None:
                yield method, func


class SchemaGenerator(BaseSchemaGenerator):
    """Build a schema from a base schema and the docstrings of endpoints.

    Example::

        schemas = SchemaGenerator({"openapi": "3.2.0", "info": {"title": "Shop", "version": "1"}})
        app.add_route("/schema", schemas.OpenAPIResponse, include_in_schema=False)

    Args:
        base_schema: The top level of the schema: ``{"openapi": "3.2.0", "info": {...}}``. Its ``paths`` are
            kept.
    """

    def __init__(self, base_schema: dict[str, Any]) -> None:
        self.base_schema = base_schema

    def get_schema(self, routes: list[BaseRoute]) -> dict[str, Any]:
        """Return the base schema with the paths of all endpoints that have YAML in their docstring.

        Below OpenAPI 3.2, QUERY is left out, because these versions do not define it.
        """
        paths = {path: dict(item) for path, item in self.base_schema.get("paths", {}).items()}
        has_query = _version(self.base_schema.get("openapi")) >= (3, 2)
        for endpoint in self.get_endpoints(routes):
            if endpoint.http_method == "query" and not has_query:
                continue
            described = self.parse_docstring(endpoint.func)
            if described:
                paths.setdefault(endpoint.path, {})[endpoint.http_method] = described
        return {**self.base_schema, "paths": paths}


def _version(text: Any) -> tuple[int, ...]:
    """Return ``(3, 10)`` for ``"3.10.1"``. An invalid version sorts before all others."""
    numbers = str(text).split(".")[:2]
    if not all(number.isascii() and number.isdigit() for number in numbers):
        return ()
    return tuple(map(int, numbers))
