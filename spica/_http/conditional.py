"""Conditional requests: entity tags, HTTP dates, and the order of preconditions.

Each function takes field values as strings and returns a decision. Invalid entity tags and dates match
nothing and never raise. The cost of each function is linear in the size of its input.

Standards: RFC 9110 section 5.6.7 (dates), section 8.8 (validators), section 13 (preconditions).
"""

from collections.abc import Iterable, Mapping
from datetime import date
from enum import Enum
from time import gmtime
from typing import NamedTuple

MAX_ENTITY_TAGS = 256
"""Entity tags of one field that are compared. Caches send a few. Each takes 3 microseconds."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBER = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
_EPOCH_DAY = date(1970, 1, 1).toordinal()

# The longest of the three spellings, "Wednesday, 09-Nov-94 08:49:37 GMT", has 33 characters.
_MAX_DATE_LENGTH = 64

PRECONDITION_FIELDS = frozenset(
    (
        b"if-match",
        b"if-unmodified-since",
        b"if-none-match",
        b"if-modified-since",
        b"if-range",
        b"range",
    )
)
"""Names of the request fields that can turn a 200 into a 206, 304, 412 or 416."""


class EntityTag(NamedTuple):
    """An entity tag: the quoted opaque part, and whether it is weak (RFC 9110 s.8.8.3)."""

    opaque: str
    is_weak: bool = False


class Outcome(Enum):
    """The result of evaluating the preconditions of a request."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


