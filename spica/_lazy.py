"""Names of a package that are imported on first use."""

import importlib
import sys
from typing import Any


class LazyNames:
    """The ``__getattr__`` of a package: import a name when it is first used.

    Packages use it for names that many applications do not need, so that those start faster.

    Args:
        package: The name of the package.
        homes: The names that each module defines, with spaces in between.
    """

    def __init__(self, package: str, homes: dict[str, str]) -> None:
        self._package = package
        self._modules = {name: home for home, names in homes.items() for name in names.split()}

    def __call__(self, name: str) -> Any:
        """Return a name of the package.

        Raises:
            AttributeError: The package has no such name.
        """
        if name not in self._modules:
            raise AttributeError(f"module {self._package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(self._modules[name]), name)
        vars(sys.modules[self._package])[name] = value  # so that this is called once
        return value

    def list_names(self) -> list[str]:
        """Return all names of the package: its ``__dir__``."""
        return sorted({*vars(sys.modules[self._package]), *self._modules})
