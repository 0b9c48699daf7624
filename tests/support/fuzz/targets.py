"""What a target is, and the list of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


class Finding(Exception):
    """A promise is broken. Its text says which."""


@dataclass(frozen=True)
class Target:
    """Inputs, and the check that each of them must pass."""

    name: str
    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    is_slow: bool

    @property
    def summary(self) -> str:
        """The first line of what the check says of itself."""
        return (self.check.__doc__ or "").partition("\n")[0].rstrip(".")


TARGETS: dict[str, Target] = {}


def target(
    name: str, inputs: st.SearchStrategy[Any], *, is_slow: bool = False
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Put a check in the list; one that is slow gets fewer inputs in the tests."""

    def add(check: Callable[[Any], None]) -> Callable[[Any], None]:
        if name in TARGETS:
            raise ValueError(f"There are two targets of the name {name!r}.")
        TARGETS[name] = Target(name, inputs, check, is_slow)
        return check

    return add


def load() -> dict[str, Target]:
    """Return all targets by name."""
    from fuzz import connections, forms, parsers  # noqa: F401  # they fill the list

    return TARGETS


def demand(is_so: bool, what: str, *values: object) -> None:
    """Raise a `Finding` unless something is so."""
    if not is_so:
        raise Finding(" ".join([what, *(f"{value!r:.500}" for value in values)]))
