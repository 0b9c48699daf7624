"""Measure the cases in memory and show them as a table, or profile one."""

import argparse
import asyncio
import dataclasses
import json
import logging
import tempfile
from pathlib import Path

from benchmarks.cases import Material, all_cases
from benchmarks.environment import this_environment
from benchmarks.measuring import load, measure_all, note
from benchmarks.profiling import profile
from benchmarks.table import markdown

FRAMEWORKS = ("spica", "starlette", "blacksheep", "falcon", "litestar", "bare")
PEERS = ("starlette", "blacksheep", "falcon", "litestar")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--case", action="append", default=[], metavar="NAME", help="only this row")
    parser.add_argument("--only", action="append", default=[], choices=FRAMEWORKS)
    parser.add_argument("--rounds", type=int, default=15, help="rounds a framework (default: 15)")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured there")
    parser.add_argument(
        "--profile", type=int, metavar="NUMBER", help="profile so many requests of each --case"
    )
    parser.add_argument("--list", action="store_true", help="list the names of the rows")


def run(options: argparse.Namespace) -> int:
    """List, profile or measure; return 1 when an answer was wrong, 2 for a case nobody knows."""
    titles = {case.name: case.title for case in all_cases()}
    unknown = [name for name in options.case if name not in titles]
    if unknown:
        note(f"No case is named {unknown[0]!r}; --list tells the names.")
        return 2
    if options.list:
        print("\n".join(f"{name:20} {title}" for name, title in titles.items()))
        return 0
    if options.profile:
        framework = options.only[0] if options.only else "spica"
        return profile(options.case or ["plain"], framework, options.profile)
    return compare(options.case, options.only or list(FRAMEWORKS), options.rounds, options.json)


def compare(names: list[str], frameworks: list[str], rounds: int, json_path: str | None) -> int:
    """Measure, print the table, and return 1 when an answer was wrong."""
    logging.disable()
    cases = [case for case in all_cases() if not names or case.name in names]
    with tempfile.TemporaryDirectory() as directory:
        material = Material(Path(directory))
        material.write()
        apps = {name: load(name, material) for name in frameworks}
        apps = {name: cases_ for name, cases_ in apps.items() if cases_}
        rows = asyncio.run(measure_all(cases, apps, rounds))
    print(markdown(rows, list(apps), PEERS))
    compared = [row for row in rows if row.ratio() is not None]
    missed = [row.name for row in compared if row.is_missed]
    print(f"\n{len(compared) - len(missed)} of {len(compared)} targets are met.", end=" ")
    print(f"Missed: {', '.join(missed)}." if missed else "")
    if json_path:
        result = {
            "environment": dataclasses.asdict(this_environment()),
            "rounds": rounds,
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        Path(json_path).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(any(row.faults for row in rows))
