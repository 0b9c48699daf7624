"""What a form may cost: the limits of one application, router, mount, route or call."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

MAX_TOTAL_SIZE = 2 * 1024**3
"""Bytes of a form that is read with its files, unless told otherwise or the body has a limit: enough for a
film, and finite, so that one request cannot fill a disk."""


@dataclass(frozen=True, slots=True)
class FormLimits:
    """Limits of the forms that are read: of ``request.form()``, and but for sizes of ``request.parts()``.

    None, the default, leaves a limit as it is further out, and finally as the table has it; ``math.inf``
    lifts it. What a call of ``form()`` is given wins over all.

    Attributes:
        max_files: how many files there may be; 1000.
        max_fields: how many fields that are no files; 1000.
        max_part_size: bytes of such a field; 1 MiB.
        max_memory_size: bytes of all that is kept in memory; 16 MiB. Files beyond it go to the disk.
        max_total_size: bytes of the whole form with its files; 2 GiB, or what ``max_body_size`` says where
            that is set.
        max_headers: how many headers a part may have; 8, of which RFC 7578 knows three.
        max_header_size: bytes of a header line of a part; 8 KiB.

    Raises:
        TypeError: one is no number.
        ValueError: one is negative.
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
        """Return these limits, with those of ``outer`` where this has none."""
        names = [field.name for field in fields(self)]
        own = {name: getattr(self, name) for name in names}
        return FormLimits(
            **{k: getattr(outer, k) if value is None else value for k, value in own.items()}
        )


def check_limit(value: Any, place: str) -> Any:
    """Return ``value`` if it is a limit: an int from 0 on, ``math.inf`` or None.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, or a fraction.
    """
    if value is None or value == math.inf:
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{place} must be an int, math.inf or None, not {value!r:.80}.")
    if value < 0:
        raise ValueError(f"{place} must not be negative, but is {value}.")
    return value
