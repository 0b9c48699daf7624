"""Find the application that a command line names: ``module:attribute``, as for servers."""

from __future__ import annotations

import difflib
import functools
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from spica._muting import check_configuration
from spica.applications import Spica
from spica.exceptions import SpicaConfigurationWarning
from spica.routing import Router

DEFAULT_ATTRIBUTE = "app"
MAX_DEPTH = 100
"""Layers around an application that are looked through; a circle of them has an end, too."""

_INNER_NAMES = ("app", "application", "_app", "asgi_app", "wrapped", "inner", "__wrapped__")


class LoadError(Exception):
    """Tell why there is no application to look at; the cause, if there is one, is the program's own."""


class Loaded(NamedTuple):
    """An application that was found."""

    application: Spica | Router
    layers: int
    """How many layers of others were around it."""
    warnings: list[warnings.WarningMessage]
    """What was warned of while it was made."""


def load_application(
    target: str, *, app_dir: str = "", is_factory: bool = False, compat: bool = False
) -> Loaded:
    """Return the application that ``target`` names, or the one inside what it names.

    ``app_dir`` is where modules are looked for first, by default the working directory. With
    ``is_factory`` the name is a function that makes it. With ``compat`` a program for Starlette is run on
    spica.

    Raises:
        LoadError: it can't be imported, is not there, or is none.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name:
        raise LoadError(
            f"{target!r} names no module: write module:attribute, for example main:app."
        )
    if compat:
        _switch()
    directory = os.path.abspath(app_dir or os.curdir)
    if directory not in sys.path:
        sys.path.insert(0, directory)
    with configuration_warnings() as caught:
        module = _import(module_name, directory)
        found = _find(module, attribute or DEFAULT_ATTRIBUTE)
        if is_factory:
            found = _make(found, target)
    application, layers = _unwrap(found, target)
    return Loaded(application, layers, list(caught))


@contextmanager
def configuration_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Record warnings, those about the configuration also where the switch mutes them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpicaConfigurationWarning)
        before = check_configuration(True)
        try:
            yield caught
        finally:
            check_configuration(before)


def _switch() -> None:
    from spica.compat import CompatError, install

    try:
        install()
    except CompatError as error:
        raise LoadError(str(error)) from error


def _import(name: str, directory: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(missing + "."):
            raise LoadError(f"Module {name!r} can't be imported: {error}.") from error
        names = sorted({path.stem for path in Path(directory).glob("*.py")})
        hint = "Use --app-dir for another directory."
        near = difflib.get_close_matches(name, names, n=1)
        if near:
            hint = f"Did you mean {near[0]!r}? {hint}"
        raise LoadError(
            f"There is no module {name!r}: looked in {directory} and sys.path. {hint}"
        ) from None
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"Module {name!r} can't be imported: {type(error).__name__}: {error}"
        ) from error


def _find(module: ModuleType, attribute: str) -> Any:
    found: Any = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise LoadError(
                f"{module.__name__}:{attribute}: there is no {name!r}.{_name_applications(module)}"
            ) from None
    return found


def _name_applications(module: ModuleType) -> str:
    names = [
        name for name, value in sorted(vars(module).items()) if isinstance(value, (Spica, Router))
    ]
    if not names:
        return ""
    return f" Applications there: {', '.join(f'{module.__name__}:{name}' for name in names)}."


def _make(factory: Any, target: str) -> Any:
    if not callable(factory):
        raise LoadError(f"{target} is no function that makes an application, but {factory!r:.200}.")
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"{target}() does not make an application: {type(error).__name__}: {error}"
        ) from error


def _unwrap(found: Any, target: str) -> tuple[Spica | Router, int]:
    """Look for an application of ours inside layers of others, by the names they usually keep it by."""
    app = found
    for layers in range(MAX_DEPTH):
        if isinstance(app, (Spica, Router)):
            return app, layers
        if isinstance(app, functools.partial):
            app = app.func
            continue
        values = [getattr(app, name, None) for name in _INNER_NAMES]
        app = next((value for value in values if callable(value)), None)
        if app is None:
            break
    raise LoadError(
        f"{target} is no spica application, and none was found inside it: {_explain(found)}"
    )


def _explain(found: Any) -> str:
    origins = {cls.__module__.partition(".")[0] for cls in type(found).__mro__}
    if "starlette" in origins:
        return "it stands on Starlette itself. With --compat it is run on spica."
    code = getattr(found, "__code__", None)
    if code is not None and not code.co_argcount:
        return "it is a function without parameters. With --factory it is called to make one."
    return f"it is {found!r:.200}."
