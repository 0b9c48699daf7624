"""The package ``starlette`` while the switch is on: its modules are spica's (see ``spica.compat``)."""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from spica.compat.names import STARLETTE_VERSION

__version__ = STARLETTE_VERSION


class TopModule(ModuleType):
    """The class of the package, which says how it is pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the package as spica's: by its name alone, another process might load Starlette itself."""
        from spica.compat.switch import load_top_module

        return load_top_module, ()


def __getattr__(name: str) -> ModuleType:
    """Import the submodule ``name``: Starlette's own modules load more of one another than spica's."""
    if name.startswith("__") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


sys.modules[__name__].__class__ = TopModule
