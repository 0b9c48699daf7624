"""The parts next to a job queue. tests/jobs has a real queue; here are objects of the same form."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from spica.jobs import carry, lifespan_of, queue_check, resume, sweep
from spica.middleware.requestid import request_id

pytestmark = pytest.mark.anyio


class Queue:
    """The methods of procrastinate's App that the module calls."""

    def __init__(self, stalled=(), seconds=0.0):
        self.stalled = list(stalled)
        self.seconds = seconds
        self.calls = []
        self.job_manager = self.connector = self

    @asynccontextmanager
    async def open_async(self):
        self.calls.append("open")
        yield self
        self.calls.append("close")

    async def get_stalled_jobs(self, *, seconds_since_heartbeat):
        self.calls.append(seconds_since_heartbeat)
        return self.stalled

    async def retry_job(self, job):
        self.calls.append(job)

    async def execute_query_one_async(self, query):
        return {"seconds": self.seconds}


async def test_a_lifespan_opens_and_closes_the_queue():
    queue = Queue()
    async with lifespan_of(queue)(None):
        queue.calls.append("serve")
    assert queue.calls == ["open", "serve", "close"]


class RedisQueue:
    """The attributes of streaq's Worker, and the commands of its Redis, that the module uses."""

    def __init__(self, unread=(), stalled_for=None, groups=("workers",)):
        self.priorities = ["high", "normal"]
        self.stream_key = "jobs:"
        self.idle_timeout = 10_000
        self.redis = self
        self.opened = 0
        self._unread = [SimpleNamespace(identifier=f"{added}000-0") for added in unread]
        self._stalled_for = stalled_for
        self._groups = [{"name": name, "last-delivered-id": "5-0"} for name in groups]

    async def __aenter__(self):
        self.opened += 1
        return self

    async def __aexit__(self, *_):
        self.opened -= 1

    def producer(self, queue, limiter, scope):
        raise AssertionError("It reads jobs. It does not open the queue.")

    async def exists(self, keys):
        return keys == ["jobs:normal"]

    async def xinfo_groups(self, key):
        return self._groups

    async def xrange(self, key, start, end, count):
        assert start == ("(5-0" if self._groups and key == "jobs:normal" else "-")
        return self._unread[:count] if key == "jobs:normal" else []

    async def time(self):
        return datetime.fromtimestamp(1000, UTC)

    async def xpending(self, key, group, idle, start, end, count):
        assert (key, group) == ("jobs:normal", "workers")
        return self._stalled_for is not None and self._stalled_for * 1000 >= idle


async def test_a_lifespan_enters_a_context_manager():
    queue = Queue()
    async with lifespan_of(queue.open_async())(None):
        assert queue.calls == ["open"]


async def test_a_lifespan_opens_and_closes_a_worker_of_streaq():
    worker = RedisQueue()
    async with lifespan_of(worker)(None):
        assert worker.opened == 1
    assert worker.opened == 0


def test_another_object_is_a_type_error():
    with pytest.raises(TypeError, match="lifespan_of: 'redis://' is not an App of procrastinate"):
        lifespan_of("redis://")


def test_a_job_has_the_id_of_the_request_that_started_it():
    token = request_id.set("abc")
    context = carry()
    request_id.reset(token)
    assert context["request_id"] == "abc"
    with resume(context):
        assert request_id.get() == "abc"
    assert request_id.get() == "-"


def test_outside_a_request_there_is_no_id_to_carry():
    assert "request_id" not in carry()
    with resume({}):
        assert request_id.get() == "-"


def test_a_job_continues_the_trace_of_the_request():
    trace = pytest.importorskip("opentelemetry.trace")
    pytest.importorskip("opentelemetry.propagate")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with resume({"traceparent": parent}):
        assert carry()["traceparent"] == parent
    assert not trace.get_current_span().get_span_context().is_valid


async def test_the_sweep_queues_stalled_jobs_again():
    queue = Queue(stalled=["a", "b"])
    assert await sweep(queue, stalled_seconds=5) == 2
    assert queue.calls == [5, "a", "b"]


@pytest.mark.parametrize(("seconds", "passes"), [(0.0, True), (60.0, True), (60.1, False)])
async def test_the_check_fails_if_a_job_has_waited_too_long(seconds, passes):
    assert await queue_check(Queue(seconds=seconds))() is passes


@pytest.mark.parametrize(
    ("worker", "passes"),
    [
        (RedisQueue(), True),
        (RedisQueue(unread=[940]), True),
        (RedisQueue(unread=[939, 999]), False),
        (RedisQueue(unread=[939], groups=()), False),
        (RedisQueue(stalled_for=59), True),
        (RedisQueue(stalled_for=60), False),
    ],
    ids=["empty", "young", "unread", "no worker ever", "claimed", "killed worker"],
)
async def test_the_check_reads_the_streams_of_streaq(worker, passes):
    assert await queue_check(worker, max_seconds=60)() is passes


async def test_a_job_of_streaq_is_not_late_before_its_worker_renews_the_claim():
    assert await queue_check(RedisQueue(stalled_for=9.9), max_seconds=5)()
    assert not await queue_check(RedisQueue(stalled_for=10), max_seconds=5)()
