"""FastAPI on spica beside FastAPI on Starlette, in memory or (--server) under uvicorn with wrk.

A process has one `starlette`, so each side has a process of its own. They take turns: while one is
measured, the other waits for its pipe. The best round of each is compared, as for the other cases.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.environment import this_environment
from benchmarks.fastapi_cases import SIDES, fastapi_cases
from benchmarks.fastapi_load import NOISE, measure_servers, servers_table, slower_ones
from benchmarks.fastapi_process import FastAPIProcess
from benchmarks.load import has_wrk
from benchmarks.measuring import note
from benchmarks.processes import ROOT
from benchmarks.table import Row, markdown_table, microseconds, ratio_text

PAGE = ROOT / "docs" / "figures-fastapi.md"


def add_options(parser: argparse.ArgumentParser) -> None:
    names = [case.name for case in fastapi_cases()]
    parser.add_argument("--case", action="append", default=[], choices=names, help="only this row")
    parser.add_argument("--rounds", type=int, default=61, help="of each side (default: 61)")
    parser.add_argument("--server", action="store_true", help="under uvicorn, with wrk as client")
    parser.add_argument("--seconds", type=int, default=1, help="of a turn of wrk (default: 1)")
    parser.add_argument("--turns", type=int, default=15, help="of wrk, each side (default: 15)")
    parser.add_argument(
        "--write", action="store_true", help="measure both and write docs/figures-fastapi.md"
    )


def run(options: argparse.Namespace) -> int:
    """Print what was measured; return 1 when an answer was wrong or a row is short of its aim."""
    if (options.server or options.write) and not has_wrk():
        return 1
    cases = [case for case in fastapi_cases() if not options.case or case.name in options.case]
    parts, complaints = [], []
    if not options.server or options.write:
        rows = measure(cases, options.rounds)
        parts.append(table(rows))
        complaints += complaints_of(rows)
    if options.server or options.write:
        rates = measure_servers(cases, options.seconds, options.turns)
        parts.append(servers_table(rates))
        complaints += [f"{title}: slower under uvicorn" for title in slower_ones(rates)]
    print("\n\n".join(parts))
    if options.write:
        write_page(PAGE, options.rounds, *parts)
    note("\n".join(complaints))
    return int(bool(complaints))


def measure(cases: list[Case], rounds: int) -> list[Row]:
    """Let the two sides take turns, case by case."""
    rows = []
    with ExitStack() as stack:
        sides = {side: stack.enter_context(FastAPIProcess(side)) for side in SIDES}
        for case in cases:
            row = Row(case.name, case.title, case.target)
            faults = {side: process.prepare(case.name) for side, process in sides.items()}
            row.faults = {side: fault for side, fault in faults.items() if fault}
            for _ in range(0 if row.faults else rounds):
                for side, process in sides.items():
                    row.rounds.setdefault(side, []).append(process.take_time())
            note(f"{case.name}: done")
            rows.append(row)
    return rows


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown."""
    lines = []
    for row in rows:
        aim = ratio_text(row.target) + (" (missed)" if row.is_missed else "")
        ratio = row.ratio()
        times = "" if ratio is None else f"{1 / ratio:.1f}"
        seconds = [microseconds(row.best(side)) for side in SIDES]
        lines.append([row.title, *seconds, row.ratio_text(), aim, times])
    head = ["one request, in microseconds", "on spica", "on Starlette", "spica / Starlette"]
    return markdown_table([*head, "aim", "times as fast"], lines)


def complaints_of(rows: list[Row]) -> list[str]:
    """Return which answers were wrong, and which rows are short of their aim."""
    said = [
        f"{row.name}, FastAPI on {side}: {fault}"
        for row in rows
        for side, fault in row.faults.items()
    ]
    return said + [f"{row.name}: not {row.target}" for row in rows if row.is_missed]


def write_page(page: Path, rounds: int, in_memory: str, under_uvicorn: str) -> None:
    """Write what the page about the switch includes."""
    where = this_environment().sentence("FastAPI", "Starlette", "uvicorn")
    page.write_text(
        f"""# FastAPI on spica and on Starlette

In memory: two processes, one on spica and one on Starlette, that take turns round by round; the best of
{rounds} rounds. Each answer is checked first.

{in_memory}

Under uvicorn: one worker on the first core, wrk with 32 connections on the second; both servers stand
ready and take turns; medians, the last of the ratios of each turn. The same server twice differs by up
to {NOISE:.0%}.

{under_uvicorn}

{where}.
Trust the ratios, not the microseconds; `scripts/bench fastapi --write` measures both again.
""",
        encoding="utf-8",
    )
    note(f"written: {page.relative_to(ROOT)}")
