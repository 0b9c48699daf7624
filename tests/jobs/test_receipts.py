"""A worker of procrastinate is killed in a job. scripts/jobs runs this in an environment of its own."""

import httpx2
import pytest

pytest.importorskip("procrastinate", reason="scripts/jobs installs procrastinate")


@pytest.fixture
def processes(make_processes, postgres_server):
    return make_processes(DATABASE_URL=postgres_server.url, STALLED_SECONDS="3")


def start_worker(processes):
    return processes.start("procrastinate", "--app", "jobs.receipts.engine", "worker")


def test_a_job_whose_worker_was_killed_runs_again(processes):
    assert processes.start("jobs.receipts").wait(120) == 0
    url = processes.serve("jobs.receipts:app")
    worker = start_worker(processes)
    response = httpx2.post(f"{url}/orders/7?seconds=2")
    assert response.status_code == 202
    processes.wait_for_file("7.started")
    worker.kill()
    worker.wait()
    assert not (processes.receipts / "7.txt").exists()
    start_worker(processes)
    id = response.headers["x-request-id"]
    assert processes.wait_for_file("7.txt") == f"Receipt 7 of request {id}\n"
    assert httpx2.get(f"{url}/readyz").status_code == 200
