"""The automaton gives the match of ``re``, and knows where ``re`` would backtrack."""

import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spica.routing.automaton import (
    MAX_STEPS,
    Automaton,
    Character,
    Parameter,
    Sequenced,
    UnsupportedRegex,
    literal_node,
    may_overlap,
    read_regex,
)

_atoms = st.sampled_from(
    [
        "a",
        "b",
        "-",
        ".",
        "[ab]",
        "[^a]",
        "[a-c-]",
        r"\d",
        r"\w",
        r"\.",
        "[]a]",
        r"[\]b]",
        "(?s:.)",
        "(?i:A)",
        "{",
        "}",
    ]
)
_repeats = st.sampled_from(
    ["", "", "", "*", "+", "?", "{2}", "{1,2}", "{,2}", "{1,}", "*?", "+?", "??"]
)


def _group(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    sequence = st.lists(inner, min_size=1, max_size=3).map("".join)
    choices = st.lists(sequence, min_size=1, max_size=2).map("|".join)
    return st.tuples(st.sampled_from(["(?:{})", "({})"]), choices, _repeats).map(
        lambda drawn: drawn[0].format(drawn[1]) + drawn[2]
    )


_expressions = st.recursive(st.tuples(_atoms, _repeats).map("".join), _group, max_leaves=6)


def _divide(sources: list[str], text: str) -> list[str] | None:
    try:
        node = Sequenced([Parameter(read_regex(each), place) for place, each in enumerate(sources)])
    except UnsupportedRegex:
        assume(False)
    marks = Automaton(node).divide(text)
    if marks is None:
        return None
    return [text[marks[2 * place] : marks[2 * place + 1]] for place in range(len(sources))]


@given(
    st.lists(_expressions, min_size=1, max_size=3),
    st.text(alphabet="aAbc-.1{}]\n", max_size=7),
)
def test_a_string_is_divided_as_by_re(sources: list[str], text: str) -> None:
    plain = "".join(f"(?P<p{place}>{each})" for place, each in enumerate(sources))
    try:
        expected = re.compile(plain).fullmatch(text)
    except re.error:
        assume(False)
    found = _divide(sources, text)
    assert found == (expected and [expected[f"p{place}"] for place in range(len(sources))])


@pytest.mark.parametrize(
    "source",
    ["(?=a)a", "(?!a)b", "(?<=a)b", r"(a)\1", "^a", "a$", r"a\b", r"a\Z", "(?P<n>a)", "(?>a)", "a++",
     "(?x: a)", "(?i)a", "(?:a*?)*", "(?:(?:a|b*?){2,3})", "a{3000}", "(?:a{1000}){3}", "(a", "a)", "[a"],
)  # fmt: skip
def test_what_needs_backtracking_is_refused(source: str) -> None:
    with pytest.raises(UnsupportedRegex):
        Automaton(read_regex(source))


def test_the_refusal_names_the_construct() -> None:
    with pytest.raises(UnsupportedRegex, match=r"\(\?!b\) at position 1 of a\(\?!b\)"):
        read_regex("a(?!b)")


def test_steps_have_an_end() -> None:
    Automaton(read_regex(f"a{{{MAX_STEPS - 3}}}"))
    with pytest.raises(UnsupportedRegex, match="more than"):
        Automaton(read_regex(f"a{{{MAX_STEPS + 1}}}"))


def test_case_is_ignored_where_it_shall_be() -> None:
    assert Automaton(literal_node("a.B"), re.IGNORECASE).divide("A.b") == {}
    assert Automaton(literal_node("a.B")).divide("A.b") is None


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("[^/]", "/", False),
        ("[^/]", "-", True),
        ("[a-z]", "[0-9]", False),
        ("[a-z]", "[f-g]", True),
        (r"\w", r"\s", True),  # not certain
        (r"\d", "[a-z]", False),
    ],
)
def test_whether_one_character_fits_both(one: str, other: str, overlap: bool) -> None:
    first, second = (Character(each, each if len(each) == 1 else None) for each in (one, other))
    assert may_overlap(first, second) is may_overlap(second, first) is overlap


def _count_ways(automaton: Automaton, text: str) -> int:
    """Return how many steps an engine takes that tries one way after the other."""
    waiting: list[Any] = [(automaton._start, 0)]
    count = 0
    while waiting:
        at, position = waiting.pop()
        for each, _ in automaton._reach[at]:
            count += 1
            taken = automaton._steps[each].taken
            if taken is None or position == len(text):
                continue
            if automaton._tests[taken].match(text[position]):
                waiting.append((each, position + 1))
    return count


@given(
    st.lists(_expressions, min_size=1, max_size=3),
    st.text(alphabet="ab-.1", min_size=1, max_size=4),
)
def test_an_expression_without_conflicts_has_one_way(sources: list[str], piece: str) -> None:
    try:
        automaton = Automaton(Sequenced([read_regex(each) for each in sources]))
    except UnsupportedRegex:
        assume(False)
    assume(automaton.is_linear())
    text = piece * 20
    most = max(len(reached) for reached in automaton._reach)
    assert _count_ways(automaton, text) <= most * (len(text) + 1)
