"""A module of spica that has two names, and that other packages can patch under either.

Packages that patch Starlette rebind a name in one module and expect the change everywhere. In spica, several
modules may import the same name. A rebinding in a patchable module therefore changes the name in each module
of spica where it refers to the same object.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from spica.compat.names import (
    HOMES,
    PRIVATE_METHODS,
    PRIVATE_NAMES,
    PUBLIC_MODULES,
    RE_EXPORTS,
    SPICA,
    twin_of,
)

_MISSING = object()
_added: dict[str, list[str]] = {}


class PatchableModule(ModuleType):
    """A module of spica that is also a module of Starlette."""

    def __setattr__(self, name: str, value: Any) -> None:
        is_public = name in self.__dict__.get("__all__", ())
        # A name that loads on first use (`LazyNames`) must be loaded here, or the original stays in use.
        old = getattr(self, name, _MISSING) if is_public else self.__dict__.get(name, _MISSING)
        super().__setattr__(name, value)
        if callable(old) and old is not value:
            _rebind(name, old, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the module by spica's name for it, which is found with and without the switch.

        cloudpickle does the same with modules, but only with those whose class is ModuleType itself.
        """
        return import_module, (self.__name__,)

    def __getattr__(self, name: str) -> Any:
        """Find a name that Starlette's module only imports, or keeps private."""
        if f"{self.__name__}.{name}" in PUBLIC_MODULES:
            return import_module(f"{self.__name__}.{name}")
        place = PRIVATE_NAMES.get(self.__name__, {}).get(name)
        if place is not None:
            return _find(place)
        if name in RE_EXPORTS.get(self.__name__, ()):
            return getattr(import_module(HOMES[name]), name)
        raise AttributeError(
            f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self
        )


def _rebind(name: str, old: Any, value: Any) -> None:
    names = {name, twin_of(name)}
    for module_name, module in list(sys.modules.items()):
        if module is None or module_name.partition(".")[0] != SPICA:
            continue
        bound = vars(module)
        for each in names:
            if bound.get(each) is old:
                bound[each] = value


def _find(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def make_patchable(module: ModuleType) -> None:
    """Let packages patch ``module`` as Starlette's, and add its names with Starlette's brand."""
    module.__class__ = PatchableModule
    added = _added[module.__name__] = []
    for name, value in list(vars(module).items()):
        twin = twin_of(name)
        if twin != name and name.startswith(SPICA.title()):
            vars(module)[twin] = value
            added.append(twin)
    for path, place in PRIVATE_METHODS.get(module.__name__, {}).items():
        cls, _, name = path.partition(".")
        setattr(getattr(module, cls), name, _find(place))


def make_plain(module: ModuleType) -> None:
    """Undo `make_patchable`."""
    if type(module) is PatchableModule:
        object.__setattr__(module, "__class__", ModuleType)
        for name in _added.pop(module.__name__, ()):
            vars(module).pop(name, None)
        for path in PRIVATE_METHODS.get(module.__name__, ()):
            cls, _, name = path.partition(".")
            delattr(getattr(module, cls), name)
