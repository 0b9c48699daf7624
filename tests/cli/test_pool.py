"""The steps of a reload, with workers of the test. tests/e2e/test_cli.py runs real ones."""

import types

import pytest

from spica.cli import pool as module
from spica.cli.options import ServeOptions


class Worker:
    """A worker that becomes ready, and ends, when the test says so."""

    def __init__(self, options, sock):
        self.process = types.SimpleNamespace(exitcode=1)
        self.is_ready = self.has_ended = self.is_terminated = False
        self.failure = ""

    def read(self):
        pass

    def end(self, seconds):
        pass

    def terminate(self):
        self.is_terminated = True


@pytest.fixture
def make_pool(monkeypatch):
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    monkeypatch.setattr(module, "Worker", Worker)
    monkeypatch.setattr(module, "RESTART_SECONDS", 0.0)

    pools = []

    def make_pool(size):
        pool = module.Pool(ServeOptions(None, workers=size), None, lambda: None)
        pools.append(pool)
        pool.workers = [Worker(None, None) for _ in range(size)]
        for worker in pool.workers:
            worker.is_ready = True
        pool.has_started = True
        pool.signals.reloads = 1
        step(pool)
        return pool

    yield make_pool
    for pool in pools:
        pool.signals.reader.close()
        pool.signals._writer.close()


def step(pool):
    assert pool._replace_ended() is None
    pool._reload()


def test_a_reload_replaces_one_worker_after_the_other(make_pool):
    pool = make_pool(2)
    old = pool.outdated.copy()
    for count in (1, 2):
        assert len(pool.workers) == 3
        pool.fresh.is_ready = True
        step(pool)
        assert sum(worker.is_terminated for worker in old) == count
    assert (len(pool.workers), pool.fresh) == (2, None)
    assert not set(old) & set(pool.workers)


@pytest.mark.parametrize("size", [1, 2])
def test_an_old_worker_that_dies_during_a_reload_gets_one_successor(size, make_pool):
    pool = make_pool(size)
    pool.outdated[0].has_ended = True
    step(pool)
    for _ in range(size + 1):
        for worker in pool.workers:
            worker.is_ready = True
        step(pool)
    assert len(pool.workers) == size
    assert not pool.outdated


def test_the_old_workers_go_on_if_the_new_one_ends_as_soon_as_it_is_ready(make_pool):
    pool = make_pool(1)
    old, fresh = pool.workers
    fresh.is_ready = fresh.has_ended = True
    step(pool)
    assert pool.workers == [old]
    assert not old.is_terminated
    assert (pool.fresh, pool.outdated, pool.restart_at) == (None, [], [])


def test_a_system_that_starts_no_process_ends_no_worker(make_pool, monkeypatch):
    def refuse(options, sock):
        raise BlockingIOError("Resource temporarily unavailable")

    pool = make_pool(1)
    old, fresh = pool.workers
    fresh.has_ended = True
    step(pool)
    monkeypatch.setattr(module, "Worker", refuse)
    pool.signals.reloads = 1
    step(pool)
    assert (pool.workers, pool.fresh, pool.outdated) == ([old], None, [])
    old.has_ended = True
    step(pool)
    assert (pool.workers, len(pool.restart_at)) == ([], 1)
