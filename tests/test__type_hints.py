"""Tests of spica/_type_hints.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, Self, TypedDict, TypeVar

import pytest

from spica._type_hints import resolve_hints

T = TypeVar("T")
U = TypeVar("U")
Number = TypeVar("Number", bound=int)
Text = TypeVar("Text", str, bytes)


@dataclass
class Page(Generic[T]):
    items: list[T]
    first: Annotated[T | None, "a note"] = None


@dataclass
class Named(Page[int], Generic[T]):
    name: T | None = None


@dataclass
class Leaf(Named[str]):
    pass


@dataclass
class Override(Page[int]):
    first: str | None = None


@dataclass
class Pair(Generic[T, U]):
    both: tuple[T, U]
    by_name: dict[str, U]


@dataclass
class Bounds(Generic[T, Number, Text]):
    anything: T
    number: Number
    text: Text


@dataclass
class Node:
    parent: Self | None
    children: list[Self]


class Row(TypedDict, Generic[T]):
    value: T


class NamedRow(Row[int], Generic[T]):
    name: T


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Page[str], {"items": list[str], "first": str | None}),
        (Page[list[int]], {"items": list[list[int]], "first": list[int] | None}),
        (Named[str], {"items": list[int], "first": int | None, "name": str | None}),
        (Leaf, {"items": list[int], "first": int | None, "name": str | None}),
        (Override, {"items": list[int], "first": str | None}),
        (Pair[int, str], {"both": tuple[int, str], "by_name": dict[str, str]}),
        (Page, {"items": list[Any], "first": Any | None}),
        (Bounds, {"anything": Any, "number": int, "text": str | bytes}),
        (Node, {"parent": Node | None, "children": list[Node]}),
        (Row[str], {"value": str}),
        (NamedRow[str], {"value": int, "name": str}),
    ],
    ids=str,
)
def test_variables_get_their_values(model: Any, expected: dict[str, Any]) -> None:
    assert resolve_hints(model) == expected


@pytest.mark.parametrize("model", [5, list, list[int], None])
def test_other_types_have_no_fields(model: Any) -> None:
    assert resolve_hints(model) == {}
