"""OpenAPI schemas from the YAML in the docstrings of endpoints. PyYAML: ``spica[schemas]``.

A generator walks the routes, mounts and hosts, finds the endpoints with the methods they serve, and
puts what their docstrings say below the paths. It knows the form of OpenAPI, not its content.
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
    """Answer with a schema as YAML."""

    media_type = "application/vnd.oai.openapi"

    def render(self, content: Any) -> bytes:
        """Write the schema, a dict, as YAML in UTF-8.

        Raises:
            TypeError: `content` is no dict.
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
    """What a schema is made of: a function that answers one method at one path."""

    path: str
    http_method: str
    func: Callable[..., Any]


class BaseSchemaGenerator:
    """Find the endpoints of an application; a subclass makes a schema of them."""

    def get_schema(self, routes: list[BaseRoute]) -> dict[str, Any]:
        """Return the schema of the routes; to be defined by a subclass."""
        raise NotImplementedError(f"{type(self).__name__} must define get_schema()")

    def get_endpoints(self, routes: list[BaseRoute]) -> list[EndpointInfo]:
        """List what answers at the routes and below their mounts and hosts.

        Methods are in lower case and sorted, without the HEAD that comes with GET; a class counts
        with each of its methods. Routes with ``include_in_schema=False`` are left out.
        """
        return list(self._walk("", routes))

    def parse_docstring(self, func_or_method: Callable[..., Any]) -> dict[str, Any]:
        """Return the YAML of a docstring: all of it, or what follows its last line of ``---``.

        What is no mapping, prose for example, is returned as an empty dict.

        Raises:
            ValueError: what follows ``---`` is not YAML.
            RuntimeError: PyYAML is not installed.
        """
        *prose, text = _MARKER.split(inspect.cleandoc(func_or_method.__doc__ or ""))
        if not text:
            return {}
        yaml = _import_yaml()
        try:
            schema = yaml.safe_load(text)
        except yaml.YAMLError as error:
            if not prose:  # nothing says that it is meant to be YAML
                return {}
            name = getattr(func_or_method, "__qualname__", repr(func_or_method))
            raise ValueError(f"The docstring of {name} has no YAML after '---': {error}") from error
        return schema if isinstance(schema, dict) else {}

    def OpenAPIResponse(self, request: Request) -> Response:
        """Answer a request with the schema of the application that got it."""
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
        """Return a path as schemas write it: ``/users/{id}`` for ``/users/{id:int}``."""
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
    """Put the docstrings of endpoints below the ``paths`` of a base schema.

    Args:
        base_schema: what the schema begins with: ``{"openapi": "3.2.0", "info": {...}}``.
    """

    def __init__(self, base_schema: dict[str, Any]) -> None:
        self.base_schema = base_schema

    def get_schema(self, routes: list[BaseRoute]) -> dict[str, Any]:
        """Return the base schema with the paths of all endpoints that say something.

        QUERY is left out below OpenAPI 3.2, which has no place for it.
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
    """Read ``"3.10.1"`` as ``(3, 10)``; what is no version is the oldest."""
    numbers = str(text).split(".")[:2]
    if not all(number.isascii() and number.isdigit() for number in numbers):
        return ()
    return tuple(map(int, numbers))
