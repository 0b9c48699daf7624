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
    """The distribution ``starlette`` as ``importlib.metadata`` returns it while the switch is on."""

    def read_text(self, filename: str | os.PathLike[str]) -> str | None:
        """Return the content of a metadata file, or None."""
        return _TEXTS.get(str(filename))

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        """Return where a file of the distribution would be."""
        return Path(__file__).parents[2] / path


def find_distributions(context: Any = None) -> Iterator[Distribution]:
    """Yield the distribution if ``context`` names it, or names none.

    Yield nothing for a search in certain directories: pip lists the installed packages in this way.
    """
    context = context or DistributionFinder.Context()
    name = context.name
    if "path" in vars(context):
        return
    if name is None or re.sub(r"[-_.]+", "-", name).lower() == STARLETTE:
        yield StandIn()
