"""spica under the name of Starlette, which it stands in for: see ``spica.compat``."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from spica.compat.names import STARLETTE_VERSION

__version__ = STARLETTE_VERSION


def __getattr__(name: str) -> ModuleType:
    """Import the submodule ``name``: Starlette's own modules load more of one another than spica's."""
    if name.startswith("__") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
