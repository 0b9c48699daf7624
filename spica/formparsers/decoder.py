"""Turn the chunks of a ``multipart/form-data`` body into events, within limits. No I/O.

RFC 7578 is the format, RFC 2046 s.5.1 its boundaries. The scanning itself is done by the package
`multipart` (docs/decisions/0002-multipart-parser.md tells why that one).
"""

import re
from typing import TYPE_CHECKING, TypeAlias

from spica._http.disposition import parse_disposition
from spica._http.fields import parse_media_type
from spica.formparsers.charsets import decode_text, find_charset, is_ascii_based
from spica.formparsers.errors import MultiPartException, beyond, malformed, too_large, too_many

if TYPE_CHECKING:
    from multipart import MultipartSegment, PushMultipartParser

MAX_BOUNDARY_SIZE = 256
"""Bytes of a boundary. RFC 2046 s.5.1.1 allows 70; some clients take that lightly."""

# What browsers send for a field; everything else is read with more care.
_PLAIN_FIELD = re.compile(r'form-data; name="([ !#-\[\]-~]*)"').fullmatch

_MISSING_NAME = 'The Content-Disposition header field "name" must be provided.'


class PartHead:
    """Begin a part: its name, its file name if it is a file, and its headers."""

    __slots__ = ("charset", "filename", "header_list", "name")

    def __init__(
        self, name: str, filename: str | None, charset: str, header_list: list[tuple[str, str]]
    ) -> None:
        self.name = name
        self.filename = filename
        self.charset = charset
        self.header_list = header_list

    @property
    def kept_size(self) -> int:
        """Characters that are kept of it: the name of a field, all headers of a file."""
        if self.filename is None:
            return len(self.name)
        return sum(len(name) + len(value) for name, value in self.header_list)

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers as ASGI has them: lower-case names, values as they were sent."""
        return [
            (name.lower().encode("latin-1"), value.rstrip(" \t").encode("latin-1"))
            for name, value in self.header_list
        ]


# A part begins, a piece of its body, it ends.
PartEvent: TypeAlias = PartHead | bytes | None


class MultipartDecoder:
    """Decode one body: `feed` it chunk by chunk, then `finish`.

    Limits: `max_files` and `max_fields` in number, `max_part_size` in bytes of a field (files are
    not limited by it), `max_headers` in number of headers of a part, `max_header_size` in bytes of
    one header line.
    """

    __slots__ = (
        "_charset",
        "_delimiter",
        "_engine",
        "_field_size",
        "_fields_left",
        "_files_left",
        "_in_field",
        "_max_fields",
        "_max_files",
        "_max_header_size",
        "_max_headers",
        "_max_part_size",
        "_preamble",
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
        parameters = parse_media_type(content_type)[1]
        self._charset = find_charset(parameters.get("charset"))
        self._max_files = self._files_left = max_files
        self._max_fields = self._fields_left = max_fields
        self._max_part_size = max_part_size
        self._max_header_size = max_header_size
        self._max_headers = max_headers
        self._field_size = 0
        self._in_field = False
        boundary = _check_boundary(parameters.get("boundary"), content_type)
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # What came before the first delimiter, as far as it may be its beginning; None after it. The body
        # begins with a delimiter without a line end before it: that one is put there.
        self._preamble: bytes | None = b"\r\n"
        self._engine: PushMultipartParser = _load_engine()(
            boundary,
            max_header_size=max_header_size,
            max_header_count=max_headers,
            # Every byte is a character of latin-1: this keeps the header as it was sent.
            header_charset="latin-1",
        )

    def feed(self, chunk: bytes) -> list[PartEvent]:
        """Take the next chunk of the body, and return the events that are complete with it.

        Raises:
            MultiPartException: the body is malformed, or a limit was passed.
        """
        events: list[PartEvent] = []
        add = events.append
        if type(chunk) is not bytes:
            chunk = bytes(chunk)
        if self._preamble is not None:
            chunk = self._skip_preamble(self._preamble + chunk)
            if not chunk:
                return events
        try:
            for event in self._engine.parse(chunk):
                if event is None:
                    add(None)
                elif isinstance(event, bytes):
                    if self._in_field:
                        self._field_size += len(event)
                        if self._field_size > self._max_part_size:
                            raise too_large("Part", self._max_part_size)
                    add(event)
                else:
                    add(self._begin(event))
        except ValueError as error:
            raise self._explain(error) from error
        return events

    def finish(self) -> None:
        """Tell that the body has ended. One of no bytes at all is a form without parts.

        Raises:
            MultiPartException: the closing boundary has not come, so something is missing.
        """
        if self._preamble == b"\r\n":
            return  # nothing was fed, so nothing was cut off
        try:
            self._engine.close()
        except ValueError as error:
            # RFC 2046 s.5.1.1: the closing delimiter is not optional.
            reason = (
                "the body ended before the closing boundary"
                if self._preamble is None
                else "the body has no part, and not the boundary named in Content-Type"
            )
            raise malformed(reason) from error

    def _skip_preamble(self, data: bytes) -> bytes:
        """Return what follows the preamble, beginning with the first delimiter; nothing as long as it lasts.

        RFC 2046 s.5.1.1: a delimiter stands at the beginning of a line. The engine looks at that only where
        the line before it is in the same chunk.
        """
        start = data.find(self._delimiter)
        if start >= 0:
            self._preamble = None
            return data[start + 2 :]
        self._preamble = data[-len(self._delimiter) + 1 :]
        return b""

    def _begin(self, segment: "MultipartSegment") -> PartHead:
        """Make the head of a part, and count the part."""
        header_list: list[tuple[str, str]] = segment.headerlist
        # A part with one header has a Content-Disposition: the engine has seen to that.
        plain = _PLAIN_FIELD(header_list[0][1]) if len(header_list) == 1 else None
        if plain is not None:
            head = PartHead(plain[1], None, self._charset, header_list)
        else:
            head = self._read_head(header_list)
        self._in_field = head.filename is None
        if self._in_field:
            self._field_size = 0
            self._fields_left -= 1
            if self._fields_left < 0:
                raise too_many("fields", self._max_fields)
        else:
            self._files_left -= 1
            if self._files_left < 0:
                raise too_many("files", self._max_files)
        return head

    def _read_head(self, header_list: list[tuple[str, str]]) -> PartHead:
        name = filename = None
        charset = self._charset
        for key, value in header_list:
            _refuse_breaks(value, key)
            if key == "Content-Disposition":
                parameters = parse_disposition(self._decode_header(value))[1]
                name = parameters.get("name")
                filename = parameters.get("filename")
                # A `filename*` is percent-encoded, so anything may come out of it.
                _refuse_breaks(filename or "", "filename*")
            elif key == "Content-Type" and "charset" in value.lower():
                # RFC 7578 s.4.5: a part may say how its text is encoded.
                charset = find_charset(parse_media_type(value)[1].get("charset"))
        if name is None:
            raise MultiPartException(_MISSING_NAME)
        return PartHead(name, filename, charset, header_list)

    def _decode_header(self, value: str) -> str:
        """Decode the bytes that browsers put into a header in the encoding of the form."""
        if value.isascii() and "\x1b" not in value:
            return value
        # RFC 7578 s.5.1.1: UTF-8 is to be expected, whatever else may come.
        charset = self._charset if is_ascii_based(self._charset) else "utf-8"
        return decode_text(value.encode("latin-1"), charset)

    def _explain(self, error: ValueError) -> MultiPartException:
        """Translate an error of the engine."""
        text = str(error.args[0]) if error.args else type(error).__name__
        if text == "Maximum segment header length exceeded":
            return beyond(
                f"A header of a part exceeded maximum size of {self._max_header_size} bytes."
            )
        if text == "Maximum segment header count exceeded":
            return beyond(
                f"Too many headers in a part. Maximum number of headers is {self._max_headers}."
            )
        if text == "Missing Content-Disposition segment header":
            return MultiPartException(_MISSING_NAME)
        return malformed(text[:1].lower() + text[1:])


def _check_boundary(boundary: str | None, content_type: str) -> str:
    if boundary is None:
        if content_type and not content_type.lower().startswith("multipart/"):
            raise MultiPartException("The Content-Type of the body is not multipart/form-data.")
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
        raise malformed(f"{name:.40} of a part has a CR, LF or NUL in it")


def _load_engine() -> "type[PushMultipartParser]":
    """Import the package that scans, the one place where that is done."""
    try:
        from multipart import PushMultipartParser
    except ImportError as error:
        # Old releases of python-multipart install a package of the same name without this class.
        raise ImportError(
            "Multipart forms need the package `multipart`, version 2 or later "
            "(not `python-multipart`): pip install 'spica[multipart]'."
        ) from error
    engine: type[PushMultipartParser] = PushMultipartParser
    return engine
