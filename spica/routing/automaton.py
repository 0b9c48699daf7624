"""Match a regular expression in linear time, with the same result as a backtracking engine.

``re`` tries one way to divide a string after the other. A pattern like ``/{a}-{b}-{c}.html`` has many ways,
and the time for a long path that does not match grows with a power of its length. This module builds an
automaton from the same expression. A first pass over the string, from right to left, notes the steps that can
still reach the end. A second pass, from left to right, follows the preferred of these steps, so that each
parameter gets the same string as with ``re`` (Frisch and Cardelli, "Greedy Regular Expression Matching",
2004).

It reads the part of the ``re`` syntax that describes regular languages: characters, sets, groups,
alternatives and repeats, greedy or lazy. It refuses lookarounds, backreferences, anchors, named groups,
atomic groups and possessive repeats with `UnsupportedRegex`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

MAX_STEPS = 2000
"""The most steps of one automaton. A repeat such as ``{1,500}`` is expanded, so the limit bounds it."""

MAX_TRANSITIONS = 4096
"""The most cached transitions. The automaton then drops its cache, so that clients can't fill memory."""


class UnsupportedRegex(ValueError):
    """The expression has a construct that needs backtracking. The message names it."""


class Character(NamedTuple):
    """An expression that matches exactly one character. ``literal`` is the character if only one matches."""

    source: str
    literal: str | None = None


class Sequenced(NamedTuple):
    """One expression after the other."""

    parts: Sequence[Node]


class Alternatives(NamedTuple):
    """Several expressions. The first one that leads to a match wins."""

    choices: Sequence[Node]


class Repeat(NamedTuple):
    """An expression ``least`` to ``most`` times. None as ``most`` means without an upper limit."""

    inner: Node
    least: int
    most: int | None
    is_greedy: bool


class Parameter(NamedTuple):
    """An expression whose position in the string is recorded under a number."""

    inner: Node
    number: int


Node = Character | Sequenced | Alternatives | Repeat | Parameter

# -- reading an expression --------------------------------------------------------------------------------

# Strings, which are compiled when the first pattern with parameters needs them: an import stays light.
_ONE_CHARACTER = r"""\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]+\}|0[0-7]{0,2}|[1-3][0-7]{2}
            |[dDsSwWafnrtv]|[^0-9A-Za-z])
      | \[\^?\]?(?:\\.|[^\]\\])*\]
      | [^\\^$*+?|()\[]"""
_GROUP = r"\((?:\?(?P<flags>[aius]*(?:-[is]+)?):|(?!\?))"
_REPEAT = r"(?:([*+?])|\{(?!\})([0-9]*)(,?)([0-9]*)\})([?+]?)"
_SIGNS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def literal_node(text: str) -> Node:
    """Return the expression for exactly this string."""
    return Sequenced([Character(re.escape(character), character) for character in text])


@lru_cache(maxsize=256)
def read_regex(source: str) -> Node:
    """Return the expression that ``source`` describes.

    Raises:
        UnsupportedRegex: It has a construct that only a backtracking engine can match.
    """
    reader = _Reader(source)
    node = reader.read_alternatives("")
    if reader.at < len(source):
        raise reader.refusal()
    return node


