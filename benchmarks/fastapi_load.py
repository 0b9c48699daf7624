"""FastAPI on spica and on Starlette under uvicorn, with wrk as its client."""

import tempfile
from pathlib import Path
from statistics import median

from benchmarks.cases import Case
from benchmarks.fastapi_cases import SIDES
from benchmarks.load import Generator, Load, measure, ratio
from benchmarks.table import markdown_table

NOISE = 0.05
"""By what part two runs of the same server differ on a machine that does other things as well."""

Rates = dict[str, list[float]]
"""Requests a second of each turn, for each side."""


def measure_servers(cases: list[Case], seconds: int, turns: int) -> dict[str, Rates]:
    """Return the rates of all cases that wrk can ask for without a script, by their titles."""
    with tempfile.TemporaryDirectory() as directory:
        generator = Generator(Path(directory))
        return {
            case.title: _rates_of(case, generator, seconds, turns)
            for case in cases
            if case.call.method == "GET"
        }


def servers_table(rates: dict[str, Rates]) -> str:
    """Return the medians, and the median of each turn's ratio."""
    lines = []
    for title, sides in rates.items():
        numbers = [f"{median(sides[side]):.0f}" for side in SIDES]
        lines.append([title, *numbers, f"{ratio(sides, *SIDES):.2f}"])
    head = ["requests a second under uvicorn", "on spica", "on Starlette", "spica / Starlette"]
    return markdown_table(head, lines)


def slower_ones(rates: dict[str, Rates]) -> list[str]:
    """Return the titles of the cases in which fewer requests are answered on spica, beyond the noise."""
    return [title for title, sides in rates.items() if ratio(sides, *SIDES) < 1 - NOISE]


def _rates_of(case: Case, generator: Generator, seconds: int, turns: int) -> Rates:
    query = case.call.query.decode()
    load = Load(case.title, case.name, case.call.path + (f"?{query}" if query else ""))
    apps = [f"fastapi_{side}" for side in SIDES]
    rates = measure("uvicorn", load, generator, seconds, turns, apps)
    return dict(zip(SIDES, rates.values(), strict=True))
