"""Byte ranges: parse a Range field, and lay out several ranges in one body.

All functions are pure decisions. `spica.responses.file` reads and sends the bytes. Each function takes
linear time in the size of the field, plus the time to sort at most `max_ranges` pairs.

Standards: RFC 9110 section 14 (range requests, multipart/byteranges), RFC 2046 section 5.1.1.
"""

from collections.abc import Callable

# No file has this many bytes. Larger numbers are read as this one, so that a client can't force a
# conversion of thousands of digits.
_BEYOND_ANY_FILE = 10**19

Segment = tuple[bytes, int, int]
"""Bytes to send first, and then the start and stop offsets of a part of the file."""


class MalformedRangeHeader(Exception):
    """A Range field violates the grammar. The client gets a 400 response with `content`."""

    def __init__(self, content: str = "Malformed range header.") -> None:
        super().__init__(content)
        self.content = content


class RangeNotSatisfiable(Exception):
    """No range lies inside the `max_size` bytes of the file. The client gets a 416 response."""

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size)
        self.max_size = max_size

    def __str__(self) -> str:
        return f"No requested range lies inside the {self.max_size} bytes there are."


def plan_ranges(value: str, size: int, max_ranges: int) -> list[tuple[int, int]] | None:
    """Select the bytes that a Range field requests from a representation of `size` bytes.

    Returns:
        Pairs `(start, stop)` without `stop` itself, in ascending order. Ranges that overlap or adjoin are
            merged (allowed by RFC 9110 s.15.3.7.2). None means that the field must be ignored: its unit is
            not `bytes`, or it has more than `max_ranges` ranges.

    Raises:
        MalformedRangeHeader: The field violates the grammar.
        RangeNotSatisfiable: The field is valid and selects nothing.
    """
    unit, equals, ranges = value.partition("=")
    if not equals:
        raise MalformedRangeHeader
    if unit.strip(" \t").lower() != "bytes":
        return None  # RFC 9110 s.14.2: ignore an unknown unit
    # RFC 9110 s.5.6.1: skip empty list elements. Invalid ranges are skipped as well if there is a valid
    # one (s.14.2 leaves this to the server).
    specs: list[tuple[int | None, int | None]] = []
    for part in ranges.split(","):
        spec = _parse_range(part)
        if spec is not None:
            specs.append(spec)
            if len(specs) > max_ranges:
                return None  # RFC 9110 s.14.2: many small ranges may be an attack
    if not specs:
        raise MalformedRangeHeader("Range header: range must be requested")
    selected = [pair for spec in specs if (pair := _clip(*spec, size)) is not None]
    if not selected:
        raise RangeNotSatisfiable(size)  # RFC 9110 s.14.1.1: one satisfiable range is enough
    return _merge(selected) if len(selected) > 1 else selected


def _parse_range(text: str) -> tuple[int | None, int | None] | None:
    """Parse `first-last`, `first-` or `-length` into its numbers (RFC 9110 s.14.1.1)."""
    first, dash, last = text.partition("-")
    first, last = first.strip(" \t"), last.strip(" \t")
    if not dash or not (first or last):
        return None
    # first-pos = 1*DIGIT. `int` also accepts signs, underscores and the digits of other scripts.
    if not (first + last).isascii() or not (first + last).isdigit():
        return None
    start = _parse_number(first) if first else None
    end = _parse_number(last) if last else None
    if start is not None and end is not None and start > end:
        raise MalformedRangeHeader("Range header: start must be less than end")
    return start, end


def _clip(start: int | None, end: int | None, size: int) -> tuple[int, int] | None:
    """Clip a range to the size of the file, or return None if it lies outside (RFC 9110 s.14.1.2)."""
    if start is None:
        length = end or 0
        return (max(size - length, 0), size) if length and size else None
    if start >= size:
        return None
    return start, size if end is None else min(end + 1, size)


def _parse_number(digits: str) -> int:
    """Parse a number. Numbers of 20 digits or more are not converted in full."""
    text = digits if len(digits) < 20 else digits.lstrip("0")
    return int(text or "0") if len(text) < 20 else _BEYOND_ANY_FILE


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge ranges that overlap or adjoin."""
    ranges.sort()
    merged = [ranges[0]]
    for start, stop in ranges[1:]:
        last_start, last_stop = merged[-1]
        if start > last_stop:
            merged.append((start, stop))
        elif stop > last_stop:
            merged[-1] = (last_start, stop)
    return merged


def format_content_range(start: int, stop: int, size: int) -> str:
    """Format Content-Range for the bytes from `start` to before `stop` (RFC 9110 s.14.4)."""
    return f"bytes {start}-{stop - 1}/{size}"


def format_part_header(boundary: str, content_type: str, start: int, stop: int, size: int) -> bytes:
    """Format the header of one part of a multipart/byteranges body (RFC 9110 s.14.6)."""
    return (
        f"--{boundary}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Range: {format_content_range(start, stop, size)}\r\n"
        "\r\n"
    ).encode("latin-1")


def format_closing_delimiter(boundary: str) -> bytes:
    """Format the end of a multipart body (RFC 2046 s.5.1.1)."""
    return f"--{boundary}--".encode("latin-1")


def lay_out_multipart(
    ranges: list[tuple[int, int]], boundary: str, part_header: Callable[[int, int], bytes]
) -> list[Segment]:
    """Lay out the body of a multipart/byteranges response (RFC 9110 s.14.6, RFC 2046 s.5.1.1)."""
    segments: list[Segment] = []
    for start, stop in ranges:
        segments.append((part_header(start, stop), start, stop))
        segments.append((b"\r\n", 0, 0))
    segments.append((format_closing_delimiter(boundary), 0, 0))
    return segments
