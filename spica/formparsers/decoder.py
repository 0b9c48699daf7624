"""Decode the chunks of a ``multipart/form-data`` body into events, within limits. No I/O.

Standards: RFC 7578 (the format), RFC 2046 s.5.1 (boundaries, see `MultipartScanner`).
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
"""Longest boundary in bytes. RFC 2046 s.5.1.1 allows 70, and some clients send more."""

_MISSING_NAME = 'The Content-Disposition header field "name" must be provided.'


class PartHead:
    """The event at the start of a part: its name, its headers, and the file name if it is a file."""

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
        """Characters that stay in memory: the name of a field, or all headers of a file."""
        if self.filename is None:
            return len(self.name)
        headers = self._headers
        if isinstance(headers, tuple):
            return size_of(headers)
        return sum(len(name) + len(value) for name, value in headers)

    def raw_headers(self) -> RawHeaders:
        """Return the headers in the form of ASGI: lower-case names, and values as the client sent them."""
        headers = self._headers
        if isinstance(headers, tuple):
            headers = self._headers = headers_of(headers)
        return headers


# The start of a part, a piece of its body, or (None) its end.
PartEvent: TypeAlias = PartHead | bytes | None


class MultipartDecoder(MultipartScanner):
    r"""Decode one body: `feed` each chunk, then call `finish`.

    Args:
        content_type: The Content-Type of the request, with the boundary.
        max_files: Number of files.
        max_fields: Number of parts that are not files.
        max_part_size: Bytes of a field. It does not limit files.
        max_header_size: Bytes of one header of a part.
        max_headers: Number of headers of a part.

    Raises:
        MultiPartException: The Content-Type has no usable boundary, or is another media type (415).

    >>> content_type = "multipart/form-data; boundary=b"
    >>> limits = {"max_files": 1, "max_fields": 1, "max_part_size": 9, "max_headers": 2}
    >>> decoder = MultipartDecoder(content_type, max_header_size=99, **limits)
    >>> body = b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nvalue\r\n--b--'
    >>> head, data, end = decoder.feed(body)
    >>> head.name, data, end
    ('n', b'value', None)
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
        """Decode the next chunk of the body, and return the events that it completes.

        Raises:
            MultiPartException: The body is malformed or exceeds a limit.
        """
        events = self._events = []
        if chunk:
            self._is_fed = True
            self.scan(chunk if type(chunk) is bytes else bytes(chunk))
        return events

    def finish(self) -> None:
        """Check that the body is complete. An empty body is a form without parts.

        Raises:
            MultiPartException: The closing boundary is missing.
        """
        if self.is_closed or not self._is_fed:
            return
        # RFC 2046 s.5.1.1: the closing delimiter is mandatory.
        if self.is_started:
            raise malformed("the body ended before the closing boundary")
        raise malformed("the body does not contain the boundary from Content-Type")

    def begin_usual_part(self, head: UsualHead) -> None:
        """Add the head of a part in the form that browsers send."""
        _disposition, name, filename, content_type = head
        charset = self._charset
        if content_type is not None and content_type.lower().find(b"charset") >= 0:
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
            MultiPartException: Content-Disposition is missing, is not form-data, or has no name.
        """
        # The first one of several equal headers wins, as in the email package.
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
        # The values are percent-decoded, so they may contain any character.
        _refuse_breaks(name, "name")
        _refuse_breaks(filename or "", "filename")
        content_type = values.get(b"content-type", b"")
        charset = self._charset
        if content_type.lower().find(b"charset") >= 0:
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
        # RFC 7578 s.5.1.1: expect UTF-8 by default.
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
    # RFC 2046 s.5.1.1: 1 to 70 characters of printable ASCII. The last is not a space.
    if not boundary or len(boundary) > MAX_BOUNDARY_SIZE:
        raise beyond(f"The boundary must have 1 to {MAX_BOUNDARY_SIZE} characters.")
    if not (boundary.isascii() and boundary.isprintable()):
        raise malformed("the boundary may have printable ASCII characters only")
    return boundary


def _refuse_breaks(value: str, name: str) -> None:
    # RFC 9110 s.5.5: these three could change the meaning of the following bytes.
    if "\n" in value or "\r" in value or "\0" in value:
        raise malformed(f"the {name} of a part contains CR, LF or NUL")
