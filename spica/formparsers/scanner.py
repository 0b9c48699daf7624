"""Find the boundaries, headers and bodies of the parts of a multipart body. No I/O.

The scanner knows nothing of forms. Where RFC 2046 leaves room, it reads a body as Python's ``email``
package does: CRLF, LF and CR all end a line, blanks may follow a boundary, and a part may end inside its
headers.

Standards: RFC 2046 s.5.1.1 (the grammar), RFC 5322 s.2.2 (headers).
"""

import re
from typing import Any, TypeAlias

from spica.formparsers.errors import MultiPartException, beyond, malformed

MAX_PADDING = 256
"""Maximum number of blanks after a boundary. RFC 2046 s.5.1.1 says that some gateways add them."""

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

# The head that nearly all clients send: one Content-Disposition without escapes, and one Content-Type for
# a file. Any other head is read line by line.
_match_usual_head = re.compile(
    rb'Content-Disposition: (form-data; name="([ !#-\[\]-~]*+)"'
    rb'(?:; filename="([ !#-\[\]-~]*+)")?)\r\n(?:Content-Type: ([!-~][ -~]*+)\r\n)?\r\n'
).match

_match_blanks = re.compile(rb"[ \t]++").match

# RFC 9110 s.5.1: a field name is a token.
_match_header = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]++):[ \t]*+").match

_NUL, _CR, _LF = b"\0\r\n"  # integers, which CPython finds ten times as fast in bytes
_BLANKS = b" \t"

# Results of looking after a boundary. Any other value is the position after the delimiter line.
_NO_DELIMITER, _NEED_MORE = -1, -2


def _skip_blanks(data: bytes, position: int) -> int:
    match = _match_blanks(data, position)
    return position if match is None else match.end()


# The original Content-Disposition, the name, the file name, and Content-Type.
UsualHead: TypeAlias = tuple[bytes, bytes, bytes | None, bytes | None]


def headers_of(head: UsualHead) -> RawHeaders:
    """Return the headers of a usual head, with lower-case names."""
    disposition, _name, _filename, content_type = head
    headers = [(b"content-disposition", disposition)]
    if content_type is not None:
        headers.append((b"content-type", content_type.rstrip(_BLANKS)))
    return headers


_DISPOSITION_SIZE, _TYPE_SIZE = len("content-disposition"), len("content-type")


def size_of(head: UsualHead) -> int:
    """Return the total size of the names and values of a usual head, in bytes."""
    size = _DISPOSITION_SIZE + len(head[0])
    return size if head[3] is None else size + _TYPE_SIZE + len(head[3])


