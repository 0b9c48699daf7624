"""The finder that makes ``starlette.x`` mean ``spica.x``: the same module object.

It comes before all other finders, so Python never finds an installed Starlette. It imports each module on
first use. A public module of spica gets its second name as soon as it is loaded. An import gives this name,
so that hooks which wait for the import of ``starlette.x`` run.

The classes here have the methods of those in ``importlib.abc`` without inheriting from them, since importing
``importlib.abc`` takes long.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from types import ModuleType
from typing import Any

from spica.compat.names import (
    PRIVATE_MODULES,
    PUBLIC_MODULES,
    SPICA,
    STARLETTE,
    our_name,
    their_name,
)
from spica.compat.patchable import make_patchable, make_plain

_TOP_FILE = os.path.join(os.path.dirname(__file__), "_starlette.py")
_TWOFOLD = {name: their_name(name) for name in PUBLIC_MODULES} | {
    ours: theirs for theirs, ours in PRIVATE_MODULES.items()
}


class Finder:
    """Finds Starlette's modules and distribution, and notices when spica's own modules are loaded."""

    def __init__(self) -> None:
        self._aliases = _AliasLoader()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how the module is loaded; None for modules of other packages."""
        if fullname in _TWOFOLD:
            return self._find_own(fullname, path, target)
        top = fullname.partition(".")[0]
        if top != STARLETTE:
            return None
        if fullname == STARLETTE:
            return spec_from_file_location(
                STARLETTE, _TOP_FILE, submodule_search_locations=list(sys.modules[SPICA].__path__)
            )
        ours = find_spec(our_name(fullname))
        if ours is None:
            return None
        loader: Any = self._aliases
        return ModuleSpec(
            fullname,
            loader,
            origin=ours.origin,
            is_package=ours.submodule_search_locations is not None,
        )

    def _find_own(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                loader: Any = _WatchedLoader(spec.loader, self._aliases)
                spec.loader = loader
                return spec
        return None

    def find_distributions(self, context: Any = None) -> Iterable[Any]:
        """Return the distribution ``starlette``, if ``context`` includes it."""
        from spica.compat.metadata import find_distributions

        return find_distributions(context)

    def invalidate_caches(self) -> None:
        """Do nothing: there is no cache."""


class _AliasLoader:
    """Loads a name of Starlette by returning the module of spica."""

    def __init__(self) -> None:
        self.loading: set[str] = set()
        self._given: set[str] = set()
        self._specs: dict[int, ModuleSpec | None] = {}

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        name = our_name(spec.name)
        if spec.name in self._given:
            # The program removed it from sys.modules to execute it again.
            sys.modules.pop(name, None)
        self.loading.add(spec.name)
        try:
            module = import_module(name)
        finally:
            self.loading.discard(spec.name)
        self._specs[id(module)] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            self._given.add(spec.name)
        # The import system has just set the spec of the alias. Restore the module's own.
        module.__spec__ = self._specs.pop(id(module))


class _WatchedLoader:
    """Loads a module of spica, makes it patchable and gives it its name in Starlette."""

    def __init__(self, loader: Any, aliases: _AliasLoader) -> None:
        self._loader = loader
        self._aliases = aliases

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if _TWOFOLD[module.__name__] in self._aliases.loading:
            make_patchable(module)
        else:
            give_second_name(module)


def give_second_name(module: ModuleType) -> None:
    """Make ``module`` patchable and import it by its name in Starlette."""
    make_patchable(module)
    import_module(_TWOFOLD[module.__name__])


def take_second_names() -> None:
    """Remove the names of Starlette from all modules of spica."""
    for name in list(sys.modules):
        if name.partition(".")[0] == STARLETTE:
            del sys.modules[name]
    for name in _TWOFOLD:
        module = sys.modules.get(name)
        if module is not None:
            make_plain(module)
