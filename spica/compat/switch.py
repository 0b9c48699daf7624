"""Turn the switch on and off."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any

from spica._muting import mute_configuration_warnings
from spica.compat.finder import Finder, give_second_name, take_second_names
from spica.compat.names import PUBLIC_MODULES, STARLETTE


class CompatError(RuntimeError):
    """The switch can't be turned on, because the program has already imported Starlette itself.

    Attributes:
        importer: The name of the module that imported it first, or None if unknown.
        file: The file of this module, or None if unknown.
    """

    def __init__(self, importer: str | None, file: str | None) -> None:
        super().__init__(importer, file)
        self.importer = importer
        self.file = file

    def __str__(self) -> str:
        who = "something"
        if self.importer is not None:
            who = f"the module {self.importer!r} ({self.file or 'no file'})"
        return (
            f"spica.compat.install() comes too late: Starlette itself was already imported, by {who}. "
            "Call it before the first import of anything that uses Starlette, or start the program "
            "with `python -m spica.compat MODULE ...`, or with SPICA_COMPAT=1 in its environment."
        )


class Installed:
    """The switch, turned on; as a context manager it is turned off at the end of the block."""

    def __enter__(self) -> Installed:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        uninstall()


def is_installed() -> bool:
    """Return whether ``starlette`` means spica in this process."""
    return any(isinstance(finder, Finder) for finder in sys.meta_path)


def install() -> Installed:
    """Make ``import starlette``, and every module in it, mean spica in this process.

    Call it before anything imports Starlette. A second call does nothing.

    Raises:
        CompatError: Starlette itself was already imported.
    """
    if not is_installed():
        if STARLETTE in sys.modules:
            raise CompatError(*find_importer())
        finder: Any = Finder()
        sys.meta_path.insert(0, finder)
        mute_configuration_warnings(True)
        for name in PUBLIC_MODULES:
            if name in sys.modules:
                give_second_name(sys.modules[name])
    return Installed()


def uninstall() -> None:
    """Undo `install`, for tests. Modules that are already imported keep their references."""
    if is_installed():
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Finder)]
        take_second_names()
        mute_configuration_warnings(False)


def load_top_module() -> ModuleType:
    """Return the package ``starlette`` for a pickle that has it, and turn the switch on if it is off.

    Raises:
        CompatError: Starlette itself was already imported in this process.
    """
    install()
    return import_module(STARLETTE)


def find_importer() -> tuple[str | None, str | None]:
    """Return the module that imported Starlette first, and its file; None for each if unknown.

    A module takes its place in ``sys.modules`` when its execution ends. So the importer is the first module
    after Starlette that has a name of Starlette's, or one before it whose execution has not ended.
    """
    names = list(sys.modules)
    place = names.index(STARLETTE)
    for name in [*names[place:], *reversed(names[:place])]:
        module = sys.modules.get(name)
        is_other = module is not None and name.partition(".")[0] != STARLETTE
        if is_other and _has_part_of_starlette(module):
            return name, getattr(module, "__file__", None)
    return None, None


def _has_part_of_starlette(module: Any) -> bool:
    return any(
        _top_name(value) == STARLETTE for value in list(getattr(module, "__dict__", {}).values())
    )


def _top_name(value: Any) -> str:
    try:
        name = value.__name__ if type(value) is type(sys) else value.__module__
        return str(name).partition(".")[0]
    except Exception:  # a lazy object that fails on access
        return ""
