import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

CONFTEST = """
import pytest
from spica.applications import Spica
from spica.responses import PlainTextResponse
from spica.routing import Route

async def index(request):
    return PlainTextResponse(request.headers["user-agent"])

async def broken(request):
    raise LookupError("lost")

@pytest.fixture
def app():
    return Spica(routes=[Route("/", index), Route("/broken", broken)])
"""


def run_pytest(
    folder: Path, test: str, conftest: str = CONFTEST
) -> "subprocess.CompletedProcess[str]":
    """Run a test file in a fresh process that loads two plugins: AnyIO's and ours."""
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_it.py").write_text(test)
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONOPTIMIZE": "",  # pytest warns about the asserts that `-O` removes
    }
    plugins = ["-p", "anyio", "-p", "spica.pytest_plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "-W", "error", "--rootdir", str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("mark", ["@pytest.mark.anyio", ""], ids=["marked", "not marked"])
def test_the_fixture_is_a_client_on_each_event_loop(tmp_path: Path, mark: str) -> None:
    test = f"""
import pytest
{mark}
async def test_index(spica_client):
    assert (await spica_client.get("/")).text == "testclient"
"""
    result = run_pytest(tmp_path, test)
    assert "2 passed" in result.stdout, result.stdout + result.stderr


def test_the_fixture_of_the_backend_chooses_the_event_loop(tmp_path: Path) -> None:
    test = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

async def test_index(spica_client):
    import asyncio
    asyncio.get_running_loop()
    assert (await spica_client.get("/")).status_code == 200
"""
    result = run_pytest(tmp_path, test)
    assert "1 passed" in result.stdout, result.stdout + result.stderr


def test_the_options_are_a_fixture(tmp_path: Path) -> None:
    test = """
import pytest

@pytest.fixture
def spica_client_options():
    return {"raise_app_exceptions": False, "headers": {"user-agent": "mine"}}

async def test_options(spica_client):
    assert (await spica_client.get("/")).text == "mine"
    assert (await spica_client.get("/broken")).status_code == 500
"""
    result = run_pytest(tmp_path, test)
    assert "2 passed" in result.stdout, result.stdout + result.stderr


def test_an_exception_of_the_application_fails_the_test(tmp_path: Path) -> None:
    test = """
async def test_broken(spica_client):
    await spica_client.get("/broken")
"""
    result = run_pytest(tmp_path, test)
    assert "LookupError: lost" in result.stdout
    assert "2 failed" in result.stdout


def test_the_plugin_loads_nothing_of_spica(tmp_path: Path) -> None:
    test = """
import sys

def test_modules():
    loaded = {name for name in sys.modules if name.partition(".")[0] in ("spica", "httpx2")}
    assert loaded == {"spica", "spica.pytest_plugin"}
"""
    result = run_pytest(tmp_path, test, conftest="")
    assert "1 passed" in result.stdout, result.stdout + result.stderr


def test_no_entry_point_loads_the_plugin() -> None:
    """pytest rewrites every module of a distribution that has one, and so bypasses the switch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "pytest11" not in project.get("entry-points", {})
