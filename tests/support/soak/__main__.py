"""Serve the example under uvicorn to a crowd of clients that behave and that do not; see what is left.

A crowd comes first to warm the server up. What it holds at rest then is compared with what it holds at rest
after the soak. Linux only. Exit status 1: something has grown, is missing, or was answered with a 5xx.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ports import free_port

from soak.clients import Site, crowd

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 30
SETTLE_SECONDS = 30
ALLOWED_KILOBYTES = 24 * 1024
"""How much memory may have grown: what was freed lies in pieces."""
GAUGES = ["tasks", "descriptors", "threads", "temporary", "streams"]


class Server:
    """uvicorn in a process of its own, with a temporary directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self.port = free_port()
        temporary = directory / "temporary"
        temporary.mkdir()
        paths = [ROOT / "examples", ROOT / "tests" / "support", ROOT]
        environment = {
            **os.environ,
            "NOTES_DIRECTORY": str(directory / "data"),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "TMPDIR": str(temporary),
        }
        command = ["-m", "uvicorn", "--port", str(self.port), "--no-access-log", "soak.served:app"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command], env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    async def report(self, site: Site) -> dict[str, Any]:
        """Return what the server holds, once it has nothing to do, or after some time."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            found: dict[str, Any] = json.loads((await site.request("GET", "/soak/report"))[2])
            is_at_rest = found["tasks"] <= 4 and not found["streams"] and not found["temporary"]
            if is_at_rest and found["promised"] == found["kept"]:
                return found
            if time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.2)

    async def start(self, site: Site) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                await site.request("GET", "/soak/report")
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
            await asyncio.sleep(0.05)

    def stop(self) -> int:
        """Let the server end; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


async def soak(server: Server, seconds: float, clients: int) -> list[str]:
    """Run the crowd, print the figures, and return what is wrong."""
    site = Site(server.port)
    await server.start(site)
    wrong = await crowd(site, clients, max(2.0, seconds / 5))
    before = await server.report(site)
    wrong += await crowd(site, clients, seconds)
    after = await server.report(site)
    print(f"{sum(site.done.values())} visits of {clients} clients at a time, {seconds:.0f} s")
    print("  " + ", ".join(f"{name} {number}" for name, number in sorted(site.done.items())))
    statuses = sorted(site.statuses.items())
    print("  answers: " + ", ".join(f"{status or 'none'} {n}" for status, n in statuses))
    for name in [*GAUGES, "kilobytes", "promised", "kept", "sessions"]:
        print(f"{name:12}{before[name]:>10}{after[name]:>10}")
    return wrong + find_growth(before, after, site)


def find_growth(before: dict[str, Any], after: dict[str, Any], site: Site) -> list[str]:
    """Compare what the server held at rest before and after."""
    wrong = []
    for name in GAUGES:
        # A pool of threads may still have been growing; it has an end of its own.
        allowed = 40 if name == "threads" else 0
        if after[name] > before[name] + allowed:
            wrong.append(f"{name} have grown from {before[name]} to {after[name]}")
    if after["kilobytes"] > before["kilobytes"] + ALLOWED_KILOBYTES:
        wrong.append(f"memory has grown from {before['kilobytes']} to {after['kilobytes']} KB")
    if after["promised"] != after["kept"]:
        wrong.append(f"{after['promised'] - after['kept']} background tasks are missing")
    if after["sessions"] != site.sessions:
        wrong.append(f"{after['sessions']} writes of sessions, {site.sessions} were asked for")
    return wrong


def find_errors(log: str) -> list[str]:
    """Return the errors in the log that are not the server's own."""
    entries = re.split(r"(?m)^(?=[A-Z]+: )", log)
    found = [entry for entry in entries if re.search(r'File "[^"]*/(spica|notes|soak)/', entry)]
    # uvicorn ends a WebSocket whose peer breaks the protocol, and then takes a frame for a mistake of the
    # application's, where ASGI has an OSError.
    return [entry for entry in found if "after sending 'websocket.close'" not in entry]


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3, help="how long (default: 3)")
    parser.add_argument(
        "--clients", type=int, default=200, help="how many at a time (default: 200)"
    )
    options = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="spica-soak-"))
    server = Server(directory)
    try:
        wrong = asyncio.run(soak(server, options.minutes * 60, options.clients))
    finally:
        status = server.stop()
        log = server.log.read_text(encoding="utf-8", errors="replace")
        shutil.rmtree(directory, ignore_errors=True)
    wrong += [f"an error in the log:\n{error[:5000]}" for error in find_errors(log)]
    if status not in (0, -signal.SIGTERM):
        wrong.append(f"the server ended with the status {status}")
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
