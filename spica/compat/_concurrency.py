"""Names of ``starlette.concurrency`` that other packages import, though they are private there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

__all__ = ["IteratorEnd", "next_in_thread"]

T = TypeVar("T")


class IteratorEnd(Exception):
    """The iterator is at its end: a StopIteration can't be raised through a future."""


def next_in_thread(iterator: Iterator[T]) -> T:
    """Return the next item.

    Raises:
        IteratorEnd: there is none.
    """
    try:
        return next(iterator)
    except StopIteration:
        raise IteratorEnd from None