def select_fields(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the precondition and range fields of a raw header list. Lines with the same name are joined."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in raw:
        if name in PRECONDITION_FIELDS:
            found.setdefault(name, []).append(value)
    # RFC 9110 s.5.3: lines with the same name form one list, joined by commas in their order. One join is
    # linear, while adding them one by one would take quadratic time.
    return {
        name.decode("latin-1"): b", ".join(values).decode("latin-1")
        for name, values in found.items()
    }


def format_http_date(seconds: float) -> str:
    """Format seconds since 1970 (UTC) as an IMF-fixdate, the form to send (RFC 9110 s.5.6.7)."""
    year, month, day, hour, minute, second, weekday, _, _ = gmtime(seconds)
    return "%s, %02d %s %04d %02d:%02d:%02d GMT" % (  # noqa: UP031  # a third faster than an f-string
        _DAYS[weekday],
        day,
        _MONTHS[month - 1],
        year,
        hour,
        minute,
        second,
    )


def parse_http_date(value: str) -> int | None:
    """Parse a date into seconds since 1970, or return None if it is invalid.

    The function accepts the three forms of RFC 9110 s.5.6.7.
    """
    if len(value) > _MAX_DATE_LENGTH or not value.isascii():
        return None
    words = value.split()
    if len(words) == 6:  # IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
        _, day, month, year, clock, zone = words
    elif len(words) == 5:  # asctime: Sun Nov  6 08:49:37 1994
        (_, month, day, clock, year), zone = words, "GMT"
    elif len(words) == 4 and words[1].count("-") == 2:  # RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
        _, calendar_day, clock, zone = words
        day, month, year = calendar_day.split("-")
        year = _four_digits(year)
    else:
        return None
    if zone not in ("GMT", "UTC") or len(year) != 4:
        return None
    return _seconds(year, month, day, clock)


def _four_digits(year: str) -> str:
    """Expand a two-digit year. More than 50 years ahead means the past (RFC 9110 s.5.6.7)."""
    if len(year) != 2 or not year.isdigit():
        return year
    this_year = gmtime().tm_year
    candidate = this_year - this_year % 100 + int(year)
    return str(candidate - 100 if candidate > this_year + 50 else candidate)


def _seconds(year: str, month: str, day: str, clock: str) -> int | None:
    """Compute seconds since 1970 from the parts of a date, or return None if one is not a number."""
    numbers = [year, day, *clock.split(":")]
    month_number = _MONTH_NUMBER.get(month.lower())
    if len(numbers) != 5 or month_number is None:
        return None
    for number in numbers:
        if not number.isdigit():
            return None
    hour, minute, second = int(numbers[2]), int(numbers[3]), int(numbers[4])
    if hour > 23 or minute > 59 or second > 60:  # RFC 9110 s.5.6.7: 60 is a leap second
        return None
    try:
        ordinal = date(int(year), month_number, int(day)).toordinal()
    except ValueError:
        return None
    return (ordinal - _EPOCH_DAY) * 86400 + hour * 3600 + minute * 60 + second


def parse_entity_tag(value: str) -> EntityTag:
    """Parse one entity tag. A value without quotes is kept as it is, and equals only the same value."""
    value = value.strip(" \t")
    # RFC 9110 s.8.8.3: "W/" is case-sensitive.
    if value.startswith("W/"):
        return EntityTag(value[2:], True)
    return EntityTag(value, False)


def parse_entity_tags(value: str) -> list[EntityTag]:
    """Parse the entity tags of If-Match or If-None-Match. `*` becomes a tag of its own.

    Commas inside quotes belong to the tag. Empty elements are skipped (RFC 9110 s.5.6.1). At most
    `MAX_ENTITY_TAGS` are returned.
    """
    tags: list[EntityTag] = []
    position, length = 0, len(value)
    while position < length and len(tags) < MAX_ENTITY_TAGS:
        if value[position] in ", \t":
            position += 1
            continue
        quote = position + 2 if value.startswith("W/", position) else position
        end = value.find('"', quote + 1) if value.startswith('"', quote) else -1
        if end < 0:  # without a closing quote: it ends before the next comma
            end = value.find(",", position)
            end = length if end < 0 else end
        else:
            end += 1
        tags.append(parse_entity_tag(value[position:end]))
        position = end
    return tags


def is_strong_match(first: EntityTag, second: EntityTag) -> bool:
    """Return whether two tags name the same bytes (RFC 9110 s.8.8.3.2, strong comparison)."""
    return not first.is_weak and not second.is_weak and first.opaque == second.opaque


def is_weak_match(first: EntityTag, second: EntityTag) -> bool:
    """Return whether two tags name equivalent content (RFC 9110 s.8.8.3.2, weak comparison)."""
    return first.opaque == second.opaque


def is_not_modified(
    request: Mapping[str, str], etag: str | None, last_modified: str | None
) -> bool:
    """Return whether the client's copy is current, according to If-None-Match or else If-Modified-Since.

    `request` maps lower-case field names to values. `etag` and `last_modified` are the field values of the
    response.
    """
    if_none_match = request.get("if-none-match")
    if if_none_match is not None:
        # RFC 9110 s.13.1.2: weak comparison; s.13.1.3: If-Modified-Since is then ignored.
        if if_none_match == "*" or (etag is not None and if_none_match == etag):
            return True
        return _has_match(if_none_match, etag, is_strong=False)
    if_modified_since = request.get("if-modified-since")
    # RFC 9110 s.13.1.3: an invalid date is ignored.
    return _is_at_most(last_modified, if_modified_since) is True


def evaluate(
    method: str, request: Mapping[str, str], etag: str | None, last_modified: str | None
) -> Outcome:
    """Evaluate the preconditions of a request in the order of RFC 9110 s.13.2.2.

    The representation must exist. `request` maps lower-case field names to values (see `select_fields`).
    `etag` and `last_modified` are the field values that a 200 response would carry. `allows_range`
    evaluates If-Range.
    """
    if not request:
        return Outcome.PROCEED
    if_match = request.get("if-match")
    if if_match is not None:  # step 1
        # RFC 9110 s.13.1.1: strong comparison.
        if if_match.strip(" \t") != "*" and not _has_match(if_match, etag, is_strong=True):
            return Outcome.FAILED
    elif _is_at_most(last_modified, request.get("if-unmodified-since")) is False:  # step 2
        # RFC 9110 s.13.1.4: an invalid date is ignored.
        return Outcome.FAILED
    is_read = method in ("GET", "HEAD")
    if not is_read and "if-none-match" not in request:
        return Outcome.PROCEED  # RFC 9110 s.13.1.3: If-Modified-Since counts for GET and HEAD only
    if is_not_modified(request, etag, last_modified):  # steps 3 and 4
        return Outcome.NOT_MODIFIED if is_read else Outcome.FAILED
    return Outcome.PROCEED


def allows_range(if_range: str | None, etag: str | None, last_modified: str | None) -> bool:
    """Return whether If-Range allows a partial response. It does if the field is missing (RFC 9110 s.13.1.5).

    A weak tag never matches. A date must equal the Last-Modified that was sent. RFC 9110 s.8.8.2.2 also
    requires a date to be a second older than the Date of that response. We skip that check: clients that
    need certainty have the entity tag.
    """
    if if_range is None:
        return True
    value = if_range.strip(" \t")
    if value.endswith('"'):
        return etag is not None and is_strong_match(parse_entity_tag(value), parse_entity_tag(etag))
    if last_modified is None:
        return False
    if value == last_modified:
        return True
    sent, held = parse_http_date(last_modified), parse_http_date(value)
    return sent is not None and sent == held


def _has_match(value: str, etag: str | None, *, is_strong: bool) -> bool:
    """Return whether a list of entity tags contains the given tag."""
    tags = parse_entity_tags(value)
    if not is_strong and len(tags) == 1 and tags[0].opaque == "*":
        return True
    if etag is None:
        return False
    ours = parse_entity_tag(etag)
    matches = is_strong_match if is_strong else is_weak_match
    return any(matches(tag, ours) for tag in tags)


def _is_at_most(first: str | None, second: str | None) -> bool | None:
    """Return whether a date is not later than another one, or None if either is invalid."""
    if first is None or second is None:
        return None
    if first == second:
        return True  # the usual case: a client returns the date that it received
    earlier, later = parse_http_date(first), parse_http_date(second)
    if earlier is None or later is None:
        return None
    return earlier <= later
