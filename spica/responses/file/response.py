"""``FileResponse``: send a file, or the parts of it that a client requests.

This module checks the file and makes the headers. ``spica._http.fileplan`` plans the response,
``spica.responses.file.reader`` reads the file, and ``spica.responses.file.resolved`` sends it.

Standards: RFC 9110 section 8.8 (validators) and section 14 (ranges).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spica._asgi.cleanup import nearest_cleanup
from spica._http.conditional import format_http_date, select_fields
from spica._http.disposition import format_disposition
from spica._http.fileplan import FileFacts, FilePlan, plan_file
from spica._http.mediatypes import guess_media_type
from spica._http.ranges import (
    Segment,
    format_closing_delimiter,
    format_part_header,
)
from spica.concurrency import file_threads
from spica.responses.base import Response
from spica.responses.errors import error_response
from spica.responses.file.reader import (
    FIRST_BLOCK_SIZE,
    FileChangedError,
    FileReader,
    examine,
    too_short,
)
from spica.responses.file.resolved import PATHSEND, ResolvedFile
from spica.responses.sending import WITHOUT_CONTENT

if TYPE_CHECKING:
    from spica.background import BackgroundTask
    from spica.requests import Request
    from spica.types import Receive, Scope, Send


_MAX_TRIES = 3
"""Attempts to read a file that changes before any of it was sent."""


def guess_type(url: str | os.PathLike[str], strict: bool = True) -> tuple[str | None, str | None]:
    """Return the media type and the coding of a URL or path, from ``mimetypes.guess_type``.

    ``FileResponse`` uses ``spica._http.mediatypes`` instead.
    """
    import mimetypes  # imported late: its first call reads system files

    return mimetypes.guess_type(url, strict)


class FileResponse(Response):
    """A response with the file at ``path``, which is read while it is sent.

    A GET with a Range gets a 206 or 416 response if the status is 200. You can send the same object for any
    number of requests. Each of them opens the file once, and sends that file even if another one replaces
    it meanwhile.

    Args:
        path: The file.
        status_code, headers, background: As for ``Response``.
        media_type: By default, the type for the extension of ``filename`` or ``path``, or
            ``application/octet-stream`` for an unknown one. A compressed file has the type of its format.
        filename: The name under which browsers save the file.
        stat_result: The status of the file, if you have it, which sets the headers early. If it is outdated
            when the file is opened, the headers are updated, unless the file has become shorter.
        content_disposition_type: ``"inline"`` lets browsers show the file instead of saving it.
        conditional: Answer If-None-Match, If-Modified-Since, If-Match and If-Unmodified-Since with 304 or
            412. Off by default, as in Starlette, since an endpoint may rely on its status. (``StaticFiles``
            always answers them.)

    Raises:
        RuntimeError: While sending: the file does not exist or is not a regular file, or ``headers``
            contain a wrong Content-Length. Also if the file becomes shorter or is written to while it is
            sent. The response is then left incomplete, so that no client mistakes it for the whole file.

    >>> response = FileResponse("report.pdf", filename="report 2026.pdf")
    >>> response.headers["content-type"]
    'application/pdf'
    """

    chunk_size = 64 * 1024
    """Maximum size of one body message in bytes."""
    max_ranges = 100
    """Maximum number of ranges in one request. If there are more, the whole file is sent."""

    _content: bytes | None = None
    """The whole file, if it was read together with ``stat_result``."""
    _reader: FileReader | None = None
    """The open file, if it was opened together with ``stat_result``. One request reads it."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
        filename: str | None = None,
        stat_result: os.stat_result | None = None,
        content_disposition_type: str = "attachment",
        *,
        conditional: bool = False,
    ) -> None:
        guessed = None if media_type is not None else guess_media_type(filename or path)
        self.media_type = media_type or guessed or "application/octet-stream"
        self.status_code = status_code
        self.init_headers(headers)
        self.path = path
        self.conditional = conditional
        self.background = background
        self.filename = filename
        self._set_default(b"accept-ranges", b"bytes")
        if filename is not None:
            disposition = format_disposition(content_disposition_type, filename)
            self._set_default(b"content-disposition", disposition.encode("latin-1"))
        self.stat_result = stat_result
        if stat_result is not None:
            self.set_stat_headers(stat_result)

    def set_stat_headers(self, stat_result: os.stat_result) -> None:
        """Set Content-Length, Last-Modified and ETag from the status of a file, unless they are set.

        The ETag depends on the size and modification time only, so all processes send the same. If the
        status is only known when the response is sent, this is called on a copy, in a worker thread.
        """
        for name, value in _stat_fields(stat_result):
            # RFC 9110 s.8.6: a response without content announces no length.
            if name != b"content-length" or self.status_code not in WITHOUT_CONTENT:
                self._set_default(name, value)

    def _set_default(self, name: bytes, value: bytes) -> None:
        for field, _ in self.raw_headers:
            if field == name:
                return
        self.raw_headers.append((name, value))

    def generate_multipart(
        self, ranges: Sequence[tuple[int, int]], boundary: str, max_size: int, content_type: str
    ) -> tuple[int, Callable[[int, int], bytes]]:
        """Lay out a multipart/byteranges body (RFC 9110 s.14.6).

        Args:
            ranges: Pairs of a start and a stop offset. The stop offset is excluded.
            boundary: The boundary.
            max_size: The size of the file in bytes.
            content_type: The Content-Type of each part.

        Returns:
            The length of the body in bytes, and a function that returns the header of the part for one
                range.
        """
        header = _PartHeader(boundary, content_type, max_size)
        length = len(format_closing_delimiter(boundary))
        for start, stop in ranges:
            length += len(header(start, stop)) + stop - start + len(b"\r\n")
        return length, header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or the requested ranges of it, then run the background task.

        The task also runs if sending fails or the client disconnects.

        Raises:
            RuntimeError: The file can't be sent: see the class.
            ClientDisconnect: ``send`` raised OSError because the client disconnected (ASGI spec version
                2.4).
        """
        try:
            answer = await self._answer(scope)
        except Exception:
            if self.background is not None:
                await self.background()
            raise
        await answer(scope, receive, send)

    async def _resolve(self, request: Request[Any]) -> Response:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the response to ``request`` with its final status and headers."""
        try:
            return await self._answer(request.scope)
        except Exception:
            # The file is missing, or no thread is free. The task must run nevertheless.
            if self.background is not None:
                nearest_cleanup(request).add_task(self.background)
            raise

    async def _answer(self, scope: Scope) -> Response:
        preparation = _Preparation(self, scope)
        if not preparation.must_wait:
            preparation.run()
            return preparation.answer
        try:
            await file_threads.run(preparation.run)
        except BaseException:
            preparation.reader.close()
            raise
        return preparation.answer


