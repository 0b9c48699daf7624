"""Match patterns such as ``/{a}-{b}-{c}`` in linear time.

A path can often be divided among several parameters in many ways, and ``re`` may try them all.
`LinearPattern` has the methods of ``re.Pattern``, and routes keep it as ``path_regex``. It passes short
strings to ``re``, which is faster and has few ways to try, and longer strings to the `Automaton`. Both give
the same match.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from spica.routing.automaton import Automaton

MAX_WAYS = 20_000
"""The most ways to divide a string that ``re`` may try. They take some tenths of a millisecond."""

MAX_PLAIN_SIZE = 200
"""The longest string, in characters, that goes to ``re``."""


class LinearMatch:
    """The match of a string, with the methods of ``re.Match``.

    Args:
        pattern: The pattern that matched.
        string: The whole string.
        spans: The start and end of each parameter.
    """

    __slots__ = ("_spans", "re", "string")

    def __init__(self, pattern: LinearPattern, string: str, spans: Mapping[str, Any]) -> None:
        self.re = pattern
        self.string = string
        self._spans = spans

    def groupdict(self, default: Any = None) -> dict[str, Any]:
        """Return the string of each parameter by its name."""
        return {name: self.group(name) for name in self._spans}

    def groups(self, default: Any = None) -> tuple[str, ...]:
        """Return the strings of all parameters."""
        return tuple([self.group(name) for name in self._spans])

    def group(self, *names: str | int) -> Any:
        """Return the string of a parameter, or of several. Without arguments, return the whole string.

        Raises:
            IndexError: There is no such parameter.
        """
        found = [self.string[slice(*self.span(name))] for name in names or (0,)]
        return found[0] if len(found) == 1 else tuple(found)

    __getitem__ = group

    def span(self, name: str | int = 0) -> tuple[int, int]:
        """Return the start and the end of a parameter."""
        if name == 0:
            return 0, len(self.string)
        names = [*self._spans]
        try:
            start, end = self._spans[names[name - 1] if isinstance(name, int) else name]
        except (KeyError, IndexError):
            raise IndexError("no such group") from None
        return start, end

    def start(self, name: str | int = 0) -> int:
        """Return the start of a parameter."""
        return self.span(name)[0]

    def end(self, name: str | int = 0) -> int:
        """Return the end of a parameter."""
        return self.span(name)[1]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} match={self.string!r:.80}>"


class LinearPattern:
    """A pattern for whole strings that takes linear time.

    Args:
        regex: The same pattern for ``re``, used for short strings.
        automaton: The same pattern for longer strings.
        ambiguous: The number of parameters with more than one possible end. None: a single parameter alone
            may have many ways, so no string goes to ``re``.
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
        """Return the match if the whole ``string`` matches, else None."""
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
        """Return the match if the whole ``string`` matches: a pattern describes whole paths."""
        return self.match(string)

    def finditer(self, string: str) -> Iterator[Any]:
        """Yield the match if the whole ``string`` matches."""
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
    """Return the length, in characters, up to which ``re`` tries at most `MAX_WAYS` ways."""
    if ambiguous is None:
        return 0
    size = MAX_PLAIN_SIZE
    while size and math.comb(size + ambiguous, ambiguous + 1) > MAX_WAYS:
        size -= 1
    return size
