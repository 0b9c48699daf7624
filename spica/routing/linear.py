"""Match patterns such as ``/{a}-{b}-{c}`` in linear time.

A path can often be divided among several parameters in many ways, and ``re`` may try them all.
`LinearPattern` has the methods of ``re.Pattern``, and routes keep it as ``path_regex``. It passes short
strings to ``re``, which is faster and has few ways to try, and longer strings to the `Automaton`. Both give
the same match.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from spica.convertors import Convertor
from spica.routing.automaton import (
    Automaton,
    Node,
    Parameter,
    Sequenced,
    UnsupportedRegex,
    literal_node,
    read_regex,
)

Token = str | tuple[str, Convertor[Any]]
"""A fixed part of a pattern, or the name and convertor of a parameter. The two alternate."""

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


def make_linear(regex: re.Pattern[str], tokens: Sequence[Token]) -> re.Pattern[str]:
    """Return ``regex`` if each path has one way to be divided, else a `LinearPattern`."""
    params = [token[1] for token in tokens if not isinstance(token, str)]
    flags = regex.flags & re.IGNORECASE
    try:
        # The fixed part at the end is compared once for each end of the last parameter, which is linear.
        without_tail = Automaton(_expression_of(tokens[:-1]), flags)
        if without_tail.is_linear():
            return regex
        automaton = Automaton(_expression_of(tokens), flags)
        ambiguous: int | None = without_tail.count_ambiguous()
        if not all(_is_linear_alone(convertor.regex, flags) for convertor in params):
            ambiguous = None
    except UnsupportedRegex:
        return regex  # `find_slow_param` reports it
    # A LinearPattern has the methods of re.Pattern, which can't be subclassed: hence the cast.
    return cast("re.Pattern[str]", LinearPattern(regex, automaton, ambiguous))


def _expression_of(tokens: Sequence[Token]) -> Node:
    parts: list[Node] = []
    for place, token in enumerate(tokens):
        if isinstance(token, str):
            parts.append(literal_node(token))
        else:
            parts.append(Parameter(read_regex(token[1].regex), place // 2))
    return Sequenced(parts)


@lru_cache(maxsize=256)
def _is_linear_alone(regex: str, flags: int) -> bool:
    """Return whether a string has only one way through the expression of a convertor."""
    return Automaton(read_regex(regex), flags).is_linear()
