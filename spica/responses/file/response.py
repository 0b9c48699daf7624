"""Answer with a file, or with the parts of it that a client asks for.

This module looks at the file and makes the headers. ``spica._http.fileplan`` decides what to send,
``spica.responses.file.reader`` reads it, and ``spica.responses.file.resolved`` sends it.

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
"""How often a file is read again that changes before any of it was sent."""


def guess_type(url: str | os.PathLike[str], strict: bool = True) -> tuple[str | None, str | None]:
    """Return the media type and the coding of a URL or path, from ``mimetypes.guess_type``.

    ``FileResponse`` does not use it: see ``spica._http.mediatypes``.
    """
    import mimetypes  # on use: it reads files of the system when it is first called

    return mimetypes.guess_type(url, strict)


class FileResponse(Response):
    """Answer with the file at ``path``, read while it is sent.

    Args:
        path: The file.
        status_code, headers, background: As for ``Response``.
        media_type: Guessed from the extension of ``filename`` or ``path`` by default, and
            ``application/octet-stream`` if that says nothing. A compressed file has the type of its format.
        filename: The name under which a browser saves the file.
        stat_result: The status of the file, if you have it. It gives the headers early. If it no longer
            holds when the file is opened, they are made again, unless the file has become shorter.
        content_disposition_type: ``"inline"`` lets a browser show the file instead of saving it.
        conditional: Answer If-None-Match, If-Modified-Since, If-Match and If-Unmodified-Since with 304 or
            412. Off by default, as in Starlette, since an endpoint may count on its status.
            (``StaticFiles`` always answers them.)

    A GET with a Range gets a 206 or 416 if the status is 200. The object can answer any number of requests.
    Each opens the file once, and sends that file even if another one takes its place meanwhile.

    Raises:
        RuntimeError: When it is sent: there is no file at ``path``, or it is not a regular file, or
            ``headers`` give it another Content-Length than it has. Also if the file becomes shorter or is
            written to while it is sent; the response is then left incomplete, so that no client takes it
            for the whole.
    """

    chunk_size = 64 * 1024
    """Size of a body message in bytes, at most."""
    max_ranges = 100
    """Ranges of one request; when there are more, the whole file is sent."""

    _content: bytes | None = None
    """The whole file, where it was read together with ``stat_result``."""
    _reader: FileReader | None = None
    """The file itself, where it was opened together with ``stat_result``. One request reads it."""

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
        """Set Content-Length, Last-Modified and ETag from a file's status, unless they are set.

        The tag is made of size and modification time, so that it is the same in every process.
        Called on a copy, in a worker thread, where the status is only known when it is sent.
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

        ``ranges`` are pairs of offsets, the second not included; ``max_size`` is the size of the
        file. Returns the body's length in bytes, and a function that gives the header of the part
        for one range.
        """
        header = _PartHeader(boundary, content_type, max_size)
        length = len(format_closing_delimiter(boundary))
        for start, stop in ranges:
            length += len(header(start, stop)) + stop - start + len(b"\r\n")
        return length, header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or the requested ranges of it, then run the background task.

        The task also runs if sending fails or the client leaves early.

        Raises:
            RuntimeError: The file is not one that can be sent: see the class.
            ClientDisconnect: ``send`` reported that the client has left (ASGI spec version 2.4).
        """
        try:
            answer = await self._answer(scope)
        except Exception:
            if self.background is not None:
                await self.background()
            raise
        await answer(scope, receive, send)

    async def _resolve(self, request: Request[Any]) -> Response:
        """Return the response to ``request``, with its final status and headers."""
        try:
            return await self._answer(request.scope)
        except Exception:
            # No thread is free, or there is no such file. The task does not depend on that.
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
    """Return the header fields that say which bytes a file has."""
    import hashlib  # on use: it loads a library

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
        # A server opens the path again, and may find another file. An open file is therefore read here.
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
        """Whether ``run`` looks at the file, and hence belongs in a worker thread."""
        return self.reads_file or self.response.stat_result is None

    def run(self) -> None:
        """Make the answer.

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
        """Return the status of the file, which is open afterwards if it is to be read."""
        if self.reads_file:
            return self.reader.status or self.reader.open()
        return self.response.stat_result or examine(self.response.path)

    def _start_over(self) -> None:
        """Look at the file as it is now; nothing of it was sent yet."""
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
    """Return the answer where the file is not sent."""
    response = error_response(scope, plan.status_code, plan.refusal)
    if plan.status_code == 304:
        response.raw_headers = plan.raw_headers
    else:
        response.raw_headers += plan.raw_headers
    return response


def _headers_for(response: FileResponse, status: os.stat_result) -> list[tuple[bytes, bytes]]:
    """Return the response's headers for the file as it is, in a list that belongs to one sending.

    Raises:
        RuntimeError: They announce another length than the file has, or it has become shorter.
    """
    known = response.stat_result
    if known is not None and status.st_size < known.st_size:
        # A program may be writing it right now, and half a file must not pass for a whole one.
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
    """Return a copy without the headers that were made from a file's status."""
    known = response.stat_result
    stale = () if known is None else _stat_fields(known)
    response = response._copy()
    response.stat_result = None
    response.raw_headers = [field for field in response.raw_headers if field not in stale]
    return response


def _is_same_content(known: os.stat_result, status: os.stat_result) -> bool:
    """Tell whether two looks at a file saw the same, as far as the headers say."""
    return known.st_size == status.st_size and known.st_mtime == status.st_mtime


def _slice(content: bytes, segments: Sequence[Segment], chunk_size: int) -> list[bytes]:
    """Return the pieces that a reader would give, from a file in memory."""
    pieces: list[bytes] = []
    for text, start, stop in segments:
        if text:
            pieces.append(text)
        for offset in range(start, stop, chunk_size):
            pieces.append(content[offset : min(offset + chunk_size, stop)])
    return pieces
