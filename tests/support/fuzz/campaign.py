"""Run a target: a batch of inputs from one seed, which gives the same inputs each time."""

from __future__ import annotations

import contextlib
import io
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import HypothesisException

from fuzz.targets import Target

BATCH_SIZE = 300

CHECKS = list(HealthCheck)


@dataclass
class Outcome:
    """What a batch has shown: ``finding`` is the smallest input that fails, and how; or empty."""

    inputs: int
    finding: str = ""


def run_batch(target: Target, number: int, size: int = BATCH_SIZE) -> Outcome:
    """Send a target ``size`` inputs made from the seed ``number``; shrink the first that fails."""
    counter = _Counter(target.check)
    test = settings(
        max_examples=size,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=CHECKS,
        phases=[Phase.generate, Phase.shrink],
    )(seed(number)(given(target.inputs)(counter.check)))
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            test()
    except HypothesisException:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Outcome(counter.inputs, describe(error, output.getvalue()))
    return Outcome(counter.inputs)


class _Counter:
    """Count the inputs of a check."""

    def __init__(self, check: Callable[[object], None]) -> None:
        self._check = check
        self.inputs = 0

    def check(self, value: object) -> None:
        self.inputs += 1
        self._check(value)


def describe(error: BaseException, printed: str) -> str:
    """Return the input that fails, and the way to the error."""
    notes = getattr(error, "__notes__", [])
    lines = traceback.format_exception(error)
    return "\n".join([*notes, printed, "".join(lines[-12:])]).strip()


def rounds(targets: list[Target], seconds: float, first: int) -> Iterator[tuple[Target, int]]:
    """Give each target a batch in turn, with another seed each round, until the time is over."""
    deadline = time.monotonic() + seconds
    number = first
    while True:
        for target in targets:
            yield target, number
            if time.monotonic() >= deadline:
                return
        number += 1
