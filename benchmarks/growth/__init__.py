"""What grows: time and memory against routes, middlewares, bodies and connections, as plots.

``docs/growth.md`` says in which places the plots and the tables stand; they are written there.
"""

import argparse
import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from benchmarks.blocks import fill
from benchmarks.environment import this_environment
from benchmarks.growth.bodies import measure_bodies
from benchmarks.growth.connections import measure_connections
from benchmarks.growth.requests import measure_middlewares, measure_routes
from benchmarks.growth.series import Series
from benchmarks.measuring import note
from benchmarks.processes import ROOT

PAGE = ROOT / "docs" / "growth.md"

Axis = Callable[[int], Coroutine[Any, Any, list[Series]]]
AXES: dict[str, tuple[Axis, int]] = {
    "routes": (measure_routes, 15),
    "middlewares": (measure_middlewares, 15),
    "bodies": (measure_bodies, 5),
    "connections": (measure_connections, 3),
}
"""What can be measured, and the rounds of each."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--axis", action="append", choices=AXES, help="only this (default: all)")
    parser.add_argument("--rounds", type=int, help="for each axis, instead of its own number")
    parser.add_argument("--dry", action="store_true", help="print the tables and write nothing")


def run(options: argparse.Namespace) -> int:
    """Measure, write plots and tables, and return 1 when something grows that must not."""
    logging.disable()
    found: list[Series] = []
    for name in options.axis or AXES:
        note(f"{name} ...")
        measure, rounds = AXES[name]
        found += asyncio.run(measure(options.rounds or rounds))
    for series in found:
        print(f"{series.title}\n\n{series.markdown()}\n")
    if not options.dry:
        write(found, PAGE)
    faults = [f"{series.name}: {series.fault}" for series in found if series.fault]
    note("\n".join(faults))
    return int(bool(faults))


def write(found: list[Series], page: Path) -> None:
    """Write the plots beside the page, and the tables into it."""
    directory = page.with_suffix("")
    directory.mkdir(exist_ok=True)
    blocks = {}
    for series in found:
        (directory / f"{series.name}.svg").write_text(series.svg(), encoding="utf-8")
        image = f"![{series.title}]({directory.name}/{series.name}.svg)"
        blocks[f"growth {series.name}"] = f"{image}\n\n{series.markdown()}"
    names = ("Starlette", "BlackSheep", "Falcon", "uvicorn")
    blocks["growth environment"] = this_environment().sentence(*names) + "."
    fill(page, blocks)
