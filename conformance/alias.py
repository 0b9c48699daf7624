"""Let `starlette.x` mean `spica.x`: the same module object, so that there is one set of classes."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

THEIRS = "starlette"
OURS = "spica"

_ANNOTATIONS = {"starlette.middleware": ["_MiddlewareFactory"]}
"""Private names that a file of tests imports for its annotations and uses for nothing else. Without
them the whole file could not be collected."""


class Alias(MetaPathFinder, Loader):
    """Finds every module of spica under Starlette's name as well."""

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._specs: dict[int, ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != THEIRS:
            return None
        if importlib.util.find_spec(_our_name(fullname)) is None:
            return None
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        name = _our_name(spec.name)
        if spec.name in self._given:
            # Somebody took it out of sys.modules to have it executed once more.
            sys.modules.pop(name, None)
        self._given.add(spec.name)
        module = importlib.import_module(name)
        _add_brand_names(module)
        for missing in _ANNOTATIONS.get(spec.name, ()):
            if not hasattr(module, missing):
                setattr(module, missing, _Annotation)
        self._specs[id(module)] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just given it the spec of the alias, and executed it long before.
        module.__spec__ = self._specs[id(module)]


class _Annotation:
    """Stands for a type that is only written down."""

    def __class_getitem__(cls, item: object) -> type:
        return cls


def install() -> None:
    """Put the alias before all other finders, so that an installed Starlette is never found."""
    sys.meta_path.insert(0, Alias())


def _our_name(name: str) -> str:
    return OURS + name.removeprefix(THEIRS)


def _add_brand_names(module: ModuleType) -> None:
    """Let `Spica` be found as `Starlette`, and `SpicaDeprecationWarning` likewise."""
    for name, value in list(vars(module).items()):
        twin = name.replace(OURS.title(), THEIRS.title())
        if twin != name and not name.startswith("_") and not hasattr(module, twin):
            setattr(module, twin, value)