class MultipartScanner:
    """Split a body into heads and bodies of parts. A subclass receives them.

    Args:
        boundary: The boundary, without the leading dashes.
        max_header_size: Bytes of one header, including its continuation lines.
        max_headers: Number of headers of one part.
    """

    __slots__ = (
        "_at_line_start",
        "_headers",
        "_is_usual_allowed",
        "_max_header_size",
        "_max_headers",
        "_rest",
        "_step",
        "_token",
        "_token_size",
        "is_closed",
        "is_started",
    )

    def __init__(
        self, boundary: bytes, *, max_header_size: int | float, max_headers: int | float
    ) -> None:
        self._token = b"--" + boundary
        self._token_size = len(self._token)
        self._max_header_size = max_header_size
        self._max_headers = max_headers
        self._is_usual_allowed = max_headers >= 2
        self._rest = b""
        self._headers: RawHeaders | None = None
        # A body, and the body of a part, may start with a delimiter.
        self._at_line_start = True
        # A plain function, because a bound method would create a reference cycle.
        self._step = MultipartScanner._scan_preamble
        self.is_started = False
        """Whether a delimiter was found."""
        self.is_closed = False
        """Whether the closing delimiter was found."""

    def begin_part(self, headers: RawHeaders) -> None:
        """Receive the head of a part: lower-case names, and values without surrounding blanks."""
        raise NotImplementedError

    def begin_usual_part(self, head: UsualHead) -> None:
        """Receive the head of a part in the form that browsers send."""
        raise NotImplementedError

    def add_data(self, data: bytes) -> None:
        """Receive the next bytes of the body of a part, never empty."""
        raise NotImplementedError

    def end_part(self) -> None:
        """Receive the end of a part."""
        raise NotImplementedError

    def scan(self, chunk: bytes) -> None:
        """Scan the next chunk of the body.

        Raises:
            MultiPartException: The body is malformed, or a header exceeds its limit.
        """
        data = self._rest + chunk if self._rest else chunk
        self._rest = b""
        position = 0
        size = len(data)
        while position < size:
            position = self._step(self, data, position)

    def _wait(self, data: bytes, position: int) -> int:
        """Keep bytes that can't be interpreted before the next chunk."""
        self._rest = data[position:]
        return len(data)

    def _scan_preamble(self, data: bytes, position: int) -> int:
        """Skip everything before the first delimiter (RFC 2046 s.5.1.1)."""
        end, after = self._find_delimiter(data, position)
        if after == _NEED_MORE:
            if end > position:
                self._at_line_start = False
            return self._wait(data, end)
        self.is_started = True
        return self._after_delimiter(after)

    def _scan_body(self, data: bytes, position: int) -> int:
        """Pass on the body of a part up to the next delimiter."""
        end, after = self._find_delimiter(data, position)
        if end > position:
            self._at_line_start = False
            self.add_data(data[position:end] if position or end < len(data) else data)
        if after == _NEED_MORE:
            return self._wait(data, end)
        self.end_part()
        return self._after_delimiter(after)

    def _after_delimiter(self, after: int) -> int:
        self._headers = None
        scan = MultipartScanner
        self._step = scan._scan_closing_line if self.is_closed else scan._scan_head
        return after

    def _scan_closing_line(self, data: bytes, position: int) -> int:
        """Skip the blanks after the closing delimiter.

        Raises:
            MultiPartException: Other text follows, so other parsers would see no delimiter there.
        """
        position = _skip_blanks(data, position)
        if position < len(data):
            if data[position] not in (_CR, _LF):
                raise malformed("text follows the closing boundary on its line")
            self._step = MultipartScanner._scan_epilogue
        return position

    def _scan_epilogue(self, data: bytes, position: int) -> int:
        """Ignore everything after the closing delimiter (RFC 2046 s.5.1.1)."""
        return len(data)

    def _find_delimiter(self, data: bytes, position: int) -> tuple[int, int]:
        """Return the end of the content before the next delimiter, and the position after the delimiter.

        The second value may be `_NEED_MORE`. Then everything after the first value must be scanned again
        together with the next chunk.
        """
        token, size = self._token, self._token_size
        if self._at_line_start and data.startswith(token, position):
            found = position
        else:
            # A delimiter starts a line, and searching for one character is much faster.
            lf, cr = data.find(b"\n", position), data.find(b"\r", position)
            start = max(lf, cr) if lf < 0 or cr < 0 else min(lf, cr)
            found = data.find(token, start) if start >= 0 else -1
            after = found + size
            if (
                data[found - 2 : found] == b"\r\n" == data[after : after + 2]
                and found - 2 >= position
            ):
                return found - 2, after + 2  # the fast path: the loop would return the same
        while found >= 0:
            end = self._line_start(data, position, found)
            if end >= 0:
                after = self._after_token(data, found + size)
                if after != _NO_DELIMITER:
                    return end, after
            found = data.find(token, found + 1)
        return self._undecided_from(data, position), _NEED_MORE

    def _line_start(self, data: bytes, position: int, found: int) -> int:
        """Return the start of the line break before `found`, or -1 if no line starts at `found`.

        RFC 2046 s.5.1.1: the line break before a boundary belongs to the delimiter.
        """
        if found == position:
            return found if self._at_line_start else -1
        last = data[found - 1]
        if last == _LF:
            has_cr = found - 2 >= position and data[found - 2] == _CR
            return found - 2 if has_cr else found - 1
        return found - 1 if last == _CR else -1

    def _after_token(self, data: bytes, position: int) -> int:
        """Return the position after a delimiter whose boundary ends at `position`, or a code."""
        following = data[position : position + 2]
        if following == b"\r\n":
            return position + 2
        if following == b"--":
            self.is_closed = True
            return position + 2
        if following in (b"", b"-", b"\r"):
            return _NEED_MORE
        # RFC 2046 s.5.1.1: transport padding must be accepted.
        stop = _skip_blanks(data, position)
        if stop - position > MAX_PADDING:
            raise malformed(f"more than {MAX_PADDING} blanks follow a boundary")
        following = data[stop : stop + 2]
        if following in (b"", b"\r"):
            return _NEED_MORE
        if following == b"\r\n":
            return stop + 2
        return stop + 1 if following[0] in (_CR, _LF) else _NO_DELIMITER

    def _undecided_from(self, data: bytes, position: int) -> int:
        """Return the position from which `data` may start a delimiter, or its length."""
        size = len(data)
        is_short = size - position < self._token_size
        if is_short and self._at_line_start and self._token.startswith(data[position:]):
            return position
        tail = max(position, size - self._token_size - 1)
        last = max(data.rfind(b"\n", tail), data.rfind(b"\r", tail))
        if last < 0 or not self._token.startswith(data[last + 1 :]):
            return size
        if data[last] == _LF and last > position and data[last - 1] == _CR:
            return last - 1
        return last

    def _scan_head(self, data: bytes, position: int) -> int:
        """Read one header, or the whole head if it has the usual form."""
        if self._headers is None and self._is_usual_allowed:
            usual = _match_usual_head(data, position)
            if usual is not None:
                after = usual.end()
                if after - position <= self._max_header_size:
                    head: Any = usual.groups()
                    self.begin_usual_part(head)
                    self._at_line_start = True
                    self._step = MultipartScanner._scan_body
                    return after
        if data.startswith(self._token, position):
            after = self._after_token(data, position + self._token_size)
            if after == _NEED_MORE:
                return self._wait(data, position)
            if after != _NO_DELIMITER:
                return self._end_in_head(after)
        end, after = self._find_line_end(data, position)
        if after == _NEED_MORE:
            return self._wait(data, position)
        if end == position:
            self._begin_part()
            self._at_line_start = True
            self._step = MultipartScanner._scan_body
        else:
            self._add_header(data[position:end])
        return after

    def _end_in_head(self, after: int) -> int:
        """End a part that has no body.

        RFC 2046 s.5.1.1: body-part = MIME-part-headers [CRLF *OCTET], so a delimiter may follow a header.
        There is no part between two consecutive delimiters. A closing delimiter directly after another one
        is ambiguous.
        """
        if self._headers is not None:
            self._begin_part()
            self.end_part()
        elif self.is_closed:
            raise malformed("the closing boundary follows the beginning of a part")
        return self._after_delimiter(after)

    def _begin_part(self) -> None:
        self.begin_part([(name, value.strip(_BLANKS)) for name, value in self._headers or ()])

    def _find_line_end(self, data: bytes, position: int) -> tuple[int, int]:
        """Return the end of a header line, and the start of the next one or `_NEED_MORE`."""
        size = len(data)
        stop = int(min(size, position + self._max_header_size + 2))
        lf = data.find(b"\n", position, stop)
        cr = data.find(b"\r", position, stop if lf < 0 else lf)
        end = lf if cr < 0 else cr
        if end < 0:
            if size - position > self._max_header_size:
                raise self._too_long()
            return size, _NEED_MORE
        if end - position > self._max_header_size:
            raise self._too_long()
        if end == lf:
            return end, end + 1
        if end + 1 == size:
            return end, _NEED_MORE  # an LF may follow
        return end, end + 2 if data[end + 1] == _LF else end + 1

    def _add_header(self, line: bytes) -> None:
        headers = self._headers
        if headers is None:
            headers = self._headers = []
        if line[0] in _BLANKS:
            self._continue_header(line)
            return
        match = _match_header(line)
        if match is None:
            raise malformed(
                f"a part has the header line {line[:40].decode('latin-1')!r}, without a name"
            )
        if _NUL in line:
            # RFC 9110 s.5.5: NUL could change the meaning of the following bytes.
            raise malformed("a header of a part has a NUL in it")
        if len(headers) >= self._max_headers:
            raise beyond(
                f"Too many headers in a part. Maximum number of headers is {self._max_headers}."
            )
        headers.append((match[1].lower(), line[match.end() :]))

    def _continue_header(self, line: bytes) -> None:
        """Append a line that starts with a blank to the previous header (RFC 5322 s.2.2.3)."""
        headers = self._headers
        if not headers:
            return  # there is no previous header
        name, value = headers[-1]
        if len(name) + 1 + len(value) + len(line) > self._max_header_size:
            raise self._too_long()
        if _NUL in line:
            raise malformed("a header of a part has a NUL in it")
        headers[-1] = (name, value + line)

    def _too_long(self) -> MultiPartException:
        return beyond(f"A header of a part exceeded maximum size of {self._max_header_size} bytes.")
