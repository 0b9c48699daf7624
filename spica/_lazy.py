"""Names of a package that are imported on first use."""

import importlib
import sys
from typing import Any


class LazyNames:
    """The ``__getattr__`` of a package: import a name when it is first used.

    Args:
        package: The name of the package.
        modules: The module that defines each name.
    """

    def __init__(self, package: str, modules: dict[str, str]) -> None:
        self._package = package
        self._modules = modules

    def __call__(self, name: str) -> Any:
        """Return a name of the package.

        Raises:
            AttributeError: The package has no such name.
        """
        if name not in self._modules:
            raise AttributeError(f"module {self._package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(self._modules[name]), name)
        setattr(sys.modules[self._package], name, value)  # so that this is called once
        return value
