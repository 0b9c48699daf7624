"""Turn the chunks of a ``multipart/form-data`` body into events, within limits. No I/O.

RFC 7578 is the format, and RFC 2046 s.5.1 describes its boundaries (`MultipartScanner`).
"""

from typing import TypeAlias

from spica._http.disposition import parse_disposition
from spica._http.fields import parse_media_type
from spica.formparsers.charsets import (
    CHARSET_FIELD,
    MAX_NAME_SIZE,
    decode_text,
    find_charset,
    find_charset_of_form,
    is_ascii_based,
    look_up_charset,
)
from spica.formparsers.errors import MultiPartException, beyond, malformed, too_large, too_many
from spica.formparsers.scanner import MultipartScanner, RawHeaders, UsualHead, headers_of, size_of

MAX_BOUNDARY_SIZE = 256
"""Bytes of a boundary. RFC 2046 s.5.1.1 allows 70, and some clients send more."""

_MISSING_NAME = 'The Content-Disposition header field "name" must be provided.'


class PartHead:
    """Begin a part: its name, its file name if it is a file, and its headers."""

    __slots__ = ("_headers", "charset", "filename", "name")

    _headers: RawHeaders | UsualHead

    def __init__(
        self, name: str, filename: str | None, charset: str, headers: RawHeaders | UsualHead
    ) -> None:
        self.name = name
        self.filename = filename
        self.charset = charset
        self._headers = headers

    @property
    def kept_size(self) -> int:
        """Characters that are kept of it: the name of a field, all headers of a file."""
        if self.filename is None:
            return len(self.name)
        headers = self._headers
        if isinstance(headers, tuple):
            return size_of(headers)
        return sum(len(name) + len(value) for name, value in headers)

    def raw_headers(self) -> RawHeaders:
        """Return the headers as ASGI has them: lower-case names, values as the client sent them."""
        headers = self._headers
        if isinstance(headers, tuple):
            headers = self._headers = headers_of(headers)
        return headers


# A part begins, a piece of its body arrives, or the part ends.
PartEvent: TypeAlias = PartHead | bytes | None


