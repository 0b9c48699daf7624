"""``python -m spica.compat doctor``: report the state of the switch and its problems."""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import spica
from spica.compat.enabling import is_current
from spica.compat.metadata import StandIn
from spica.compat.names import STARLETTE, STARLETTE_VERSION
from spica.compat.startup import VARIABLE, find_startup_file, is_obeyed, is_on
from spica.compat.switch import CompatError, install

_HERE = Path(__file__).parent


def examine() -> int:
    """Print the report; return 1 if it has a problem, else 0."""
    installed = {_normal(each.name): each for each in distributions() if not _is_stand_in(each)}
    problems = [*_check_switch()]
    print(f"spica {spica.__version__} ({Path(spica.__file__).parent})")
    print(f"provides the API of Starlette {STARLETTE_VERSION}")
    genuine = installed.get(STARLETTE)
    if genuine is None:
        print("Starlette itself: not installed")
    else:
        print(f"Starlette itself: {genuine.version}, installed and not used where the switch is on")
    _print_startup()
    if not problems:
        problems.extend(_check_names())
    _print_dependents(installed)
    for problem in problems:
        print("WRONG:", problem)
    return 1 if problems else 0


def _print_startup() -> None:
    path = find_startup_file()
    if path is None:
        print(
            f"start-up file: none, so {VARIABLE}=1 does nothing in this environment; "
            "`python -m spica.compat enable` writes it"
        )
    else:
        print(f"start-up file, for {VARIABLE}=1: {path}")
    print(f"{VARIABLE} here: {os.environ.get(VARIABLE, 'not set')}")


def _check_switch() -> Iterator[str]:
    try:
        install()
    except CompatError as exc:
        yield str(exc)
    yield from _check_startup()


def _check_startup() -> Iterator[str]:
    """Check that new processes obey the variable."""
    try:
        is_wanted = is_on(os.environ.get(VARIABLE, ""))
    except ValueError as exc:
        is_wanted = False
        yield str(exc)
    path = find_startup_file()
    again = "Run `python -m spica.compat enable`"
    if path is None:
        if is_wanted and not is_obeyed():
            yield f"{VARIABLE} is set, and this environment does not obey it. {again}."
    elif not is_current(path):
        yield f"{path} was written by another version of spica. {again} again."
    elif not is_obeyed():
        yield (
            f"{VARIABLE}=1 is not obeyed by new processes: they do not find spica when they start. "
            "Install it with pip."
        )


def _check_names() -> Iterator[str]:
    """Look up every name that packages are known to import."""
    count = 0
    closed: set[str] = set()
    for module, name in demanded_names():
        count += 1
        if module in closed:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecated names are names, too
                getattr(import_module(module), name)
        except (ImportError, RuntimeError) as exc:  # its extra is not installed
            closed.add(module)
            print(f"{module} can't be used here: {exc}")
        except AttributeError as exc:
            yield f"{module}.{name} is missing: {exc}"
    print(f"names that packages import from Starlette: {count} looked up")


def demanded_names() -> Iterator[tuple[str, str]]:
    """Yield the names that packages import from Starlette, each with its module."""
    for line in (_HERE / "demanded.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            module, _, names = line.partition(":")
            for name in names.split():
                yield module, name


def tried_packages() -> list[dict[str, Any]]:
    """Return the packages that were tried: name, versions, result and perhaps remarks."""
    text = (_HERE / "tried.toml").read_text("utf-8")
    packages: list[dict[str, Any]] = tomllib.loads(text)["package"]
    return packages


def _print_dependents(installed: dict[str, Distribution]) -> None:
    tried = {_normal(package["name"]): package for package in tried_packages()}
    dependents = {name for name, each in installed.items() if _requires_starlette(each)}
    print("packages here that use Starlette:")
    names = sorted(dependents | (installed.keys() & tried.keys()))
    for name in names:
        print(f"  {name} {installed[name].version}: {_describe(tried.get(name))}")
    if not names:
        print("  none")


def _describe(package: dict[str, Any] | None) -> str:
    if package is None:
        return "not tried"
    text = f"tried {', '.join(package['versions']) or 'in an application'}: {package['result']}"
    remarks = package.get("remarks")
    return f"{text} ({remarks})" if remarks else text


def _requires_starlette(distribution: Distribution) -> bool:
    return any(
        _normal(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]) == STARLETTE
        for requirement in distribution.requires or ()
        if "extra ==" not in requirement
    )


def _is_stand_in(distribution: Distribution) -> bool:
    return isinstance(distribution, StandIn)


def _normal(name: str | None) -> str:
    """Return a distribution's name in the form in which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name or "").lower()
