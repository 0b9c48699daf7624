"""Read the form of a request: select the parser for the content type, and close the files at the end.

Standards: RFC 7578 (multipart/form-data), WHATWG URL s.5 (application/x-www-form-urlencoded).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterable
from dataclasses import fields
from typing import Any, Protocol
from weakref import ref

from spica._asgi.body import BodyChannel
from spica._asgi.cleanup import HasCleanup, cleanup_of
from spica._asgi.scope import BODY_LIMIT, FORM_LIMITS
from spica._originals import is_original
from spica.datastructures import FormData, Headers
from spica.formparsers.limits import MAX_TOTAL_SIZE, SLICE_SIZE, FormLimits, check_limit
from spica.formparsers.multipart_parser import MultiPartParser
from spica.formparsers.streamed import PartStream
from spica.formparsers.urlencoded_parser import FormParser
from spica.types import Scope


class FormSource(HasCleanup, Protocol):
    """The part of a Request that reading its form needs."""

    _form: FormData | None
    scope: Scope

    @property
    def headers(self) -> Headers:
        """The request headers."""
        ...

    def stream(self) -> AsyncIterator[bytes]:
        """Iterate over the body in chunks."""
        ...

    def _body_channel(self) -> BodyChannel: ...

    async def close(self) -> None:
        """Close the files of the form."""
        ...


Given = tuple[int | float | None, ...]
"""Limits from a call, in the order of the first five of ``FormLimits``."""

NONE_GIVEN: Given = (None,) * 5


class FormReader:
    """A form that can be read: an awaitable, and an async context manager that closes the files.

    Args:
        source: The request.
        limits: The limits from the call, each of them possibly None.
    """

    __slots__ = ("_limits", "_source")

    def __init__(self, source: FormSource, limits: Given) -> None:
        self._source = source
        self._limits = limits

    def __await__(self) -> Generator[Any, None, FormData]:
        return self._read().__await__()

    async def __aenter__(self) -> FormData:
        return await self._read()

    async def __aexit__(self, *exc_info: object) -> None:
        await self._source.close()

    async def _read(self) -> FormData:
        """Read the form once. Later calls return the same form."""
        source = self._source
        if source._form is None:
            headers = source.headers
            content_type = headers.get("content-type", "")
            media_type = content_type.partition(";")[0].strip().lower()
            if media_type == "application/x-www-form-urlencoded":
                source._form = await self._read_fields(headers, content_type)
            elif media_type == "multipart/form-data":
                source._form = await self._read_parts(headers)
            else:
                source._form = FormData()
        return source._form

    async def _read_fields(self, headers: Headers, content_type: str) -> FormData:
        source = self._source
        limits = limits_of(source.scope, self._limits, _URLENCODED_NAMES)
        if not is_original(type(source), "stream"):
            return await FormParser(headers, source.stream(), **limits).parse()
        channel = source._body_channel()
        body = await channel.take_whole(SLICE_SIZE)
        parser = FormParser(headers, channel.stream(), **limits)
        return await parser.parse() if body is None else parser.parse_whole(body, content_type)

    async def _read_parts(self, headers: Headers) -> FormData:
        source = self._source
        limits = limits_of(source.scope, self._limits)
        if BODY_LIMIT not in source.scope:
            limits.setdefault("max_total_size", MAX_TOTAL_SIZE)
        parser = MultiPartParser(headers, _chunks_of(source), **limits)
        form = await parser.parse()
        if parser._has_files:
            # If the endpoint leaves the form open, close it after the background tasks.
            cleanup = cleanup_of(source)
            cleanup.add_closer(form.close)
            form._cleanup = ref(cleanup)
        return form


def _chunks_of(source: FormSource) -> AsyncIterator[bytes]:
    """Return the chunks of the body, without the empty one at the end.

    An overridden ``stream`` is used if there is one.
    """
    if is_original(type(source), "stream"):
        return source._body_channel().stream()
    return source.stream()


_NAMES = tuple(field.name for field in fields(FormLimits))
_URLENCODED_NAMES = ("max_fields", "max_part_size", "max_memory_size")


def limits_of(scope: Scope, given: Given, names: Iterable[str] = _NAMES) -> dict[str, Any]:
    """Return the limits from the call, or else from the layers. The parser has defaults for the rest."""
    found: dict[str, Any] = {}
    enclosing: FormLimits | None = scope.get(FORM_LIMITS)
    if enclosing is not None:
        found = {name: getattr(enclosing, name) for name in names}
    if given != NONE_GIVEN:
        for name, value in zip(_NAMES, given, strict=False):
            if value is not None and name in names:
                found[name] = check_limit(value, f"form(): {name}")
    return {name: value for name, value in found.items() if value is not None} if found else found


def read_parts(source: FormSource) -> PartStream:
    """Return an iterator over the parts of a multipart form."""
    limits = limits_of(source.scope, NONE_GIVEN)
    return MultiPartParser(source.headers, _chunks_of(source), **limits).parts()
