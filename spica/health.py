"""Health checks for load balancers and supervisors: ``health_routes``.

A *liveness* check asks whether a supervisor should restart the process. It watches the event loop only: if it
asked the database, an outage there would restart every worker. A *readiness* check asks whether the process
should get requests now. It fails during a shutdown, and when a service that every request needs is down.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from spica.concurrency import ThreadLimiter, is_async_callable
from spica.responses import PlainTextResponse, Response
from spica.routing import Route
from spica.shutdown import shutdown_of_scope

if TYPE_CHECKING:
    from spica.requests import Request

__all__ = ["Check", "health_routes"]

Check: TypeAlias = Callable[[], object]
"""A function without arguments, ``def`` or ``async def``. It fails if it raises, or returns False."""

log = logging.getLogger("spica.health")

PROBE_SECONDS = 0.01
"""The time that the liveness check sleeps. A blocked event loop wakes it late."""


def health_routes(
    checks: Mapping[str, Check] | None = None,
    *,
    live: str = "/livez",
    ready: str = "/readyz",
    timeout_seconds: float = 1.0,
    cache_seconds: float = 1.0,
    max_lag_seconds: float = 1.0,
    details: bool = False,
) -> list[Route]:
    """Return two routes: one for liveness, and one for readiness. Both answer 200 or 503 with plain text.

    They are public, also in an application with ``default_scopes``: load balancers have no credentials.

    The process is live while its event loop is not blocked. It is ready while it is not shutting down and all
    ``checks`` pass. The checks run concurrently, and requests that come together share one run.

    Args:
        checks: Functions by name, each of them for a service that requests need, such as
            ``{"store": store.ping}``. A function fails if it raises, returns False or takes too long. A
            ``def`` function runs in a thread of its own.
        live, ready: The paths of the routes.
        timeout_seconds: The time that each check may take. The default, one second, is also the default of
            probes in Kubernetes.
        cache_seconds: The time that a result of the checks is used again, so that probes cause little work.
            The shutdown shows at once.
        max_lag_seconds: The longest delay of the event loop at which the process is live.
        details: Whether the response names the failed checks. Off by default, since anybody may see it. The
            log has the names and the errors.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A path does not begin with "/", or a number is out of range.

    Example:
        ``Spica(routes=[*health_routes({"store": store.ping}), Route("/", home)])``
    """
    for name, path in (("live", live), ("ready", ready)):
        if not isinstance(path, str) or not path.startswith("/"):
            raise ValueError(
                f"health_routes: {name} must be a path such as '/{name}z', not {path!r:.80}."
            )
    if live == ready:
        raise ValueError(f"health_routes: live and ready need different paths, not both {live!r}.")
    _check_seconds(timeout_seconds, "timeout_seconds", is_zero_valid=False)
    _check_seconds(cache_seconds, "cache_seconds", is_zero_valid=True)
    _check_seconds(max_lag_seconds, "max_lag_seconds", is_zero_valid=False)
    if not isinstance(details, bool):
        raise TypeError(f"health_routes: details must be True or False, not {details!r:.80}.")
    readiness = _Readiness(_check_checks(checks), timeout_seconds, cache_seconds, details)
    liveness = _Liveness(max_lag_seconds)
    return [
        Route(live, liveness.respond, name="live", include_in_schema=False, public=True),
        Route(ready, readiness.respond, name="ready", include_in_schema=False, public=True),
    ]


def _check_seconds(value: Any, name: str, *, is_zero_valid: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"health_routes: {name} must be a number of seconds, not {value!r:.80}.")
    if not (value > 0 or (is_zero_valid and value == 0)):
        least = "0 or more" if is_zero_valid else "more than 0"
        raise ValueError(f"health_routes: {name} must be {least}, not {value!r}.")


def _check_checks(checks: Any) -> list[_Check]:
    if checks is None:
        return []
    if not isinstance(checks, Mapping):
        raise TypeError(
            f"health_routes: checks must map names to functions, not {checks!r:.80}. "
            'Write {"store": store.ping}.'
        )
    for name, function in checks.items():
        if not isinstance(name, str) or not name.isprintable():
            raise TypeError(
                f"health_routes: the name of a check must be a string, not {name!r:.80}."
            )
        if not callable(function):
            raise TypeError(
                f"health_routes: the check {name!r} must be a function without arguments, not "
                f"{function!r:.80}. Do not call it: pass store.ping, not store.ping()."
            )
    return [_Check(name, function) for name, function in checks.items()]


def _answer(status_code: int, text: str) -> Response:
    return PlainTextResponse(text, status_code, headers={"Cache-Control": "no-store"})


class _Liveness:
    """The liveness check."""

    def __init__(self, max_lag_seconds: float) -> None:
        self.max_lag_seconds = max_lag_seconds

    async def respond(self, request: Request) -> Response:
        """Return 200 if the event loop wakes this task in time."""
        start = time.monotonic()
        await anyio.sleep(PROBE_SECONDS)
        lag = time.monotonic() - start - PROBE_SECONDS
        if lag <= self.max_lag_seconds:
            return _answer(200, "live")
        log.warning("The event loop was blocked for %.1f seconds", lag)
        return _answer(503, "blocked")


class _Check:
    """One check for readiness."""

    def __init__(self, name: str, function: Check) -> None:
        self.name = name
        self.function = function
        self.is_async = is_async_callable(function)
        self.threads = ThreadLimiter(f"health check {name}")  # not those of endpoints
        self.has_thread = False
        self.has_failed = False

    async def run(self, timeout_seconds: float, failed: list[str]) -> None:
        """Run the check, and add its name to ``failed`` if it fails. Log a change."""
        error = await self._find_error(timeout_seconds)
        if error is not None:
            failed.append(self.name)
            if not self.has_failed:
                log.warning("The health check %r fails: %s", self.name, error)
        elif self.has_failed:
            log.warning("The health check %r passes again", self.name)
        self.has_failed = error is not None

    async def _find_error(self, timeout_seconds: float) -> str | None:
        try:
            with anyio.fail_after(timeout_seconds):
                result = await self._call()
        except TimeoutError as exc:
            return str(exc) or f"it took more than {timeout_seconds:g} seconds"
        except Exception as exc:  # whatever it is, the service can't be used
            return f"{type(exc).__name__}: {exc}"
        return "it returned False" if result is False else None

    async def _call(self) -> object:
        if self.is_async:
            result = self.function()
        elif self.has_thread:
            # A call that hangs keeps its thread. Do not start another one with each probe.
            raise TimeoutError("its last call has not returned yet")
        else:
            self.has_thread = True
            result = await anyio.to_thread.run_sync(
                self._call_in_thread, abandon_on_cancel=True, limiter=self.threads.current()
            )
        return await result if inspect.isawaitable(result) else result

    def _call_in_thread(self) -> object:
        try:
            return self.function()
        finally:
            self.has_thread = False


class _Run:
    """The latest run of the checks in one event loop."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.failed: list[str] = []
        self.expires_at = 0.0


