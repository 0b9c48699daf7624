"""Find the module of an application, from the target of a command line or by convention.

This module imports nothing; ``loading`` does. A target has one of these forms:

    main:app            a module and an attribute, as for ASGI servers
    main                a module; its attribute is ``app``, or its only application
    shop/main.py        a file, with or without ``:attribute``
    (nothing)           main.py, app.py, or the single package of the working directory
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_FILE = re.compile(r"^(?P<file>.*\.pyw?)(?::(?P<attribute>[^:/\\]*))?$")
_STEMS = ("main", "app")
_NO_APPLICATIONS = frozenset({"tests", "test", "docs", "scripts", "migrations", "alembic"})
"""Packages that are often next to the package of the application."""


class LoadError(Exception):
    """No application was found or loaded. ``__cause__`` is the exception of the program, if it raised one."""


class Target(NamedTuple):
    """A module that may contain an application."""

    module: str
    attribute: str
    """A dotted name, or "" for the module's ``app`` or its only application."""
    directory: str
    """The absolute path of the directory to import the module from."""

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}" if self.attribute else self.module


def find_targets(text: str | None, app_dir: str = "") -> list[Target]:
    """Return the target that ``text`` names, or the candidates in ``app_dir`` if it is None.

    Args:
        text: A target in one of the forms above.
        app_dir: The directory to search, by default the working directory.

    Raises:
        LoadError: ``text`` does not name a module, the file does not exist, or there is no candidate.
    """
    directory = os.path.abspath(app_dir or os.curdir)
    if not os.path.isdir(directory):
        raise LoadError(f"--app-dir {app_dir!r} is not a directory.")
    if text is None:
        return _discover(directory)
    file = _FILE.match(text)
    if file is not None:
        return [_target_of_file(file["file"], file["attribute"] or "", directory)]
    module, _, attribute = text.partition(":")
    if not module:
        raise LoadError(
            f"{text!r} does not name a module. Write module:attribute, for example main:app."
        )
    if "/" in module or "\\" in module:
        raise LoadError(
            f"{text!r} is not a module. Write module:attribute, for example main:app, or a file.py."
        )
    return [Target(module, attribute, directory)]


def _target_of_file(file: str, attribute: str, directory: str) -> Target:
    path = Path(directory, file).resolve()
    if not path.is_file():
        raise LoadError(f"There is no file {file!r} in {directory}.")
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return Target(".".join(parts), attribute, str(folder))


def _discover(directory: str) -> list[Target]:
    """Return the candidates in the directory, or else in its ``src``."""
    for root in (Path(directory), Path(directory, "src")):
        found = [Target(module, "", str(root)) for module in _modules_of(root)]
        if found:
            return found
    raise LoadError(
        f"No application was found in {directory}: it has no main.py, no app.py and no single package."
        " Name the application, for example shop.web:app."
    )


def _modules_of(root: Path) -> Iterator[str]:
    for stem in _STEMS:
        if (root / f"{stem}.py").is_file():
            yield stem
    packages = _packages_of(root)
    if len(packages) == 1:
        package = packages[0]
        for stem in _STEMS:
            if (root / package / f"{stem}.py").is_file():
                yield f"{package}.{stem}"
        if (root / package / "__init__.py").is_file():
            yield package


def _packages_of(root: Path) -> list[str]:
    packages = {path.parent.name for path in root.glob("*/__init__.py")} - _NO_APPLICATIONS
    if (root / "app" / "main.py").is_file():
        packages.add("app")  # a common layout, often without an __init__.py
    return sorted(packages)
