"""Packages that ask for the distribution get an answer."""

import importlib.metadata

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.usefixtures("switched")


def test_its_version_is_told():
    assert importlib.metadata.version("starlette") == "1.10.0"
    assert importlib.metadata.version("Starlette") == "1.10.0"


@pytest.mark.parametrize("requirement", ["starlette>=0.13", "starlette>=0.46,<2", "starlette<2.0"])
def test_usual_requirements_are_met(requirement):
    # opentelemetry asks so before it instruments anything.
    distribution = importlib.metadata.distribution("starlette")
    assert Requirement(requirement).specifier.contains(distribution.version)


def test_the_stand_in_can_be_looked_at():
    distribution = importlib.metadata.distribution("starlette")
    assert distribution.metadata["Name"] == distribution.name == "starlette"
    assert "spica" in distribution.metadata["Summary"]
    assert distribution.files is None
    assert distribution.requires is None
    assert list(distribution.entry_points) == []
    assert (distribution.locate_file("starlette").parent / "spica").is_dir()


def test_the_package_belongs_to_the_distribution():
    assert "starlette" in importlib.metadata.packages_distributions()["starlette"]


def test_other_distributions_are_found_as_ever():
    assert importlib.metadata.version("anyio")
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("no-such-distribution")


def test_pip_sees_what_is_installed_in_a_directory(tmp_path):
    assert list(importlib.metadata.distributions(path=[str(tmp_path)])) == []