class _Readiness:
    """The readiness check."""

    def __init__(
        self, checks: list[_Check], timeout_seconds: float, cache_seconds: float, details: bool
    ) -> None:
        self.checks = checks
        self.timeout_seconds = timeout_seconds
        self.cache_seconds = cache_seconds
        self.details = details
        # The name has the id, because early versions of AnyIO 4 compare variables only by their names.
        self._run_of_loop: RunVar[_Run] = RunVar(f"spica health ({id(self)})")

    async def respond(self, request: Request) -> Response:
        """Return 200 if the application can take requests."""
        shutdown = shutdown_of_scope(request.scope)
        if shutdown is not None and shutdown.is_begun:
            return _answer(503, "shutting down")
        failed = await self._find_failed() if self.checks else []
        if not failed:
            return _answer(200, "ready")
        return _answer(503, "not ready: " + ", ".join(failed) if self.details else "not ready")

    async def _find_failed(self) -> list[str]:
        """Return the names of the failed checks, of the last run if that is recent."""
        try:
            run = self._run_of_loop.get()
        except LookupError:
            run = _Run()
            self._run_of_loop.set(run)
        asked_at = time.monotonic()
        if asked_at >= run.expires_at:
            async with run.lock:
                # Another request may have run the checks while this one waited for the lock.
                if asked_at >= run.expires_at:
                    run.failed = await self._run_checks()
                    run.expires_at = time.monotonic() + self.cache_seconds
        return run.failed

    async def _run_checks(self) -> list[str]:
        failed: list[str] = []
        async with anyio.create_task_group() as group:
            for check in self.checks:
                group.start_soon(check.run, self.timeout_seconds, failed)
        return sorted(failed)
