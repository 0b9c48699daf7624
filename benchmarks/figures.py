"""Measure the figures of the documentation, on the newest three Pythons, and write them there.

This takes less than ten minutes on an idle machine. The results are kept in ``build/bench``, a file for each
part, and the pages are written from these files. So you can measure one part again (``--part``), or only
write the pages (``--write-only``). ``--part plot`` runs ``scripts/bench plot``, which takes longer and writes
its own page.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

from benchmarks import report
from benchmarks.blocks import fill
from benchmarks.measuring import note
from benchmarks.processes import ROOT

VERSIONS = ("3.13", "3.14", "3.15")
MAIN_VERSION = "3.13"
"""The Python on which the peers, the servers, the start and the memory are measured."""
KEPT = ROOT / "build" / "bench"
PAGES = (ROOT / "docs" / "figures.md", ROOT / "README.md")
PARTS = ("cases", "floor", "server", "cpu", "startup", "memory")
OPTIONS = {
    "server": ("--load=plain", "--load=middleware-5", "--load=static", "--seconds=1", "--rounds=3"),
    "cpu": ("--seconds=1", "--rounds=3"),
    "startup": ("--rounds=11",),
}
"""Options of the parts that would otherwise take too long. The verbs themselves show more."""


def bench(version: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``scripts/bench`` with another interpreter, in its own environment."""
    environment = {k: v for k, v in os.environ.items() if k not in ("SPICA_VENV", "PYTHON")}
    command = [str(ROOT / "scripts" / "bench"), "--python", version, *words]
    note(f"== {' '.join(words)}, Python {version}")
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)


ON_EACH = ("cases", "floor")
"""Parts that are measured on each Python, and kept as data."""
OF_MAIN_VERSION = tuple(part for part in PARTS if part not in ON_EACH)


def measure_on_each(part: str, rounds: int) -> bool:
    """Measure a part on each Python that is there; return whether all went well."""
    done = True
    for version in VERSIONS:
        file = KEPT / f"{part}-{version}.json"
        words = [part, "--rounds", str(rounds), "--json", str(file)]
        if part == "cases" and version != MAIN_VERSION:
            words += ["--only", "spica", "--only", "starlette"]
        done = bench(version, *words).returncode == 0 and done
    return done


def kept_data(part: str) -> dict[str, str]:
    """Return what was kept of a part, by the version of Python."""
    files = {version: KEPT / f"{part}-{version}.json" for version in VERSIONS}
    return {v: file.read_text(encoding="utf-8") for v, file in files.items() if file.exists()}


def measure(part: str) -> bool:
    """Keep the table of a verb, also of one that found a promise broken; return whether it did not."""
    result = bench(MAIN_VERSION, part, *OPTIONS.get(part, ()))
    table = result.stdout.strip()
    if table.startswith("|"):  # and not the titles of the plots, which are written by now
        (KEPT / f"{part}.md").write_text(table + "\n", encoding="utf-8")
    return result.returncode == 0


def blocks() -> dict[str, str]:
    """Return all parts of the pages for which something was measured."""
    found = {
        part: (KEPT / f"{part}.md").read_text(encoding="utf-8").strip()
        for part in OF_MAIN_VERSION
        if (KEPT / f"{part}.md").exists()
    }
    results = {v: report.read_result(text) for v, text in kept_data("cases").items()}
    if MAIN_VERSION in results:
        main = results[MAIN_VERSION]
        found["environment"] = report.introduction(main)
        found["cases"] = report.cases_table(main.rows, main.environment.packages)
        found["main cases"] = report.cases_table(
            report.main_rows(main.rows), main.environment.packages
        )
        found["verdict"] = report.verdict(main.rows)
        found["pythons"] = report.pythons_table({v: r.rows for v, r in results.items()})
    floors = {f"Python {v}": json.loads(text) for v, text in kept_data("floor").items()}
    if floors:
        found["floor"] = report.floors_table(floors)
    return found


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", action="append", choices=(*PARTS, "plot"), help="only this")
    parser.add_argument(
        "--rounds", type=int, default=15, help="of the cases and the floor (default: 15)"
    )
    parser.add_argument("--write-only", action="store_true", help="measure nothing")


def run(options: argparse.Namespace) -> int:
    """Measure and write; return 1 when something could not be measured or is not as promised."""
    KEPT.mkdir(parents=True, exist_ok=True)
    done = True
    for part in [] if options.write_only else options.part or PARTS:
        on_each = part in ON_EACH
        done = (measure_on_each(part, options.rounds) if on_each else measure(part)) and done
    contents = blocks()
    for page in PAGES:
        write(page, contents)
    return int(not done)


def write(page: Path, contents: dict[str, str]) -> None:
    fill(page, contents)
    note(f"written: {page.relative_to(ROOT)}")
