"""Run coroutines in every possible order of their steps.

A step ends at each ``await checkpoint()``. No event loop is needed, so a thousand orders take a second::

    for steps in orders(lambda: [first(), second()]):
        ...  # both have run, in an order that no earlier round had
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from types import coroutine
from typing import Any


@coroutine
def checkpoint() -> Iterator[None]:
    """Let another coroutine run."""
    yield


def orders(make: Callable[[], list[Coroutine[Any, Any, Any]]]) -> Iterator[list[int]]:
    """Run the coroutines that ``make`` returns, once in each order. Yield the order after each run."""
    prefix: list[int] | None = []
    while prefix is not None:
        taken, choices = _run(make(), prefix)
        yield taken
        prefix = _next_prefix(taken, choices)


def _run(
    tasks: list[Coroutine[Any, Any, Any]], prefix: list[int]
) -> tuple[list[int], list[list[int]]]:
    """Run the tasks: follow ``prefix``, and then always take the first one that is left."""
    left = list(range(len(tasks)))
    taken: list[int] = []
    choices: list[list[int]] = []
    while left:
        chosen = prefix[len(taken)] if len(taken) < len(prefix) else left[0]
        choices.append([*left])
        taken.append(chosen)
        try:
            tasks[chosen].send(None)
        except StopIteration:
            left.remove(chosen)
    return taken, choices


def _next_prefix(taken: list[int], choices: list[list[int]]) -> list[int] | None:
    """Return the beginning of the next order, or None after the last one."""
    for index in reversed(range(len(taken))):
        later = [choice for choice in choices[index] if choice > taken[index]]
        if later:
            return [*taken[:index], later[0]]
    return None