def _stat_fields(status: os.stat_result) -> tuple[tuple[bytes, bytes], ...]:
    """Return the header fields that identify the content of a file."""
    import hashlib  # imported late: it loads a C library

    identity = f"{status.st_mtime}-{status.st_size}".encode()
    digest = hashlib.md5(identity, usedforsecurity=False).hexdigest()
    return (
        (b"content-length", b"%d" % status.st_size),
        (b"last-modified", format_http_date(status.st_mtime).encode()),
        (b"etag", f'"{digest}"'.encode()),  # RFC 9110 s.8.8.3: a strong tag
    )


class _PartHeader:
    """Format the header of the part for one range."""

    __slots__ = ("boundary", "content_type", "size")

    def __init__(self, boundary: str, content_type: str, size: int) -> None:
        self.boundary = boundary
        self.content_type = content_type
        self.size = size

    def __call__(self, start: int, stop: int) -> bytes:
        return format_part_header(self.boundary, self.content_type, start, stop, self.size)


class _Preparation:
    """Check a file for one request, plan the response, and read the first block."""

    __slots__ = (
        "answer",
        "is_by_path",
        "is_path_open",
        "method",
        "reader",
        "reads_file",
        "request",
        "response",
        "scope",
        "sends_body",
        "sends_path",
    )

    answer: Response

    def __init__(self, response: FileResponse, scope: Scope) -> None:
        self.response = response
        self.scope = scope
        self.method: str = scope.get("method", "GET").upper()
        self.request = select_fields(scope.get("headers", ()))
        self.sends_body = self.method != "HEAD" and response.status_code not in WITHOUT_CONTENT
        reader, response._reader = response._reader, None
        # A server would open the path again and might find another file, so read an open file here.
        self.is_by_path = (
            reader is None
            and response._content is None
            and scope["type"] == "http"
            and PATHSEND in (scope.get("extensions") or ())
        )
        self.sends_path = self.is_by_path and self.sends_body and "range" not in self.request
        self.is_path_open = reader is not None
        self.reader = reader or FileReader(response.path, response.chunk_size)
        self.reader.chunk_size = response.chunk_size
        self.reads_file = self.sends_body and not self.sends_path and response._content is None

    @property
    def must_wait(self) -> bool:
        """Whether ``run`` accesses the file, and therefore needs a worker thread."""
        return self.reads_file or self.response.stat_result is None

    def run(self) -> None:
        """Make the response, and keep it in ``answer``.

        It is not returned, because an idle worker thread keeps its last return value alive.
        """
        for _ in range(_MAX_TRIES):
            try:
                self._run_once()
            except FileChangedError:
                self._start_over()
            else:
                return
        self._run_once()

    def _run_once(self) -> None:
        response = self.response
        with self.reader:
            status = self._look()
            facts = FileFacts(
                response.status_code,
                _headers_for(response, status),
                status.st_size,
                response.max_ranges,
                response.conditional,
                response.generate_multipart,
            )
            plan = plan_file(self.method, self.request, facts)
            if plan.segments is None:
                self.reader.close()
                self.answer = _refuse(plan, self.scope)
                if plan.status_code == 304:
                    self.answer._whole_headers = [] if self.is_by_path else facts.raw_headers
                self.answer.background = response.background
                return
            self.answer = answer = ResolvedFile(
                plan.status_code,
                plan.raw_headers,
                self.reader,
                self._begin(plan, plan.segments),
                sends_path=self.sends_path,
                background=response.background,
            )
            answer._is_by_path = self.is_by_path

    def _look(self) -> os.stat_result:
        """Return the status of the file. Open the file if it will be read."""
        if self.reads_file:
            return self.reader.status or self.reader.open()
        return self.response.stat_result or examine(self.response.path)

    def _start_over(self) -> None:
        """Use the current version of the file, of which nothing was sent yet."""
        if self.is_path_open:
            self.reader.look_again()
            self.response = _without_status(self.response)
        else:
            self.reader.close()
            self.reader = FileReader(self.response.path, self.response.chunk_size)

    def _begin(self, plan: FilePlan, segments: list[Segment]) -> list[bytes]:
        """Return the beginning of the body, and leave the rest to the reader."""
        if not self.sends_body:
            return []
        content = self.response._content
        if content is not None and not self.sends_path:
            return _slice(content, segments, self.response.chunk_size)
        self.reader.select(segments, plan.body_size)
        return self.reader.read_block(FIRST_BLOCK_SIZE) if self.reads_file else []


