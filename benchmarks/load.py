"""Put load on real servers with wrk, and show the requests that they answer in a second.

Each server has one worker, on the first core; wrk runs on the second. All servers of a row stand
ready at once and take turns; the medians are shown, and the ratios are medians of each turn's ratio.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.measuring import note
from benchmarks.processes import Served, on_core
from benchmarks.table import markdown_table

FRAMEWORKS = ("bare", "spica", "starlette", "blacksheep")
SERVERS = ("uvicorn", "granian")
SERVER_CORE, CLIENT_CORE = 0, 1
CONNECTIONS = 32
UPLOAD = """
wrk.method = "POST"
wrk.headers["content-type"] = "multipart/form-data; boundary=frontier"
wrk.body = "--frontier\\r\\n" ..
    'Content-Disposition: form-data; name="file"; filename="data.bin"\\r\\n\\r\\n' ..
    string.rep("x", 100 * 1024) .. "\\r\\n--frontier--\\r\\n"
"""


@dataclass(frozen=True)
class Load:
    """One row: which app is asked, and for what."""

    title: str
    case: str
    path: str = "/"
    script: str = ""
    """What wrk runs to make its requests, in Lua."""
    bare: str = ""
    """The case that stands for it where there is no framework; the same one by default."""

    def case_of(self, framework: str) -> str:
        return self.bare if self.bare and framework == "bare" else self.case


LOADS = (
    Load("plain text", "plain"),
    Load("small JSON", "json"),
    Load("5 dispatch middlewares", "middleware-5"),
    Load("static file, 1 KB", "static", "/static/small.txt"),
    Load("upload of 100 KB in a form", "upload", script=UPLOAD, bare="count"),
)


class Generator:
    """wrk, with one thread, on a core of its own."""

    def __init__(self, directory: Path, connections: int = CONNECTIONS) -> None:
        self.connections = connections
        self.script = directory / "load.lua"

    def rate(self, port: int, load: Load, seconds: int) -> float:
        """Return the requests a second; an answer other than 200 is an error."""
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s", "--timeout", "20s"]
        if load.script:
            self.script.write_text(load.script, encoding="ascii")
            command += ["-s", str(self.script)]
        result = subprocess.run(
            [*on_core(CLIENT_CORE), *command, f"http://127.0.0.1:{port}{load.path}"],
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=True,
        )
        return read_rate(result.stdout)


def read_rate(output: str) -> float:
    """Return the rate that wrk printed.

    Raises:
        RuntimeError: There is none, or some requests were not answered with 200.
    """
    rate = re.search(r"Requests/sec:\s*([\d.]+)", output)
    if rate is None or "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"wrk did not measure what was meant:\n{output}")
    return float(rate[1])


def has_wrk() -> bool:
    if shutil.which("wrk"):
        return True
    note("wrk is needed for this. Debian: apt-get install wrk; macOS: brew install wrk")
    return False


def measure(
    server: str,
    load: Load,
    generator: Generator,
    seconds: int,
    rounds: int,
    frameworks: Sequence[str] = FRAMEWORKS,
) -> dict[str, list[float]]:
    """Return the rates of all rounds, for each framework."""
    rates: dict[str, list[float]] = {framework: [] for framework in frameworks}
    with ExitStack() as stack:
        servers = {
            framework: stack.enter_context(
                Served(server, framework, load.case_of(framework), SERVER_CORE)
            )
            for framework in frameworks
        }
        for framework, served in servers.items():
            note(f"{server}, {load.title}, {framework}")
            generator.rate(served.port, load, 1)  # to warm up
        for _ in range(rounds):
            for framework, served in servers.items():
                rates[framework].append(generator.rate(served.port, load, seconds))
    return rates


def ratio(rates: dict[str, list[float]], of: str, to: str) -> float:
    """Return the median of the ratios of each round: both sides had the same weather."""
    return median(one / other for one, other in zip(rates[of], rates[to], strict=True))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", action="append", choices=SERVERS)
    parser.add_argument("--load", action="append", choices=[load.case for load in LOADS])
    parser.add_argument("--seconds", type=int, default=2, help="of each turn (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="turns a framework (default: 5)")


def run(options: argparse.Namespace) -> int:
    """Print one table: a row for each server and load; fail when a promise is broken."""
    if not has_wrk():
        return 1
    rows, broken = [], []
    with tempfile.TemporaryDirectory() as directory:
        generator = Generator(Path(directory))
        for server in options.server or SERVERS:
            for load in LOADS:
                if options.load and load.case not in options.load:
                    continue
                rates = measure(server, load, generator, options.seconds, options.rounds)
                rows.append(row(server, load, rates))
                broken += broken_promises(server, load, rates)
    head = ["server", "load", "bare ASGI", "spica", "Starlette", "BlackSheep"]
    print(markdown_table([*head, "spica / Starlette", "spica / bare"], rows, texts=2))
    note("\n".join(broken))
    return int(bool(broken))


def row(server: str, load: Load, rates: dict[str, list[float]]) -> list[str]:
    numbers = [f"{median(rates[framework]):.0f}" for framework in FRAMEWORKS]
    ratios = [f"{ratio(rates, 'spica', other):.2f}" for other in ("starlette", "bare")]
    return [server, load.title, *numbers, *ratios]


def broken_promises(server: str, load: Load, rates: dict[str, list[float]]) -> list[str]:
    """Return what spica promises and does not keep here."""
    to_starlette, to_bare = ratio(rates, "spica", "starlette"), ratio(rates, "spica", "bare")
    broken = []
    if (server, load.case) == ("uvicorn", "middleware-5") and to_starlette < 10:
        broken.append(f"5 middlewares under uvicorn: {to_starlette:.1f} times Starlette, not 10")
    if (server, load.case) == ("granian", "plain") and to_bare < 0.85:
        broken.append(f"plain text under granian: {to_bare:.2f} of bare ASGI, not 0.85")
    return broken
