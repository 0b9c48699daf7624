"""What grows with the connections that are open at once, under uvicorn."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.growth.series import Series
from benchmarks.load import LOADS, SERVER_CORE, Generator, has_wrk
from benchmarks.processes import Served

FRAMEWORKS = ("spica", "starlette", "blacksheep", "bare")
CONNECTIONS = (1, 10, 100, 1000)
SECONDS = 2


async def measure_connections(rounds: int) -> list[Series]:
    """Measure plain answers: microseconds of the server's core for each, at its best."""
    if not has_wrk():
        return []
    series = Series(
        "connections", "Connections at once, under uvicorn", "connections", "µs a request"
    )
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        servers = {
            framework: stack.enter_context(Served("uvicorn", framework, "plain", SERVER_CORE))
            for framework in FRAMEWORKS
        }
        for number in CONNECTIONS:
            generator = Generator(Path(directory), number)
            rates: dict[str, list[float]] = {framework: [] for framework in FRAMEWORKS}
            for _ in range(rounds):
                for framework, served in servers.items():
                    rates[framework].append(generator.rate(served.port, LOADS[0], SECONDS))
            for framework, values in rates.items():
                series.add(framework, number, 1e6 / max(values))
    return [series]