def _refuse(plan: FilePlan, scope: Scope) -> Response:
    """Return the response if the file is not sent."""
    response = error_response(scope, plan.status_code, plan.refusal)
    if plan.status_code == 304:
        response.raw_headers = plan.raw_headers
    else:
        response.raw_headers += plan.raw_headers
    return response


def _headers_for(response: FileResponse, status: os.stat_result) -> list[tuple[bytes, bytes]]:
    """Return the headers for the current version of the file, in a list for one request.

    Raises:
        RuntimeError: Content-Length differs from the size of the file, or the file has become shorter.
    """
    known = response.stat_result
    if known is not None and status.st_size < known.st_size:
        # A program may be writing it now. Half a file must not look like a complete one.
        raise too_short(response.path, known.st_size - status.st_size)
    if known is None or not _is_same_content(known, status):
        response = _without_status(response)
        response.set_stat_headers(status)
    for name, value in response.raw_headers:
        if name == b"content-length" and value != b"%d" % status.st_size:
            raise RuntimeError(
                f"FileResponse has the header Content-Length: {value.decode('latin-1')}, but the "
                f"file at path {response.path} has {status.st_size} bytes. Leave the header out: "
                "it is set from the file."
            )
    return response.raw_headers[:]


def _without_status(response: FileResponse) -> FileResponse:
    """Return a copy without the headers that come from the status of a file."""
    known = response.stat_result
    stale = () if known is None else _stat_fields(known)
    response = response._copy()
    response.stat_result = None
    response.raw_headers = [field for field in response.raw_headers if field not in stale]
    return response


def _is_same_content(known: os.stat_result, status: os.stat_result) -> bool:
    """Return whether two statuses of a file give the same headers."""
    return known.st_size == status.st_size and known.st_mtime == status.st_mtime


def _slice(content: bytes, segments: Sequence[Segment], chunk_size: int) -> list[bytes]:
    """Return the pieces that a reader would return, from the content in memory."""
    pieces: list[bytes] = []
    for text, start, stop in segments:
        if text:
            pieces.append(text)
        for offset in range(start, stop, chunk_size):
            pieces.append(content[offset : min(offset + chunk_size, stop)])
    return pieces
