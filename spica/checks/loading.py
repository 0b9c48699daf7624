"""Import the application that a command line names, and find it inside foreign layers."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from spica._muting import check_configuration
from spica.applications import Spica
from spica.checks.target import LoadError, Target, find_targets
from spica.exceptions import SpicaConfigurationWarning
from spica.routing import Router

__all__ = ["Found", "LoadError", "Loaded", "find_inner", "load_application", "load_object"]

DEFAULT_ATTRIBUTE = "app"
FACTORIES = ("create_app", "make_app")
"""Conventional names of factories. They are called if a module has no application."""
MAX_DEPTH = 100
"""The number of layers to search, so that a cycle of layers does not loop forever."""

_INNER_NAMES = ("app", "application", "_app", "asgi_app", "wrapped", "inner", "__wrapped__")
_APPLICATION_MODULES = frozenset({"spica.applications", "starlette.applications"})


class Found(NamedTuple):
    """The object that a target names. It can be any ASGI app."""

    app: Any
    target: str
    """Its full name: "module:attribute"."""
    directory: str
    warnings: list[warnings.WarningMessage]
    """The configuration warnings that its import raised."""


class Loaded(NamedTuple):
    """The spica application that a target names."""

    application: Spica | Router
    layers: int
    """The number of foreign layers around it."""
    warnings: list[warnings.WarningMessage]
    """The configuration warnings that its import raised."""
    target: str
    """Its full name: "module:attribute"."""


def load_application(
    target: str | None, *, app_dir: str = "", is_factory: bool = False, compat: bool = False
) -> Loaded:
    """Return the spica application that ``target`` names, also if foreign layers wrap it.

    The parameters and errors are those of ``load_object``.

    Raises:
        LoadError: also if the object is not a spica application and does not wrap one.
    """
    found = load_object(target, app_dir=app_dir, is_factory=is_factory, compat=compat)
    application, layers = _unwrap(found.app, found.target)
    return Loaded(application, layers, found.warnings, found.target)


def load_object(
    target: str | None, *, app_dir: str = "", is_factory: bool = False, compat: bool = False
) -> Found:
    """Import the module that ``target`` names and return its application, of any type.

    Args:
        target: "module:attribute", "module", "file.py", or None to search the usual files
            (see ``spica.checks.target``).
        app_dir: The directory to import from, by default the working directory.
        is_factory: Call the attribute to get the application.
        compat: Make the name ``starlette`` mean spica first (``spica.compat.install``).

    Raises:
        LoadError: The module can't be imported, the attribute does not exist, or the factory fails.
    """
    candidates = find_targets(target, app_dir)
    if compat:
        _switch()
    with configuration_warnings() as caught:
        for candidate in candidates:
            if candidate.directory not in sys.path:
                sys.path.insert(0, candidate.directory)
            module = _import(candidate)
            name = candidate.attribute or _choose(module, is_factory)
            if name is not None:
                break
        else:
            raise LoadError(_explain_nothing(candidates))
        full_name = f"{candidate.module}:{name}"
        found = _find(module, name)
        if is_factory or (not candidate.attribute and name in FACTORIES):
            found = _make(found, full_name, candidate.directory)
    return Found(found, full_name, candidate.directory, list(caught))


@contextmanager
def configuration_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Record warnings, including configuration warnings that ``spica.compat`` mutes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpicaConfigurationWarning)
        before = check_configuration(True)
        try:
            yield caught
        finally:
            check_configuration(before)


def _explain_nothing(candidates: list[Target]) -> str:
    modules = ", ".join(candidate.module for candidate in candidates)
    return (
        f"No application was found in {modules}: there is no name 'app' and no other application."
        f" Name it: {candidates[0].module}:NAME."
    )


def _choose(module: ModuleType, is_factory: bool) -> str | None:
    """Return the name of a module's ``app``, its only application or its factory; None without one."""
    if hasattr(module, DEFAULT_ATTRIBUTE) and not isinstance(
        getattr(module, DEFAULT_ATTRIBUTE), ModuleType
    ):
        return DEFAULT_ATTRIBUTE
    factories = [name for name in FACTORIES if callable(getattr(module, name, None))]
    if is_factory:
        return factories[0] if factories else None
    applications = {id(value): name for name, value in _applications_of(module)}
    if len(applications) > 1:
        names = ", ".join(f"{module.__name__}:{name}" for name in sorted(applications.values()))
        raise LoadError(f"{module.__name__} has several applications. Name one of {names}.")
    return next(iter([*applications.values(), *factories]), None)


