"""What starting costs in fresh processes: the import, the first answer, the first answer of a server.

The frameworks take turns, and the quickest rounds are compared. Interpreter and server start are part of the
times until an answer, as they are for a user.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.processes import free_port, stop
from benchmarks.table import markdown_table

APPLICATIONS = {"spica": "Spica", "starlette": "Starlette"}

IMPORT = """
import time
begin = time.perf_counter()
import {package}.applications
print(time.perf_counter() - begin)
"""

HELLO = """
from {package}.applications import {application}
from {package}.responses import PlainTextResponse
from {package}.routing import Route

async def hello(request):
    return PlainTextResponse("Hello, world!")

app = {application}(routes=[Route("/", hello)])
"""

FIRST_ANSWER = """
import asyncio

async def main():
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/", "raw_path": b"/", "root_path": "", "query_string": b"",
        "headers": [(b"host", b"localhost")], "client": None, "server": ("localhost", 80),
    }

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        if message["type"] == "http.response.body":
            print(message["body"].decode(), flush=True)

    await app(scope, receive, send)

asyncio.run(main())
"""

REQUEST = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"
WAIT_SECONDS = 20
MILLISECOND = 0.001


def program(text: str, package: str) -> str:
    text = text.replace("{package}", package)
    return text.replace("{application}", APPLICATIONS[package])


def environment_with_bytecode() -> dict[str, str]:
    """What is measured is an installed package, whose bytecode is there."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def import_seconds(package: str) -> float:
    """Return what importing ``applications`` took, as seen inside the interpreter."""
    return float(output_of(program(IMPORT, package)))


def first_answer_seconds(package: str) -> float:
    """Return the time from the start of a process until its app has answered a request in memory."""
    text = program(HELLO, package) + FIRST_ANSWER
    begin = time.perf_counter()
    answer = output_of(text)
    seconds = time.perf_counter() - begin
    if answer.strip() != "Hello, world!":
        raise RuntimeError(f"{package} answered {answer!r}")
    return seconds


def output_of(text: str) -> str:
    command = [sys.executable, "-c", text]
    environment = environment_with_bytecode()
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    return result.stdout


def served_answer_seconds(package: str) -> float:
    """Return the time from the start of uvicorn until a client has the first answer."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "hello.py").write_text(program(HELLO, package), encoding="utf-8")
        command = [sys.executable, "-m", "uvicorn", "--app-dir", directory, "--port", str(port)]
        begin = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--log-level", "error", "hello:app"], env=environment_with_bytecode()
        )
        try:
            answer = poll(port, begin + WAIT_SECONDS)
            seconds = time.perf_counter() - begin
        finally:
            stop(process)
    if not answer.endswith(b"Hello, world!"):
        raise RuntimeError(f"{package} under uvicorn answered {answer!r}")
    return seconds


def poll(port: int, deadline: float) -> bytes:
    """Respond until somebody listens; return the answer."""
    while time.perf_counter() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(REQUEST)
                return b"".join(iter(lambda: connection.recv(65536), b""))
        except ConnectionRefusedError:
            time.sleep(MILLISECOND)
    raise RuntimeError(f"no server answered on port {port} within {WAIT_SECONDS} seconds")


MEASUREMENTS: dict[str, Callable[[str], float]] = {
    "import of `applications`": import_seconds,
    "process start to first answer, in memory": first_answer_seconds,
    "start of uvicorn to first answer": served_answer_seconds,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=21, help="(default: 21)")


def run(options: argparse.Namespace) -> int:
    """Print the best rounds; fail when spica takes longer than Starlette."""
    rows, ratios = [], []
    for title, measure in MEASUREMENTS.items():
        times: dict[str, list[float]] = {package: [] for package in APPLICATIONS}
        for number in range(options.rounds + 1):
            for package in APPLICATIONS:
                seconds = measure(package)
                if number:  # the first one writes the bytecode
                    times[package].append(seconds)
        best = {package: min(values) * 1000 for package, values in times.items()}
        ratios.append(best["spica"] / best["starlette"])
        values = [f"{best[package]:.1f}" for package in APPLICATIONS]
        rows.append([title, *values, f"{ratios[-1]:.2f}"])
    head = ["milliseconds", "spica", "Starlette", "spica / Starlette"]
    print(markdown_table(head, rows))
    return int(max(ratios) > 1)
