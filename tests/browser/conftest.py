"""Pages in headless Chromium, from applications under uvicorn. ``scripts/browser`` runs these tests."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
START_SECONDS = 60
STOP_SECONDS = 60
WAIT_MILLISECONDS = 60_000
"""How long a page may take to show what a test waits for."""

CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    own = [item for item in items if HERE in item.path.parents]
    for item in own:
        item.add_marker(pytest.mark.browser)
        if len(own) < len(items):
            # Playwright keeps an event loop running, in which other tests can't start theirs.
            item.add_marker(pytest.mark.skip(reason="run them alone, with scripts/browser"))


class Served:
    """An application that ``spica run`` serves.

    Args:
        target: ``module:name`` of the application.
        folders: folders on the module path, in front of the checkout.
        environment: variables of the process, besides those of the tests. ``{port}`` in a value is the port.
        options: further options of ``spica run``.
    """

    def __init__(
        self,
        target: str,
        log_path: Path,
        folders: tuple[Path, ...] = (),
        environment: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log_path = log_path
        path = os.pathsep.join(str(folder) for folder in (*folders, ROOT))
        command = ["spica", "run", "--port", str(self.port), "--drain", "1", *options, target]
        given = {
            name: value.replace("{port}", str(self.port))
            for name, value in (environment or {}).items()
        }
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=log_path.parent,
                env={**os.environ, "PYTHONPATH": path, **given},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def log_text(self) -> str:
        """Return the output of the server."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def wait_until_listening(self) -> None:
        """Wait until the server takes connections."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the server did not start:\n{self.log_text()[-3000:]}")
                time.sleep(0.05)

    def stop(self) -> None:
        """End the server, with force after 10 seconds."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Return a function that starts an application. The servers stop after the module's last test."""
    with ExitStack() as stack:

        def start(target: str, **options: Any) -> Served:
            served = Served(target, tmp_path_factory.mktemp("server") / "log", **options)
            stack.callback(served.stop)
            served.wait_until_listening()
            return served

        yield start


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium, one for all tests."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="scripts/browser installs Playwright"
    )
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium on PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


class Problems(list[str]):
    """The errors that a page has reported on its console."""


@pytest.fixture
def problems() -> Problems:
    """The errors of the test's page: messages on its console, and exceptions that nothing caught."""
    return Problems()


@pytest.fixture
def page(chromium: Any, problems: Problems) -> Iterator[Any]:
    """An empty page in a browser context of its own, with its own cookies."""
    context = chromium.new_context()
    context.set_default_timeout(WAIT_MILLISECONDS)
    page = context.new_page()
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
