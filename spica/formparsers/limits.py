"""Bounds on the cost of a form: the limits that you set, and regular turns for the event loop.

The limits come from the application, router, mount, route or call. Standard: RFC 7578.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

MAX_TOTAL_SIZE = 2 * 1024**3
"""Default limit of a form in bytes, files included: 2 GiB, unless the body has a limit of its own. That is
enough for a film, and it stops a single request from filling a disk."""

SLICE_SIZE = 64 * 1024
"""Bytes that a parser reads before it checks whether other tasks should run: less than some milliseconds."""

# Each chunk also costs a fixed amount of work, counted as this many bytes: tiny chunks are not free.
_CHUNK_COST = 256


@dataclass(frozen=True, slots=True)
class FormLimits:
    """Limits for ``request.form()`` and, except for the sizes of files, ``request.parts()``.

    None, the default, means that the enclosing limit applies: that of the route, mount, router or
    application, and finally the default below. ``math.inf`` removes a limit. An argument of
    ``request.form()`` takes precedence over all of them.

    Args:
        max_files: Number of files. Default 1000.
        max_fields: Number of fields that are not files. Default 1000.
        max_part_size: Bytes of one such field. Default 1 MiB.
        max_memory_size: Bytes that one form may keep in memory. Default 16 MiB. Files beyond it move to disk.
        max_total_size: Bytes of the whole form, files included. Default 2 GiB, or ``max_body_size`` where
            that is set.
        max_headers: Number of headers of one part. Default 8, since RFC 7578 defines three.
        max_header_size: Bytes of one header line of a part. Default 8 KiB.

    Raises:
        TypeError: A limit is not a number.
        ValueError: A limit is negative.

    >>> inner, outer = FormLimits(max_files=5), FormLimits(max_files=100, max_fields=20)
    >>> limits = inner.over(outer)
    >>> limits.max_files, limits.max_fields
    (5, 20)
    """

    max_files: int | float | None = None
    max_fields: int | float | None = None
    max_part_size: int | float | None = None
    max_memory_size: int | float | None = None
    max_total_size: int | float | None = None
    max_headers: int | float | None = None
    max_header_size: int | float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            check_limit(getattr(self, field.name), f"FormLimits: {field.name}")

    def over(self, outer: FormLimits) -> FormLimits:
        """Return these limits, completed from ``outer`` where a limit here is None."""
        names = [field.name for field in fields(self)]
        own = {name: getattr(self, name) for name in names}
        return FormLimits(
            **{k: getattr(outer, k) if value is None else value for k, value in own.items()}
        )


def check_limit(value: Any, name: str) -> Any:
    """Return ``value`` if it is a limit: a non-negative int, ``math.inf`` or None.

    ``name`` begins the error messages.

    Raises:
        TypeError: It is not an int.
        ValueError: It is negative.
    """
    if value is None or value == math.inf:
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, math.inf or None, not {value!r:.80}.")
    if value < 0:
        raise ValueError(f"{name} must not be negative, but is {value}.")
    return value


class Pacer:
    """Count the work of a parser, and report when other tasks should get a turn.

    Args:
        quantum: Bytes to parse between two turns.
    """

    __slots__ = ("_left", "_quantum")

    def __init__(self, quantum: int = 4 * SLICE_SIZE) -> None:
        self._quantum = self._left = quantum

    def is_due(self, size: int) -> bool:
        """Count ``size`` bytes of coming work; return True if the caller should await ``rest`` first."""
        self._left -= size + _CHUNK_COST
        return self._left <= 0

    async def rest(self) -> None:
        """Let other tasks run."""
        import anyio.lowlevel

        self._left = self._quantum
        await anyio.lowlevel.checkpoint()
