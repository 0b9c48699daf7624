"""Workers of streaq are killed and stopped in a job. scripts/jobs runs this in an environment of its own."""

import anyio
import httpx2
import pytest

from spica.jobs import lifespan_of, queue_check

streaq = pytest.importorskip("streaq", reason="scripts/jobs installs streaq")
STALLED_SECONDS = 2


@pytest.fixture(scope="module")
def processes(make_processes, valkey_server):
    limits = {"STALLED_SECONDS": str(STALLED_SECONDS), "GRACE_SECONDS": "4"}
    return make_processes(REDIS_URL=valkey_server.url, **limits)


@pytest.fixture(scope="module")
def url(processes):
    """The URL of the web server."""
    return processes.serve("jobs.receipts_redis:app")


def start_worker(processes):
    return processes.start("streaq", "run", "jobs.receipts_redis:worker")


def start_job(processes, url, order, seconds):
    """Start a worker and a job, and return the worker and the receipt that the job will write."""
    worker = start_worker(processes)
    response = httpx2.post(f"{url}/orders/{order}?seconds={seconds}")
    assert response.status_code == 202
    processes.wait_for_file(f"{order}.started")
    return worker, f"Receipt {order} of request {response.headers['x-request-id']}\n"


def kill(worker):
    worker.kill()
    worker.wait()


def test_a_job_whose_worker_was_killed_runs_again_in_time(processes, url):
    worker, receipt = start_job(processes, url, 1, seconds=1.5)
    kill(worker)
    (processes.receipts / "1.started").unlink()
    worker = start_worker(processes)
    processes.wait_for_file("1.started")
    assert processes.wait_for_file("1.txt") == receipt
    assert httpx2.get(f"{url}/readyz").status_code == 200
    kill(worker)


def test_a_worker_that_is_stopped_finishes_its_job(processes, url):
    worker, receipt = start_job(processes, url, 2, seconds=1.5)
    worker.terminate()
    assert worker.wait(60) == 0
    assert (processes.receipts / "2.txt").read_text() == receipt


def test_a_job_that_is_longer_than_the_grace_time_goes_to_another_worker(processes, url):
    worker, _ = start_job(processes, url, 3, seconds=60)
    worker.terminate()
    assert worker.wait(60) == 0
    assert not (processes.receipts / "3.txt").exists()
    (processes.receipts / "3.started").unlink()
    worker = start_worker(processes)
    processes.wait_for_file("3.started")
    kill(worker)


def test_an_order_is_refused_while_redis_is_down(url, valkey_server):
    valkey_server.stop()
    response = httpx2.post(f"{url}/orders/4")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    valkey_server.start()
    assert httpx2.post(f"{url}/orders/4").status_code == 202


def test_an_order_is_refused_while_redis_hangs(url, valkey_server):
    valkey_server.pause()
    response = httpx2.post(f"{url}/orders/5")
    valkey_server.resume()
    assert response.status_code == 503
    assert httpx2.post(f"{url}/orders/5").status_code == 202


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_check_fails_while_nobody_takes_a_job(valkey_server):
    worker = streaq.Worker(redis_url=valkey_server.url, queue_name="check")

    @worker.task
    async def job() -> None: ...

    async with lifespan_of(worker)(None):
        assert await queue_check(worker, max_seconds=0)()
        await job.enqueue()
        assert await queue_check(worker, max_seconds=60)()
        with anyio.fail_after(30):  # the client reads the server's clock in whole seconds
            while await queue_check(worker, max_seconds=0)():
                await anyio.sleep(0.05)
