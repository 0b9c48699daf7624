"""The distribution ``starlette`` that packages ask ``importlib.metadata`` for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from typing import Any

from spica.compat.names import STARLETTE, STARLETTE_VERSION

_TEXTS = {
    "METADATA": (
        "Metadata-Version: 2.1\n"
        f"Name: {STARLETTE}\n"
        f"Version: {STARLETTE_VERSION}\n"
        "Summary: spica under the name of Starlette.\n"
    ),
    "top_level.txt": STARLETTE + "\n",
}


class StandIn(Distribution):
    """What is told of the distribution ``starlette`` while spica stands in for it."""

    def read_text(self, filename: str | os.PathLike[str]) -> str | None:
        """Return one of the files of metadata, or None."""
        return _TEXTS.get(str(filename))

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        """Return where a file of the distribution would be."""
        return Path(__file__).parents[2] / path


def find_distributions(context: Any = None) -> Iterator[Distribution]:
    """Yield the distribution if ``context`` asks for it, or for all.

    Who asks for those in certain directories, as pip does, wants what is installed there.
    """
    context = context or DistributionFinder.Context()
    name = context.name
    if "path" in vars(context):
        return
    if name is None or re.sub(r"[-_.]+", "-", name).lower() == STARLETTE:
        yield StandIn()
