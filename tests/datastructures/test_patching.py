"""Tracing agents replace methods of these classes; a replaced method must be the one that is called."""

from types import FunctionType
from typing import Any

import pytest

from spica.datastructures import URL, FormData, Headers, MutableHeaders, QueryParams

TARGETS = [
    *(
        (kind, name)
        for kind in (QueryParams, FormData, Headers)
        for name in ("__getitem__", "get", "keys")
    ),
    (MutableHeaders, "__setitem__"),
    (URL, "__init__"),
]


@pytest.mark.parametrize(
    ("kind", "name"), TARGETS, ids=[f"{kind.__name__}.{name}" for kind, name in TARGETS]
)
def test_a_method_can_be_replaced(kind: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = getattr(kind, name)
    assert type(genuine) is FunctionType
    calls = []

    def replacement(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return genuine(self, *args, **kwargs)

    monkeypatch.setattr(kind, name, replacement)
    uses = {
        "__init__": lambda: kind("/a"),
        "__getitem__": lambda: kind({"a": "1"})["a"],
        "get": lambda: kind({"a": "1"}).get("a"),
        "keys": lambda: kind({"a": "1"}).keys(),
        "__setitem__": lambda: kind().__setitem__("a", "1"),
    }
    uses[name]()
    assert calls == [name]


def test_a_replaced_method_of_one_class_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(QueryParams, "get", lambda self, key: "replaced")
    assert QueryParams("a=1").get("a") == "replaced"
    assert FormData({"a": "1"}).get("a") == "1"


def test_attributes_can_be_set() -> None:
    for made in (URL("/a"), Headers(), QueryParams(), FormData()):
        made.noted = True  # type: ignore[attr-defined]
        assert made.noted  # type: ignore[attr-defined]
