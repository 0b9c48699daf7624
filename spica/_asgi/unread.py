"""Close the iterator of a response that is not sent, or not sent to its end.

Closing a generator that has not started does not run its ``finally``, because it has not entered the
``try``. So ``close_unread`` takes the first item and then closes the generator, and ``finally`` always runs.
It does so after the response, shielded from cancellation, and within a time limit.
"""

from __future__ import annotations

import sys
from types import AsyncGeneratorType
from typing import Any

import anyio

from spica._asgi.body import ClientDisconnect
from spica._asgi.side_task import Signal, start_side_task
from spica.concurrency import close_iterator

UNREAD_SECONDS = 5.0
"""Seconds that a generator has to yield its first item and to close. After that it is cancelled, and has the
same time again for its ``finally``. This is enough for a slow upstream server, and does not keep the request
open for long."""

LOGGER_NAME = "spica.responses"
"""The logger for iterators that fail while they are closed. The response does not need them any more."""


async def close_unread(iterator: Any) -> None:
    """Close ``iterator``, which may be None, and log errors.

    Its ``finally`` runs even if the iterator has not started.
    """
    if not has_started_running(iterator):
        await _Closing(iterator).run()
        return
    # Close it in this task, which has started it: only one task may enter and leave a cancel scope in it.
    with anyio.move_on_after(UNREAD_SECONDS, shield=True):
        try:
            await close_iterator(iterator)
        except Exception as exc:
            _log(_FAILED, iterator, exc)


class CloseOnce:
    """Close an iterator at the end of a request, unless its response has already closed it."""

    __slots__ = ("is_closed", "iterator")

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator
        self.is_closed = False

    async def __call__(self) -> None:
        """Close the iterator."""
        if not self.is_closed:
            self.is_closed = True
            await close_unread(self.iterator)


_FAILED = "The iterator %r of a response that was not sent has failed."


def _log(message: str, iterator: Any, exc: Exception | None = None) -> None:
    import logging  # on use, because it takes longer to import than this module

    logging.getLogger(LOGGER_NAME).error(message, iterator, exc_info=exc)


def has_started_running(iterator: Any) -> bool:
    """Return whether a generator has run up to its first item; True for other iterators."""
    frame = iterator.ag_frame if isinstance(iterator, AsyncGeneratorType) else None
    if frame is None:
        return True
    if sys.version_info >= (3, 12):
        return bool(iterator.ag_suspended or iterator.ag_running)
    # Python 3.11 has no such attributes. An unstarted frame is at the instruction that made the generator.
    import dis

    code = frame.f_code.co_code
    return bool(code[frame.f_lasti] != dis.opmap["RETURN_GENERATOR"])


class _Closing:
    """Close one iterator in a task of its own, so that it can be cancelled without cancelling the request.

    On asyncio, a task that is cancelled once can still await in ``finally``. On trio and in a cancel scope of
    AnyIO, each further await is cancelled too, so the ``finally`` needs its own shield.
    """

    __slots__ = ("_is_over", "_iterator")

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator
        self._is_over = Signal()

    async def run(self) -> None:
        """Close the iterator, and cancel the task if it takes too long."""
        task = start_side_task(self._close)
        with anyio.CancelScope(shield=True):
            for _ in range(2):
                with anyio.move_on_after(UNREAD_SECONDS):
                    await self._is_over.wait()
                if self._is_over.is_set:
                    return
                task.cancel()
        _log(
            "The iterator %r of a response that was not sent does not end. It had "
            f"{UNREAD_SECONDS:g} seconds, was cancelled, and had as many again.",
            self._iterator,
        )

    async def _close(self) -> None:
        try:
            await _start_and_close(self._iterator)
        except ClientDisconnect:
            pass  # a started app sees a disconnect when its response is dropped
        except Exception as exc:
            _log(_FAILED, self._iterator, exc)
        finally:
            self._is_over.set()


async def _start_and_close(iterator: Any) -> None:
    try:
        if not has_started_running(iterator):
            await anext(iterator)
    except StopAsyncIteration:
        pass
    finally:
        await close_iterator(iterator)
