"""Byte ranges: parse a Range field, and lay out several ranges in one body.

Pure decisions over numbers and text; reading and sending is done by `spica.responses.file`. Every
function takes linear time in the size of the field, plus the sorting of at most `max_ranges` pairs.

Standards: RFC 9110 section 14 (range requests, multipart/byteranges), RFC 2046 section 5.1.1.
"""

from collections.abc import Callable

# A file cannot have more bytes than this; longer numbers are read as this one, so that no field
# can ask for a conversion of thousands of digits.
_BEYOND_ANY_FILE = 10**19

Segment = tuple[bytes, int, int]
"""Bytes to send first, then the bytes of a file from one offset to before another."""


class MalformedRangeHeader(Exception):
    """Say that a Range field is not one by its grammar; the client gets 400 with `content`."""

    def __init__(self, content: str = "Malformed range header.") -> None:
        super().__init__(content)
        self.content = content


class RangeNotSatisfiable(Exception):
    """Say that no range lies inside the `max_size` bytes there are; the client gets 416."""

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size)
        self.max_size = max_size

    def __str__(self) -> str:
        return f"No requested range lies inside the {self.max_size} bytes there are."


def plan_ranges(value: str, size: int, max_ranges: int) -> list[tuple[int, int]] | None:
    """Decide which bytes of a representation of `size` bytes a Range field selects.

    Returns:
        Pairs `(start, stop)`, `stop` not included, in ascending order, none touching another:
        ranges that overlap or adjoin are sent as one (RFC 9110 s.15.3.7.2 allows it). None if the
        field is to be ignored: its unit is not `bytes`, or it has more than `max_ranges` ranges.

    Raises:
        MalformedRangeHeader: The field does not follow the grammar.
        RangeNotSatisfiable: The field is well formed and selects nothing.
    """
    unit, equals, ranges = value.partition("=")
    if not equals:
        raise MalformedRangeHeader
    if unit.strip(" \t").lower() != "bytes":
        return None  # RFC 9110 s.14.2: a unit that is not understood MUST be ignored
    # RFC 9110 s.5.6.1: empty list elements are skipped. So are invalid ranges, as long as there is
    # one (s.14.2 leaves it to the server).
    specs = [spec for part in ranges.split(",") if (spec := _parse_range(part)) is not None]
    if not specs:
        raise MalformedRangeHeader("Range header: range must be requested")
    if len(specs) > max_ranges:
        return None  # RFC 9110 s.14.2: many small ranges may be ignored as an attack
    selected = [pair for spec in specs if (pair := _clip(*spec, size)) is not None]
    if not selected:
        raise RangeNotSatisfiable(size)  # RFC 9110 s.14.1.1: one satisfiable range is enough
    return _merge(selected) if len(selected) > 1 else selected


def _parse_range(text: str) -> tuple[int | None, int | None] | None:
    """Read `first-last`, `first-` or `-length` into its numbers (RFC 9110 s.14.1.1)."""
    first, dash, last = text.partition("-")
    first, last = first.strip(" \t"), last.strip(" \t")
    if not dash or not (first or last):
        return None
    # first-pos = 1*DIGIT, which is less than `int` takes: no sign, no underscore, no other script.
    if not (first + last).isascii() or not (first + last).isdigit():
        return None
    start = _parse_number(first) if first else None
    end = _parse_number(last) if last else None
    if start is not None and end is not None and start > end:
        raise MalformedRangeHeader("Range header: start must be less than end")
    return start, end


def _clip(start: int | None, end: int | None, size: int) -> tuple[int, int] | None:
    """Clip a range to a size; None if it lies outside (RFC 9110 s.14.1.2)."""
    if start is None:
        length = end or 0
        return (max(size - length, 0), size) if length and size else None
    if start >= size:
        return None
    return start, size if end is None else min(end + 1, size)


def _parse_number(digits: str) -> int:
    """Read a number, of 20 digits or more without converting them all."""
    text = digits if len(digits) < 20 else digits.lstrip("0")
    return int(text or "0") if len(text) < 20 else _BEYOND_ANY_FILE


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join the ranges that overlap or adjoin."""
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
    """Lay out the body of a multipart/byteranges answer (RFC 9110 s.14.6, RFC 2046 s.5.1.1)."""
    segments: list[Segment] = []
    for start, stop in ranges:
        segments.append((part_header(start, stop), start, stop))
        segments.append((b"\r\n", 0, 0))
    segments.append((format_closing_delimiter(boundary), 0, 0))
    return segments
