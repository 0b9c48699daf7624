"""Each operation is atomic across processes: histories of four processes are linearizable."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from linearizable import MODELS, UNKNOWN, is_linearizable, value_model
from services import redis_command
from store_worker import run

import spica
from spica.stores import MemoryStore

SUPPORT = Path(__file__).parents[1] / "support"
ROOT = Path(spica.__file__).parents[1]


def check(histories):
    for kind, (model, state) in MODELS.items():
        calls = [tuple(call[1:]) for history in histories for call in history if call[0] == kind]
        assert is_linearizable(calls, model, state), (kind, sorted(calls))


async def start_worker(url, seed, count, timeout_seconds):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(SUPPORT / "store_worker.py"), url),
        *map(str, (seed, count, timeout_seconds)),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": f"{ROOT}:{SUPPORT}"},
    )


async def run_workers(url, count, server=None):
    """Return the histories of four processes, while a server pauses again and again."""
    timeout_seconds = 0.25 if server else 60
    workers = [await start_worker(url, seed, count, timeout_seconds) for seed in range(4)]
    outputs = asyncio.gather(*(worker.communicate() for worker in workers))
    while server and not outputs.done():
        server.pause()
        await asyncio.sleep(0.3)
        server.resume()
        await asyncio.sleep(0.2)
    return [json.loads(output) for output, _ in await outputs]


E2E = pytest.mark.e2e


@pytest.mark.parametrize(
    "name", ["sqlite", pytest.param("redis", marks=E2E), pytest.param("postgres", marks=E2E)]
)
def test_four_processes_agree(name, request, tmp_path):
    url = f"sqlite:///{tmp_path}/state.db"
    url = url if name == "sqlite" else request.getfixturevalue(f"{name}_url")
    histories = asyncio.run(run_workers(url, 40))
    check(histories)
    assert [call for history in histories for call in history if call[4] == UNKNOWN] == []


def test_threads_agree_on_the_memory():
    store = MemoryStore()

    async def run_threads():
        threads = [asyncio.to_thread(asyncio.run, run(store, seed, 100)) for seed in range(4)]
        return await asyncio.gather(*threads)

    check(asyncio.run(run_threads()))


@E2E
@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_a_server_that_pauses_gives_no_wrong_answer(name, request):
    server = request.getfixturevalue(f"{name}_server")
    if name == "redis":
        redis_command(server.url, "FLUSHALL")
    url = server.url if name == "redis" else request.getfixturevalue("postgres_url")
    check(asyncio.run(run_workers(url, 30, server)))


def call(start, end, operation, result):
    return (start, end, tuple(operation), result)


def test_the_checker_finds_a_stale_read():
    write = call(0, 1, ["set", "1", None], True)
    assert is_linearizable([write, call(0, 2, ["get"], None)], value_model, None)
    assert not is_linearizable([write, call(2, 3, ["get"], None)], value_model, None)


def test_the_checker_lets_an_unanswered_write_happen_late_or_never():
    write = call(0, 1, ["set", "1", None], UNKNOWN)
    reads = [call(5, 6, ["get"], None), call(7, 8, ["get"], "1")]
    assert is_linearizable([write, *reads], value_model, None)
    assert not is_linearizable([write, *reads, call(9, 10, ["get"], None)], value_model, None)
