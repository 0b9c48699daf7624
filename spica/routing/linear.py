"""A compiled pattern whose parameters could be divided in many ways, matched in linear time.

`LinearPattern` has the methods of ``re.Pattern``: routes keep it as ``path_regex``. Short strings go to
``re`` itself, which is quicker, because their length bounds the number of ways. Longer strings go to the
`Automaton`. Both give the same match.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from spica.routing.automaton import Automaton

MAX_WAYS = 20_000
"""Ways to divide a string that ``re`` may try: some tenths of a millisecond."""

MAX_PLAIN_SIZE = 200
"""The longest string, in characters, that ``re`` may look at."""


class LinearMatch:
    """What a string that matched is divided into, with the methods of ``re.Match`` for it."""

    __slots__ = ("_spans", "re", "string")

    def __init__(self, pattern: LinearPattern, string: str, spans: Mapping[str, Any]) -> None:
        self.re = pattern
        self.string = string
        self._spans = spans

    def groupdict(self, default: Any = None) -> dict[str, Any]:
        """Return the text of each parameter."""
        return {name: self.group(name) for name in self._spans}

    def groups(self, default: Any = None) -> tuple[str, ...]:
        """Return the texts of all parameters."""
        return tuple([self.group(name) for name in self._spans])

    def group(self, *names: str | int) -> Any:
        """Return the text of a parameter, or of several; by default the whole string.

        Raises:
            IndexError: there is no such parameter.
        """
        texts = [self.string[slice(*self.span(name))] for name in names or (0,)]
        return texts[0] if len(texts) == 1 else tuple(texts)

    __getitem__ = group

    def span(self, name: str | int = 0) -> tuple[int, int]:
        """Return where a parameter begins and ends."""
        if name == 0:
            return 0, len(self.string)
        names = [*self._spans]
        try:
            start, end = self._spans[names[name - 1] if isinstance(name, int) else name]
        except (KeyError, IndexError):
            raise IndexError("no such group") from None
        return start, end

    def start(self, name: str | int = 0) -> int:
        """Return where a parameter begins."""
        return self.span(name)[0]

    def end(self, name: str | int = 0) -> int:
        """Return where a parameter ends."""
        return self.span(name)[1]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} match={self.string!r:.80}>"


class LinearPattern:
    """A pattern for whole strings that takes linear time.

    ``ambiguous`` is how many of its parameters have more than one way to end, None where that is unbounded.
    """

    def __init__(
        self,
        regex: re.Pattern[str],
        automaton: Automaton,
        ambiguous: int | None,
    ) -> None:
        self.regex = regex
        self._automaton = automaton
        self.plain_size = find_plain_size(ambiguous)

    @property
    def pattern(self) -> str:
        """The regular expression."""
        return self.regex.pattern

    @property
    def flags(self) -> int:
        """The flags of the regular expression."""
        return self.regex.flags

    @property
    def groups(self) -> int:
        """The number of its groups."""
        return self.regex.groups

    @property
    def groupindex(self) -> Mapping[str, int]:
        """The number of each named group."""
        return self.regex.groupindex

    def match(self, string: str) -> Any:
        """Return the match if all of ``string`` matches, else None."""
        if len(string) <= self.plain_size:
            return self.regex.match(string)
        marks = self._automaton.divide(string)
        if marks is None:
            return None
        spans = {
            name: (marks[2 * number], marks[2 * number + 1])
            for number, name in enumerate(self.regex.groupindex)
        }
        return LinearMatch(self, string, spans)

    fullmatch = match

    def search(self, string: str) -> Any:
        """Return the match if all of ``string`` matches: a pattern describes whole paths."""
        return self.match(string)

    def finditer(self, string: str) -> Iterator[Any]:
        """Yield the match, if all of ``string`` matches."""
        found = self.match(string)
        if found is not None:
            yield found

    def __copy__(self) -> LinearPattern:
        return self

    def __deepcopy__(self, memo: object) -> LinearPattern:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LinearPattern) and self.regex == other.regex

    def __hash__(self) -> int:
        return hash(self.regex)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pattern!r})"


def find_plain_size(ambiguous: int | None) -> int:
    """Return the length up to which ``re`` tries no more than `MAX_WAYS`."""
    if ambiguous is None:
        return 0
    size = MAX_PLAIN_SIZE
    while size and math.comb(size + ambiguous, ambiguous + 1) > MAX_WAYS:
        size -= 1
    return size
