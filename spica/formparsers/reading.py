"""Read the form of a request: which parser a content type asks for, and the files closed in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import Any, Protocol

from spica._asgi.aftermath import HasAftermath, aftermath_of
from spica.datastructures import FormData, Headers, UploadFile
from spica.formparsers.multipart_parser import MultiPartParser
from spica.formparsers.urlencoded_parser import FormParser


class FormSource(HasAftermath, Protocol):
    """What a form is read from: a Request."""

    _form: FormData | None

    @property
    def headers(self) -> Headers:
        """The request headers."""
        ...

    def _chunks(self) -> AsyncIterator[bytes]: ...

    async def close(self) -> None:
        """Close the files of the form."""
        ...


class FormReader:
    """A form to be read: awaitable, and an async context manager that closes its files."""

    __slots__ = ("_max_fields", "_max_files", "_max_memory_size", "_max_part_size", "_source")

    def __init__(
        self,
        source: FormSource,
        max_files: int | float,
        max_fields: int | float,
        max_part_size: int,
        max_memory_size: int | float,
    ) -> None:
        self._source = source
        self._max_files = max_files
        self._max_fields = max_fields
        self._max_part_size = max_part_size
        self._max_memory_size = max_memory_size

    def __await__(self) -> Generator[Any, None, FormData]:
        return self._read().__await__()

    async def __aenter__(self) -> FormData:
        return await self._read()

    async def __aexit__(self, *exc_info: object) -> None:
        await self._source.close()

    async def _read(self) -> FormData:
        """Read the form once; later readers get the same."""
        source = self._source
        if source._form is None:
            parser = self._parser()
            form = source._form = FormData() if parser is None else await parser.parse()
            if any(isinstance(value, UploadFile) for value in form.values()):
                # Whoever forgets to close it: its files go with the request, after its tasks.
                aftermath_of(source).add_closer(form.close)
        return source._form

    def _parser(self) -> FormParser | MultiPartParser | None:
        source = self._source
        content_type = source.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type == "multipart/form-data":
            return MultiPartParser(
                source.headers,
                source._chunks(),
                max_files=self._max_files,
                max_fields=self._max_fields,
                max_part_size=self._max_part_size,
                max_memory_size=self._max_memory_size,
            )
        if content_type == "application/x-www-form-urlencoded":
            return FormParser(
                source.headers,
                source._chunks(),
                max_fields=self._max_fields,
                max_part_size=self._max_part_size,
                max_memory_size=self._max_memory_size,
            )
        return None