class MultipartDecoder(MultipartScanner):
    """Decode one body: `feed` it chunk by chunk, then `finish`.

    Args:
        content_type: the Content-Type of the request, with the boundary.
        max_files: number of files.
        max_fields: number of parts that are not files.
        max_part_size: bytes of a field. It does not limit files.
        max_header_size: bytes of one header of a part.
        max_headers: number of headers of a part.

    Raises:
        MultiPartException: the Content-Type has no usable boundary, or names another media type (415).
    """

    __slots__ = (
        "_charset",
        "_charset_pieces",
        "_events",
        "_field_size",
        "_fields_left",
        "_files_left",
        "_in_field",
        "_is_fed",
        "_max_fields",
        "_max_files",
        "_max_part_size",
    )

    def __init__(
        self,
        content_type: str,
        *,
        max_files: int | float,
        max_fields: int | float,
        max_part_size: int | float,
        max_header_size: int | float,
        max_headers: int | float,
    ) -> None:
        media_type, parameters = parse_media_type(content_type)
        boundary = _check_boundary(parameters.get("boundary"), media_type)
        super().__init__(
            boundary.encode("ascii"), max_header_size=max_header_size, max_headers=max_headers
        )
        self._charset = find_charset_of_form(parameters.get("charset")) or "latin-1"
        self._charset_pieces: list[bytes] | None = None
        self._max_files = self._files_left = max_files
        self._max_fields = self._fields_left = max_fields
        self._max_part_size = max_part_size
        self._field_size = 0
        self._in_field = False
        self._is_fed = False
        self._events: list[PartEvent] = []

    def feed(self, chunk: bytes) -> list[PartEvent]:
        """Take the next chunk of the body, and return the events that are complete with it.

        Raises:
            MultiPartException: the body is malformed, or a limit was passed.
        """
        events = self._events = []
        if chunk:
            self._is_fed = True
            self.scan(chunk if type(chunk) is bytes else bytes(chunk))
        return events

    def finish(self) -> None:
        """Report the end of the body. A body of no bytes at all is a form without parts.

        Raises:
            MultiPartException: the closing boundary has not come, so something is missing.
        """
        if self.is_closed or not self._is_fed:
            return
        # RFC 2046 s.5.1.1: the closing delimiter is not optional.
        if self.is_started:
            raise malformed("the body ended before the closing boundary")
        raise malformed("the body has no part, and not the boundary named in Content-Type")

    def begin_usual_part(self, head: UsualHead) -> None:
        """Add the head of a part in the form that browsers send."""
        _disposition, name, filename, content_type = head
        charset = self._charset
        if content_type is not None and b"charset" in content_type.lower():
            charset = self._charset_of(content_type)
        self._begin(
            PartHead(
                name.decode("ascii"),
                None if filename is None else filename.decode("ascii"),
                charset,
                head,
            )
        )

    def begin_part(self, headers: RawHeaders) -> None:
        """Add the head of a part.

        Raises:
            MultiPartException: the head has no Content-Disposition, none of a form, or no name.
        """
        # Of equal headers the first counts, as in the email package.
        values = dict(reversed(headers))
        disposition = values.get(b"content-disposition")
        if disposition is None:
            raise MultiPartException(_MISSING_NAME)
        kind, parameters = parse_disposition(self._decode_header(disposition))
        # RFC 7578 s.4.2: the disposition type must be form-data.
        if kind != "form-data":
            raise malformed(f"invalid Content-Disposition {kind[:40]!r} of a part, not 'form-data'")
        name = parameters.get("name")
        if name is None:
            raise MultiPartException(_MISSING_NAME)
        filename = parameters.get("filename")
        # The values may have been percent-encoded, so they may contain anything.
        _refuse_breaks(name, "name")
        _refuse_breaks(filename or "", "filename")
        content_type = values.get(b"content-type", b"")
        charset = self._charset
        if b"charset" in content_type.lower():
            charset = self._charset_of(content_type)
        self._begin(PartHead(name, filename, charset, headers))

    def add_data(self, data: bytes) -> None:
        """Add a piece of the body of a part."""
        if self._in_field:
            self._field_size += len(data)
            if self._field_size > self._max_part_size:
                raise too_large("Part", self._max_part_size)
            if self._charset_pieces is not None:
                self._charset_pieces.append(data)
                if self._field_size > MAX_NAME_SIZE:
                    self._charset_pieces = None
        self._events.append(data)

    def end_part(self) -> None:
        """Add the end of a part."""
        if self._charset_pieces is not None:
            self._take_charset(b"".join(self._charset_pieces))
        self._events.append(None)

    def _begin(self, head: PartHead) -> None:
        """Count a part and add its head."""
        if head.filename is None:
            self._in_field = True
            self._field_size = 0
            self._charset_pieces = [] if head.name == CHARSET_FIELD else None
            self._fields_left -= 1
            if self._fields_left < 0:
                raise too_many("fields", self._max_fields)
        else:
            self._in_field = False
            self._charset_pieces = None
            self._files_left -= 1
            if self._files_left < 0:
                raise too_many("files", self._max_files)
        self._events.append(head)

    def _charset_of(self, content_type: bytes) -> str:
        # RFC 7578 s.4.5: a part may name the encoding of its text.
        parameters = parse_media_type(content_type.decode("latin-1"))[1]
        charset = parameters.get("charset")
        return self._charset if charset is None else find_charset(charset)

    def _take_charset(self, name: bytes) -> None:
        # RFC 7578 s.4.6: the field `_charset_` names the default encoding.
        charset = look_up_charset(name.decode("latin-1"))
        if charset is not None and is_ascii_based(charset):
            self._charset = charset

    def _decode_header(self, value: bytes) -> str:
        """Decode the bytes that browsers put into a header in the encoding of the form."""
        # RFC 7578 s.5.1.1: expect UTF-8, whatever else may come.
        charset = self._charset if is_ascii_based(self._charset) else "utf-8"
        if charset == "utf-8" and value.isascii():
            return value.decode("ascii")
        return decode_text(value, charset)


def _check_boundary(boundary: str | None, media_type: str) -> str:
    if media_type and not media_type.startswith("multipart/"):
        # RFC 9110 s.15.5.16
        raise MultiPartException(
            f"The Content-Type of the body is not multipart/form-data but {media_type!r:.80}.",
            status_code=415,
        )
    if boundary is None:
        raise MultiPartException("Missing boundary in multipart.")
    # RFC 2046 s.5.1.1: 1 to 70 characters, all of them printable ASCII, the last not a space
    if not boundary or len(boundary) > MAX_BOUNDARY_SIZE:
        raise beyond(f"The boundary must have 1 to {MAX_BOUNDARY_SIZE} characters.")
    if not (boundary.isascii() and boundary.isprintable()):
        raise malformed("the boundary may have printable ASCII characters only")
    return boundary


def _refuse_breaks(value: str, name: str) -> None:
    # RFC 9110 s.5.5: these three could change the meaning of what follows them.
    if "\n" in value or "\r" in value or "\0" in value:
        raise malformed(f"{name} of a part has a CR, LF or NUL in it")
