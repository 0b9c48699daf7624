"""Coverage: whether every path that one pattern matches is also matched by another.

Pure. The answer is yes only where it is certain; a convertor of an unknown kind covers itself alone.
"""

from __future__ import annotations

import re
from typing import Any

from spica.convertors import (
    Convertor,
    FloatConvertor,
    IntegerConvertor,
    PathConvertor,
    StringConvertor,
    UUIDConvertor,
)
from spica.routing.patterns import (
    PARAM_REGEX,
    WITHIN_SEGMENT,
    PathConvertors,
    conversions_of,
    match_path,
)

Token = str | Convertor[Any]
Segment = tuple[Token, ...]

_TEXTS_OF: dict[type, tuple[type, ...]] = {
    StringConvertor: WITHIN_SEGMENT,
    IntegerConvertor: (IntegerConvertor,),
    FloatConvertor: (FloatConvertor, IntegerConvertor),
    UUIDConvertor: (UUIDConvertor,),
    PathConvertor: (PathConvertor,),
}
"""The convertors each of whose texts the key takes, too."""


class PatternShape:
    """A pattern taken apart into segments, and these into literal texts and convertors."""

    def __init__(self, text: str, regex: re.Pattern[str], convertors: PathConvertors) -> None:
        self._text = text
        self._regex = regex
        self._convertors = convertors
        # A pattern of hosts, which is compared without case, does not begin with a slash.
        plain = text if text.startswith("/") else text.lower()
        self._segments = tuple(
            _tokens(segment, plain_segment, convertors)
            for segment, plain_segment in zip(text.split("/"), plain.split("/"), strict=True)
        )

    def covers(self, other: PatternShape) -> bool:
        """Return whether this certainly matches every path that ``other`` matches."""
        if not other._convertors:
            conversions = conversions_of(self._convertors)
            return match_path(self._regex, conversions, other._text) is not None
        own, others = self._segments, other._segments
        for own_segment, other_segment in zip(own, others, strict=False):
            if _is_rest(own_segment) and own_segment is own[-1]:
                return True  # whatever follows the slash before it
            if not _covers_segment(own_segment, other_segment):
                return False
        return len(own) == len(others)


def _tokens(segment: str, plain: str, convertors: PathConvertors) -> Segment:
    tokens: list[Token] = []
    end = 0
    for found in PARAM_REGEX.finditer(segment):
        tokens += [plain[end : found.start()], convertors[found.group(1)]]
        end = found.end()
    tokens.append(plain[end:])
    return tuple(token for token in tokens if token != "")


def _is_rest(segment: Segment) -> bool:
    return len(segment) == 1 and type(segment[0]) is PathConvertor


def _covers_segment(own: Segment, other: Segment) -> bool:
    if len(own) == 1 and type(own[0]) is StringConvertor:
        # Any text without a slash, but not none at all.
        return bool(other) and all(
            isinstance(token, str) or type(token) in WITHIN_SEGMENT for token in other
        )
    return len(own) == len(other) and all(map(_covers_token, own, other))


def _covers_token(own: Token, other: Token) -> bool:
    if isinstance(own, str) or isinstance(other, str):
        return own == other
    return own is other or type(other) in _TEXTS_OF.get(type(own), ())
