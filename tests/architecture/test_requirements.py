"""The pinned versions that the scripts install fit what the package asks for."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "requirements"
FILES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.txt"))


def read_pins(name):
    """The pins of a file and of those that it includes."""
    pins = {}
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            pins |= read_pins(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            requirement = Requirement(line)
            pins[canonicalize_name(requirement.name)] = requirement.specifier
    return pins


def read_project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("name", FILES)
def test_every_version_is_exact(name):
    assert [pin for pin, versions in read_pins(name).items() if not is_exact(versions)] == []


def is_exact(versions):
    return len(versions) == 1 and str(versions).startswith("==") and "*" not in str(versions)


def asked_for(requirements):
    """The requirements of a list, but for the package's own extras."""
    parsed = [Requirement(text) for text in requirements]
    return [one for one in parsed if canonicalize_name(one.name) != "spica"]


def unmet(requirements, pins):
    return [
        str(one)
        for one in requirements
        if not one.specifier.contains(version_of(pins.get(canonicalize_name(one.name))))
    ]


def version_of(versions):
    return "0" if versions is None else str(versions).removeprefix("==")


@pytest.mark.parametrize("name", FILES)
def test_the_dependencies_are_pinned(name):
    assert unmet(asked_for(read_project()["dependencies"]), read_pins(name)) == []


def test_all_extras_are_pinned_for_the_tests():
    extras = read_project()["optional-dependencies"].values()
    requirements = asked_for(text for extra in extras for text in extra)
    assert unmet(requirements, read_pins("test.txt")) == []
