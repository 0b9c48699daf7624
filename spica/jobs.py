"""The small parts that an application needs next to a job queue: spica has no queue of its own.

A job is work that must not be lost: it survives the process, and runs again after a crash. Take procrastinate
(Postgres) or streaq (Redis), and use this module to open it with the application, to carry the id of the
request into the job, to run the jobs of a killed worker again, and to detect a queue without workers.

Jobs run at least once, so write them so that a second run changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from spica.middleware.requestid import request_id

__all__ = ["carry", "lifespan_of", "queue_check", "resume", "sweep"]

_OLDEST = """
SELECT coalesce(extract(epoch FROM now() - min(greatest(event.at, job.scheduled_at))), 0)::float8 AS seconds
FROM procrastinate_jobs AS job JOIN procrastinate_events AS event ON event.job_id = job.id
WHERE job.status = 'todo' AND event.type IN ('deferred', 'deferred_for_retry')
AND (job.scheduled_at IS NULL OR job.scheduled_at <= now())
"""


def lifespan_of(engine: Any) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Return a lifespan that opens and closes a queue: ``Spica(lifespan=[lifespan_of(engine)])``.

    The application can then enqueue jobs. Their workers are processes of their own.

    Args:
        engine: An ``App`` of procrastinate, a ``Worker`` of streaq, or an async context manager.

    Raises:
        TypeError: The object is none of them.
    """
    if hasattr(engine, "open_async"):
        return _Lifespan(engine.open_async)
    if hasattr(engine, "__aenter__"):
        return _Lifespan(lambda: engine)
    raise TypeError(
        f"lifespan_of: {engine!r:.80} is not an App of procrastinate, a Worker of streaq or an async "
        "context manager."
    )


class _Lifespan:
    """A lifespan function that enters what a method returns."""

    def __init__(self, open_engine: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._open_engine = open_engine

    @asynccontextmanager
    async def __call__(self, app: Any) -> AsyncIterator[None]:
        async with self._open_engine():
            yield


def carry() -> dict[str, str]:
    """Return the id and the trace of the current request, as an argument for a job."""
    context: dict[str, str] = {}
    if (id := request_id.get()) != "-":
        context["request_id"] = id
    if "opentelemetry.propagate" in sys.modules:
        sys.modules["opentelemetry.propagate"].inject(context)
    return context


@contextmanager
def resume(context: Mapping[str, str]) -> Iterator[None]:
    """Run a block of a job with the id and the trace of the request that started it.

    Args:
        context: The result of `carry`. Other entries are ignored.
    """
    number = request_id.set(str(context.get("request_id", "-")))
    telemetry = sys.modules.get("opentelemetry.propagate")
    api = sys.modules.get("opentelemetry.context")
    token = api.attach(telemetry.extract(context)) if telemetry and api else None
    try:
        yield
    finally:
        if token is not None and api is not None:
            api.detach(token)
        request_id.reset(number)


async def sweep(engine: Any, *, stalled_seconds: float = 30.0) -> int:
    """Queue the jobs of killed workers again, and return their number. Procrastinate only.

    Without it, a job whose worker was killed stays in the state ``doing`` forever. Call it on one worker:
    ``app.tasks.every(10, partial(sweep, engine), store=store)``.

    Args:
        engine: The ``App`` of procrastinate.
        stalled_seconds: How long a worker may send no heartbeat. Workers send one every 10 seconds.
    """
    manager = engine.job_manager
    stalled = list(await manager.get_stalled_jobs(seconds_since_heartbeat=stalled_seconds))
    for job in stalled:
        await manager.retry_job(job)
    return len(stalled)


def queue_check(engine: Any, max_seconds: float = 60.0) -> Callable[[], Awaitable[bool]]:
    """Return a check for `health_routes`: it fails while a job has waited too long for a worker.

    Args:
        engine: The ``App`` of procrastinate, or the ``Worker`` of streaq.
        max_seconds: The longest time that the oldest job may wait after it could run. For streaq, a job of a
            killed worker counts as waiting after this time or ``idle_timeout``, whichever is longer.
    """
    check = _streaq_is_young if hasattr(engine, "stream_key") else _procrastinate_is_young
    return partial(check, engine, max_seconds)


async def _procrastinate_is_young(engine: Any, max_seconds: float) -> bool:
    row = await engine.connector.execute_query_one_async(_OLDEST)
    return float(row["seconds"]) <= max_seconds


async def _streaq_is_young(engine: Any, max_seconds: float) -> bool:
    redis = engine.redis
    for stream in [engine.stream_key + priority for priority in engine.priorities]:
        groups = await redis.xinfo_groups(stream) if await redis.exists([stream]) else ()
        # Jobs that no worker has read. An id begins with Redis's time in milliseconds.
        start = f"({groups[0]['last-delivered-id']}" if groups else "-"
        unread = await redis.xrange(stream, start=start, end="+", count=1)
        now = (await redis.time()).timestamp()
        if unread and now - int(unread[0].identifier.partition("-")[0]) / 1000 > max_seconds:
            return False
        # Jobs that a worker has read, and whose claim it has not renewed: it was killed.
        idle = max(int(max_seconds * 1000), engine.idle_timeout)
        pending = {"idle": idle, "start": "-", "end": "+", "count": 1}
        if groups and await redis.xpending(stream, groups[0]["name"], **pending):
            return False
    return True