def _applications_of(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the spica applications of a module by name, and those of frameworks on Starlette."""
    for name, value in sorted(vars(module).items()):
        if not name.startswith("__") and any(
            cls.__module__ in _APPLICATION_MODULES for cls in type(value).__mro__
        ):
            yield name, value


def _switch() -> None:
    from spica.compat import CompatError, install

    try:
        install()
    except CompatError as error:
        raise LoadError(str(error)) from error


def _import(target: Target) -> ModuleType:
    name, _, directory = target
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(missing + "."):
            raise LoadError(
                f"Module {name!r} can't be imported: {error}.{_locate(error, directory)}"
            ) from error
        names = sorted({path.stem for path in Path(directory).glob("*.py")})
        hint = "Use --app-dir for another directory."
        near = difflib.get_close_matches(name, names, n=1)
        if near:
            hint = f"Did you mean {near[0]!r}? {hint}"
        raise LoadError(
            f"There is no module {name!r} in {directory} or on sys.path. {hint}"
        ) from None
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"Module {name!r} can't be imported: {_describe(error)}{_locate(error, directory)}"
        ) from error


def _describe(error: BaseException) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _locate(error: BaseException, directory: str) -> str:
    """Return the user's line that failed, as " (file, line 3: the code)", or "" if there is none.

    It is the innermost line below ``directory`` that is not part of an installed package.
    """
    lines = [
        (frame.filename, frame.lineno, frame.line)
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((error.filename, error.lineno, error.text))
    prefix = directory + os.sep
    own = [line for line in lines if line[0].startswith(prefix) and "site-packages" not in line[0]]
    if not own:
        return ""
    file, number, code = own[-1]
    return f" ({file.removeprefix(prefix)}, line {number}: {(code or '').strip():.100})"


def _find(module: ModuleType, attribute: str) -> Any:
    found: Any = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise LoadError(
                f"{module.__name__}:{attribute}: there is no {name!r}."
                f"{_suggest(module, found, name)}"
            ) from None
    return found


def _suggest(module: ModuleType, owner: Any, name: str) -> str:
    names = [name for name, _ in _applications_of(module)]
    public = [other for other in vars(owner) if not other.startswith("_")] if owner else []
    near = difflib.get_close_matches(name, [*names, *public], n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    if not names:
        return ""
    return f" Applications there: {', '.join(f'{module.__name__}:{name}' for name in names)}."


def _make(factory: Any, target: str, directory: str) -> Any:
    if not callable(factory):
        raise LoadError(
            f"{target} must be a function that returns an application, not {factory!r:.200}."
        )
    try:
        made = factory()
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"{target}() failed: {_describe(error)}{_locate(error, directory)}"
        ) from error
    if inspect.iscoroutine(made):
        made.close()
        raise LoadError(f"{target} is an async function. A factory must be a `def` function.")
    return made


def find_inner(app: Any) -> Any:
    """Return the spica application inside ``app``, or None."""
    try:
        return _unwrap(app, "")[0]
    except LoadError:
        return None


def _unwrap(found: Any, target: str) -> tuple[Spica | Router, int]:
    """Find a spica application inside foreign layers, through their usual attribute names."""
    for layers, app in enumerate(walk_layers(found)):
        if isinstance(app, (Spica, Router)):
            return app, layers
    raise LoadError(
        f"{target} is not a spica application, and none was found inside it: {_explain(found)}"
    )


def walk_layers(app: Any) -> Iterator[Any]:
    """Yield ``app`` and the apps inside it, through the usual attribute names, to the first application."""
    for _ in range(MAX_DEPTH):
        yield app
        if isinstance(app, (Spica, Router)):
            return
        if isinstance(app, functools.partial):
            app = app.func
            continue
        values = [getattr(app, name, None) for name in _INNER_NAMES]
        app = next((value for value in values if callable(value)), None)
        if app is None:
            return


def uses_starlette(app: Any) -> bool:
    """Return whether the class of ``app`` derives from a class of Starlette itself."""
    return any(cls.__module__.partition(".")[0] == "starlette" for cls in type(app).__mro__)


def _explain(found: Any) -> str:
    if uses_starlette(found):
        return "it uses Starlette itself. With --compat it runs on spica."
    code = getattr(found, "__code__", None)
    if code is not None and not code.co_argcount:
        return "it is a function without parameters. With --factory it is called to make one."
    return f"it is {found!r:.200}."
