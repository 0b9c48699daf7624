"""What lies idle: the memory of an application that waits and of a WebSocket that is open.

An application alone, and a WebSocket in memory, are counted by tracemalloc in a fresh process for each
framework: the same in every run. The others are resident sizes, of a process and of a real server.
"""

import asyncio
import gc
import importlib
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.driver import Call, Exchange, ask
from benchmarks.processes import ROOT, Served, status_kilobytes
from benchmarks.startup import environment_with_bytecode
from benchmarks.table import compact, markdown_table

NUMBER = 500
APPLICATIONS = {"spica": "Spica", "starlette": "Starlette"}
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Waiting:
    """An endpoint that accepts a WebSocket and waits for what never comes."""

    def __init__(self) -> None:
        self.open = 0

    async def __call__(self, websocket: Any) -> None:
        await websocket.accept()
        self.open += 1
        await websocket.receive_text()


def hello_app(package: str) -> Any:
    """Return an application with ten routes, as users build it."""
    routing = importlib.import_module(f"{package}.routing")
    responses = importlib.import_module(f"{package}.responses")

    async def hello(request: Any) -> Any:
        return responses.PlainTextResponse("Hello, world!")

    return application(package)(routes=[routing.Route(f"/{n}", hello) for n in range(10)])


def socket_app(package: str, endpoint: Any) -> Any:
    """Return an application with one WebSocket, which is an object: its state is seen outside."""
    routing = importlib.import_module(f"{package}.routing")

    async def wait(websocket: Any) -> None:
        await endpoint(websocket)

    return application(package)(routes=[routing.WebSocketRoute("/ws", wait)])


def application(package: str) -> Any:
    module = importlib.import_module(f"{package}.applications")
    return getattr(module, APPLICATIONS[package])


def traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def application_bytes(package: str) -> float:
    """Return what an application takes that has answered one request."""
    await ask(hello_app(package), Call("/0"))
    tracemalloc.start()
    before = traced()
    apps = [hello_app(package) for _ in range(NUMBER)]
    for app in apps:
        await ask(app, Call("/0"))
    return (traced() - before) / NUMBER


async def process_bytes(package: str) -> float:
    """Return the resident size of a process with one application that has answered one request."""
    await ask(hello_app(package), Call("/0"))
    gc.collect()
    return status_kilobytes(os.getpid(), "VmRSS") * 1024


async def socket_bytes(package: str) -> float:
    """Return what an open WebSocket takes, with its task and its scope."""
    endpoint = Waiting()
    app = socket_app(package, endpoint)
    call = Call("/ws", websocket=True)
    tracemalloc.start()
    tasks = [open_socket(app, call)]
    await until_open(endpoint, 1)
    before = traced()
    tasks += [open_socket(app, call) for _ in range(NUMBER)]
    await until_open(endpoint, NUMBER + 1)
    after = traced()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return (after - before) / NUMBER


def open_socket(app: Any, call: Call) -> asyncio.Task[None]:
    exchange = Exchange(call.messages())
    return asyncio.ensure_future(app(call.scope(), exchange.receive, exchange.send))


async def until_open(endpoint: Waiting, number: int) -> None:
    while endpoint.open < number:
        await asyncio.sleep(0)


def served_socket_bytes(package: str) -> float:
    """Return what an open WebSocket takes under uvicorn, the server's part included."""
    with Served("uvicorn", package, "sockets") as served:
        connections = [shake_hands(served)]
        before = status_kilobytes(served.pid, "VmRSS")
        connections += [shake_hands(served) for _ in range(NUMBER)]
        after = status_kilobytes(served.pid, "VmRSS")
        for connection in connections:
            connection.close()
    return (after - before) * 1024 / NUMBER


def shake_hands(served: Served) -> Any:
    connection = served.connect()
    connection.sendall(HANDSHAKE)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        part = connection.recv(65536)
        if not part:
            raise RuntimeError(f"the handshake was answered with {answer!r}")
        answer += part
    return connection


def in_fresh_process(name: str, package: str) -> float:
    """Return what one of INSIDE measures in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.footprint", name, package]
    environment = environment_with_bytecode()
    for _ in range(2):  # the first one may write the bytecode: compiling takes memory
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            cwd=ROOT,
            env=environment,
        )
    return float(result.stdout)


INSIDE: dict[str, Any] = {
    "process": process_bytes,
    "application": application_bytes,
    "socket": socket_bytes,
}
MEASUREMENTS: dict[str, Callable[[str], float]] = {
    "process with an idle application": partial(in_fresh_process, "process"),
    "idle application of ten routes, alone": partial(in_fresh_process, "application"),
    "open WebSocket, in memory": partial(in_fresh_process, "socket"),
    "open WebSocket, under uvicorn": served_socket_bytes,
}


def report() -> int:
    """Print the table; fail when spica takes more than Starlette."""
    rows, ratios = [], []
    for title, measure in MEASUREMENTS.items():
        values = {package: measure(package) / 1024 for package in APPLICATIONS}
        ratios.append(values["spica"] / values["starlette"])
        numbers = [compact(values[package]) for package in APPLICATIONS]
        rows.append([title, *numbers, f"{ratios[-1]:.2f}"])
    print(markdown_table(["kilobytes each", "spica", "Starlette", "spica / Starlette"], rows))
    return int(max(ratios) > 1)


if __name__ == "__main__":
    print(asyncio.run(INSIDE[sys.argv[1]](sys.argv[2])))
