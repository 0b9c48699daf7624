"""The HTTP library below the test client: the only place that imports it.

httpx2 is what the extra ``spica[testclient]`` installs. httpx is taken where httpx2 is missing, and
warned of.
"""

import importlib
from types import ModuleType

from spica._diagnostics.call_site import package_name, warn_importer
from spica.exceptions import SpicaDeprecationWarning

__all__ = ["httpx"]


def _import_older_library() -> ModuleType:
    """Import httpx in place of httpx2.

    Raises:
        RuntimeError: it is missing too.
    """
    try:
        library = importlib.import_module("httpx")
    except ModuleNotFoundError:
        raise RuntimeError(
            "spica.testclient needs the package httpx2, which is not installed. "
            "Install it with: pip install 'spica[testclient]'"
        ) from None
    text = (
        "Using httpx with spica.testclient is deprecated and will go away in spica 2.0: "
        "install httpx2, with: pip install 'spica[testclient]'"
    )
    if package_name() == "starlette":  # programs filter the warning by this text
        text = "Using `httpx` with `starlette.testclient` is deprecated; install `httpx2` instead."
    warn_importer(text, SpicaDeprecationWarning)
    return library


try:
    import httpx2 as httpx
except ModuleNotFoundError:
    httpx = _import_older_library()
