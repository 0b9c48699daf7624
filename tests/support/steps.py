"""Count the steps of spica's own code, to see how they grow with the input."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import spica

PACKAGE = str(Path(spica.__file__).parent)


def count_steps(function: Callable[[], object]) -> int:
    """Return how many lines of spica's Python code ``function`` runs, comprehensions included."""
    counted = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal counted
        if not frame.f_code.co_filename.startswith(PACKAGE):
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


class CountedName(bytes):
    """A name of a header that counts how often it is compared: C code does that without a step."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedName.compared += 1
        return bytes.__eq__(self, other)

    def __hash__(self) -> int:
        return bytes.__hash__(self)
