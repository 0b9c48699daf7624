"""The methods of ``Request`` that read input as a model. Their code is imported when one is first called."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


class ReadsModels:
    """Read parts of a request as a dataclass, TypedDict, ``msgspec.Struct`` or pydantic model."""

    async def read(self, model: type[T], *, max_size: int | float | None = None) -> T:
        """Return the body, JSON or a form, as a ``model``.

        Members that the model does not have are ignored. In a form, numbers and other values are strings.

        Args:
            model: A dataclass, TypedDict, ``msgspec.Struct`` or pydantic model, or a list of one.
            max_size: Limit in bytes for a JSON body, as for ``json()``.

        Raises:
            InvalidInput: 422 with all mistakes as problem details (RFC 9457).
            HTTPException: 415, the body is neither JSON nor a form. 413, it is larger than the limit.
            MalformedJSON: 400, the body is not JSON.
            TypeError: The model has a field of a type that can't be read.
        """
        from spica.reading import read_body  # on use: most requests have no model

        value: T = await read_body(self, model, max_size)
        return value

    def query(self, model: type[T]) -> T:
        """Return the parameters of the query as a ``model``; see ``read``.

        A field for a list takes all parameters of its name. Otherwise the last one counts.

        Raises:
            InvalidInput: 422 with all mistakes as problem details.
        """
        from spica.reading import read_strings

        request: Any = self
        value: T = read_strings(model, request.query_params.multi_items(), "query")
        return value

    def path(self, model: type[T]) -> T:
        """Return the path parameters as a ``model``; see ``read``.

        Raises:
            InvalidInput: 422 with all mistakes as problem details.
        """
        from spica.reading import read_strings

        request: Any = self
        value: T = read_strings(model, request.path_params.items(), "path")
        return value
