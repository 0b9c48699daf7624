"""Hold spica's times to bounds: as multiples of a bare ASGI app's, which runs beside it.

Both run in one process and take turns, and the best rounds count, so that neither the machine nor what
else it does matters much. A bound is broken when a case takes ``factor`` times what the file says, in
each of several attempts. After a change that makes something slower on purpose, or quicker,
``scripts/bench guard --write`` measures the figures of this Python anew; run it on a quiet machine.
"""

import argparse
import asyncio
import logging
import platform
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Material, all_cases, realistic_cases
from benchmarks.measuring import Runs, best_times, check, load, note, with_session
from benchmarks.table import markdown_table

BOUNDS = Path(__file__).with_name("guard.toml")
LEFT_OUT = {
    *("json-null", "json-rows", "json-mixed-rows", "json-body", "json-mixed-body"),
    *("upload", "small-upload", "files", "small-file", "large-file", "thread", "thread-30"),
    *("static", "static-304", "static-60k"),
    *(case.name for case in realistic_cases()),
}
"""Cases whose time is the codec's, the disk's or a thread's, not ours, and cases that combine others."""
ROUNDS = 5
ATTEMPTS = 4

Ratios = dict[str, float]


class Guard:
    """Measure cases beside bare ASGI."""

    def __init__(self, directory: Path) -> None:
        material = Material(directory)
        material.write()
        self.apps = load("spica", material)
        self.reference = load("bare", material)["plain"]
        self.cases = {case.name: case for case in all_cases() if case.name not in LEFT_OUT}

    async def ratios(self, names: list[str]) -> Ratios:
        """Return how many times as long as a bare app each case takes."""
        plain = self.cases["plain"]
        runs: Runs = {None: (self.reference, plain.call)}
        for name in names:
            runs[name] = await self.run_of(self.cases[name])
        times = await best_times(runs, ROUNDS)
        return {name: times[name] / times[None] for name in names}

    async def run_of(self, case: Case) -> Any:
        app = self.apps[case.name]
        call = await with_session(app, case.call) if case.login else case.call
        fault = await check(case, app, call)
        if fault is not None:
            raise RuntimeError(f"{case.name}: {fault}")
        return app, call

    async def best_ratios(self, bounds: Ratios) -> Ratios:
        """Return the ratios; those above their bound are measured again, and the best one counts."""
        best = await self.ratios(list(self.cases))
        for _ in range(ATTEMPTS - 1):
            above = [name for name, ratio in best.items() if ratio > bounds.get(name, ratio)]
            if not above:
                break
            note(f"measured again: {', '.join(above)}")
            for name, ratio in (await self.ratios(above)).items():
                best[name] = min(best[name], ratio)
        return best


def python_version() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def read_bounds(text: str, version: str) -> tuple[float, Ratios]:
    """Return the factor and the figures of one Python; none when it was never measured."""
    data = tomllib.loads(text)
    return data["factor"], data.get("python", {}).get(version, {})


def with_figures(text: str, version: str, ratios: Ratios) -> str:
    """Return the file with new figures for one Python."""
    lines = [f'[python."{version}"]', *(f"{name} = {r:.1f}" for name, r in ratios.items())]
    section = "\n".join(lines) + "\n"
    old = re.compile(rf'^\[python\."{re.escape(version)}"\]\n(?:[\w-]+ = .*\n)*', re.MULTILINE)
    if old.search(text):
        return old.sub(section, text)
    return f"{text.rstrip()}\n\n{section}"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--write", action="store_true", help="write what is measured as the figures"
    )


def run(options: argparse.Namespace) -> int:
    """Measure; print what is above its bound and return 1 when something is."""
    logging.disable()
    version = python_version()
    text = BOUNDS.read_text(encoding="utf-8")
    factor, figures = read_bounds(text, version)
    bounds = {} if options.write else {name: factor * ratio for name, ratio in figures.items()}
    with tempfile.TemporaryDirectory() as directory:
        ratios = asyncio.run(Guard(Path(directory)).best_ratios(bounds))
    if options.write:
        BOUNDS.write_text(with_figures(text, version, ratios), encoding="utf-8")
        return 0
    if not bounds:
        note(f"{BOUNDS.name} has no figures for Python {version}: nothing is held.")
        return 0
    print(report(ratios, figures, bounds))
    above = [name for name in ratios if ratios[name] > bounds.get(name, ratios[name])]
    if above:
        note(
            f"Slower than {factor} times what it was: {', '.join(above)}. See benchmarks/guard.py."
        )
    return int(bool(above))


def report(ratios: Ratios, figures: Ratios, bounds: Ratios) -> str:
    """Return a table of all cases that have a figure."""
    rows = [
        [name, f"{ratio:.1f}", f"{figures[name]:.1f}", f"{bounds[name]:.1f}"]
        for name, ratio in ratios.items()
        if name in figures
    ]
    return markdown_table(["times bare ASGI", "now", "before", "at most"], rows)