class _Reader:
    """Read one expression, from left to right."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0

    def refusal(self) -> UnsupportedRegex:
        """Return the error for the construct at the present position."""
        rest = self.source[self.at :]
        return UnsupportedRegex(f"{rest:.12} at position {self.at} of {self.source:.80}")

    def read_alternatives(self, flags: str) -> Node:
        """Read up to the end of the group. ``flags`` opens the outer groups that set flags."""
        choices = [self._read_sequence(flags)]
        while self.source.startswith("|", self.at):
            self.at += 1
            choices.append(self._read_sequence(flags))
        return choices[0] if len(choices) == 1 else Alternatives(choices)

    def _read_sequence(self, flags: str) -> Node:
        parts: list[Node] = []
        while self.at < len(self.source) and self.source[self.at] not in "|)":
            parts.append(self._read_repeat(self._read_one(flags)))
        return Sequenced(parts)

    def _read_one(self, flags: str) -> Node:
        group = re.compile(_GROUP).match(self.source, self.at)
        if group is not None:
            return self._read_group(group, flags)
        found = re.compile(_ONE_CHARACTER, re.VERBOSE | re.DOTALL).match(self.source, self.at)
        if found is None:
            raise self.refusal()
        self.at = found.end()
        text = found.group()
        is_literal = len(text) == 1 and text != "."
        return Character(f"{flags}{text}{')' * flags.count('(')}", text if is_literal else None)

    def _read_group(self, group: re.Match[str], flags: str) -> Node:
        start, self.at = self.at, group.end()
        inner = self.read_alternatives(flags + (group.group() if group["flags"] else ""))
        if not self.source.startswith(")", self.at):
            self.at = start
            raise self.refusal()
        self.at += 1
        return inner

    def _read_repeat(self, node: Node) -> Node:
        found = re.compile(_REPEAT).match(self.source, self.at)
        if found is None:
            return node
        sign, least, comma, most, suffix = found.groups()
        if suffix == "+":
            raise self.refusal()  # possessive
        self.at = found.end()
        low, high = _SIGNS[sign] if sign else _read_counts(least, comma, most)
        if max(low, high or 0) > MAX_STEPS:
            raise UnsupportedRegex(f"more than {MAX_STEPS} repeats in {self.source:.80}")
        if high != 1 and _can_be_empty(node) and _has_lazy_repeat(node):
            # `re` lets such a repeat match an empty string once more; an automaton does not.
            raise UnsupportedRegex(f"a repeated lazy expression in {self.source:.80}")
        return Repeat(node, low, high, is_greedy=suffix != "?")


def _read_counts(least: str, comma: str, most: str) -> tuple[int, int | None]:
    """Return the limits of a repeat such as ``{2}``, ``{2,}`` or ``{2,3}``."""
    low = int(least or 0)
    if not comma:
        return low, low
    return low, int(most) if most else None


def _can_be_empty(node: Node) -> bool:
    """Return whether an expression matches the empty string."""
    match node:
        case Character():
            return False
        case Sequenced(parts):
            return all(map(_can_be_empty, parts))
        case Alternatives(choices):
            return any(map(_can_be_empty, choices))
        case Repeat(inner, least):
            return least == 0 or _can_be_empty(inner)
        case Parameter(inner):
            return _can_be_empty(inner)


def _has_lazy_repeat(node: Node) -> bool:
    """Return whether an expression contains a lazy repeat, such as ``.*?``."""
    match node:
        case Character():
            return False
        case Sequenced(nodes) | Alternatives(nodes):
            return any(map(_has_lazy_repeat, nodes))
        case Repeat(inner, _, _, is_greedy):
            return not is_greedy or _has_lazy_repeat(inner)
        case Parameter(inner):
            return _has_lazy_repeat(inner)


# -- the automaton -------------------------------------------------------------------------------------------

NOWHERE = -1


class _Step:
    """Consume a character and continue, or continue at once. ``following`` has the preferred step first."""

    __slots__ = ("following", "mark", "parameter", "taken")

    def __init__(
        self, taken: int | None, following: list[int], mark: int | None, parameter: int | None
    ) -> None:
        self.taken = taken  # the number of the character test; None: consumes nothing
        self.following = following
        self.mark = mark  # records the position under this number
        self.parameter = parameter  # the number of its parameter


class _Notes:
    """The steps from which the rest of a string can be matched, at one position, with cached transitions."""

    __slots__ = ("after", "alive", "before")

    def __init__(self, alive: frozenset[int]) -> None:
        self.alive = alive
        self.before: dict[str, _Notes] = {}  # the notes one character further left
        # step: the next step, and the marks to record
        self.after: dict[int, tuple[int, tuple[int, ...]]] = {}


class Automaton:
    """The automaton of one expression. `divide` matches whole strings.

    Args:
        node: The expression.
        flags: Flags of ``re``.
    """

    def __init__(self, node: Node, flags: int = 0) -> None:
        self._flags = flags
        self._steps: list[_Step] = []
        self._parameter: int | None = None  # the parameter under construction
        self._numbers: dict[Character, int] = {}
        self._tests: list[re.Pattern[str]] = []
        self.characters: list[Character] = []
        self._end = self._add(None, [])
        self._start = self._add(None, [self._build(node, self._end)])
        self._reach = [self._walk(step.following) for step in self._steps]
        self._forget()

    # A step needs the numbers of the steps that follow it, so build an expression from its end.

    def _add(self, taken: int | None, following: list[int], mark: int | None = None) -> int:
        if len(self._steps) > MAX_STEPS:
            raise UnsupportedRegex(f"more than {MAX_STEPS} steps")
        self._steps.append(_Step(taken, following, mark, self._parameter))
        return len(self._steps) - 1

    def _build(self, node: Node, following: int) -> int:
        match node:
            case Character():
                return self._add(self._number_of(node), [following])
            case Sequenced(parts):
                for part in reversed(parts):
                    following = self._build(part, following)
                return following
            case Alternatives(choices):
                return self._add(None, [self._build(choice, following) for choice in choices])
            case Parameter(inner, number):
                end = self._add(None, [following], 2 * number + 1)
                self._parameter = number
                start = self._build(inner, end)
                self._parameter = None
                return self._add(None, [start], 2 * number)
            case Repeat():
                return self._build_repeat(node, following)

    def _build_repeat(self, node: Repeat, following: int) -> int:
        inner, least, most, is_greedy = node
        after = following
        if most is None:
            loop = self._add(None, [])
            self._fork(loop, self._build(inner, loop), after, is_greedy)
            following = loop
        else:
            for _ in range(most - least):
                fork = self._add(None, [])
                self._fork(fork, self._build(inner, following), after, is_greedy)
                following = fork
        for _ in range(least):
            following = self._build(inner, following)
        return following

    def _fork(self, fork: int, once_more: int, after: int, is_greedy: bool) -> None:
        self._steps[fork].following = [once_more, after] if is_greedy else [after, once_more]

    def _number_of(self, character: Character) -> int:
        number = self._numbers.get(character)
        if number is None:
            number = self._numbers[character] = len(self._tests)
            self._tests.append(re.compile(character.source, self._flags))
            self.characters.append(character)
        return number

    def _walk(self, following: Sequence[int]) -> list[tuple[int, tuple[int, ...]]]:
        """Return the steps reached without a character, the preferred one first, and the marks on the way."""
        reached: list[tuple[int, tuple[int, ...]]] = []
        seen: set[int] = set()
        waiting: list[tuple[int, tuple[int, ...]]] = [(each, ()) for each in reversed(following)]
        while waiting:
            at, marks = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            step = self._steps[at]
            if step.taken is not None or at == self._end:
                reached.append((at, marks))
                continue
            if step.mark is not None:
                marks = (*marks, step.mark)
            waiting += [(each, marks) for each in reversed(step.following)]
        return reached

    # -- matching --------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Drop the transitions cached from other strings."""
        self._known: dict[frozenset[int], _Notes] = {}
        self._transitions = 0
        self._last = self._notes(frozenset([self._end]))

    def _notes(self, alive: frozenset[int]) -> _Notes:
        notes = self._known.get(alive)
        if notes is None:
            notes = self._known[alive] = _Notes(alive)
        return notes

    def divide(self, text: str) -> dict[int, int] | None:
        """Return the position of each mark if the whole ``text`` matches, else None.

        The parameter number n begins at mark 2n and ends at mark 2n+1.
        """
        notes = self._last
        trail = [notes]
        for character in reversed(text):
            notes = notes.before.get(character) or self._go_left(notes, character)
            if not notes.alive:
                return None
            trail.append(notes)
        at, marks = self._start, {}
        position = 0
        while trail:
            notes = trail.pop()
            known = notes.after.get(at) or self._go_right(notes, at)
            at, passed = known
            if at == NOWHERE:
                return None
            for mark in passed:
                marks[mark] = position
            position += 1
        return marks

    def _go_left(self, notes: _Notes, character: str) -> _Notes:
        if self._transitions >= MAX_TRANSITIONS:
            self._forget()
        taken = {number for number, test in enumerate(self._tests) if test.match(character)}
        alive = notes.alive
        before = frozenset(
            at
            for at, step in enumerate(self._steps)
            if step.taken in taken and any(each in alive for each, _ in self._reach[at])
        )
        found = notes.before[character] = self._notes(before)
        self._transitions += 1
        return found

    def _go_right(self, notes: _Notes, at: int) -> tuple[int, tuple[int, ...]]:
        found: tuple[int, tuple[int, ...]] = (NOWHERE, ())
        for each in self._reach[at]:
            if each[0] in notes.alive:
                found = each
                break
        notes.after[at] = found
        self._transitions += 1
        return found

    # -- ambiguity -------------------------------------------------------------------------------------

    def conflicts(self) -> list[int]:
        """Return the steps after which one character can be consumed in more than one way.

        If there are none, a string has only one way through, and a backtracking engine is linear, too.
        """
        return [at for at, reached in enumerate(self._reach) if self._has_conflict(at, reached)]

    def _has_conflict(self, at: int, reached: Sequence[tuple[int, tuple[int, ...]]]) -> bool:
        if self._steps[at].taken is None and at != self._start:
            return False
        numbers = [self._steps[each].taken for each, _ in reached]
        taken = [self.characters[number] for number in numbers if number is not None]
        return any(
            may_overlap(one, other, self._flags)
            for place, one in enumerate(taken)
            for other in taken[:place]
        )

    def is_linear(self) -> bool:
        """Return whether a backtracking engine is linear as well."""
        return not self.conflicts()

    def count_ambiguous(self) -> int:
        """Return the number of parameters with more than one possible end; at least 1."""
        return max(1, len({self._steps[at].parameter for at in self.conflicts()} - {None}))


_ASCII = [chr(code) for code in range(128)]
_ASCII_SET = re.compile(r"\[[^\\^\[][^\\\[]*\]\Z", re.ASCII)


@lru_cache(maxsize=1024)
def may_overlap(one: Character, other: Character, flags: int = 0) -> bool:
    """Return whether a character may match both expressions. True if unsure."""
    first, second = re.compile(one.source, flags), re.compile(other.source, flags)
    for literal, test in ((one.literal, second), (other.literal, first)):
        if literal is not None:
            spellings = {literal, literal.lower(), literal.upper()}
            return any(len(each) == 1 and test.match(each) for each in spellings)
    if any(first.match(each) and second.match(each) for each in _ASCII):
        return True
    # A set of ASCII characters like [a-z] matches no other character.
    are_ascii = [_is_ascii_set(each.source) for each in (one, other)]
    return bool(flags & re.IGNORECASE) or not any(are_ascii)


def _is_ascii_set(source: str) -> bool:
    return source.isascii() and _ASCII_SET.match(source) is not None
