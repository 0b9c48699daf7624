"""Run the tests of a suite once, in a process group of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from conformance.dependents.outcome import Outcome, read_outcome
from conformance.dependents.suites import Suite

PLUGIN = Path(__file__).resolve().parent / "plugin"
OPTIONS = (
    "-pspica_reporter",
    "-pno:cacheprovider",
    "-q",
    "--tb=short",
    "--continue-on-collection-errors",
)
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "SPICA_COMPAT")
"""Variables of whoever started us that must not reach the tests."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a suite's tests are, and the interpreter that runs them."""

    suite: Suite
    directory: Path
    python: Path

    def set_up(self) -> None:
        """Take the package out of the release, and add what the release lacks."""
        for name in self.suite.remove:
            shutil.rmtree(self.directory / name, ignore_errors=True)
        for name, content in self.suite.make.items():
            (self.directory / name).write_text(content, encoding="utf-8")


def run(place: Place, package: str, words: Collection[str], workers: int) -> Outcome:
    """Run the tests on `package`, which is `starlette` or `spica`; `words` tell pytest which."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        temporary = Path(name)
        report, log = temporary / "report", temporary / "log"
        home = temporary / "home"
        home.mkdir()
        command = [str(place.python), "-m", "pytest", *OPTIONS, *place.suite.options]
        if workers:
            command += ["-n", str(workers), "--dist", "worksteal"]
        begin = time.monotonic()
        with log.open("wb") as output:
            status = _wait(
                subprocess.Popen(
                    [*command, *words],
                    cwd=place.directory,
                    env=_environment(place, package, report, home),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                ),
                place.suite.seconds,
            )
        lines = report.read_text("utf-8").splitlines() if report.exists() else []
        outcome = read_outcome(lines)
        outcome.seconds = time.monotonic() - begin
        outcome.trouble = _find_trouble(outcome, package, status, log)
    return outcome


def _environment(place: Place, package: str, report: Path, home: Path) -> dict[str, str]:
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    directory = place.python.parent
    environment |= {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": f"{directory}{os.pathsep}{environment['PATH']}",
        "PYTHONHASHSEED": "0",  # the workers of pytest-xdist must find the tests in one order
        "PYTHONPATH": str(PLUGIN),
        "SPICA_REPORT": str(report),
        "VIRTUAL_ENV": str(directory.parent),
    }
    if package == "spica":
        environment["SPICA_COMPAT"] = "1"
    return environment | dict(place.suite.environment)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit status, or None if it hung; nothing that it started is left."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def _find_trouble(outcome: Outcome, package: str, status: int | None, log: Path) -> str:
    if status is None:
        return "the run hung and was ended"
    if outcome.package != package or not outcome.tests or status not in (0, 1):
        tail = log.read_text("utf-8", "replace")[-3000:]
        who = outcome.package or "unknown"
        return f"pytest ended with {status}, starlette was {who}:\n{tail}"
    return ""
