"""The package as an index and its users see it."""

import re
import tomllib
from pathlib import Path

import pytest

import spica

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads(read("pyproject.toml"))["project"]


def test_the_long_description_has_no_relative_links(project: dict) -> None:
    """An index shows it outside of the repository, where a relative link leads nowhere."""
    assert LINK.findall(read(project["readme"])) == []


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_links_within_the_repository_lead_somewhere(name: str) -> None:
    assert [link for link in LINK.findall(read(name)) if not (ROOT / link).exists()] == []


def test_the_version_has_a_section_in_the_changes() -> None:
    assert re.search(
        rf"^## {re.escape(spica.__version__)} - \d{{4}}-\d\d-\d\d$", read("CHANGELOG.md"), re.M
    )


def test_the_supported_versions_are_the_current_ones() -> None:
    minor = ".".join(spica.__version__.split(".")[:2])
    assert f"| {minor}.x | yes |" in read("SECURITY.md")
    assert f"spica {minor} has the public API" in read("docs/guide/support.md")


@pytest.mark.parametrize("page", ["PACKAGE.md", "docs/index.md"])
def test_every_extra_is_documented(page: str, project: dict) -> None:
    text = read(page)
    extras = project["optional-dependencies"]
    assert [extra for extra in extras if f"`spica[{extra}]`" not in text] == []


def test_the_extra_for_production_has_no_tools_of_development(project: dict) -> None:
    extras = project["optional-dependencies"]
    production = " ".join(extras["production"])
    for name in ("full", "testclient", "opentelemetry", "httpx", "watchfiles", "[standard]"):
        assert name not in production


def test_distributions_leave_out_what_the_example_stores() -> None:
    build = tomllib.loads(read("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["sdist"]
    assert "/examples/notes/data" in build["exclude"]
    assert "examples/*/data/" in read(".gitignore").splitlines()
