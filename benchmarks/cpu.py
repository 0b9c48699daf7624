"""Show the CPU time that a server spends on a request, over ASGI and over RSGI.

The requests of a second depend on the client and on the machine's other work. The time that the server's
processes were on a core does so much less. It is read from ``/proc``, which only Linux has. The servers of
a row take turns, and the medians are shown.
"""

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.load import LOADS, SERVER_CORE, Generator, Load, has_wrk
from benchmarks.measuring import note
from benchmarks.processes import Served
from benchmarks.table import markdown_table

PAIRS = (
    ("uvicorn", "starlette"),
    ("granian", "starlette"),
    ("uvicorn", "spica"),
    ("granian", "spica"),
    ("granian-rsgi", "spica"),
)
"""The servers and frameworks that are compared; the last is set against the first two."""

CPU_LOADS = (
    *LOADS,
    Load("static file, 1 MB", "static", "/static/medium.bin"),
    Load("`def` endpoint", "thread"),
)


def tree_of(pid: int) -> list[int]:
    """Return a process and all processes below it."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(word) for word in path.read_text(encoding="ascii").split()]
    return [pid, *(each for child in children for each in tree_of(child))]


def cpu_seconds(pid: int) -> float:
    """Return the time that a process and its children were on a core, for themselves and for the kernel."""
    ticks = 0
    for each in tree_of(pid):
        line = Path(f"/proc/{each}/stat").read_text(encoding="ascii")
        fields = line.rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(load: Load, generator: Generator, seconds: int, rounds: int) -> list[list[float]]:
    """Return the microseconds a request of all rounds, for each of ``PAIRS``."""
    times: list[list[float]] = [[] for _ in PAIRS]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(Served(server, framework, load.case, SERVER_CORE))
            for server, framework in PAIRS
        ]
        for served in servers:
            note(f"{load.title}, {' '.join(served.command[-6:])}")
            generator.rate(served.port, load, 1)  # to warm up
        for _ in range(rounds):
            for place, served in enumerate(servers):
                before = cpu_seconds(served.pid)
                rate = generator.rate(served.port, load, seconds)
                spent = cpu_seconds(served.pid) - before
                times[place].append(spent / (rate * seconds) * 1e6)
    return times


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--load", action="append", choices=[load.title for load in CPU_LOADS])
    parser.add_argument("--seconds", type=int, default=2, help="of each turn (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="turns a server (default: 5)")


def run(options: argparse.Namespace) -> int:
    """Print one table, with a row for each load."""
    if not has_wrk():
        return 1
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        generator = Generator(Path(directory))
        for load in CPU_LOADS:
            if not options.load or load.title in options.load:
                rows.append(row(load, measure(load, generator, options.seconds, options.rounds)))
    head = [f"{framework} on {server}" for server, framework in PAIRS]
    ratios = ["RSGI / Starlette on uvicorn", "RSGI / Starlette on granian"]
    print(markdown_table(["load, us of CPU a request", *head, *ratios], rows, texts=1))
    return 0


def row(load: Load, times: list[list[float]]) -> list[str]:
    ratios = [
        median(one / other for one, other in zip(times[-1], times[place], strict=True))
        for place in (0, 1)
    ]
    return [
        load.title,
        *(f"{median(each):.1f}" for each in times),
        *(f"{ratio:.2f}" for ratio in ratios),
    ]
