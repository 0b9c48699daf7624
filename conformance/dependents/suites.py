"""What each suite is made of, as `suites.toml` has it."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conformance.lists import Entry, read_entries

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests of one package, and how they are run."""

    name: str
    release: str
    """The release whose source distribution has the tests, as `name==version`."""
    requirements: str
    """The environment: a file of `requirements/dependents`, without its suffix. Suites may share it."""
    tests: tuple[str, ...] = ("tests",)
    options: tuple[str, ...] = ()
    """Further options of pytest."""
    workers: int = 0
    """Processes of pytest-xdist; 0: without it."""
    remove: tuple[str, ...] = ()
    """What is taken out of the release: the package itself, so that the installed one is tested."""
    make: Mapping[str, str] = field(default_factory=dict)
    """Files that the tests need and the release lacks, with their content."""
    environment: Mapping[str, str] = field(default_factory=dict)
    slow: tuple[str, ...] = ()
    """Tests that a quick run leaves out, since they take long and say little of Starlette."""
    is_fast: bool = False
    """Whether it belongs to the suites that every change is held against."""
    seconds: int = 900
    """After this time a run hangs, and is ended."""

    @property
    def distribution(self) -> str:
        return self.release.partition("==")[0]

    @property
    def version(self) -> str:
        return self.release.partition("==")[2]


def load_suites(path: Path = HERE / "suites.toml") -> dict[str, Suite]:
    """Read the suites, by their names and in the order of the file."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _make_suite(name, table) for name, table in tables.items()}


def load_losses(suite: str, path: Path = HERE / "losses.toml") -> list[Entry]:
    """Read the entries that are about one suite."""
    return read_entries(path, suite)


def choose(names: Iterable[str], suites: Mapping[str, Suite]) -> list[Suite]:
    """Return the suites that are meant: by name, `fast` ones or `all`, each once.

    Raises:
        KeyError: No suite has this name; it is the error's argument.
    """
    chosen: dict[str, Suite] = {}
    for name in names:
        if name == "all":
            chosen |= suites
        elif name == "fast":
            chosen |= {each: suite for each, suite in suites.items() if suite.is_fast}
        else:
            chosen[name] = suites[name]
    return list(chosen.values())


def _make_suite(name: str, table: dict[str, object]) -> Suite:
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    return Suite(name, **{"requirements": name, **values})  # type: ignore[arg-type]  # TOML's values
