"""Patterns with many ways to divide a path, matched in linear time."""

import copy
import math
import pickle
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, cast

import pytest

from spica.convertors import CONVERTOR_TYPES, Convertor
from spica.routing import automaton, compile_path
from spica.routing.linear import MAX_PLAIN_SIZE, MAX_WAYS, LinearPattern, find_plain_size


class Slug(Convertor[str]):
    """A convertor of a user: words with hyphens between them."""

    regex = "[a-z0-9]+(?:-[a-z0-9]+)*"


class Nested(Convertor[str]):
    """A convertor whose expression alone makes a backtracking engine exponential."""

    regex = "(?:[a-z]+)+"


@pytest.fixture
def own_convertors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, convertor in (("slug", Slug()), ("nested", Nested())):
        monkeypatch.setitem(CONVERTOR_TYPES, name, convertor)


MANY_WAYS = [
    ("/{a}-{b}-{c}.html", "-"),
    ("/{a}-{b}", "-"),
    ("/{a}-{b}", "x"),
    ("/{a}.{b}/{c}-{d}/x", "-"),
    ("/{a:int}{b:int}", "1"),
    ("/{a:int}{b:int}{c:int}x", "1"),
    ("/{a}{b:float}-{c:float}", "1.1-"),
    ("/{b}{a:uuid}x", "0" * 32),
    ("/{a}xy{b}zw{c}", "xy"),
    ("/{a:path}/x/{b:path}/end", "/x/"),
    ("/{a:path}/x/{b:path}/x/{c:path}/y/{d:path}", "/x/"),
    ("/{a:path}{b:path}-{c:path}x", "/x/"),
    ("/{a:path}/{id}/{b:path}/x/{c:path}", "/x/"),
    ("/{s}.{t}-{a:path}", "-."),
    ("/{a:slug}-{b:slug}", "a-"),
    ("/{a:nested}", "a"),
    ("/{a}-{b}/{path:path}", "-"),
    ("{a}.{b}.{c}.example.org", "a."),
]


def count_lines(function: Callable[[], object]) -> int:
    """Return how many lines of Python ``function`` runs in the automaton: its steps."""
    counted = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal counted
        if frame.f_code.co_filename != automaton.__file__:
            return None
        counted += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return counted


@pytest.mark.usefixtures("own_convertors")
@pytest.mark.parametrize(("pattern", "piece"), MANY_WAYS)
@pytest.mark.parametrize("end", ["!/", "x", ".html", "/end"])
def test_twice_the_path_takes_at_most_twice_the_steps(pattern: str, piece: str, end: str) -> None:
    regex = cast("LinearPattern", compile_path(pattern)[0])
    assert isinstance(regex, LinearPattern)
    start = "/" if pattern.startswith("/") else ""
    once, twice = (start + piece * (size // len(piece)) + end for size in (4000, 8000))
    regex.match(once)  # from now on the transitions are known
    assert (
        count_lines(partial(regex.match, twice))
        <= 2.1 * count_lines(partial(regex.match, once)) + 200
    )


def test_a_path_of_many_characters_fills_no_memory() -> None:
    regex = cast("LinearPattern", compile_path("/{a}-{b}")[0])
    text = "".join(map(chr, range(0x3000, 0x3000 + 3 * automaton.MAX_TRANSITIONS)))
    found = regex.match(f"/{text}-x")
    assert found is not None
    assert found.groupdict() == {"a": text, "b": "x"}
    assert len(regex._automaton._last.before) <= automaton.MAX_TRANSITIONS


@pytest.mark.parametrize("ambiguous", [1, 2, 3, 5, 9])
def test_a_short_path_has_few_ways(ambiguous: int) -> None:
    size = find_plain_size(ambiguous)
    assert math.comb(size + ambiguous, ambiguous + 1) <= MAX_WAYS
    assert size == MAX_PLAIN_SIZE or math.comb(size + 1 + ambiguous, ambiguous + 1) > MAX_WAYS


@pytest.mark.parametrize("size", [-1, 0, 1])
def test_the_match_is_the_same_on_both_sides_of_the_limit(size: int) -> None:
    regex = cast("LinearPattern", compile_path("/{a}-{b}-{c}.html")[0])
    path = "/" + "-" * (regex.plain_size + size - 6) + ".html"
    found = regex.match(path)
    assert found.groupdict() == {"a": path[1:-9], "b": "-", "c": "-"}
    assert (found["a"], found.group(2), found.start("c")) == (path[1:-9], "-", len(path) - 6)
    assert found.span("c") == (len(path) - 6, len(path) - 5)
    assert regex.match(path + "x") is None


def test_a_linear_pattern_has_the_attributes_of_a_regex() -> None:
    regex = compile_path("/{a}-{b}")[0]
    assert regex.pattern == r"/(?P<a>[^/]+)\-(?P<b>[^/]+)\Z"
    assert regex.groupindex == {"a": 1, "b": 2}
    assert copy.deepcopy(regex) == regex == pickle.loads(pickle.dumps(regex))
    assert hash(regex) == hash(compile_path("/{a}-{b}")[0])
    assert [found["a"] for found in regex.finditer("/1-2")] == ["1"]
    assert regex.fullmatch("/1-2")
    assert regex.search("/1-2")
    assert not regex.match("/1")
