"""A plugin of pytest that writes what became of each test to the file named by SPICA_REPORT.

It runs in the environment of a dependent and imports nothing but the standard library and pytest. A line
is a JSON object: a test's id, its outcome and what pytest says of it, or, at the end, who `starlette` was.
"""

import importlib
import json
import os
from typing import Any

import pytest

_PATH = os.environ.get("SPICA_REPORT", "")
_is_worker = False


def pytest_configure(config: pytest.Config) -> None:
    global _is_worker
    _is_worker = hasattr(config, "workerinput")  # of pytest-xdist: its controller reports
    _look_at_starlette()


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _write(id=report.nodeid, outcome="failed", text=report.longreprtext)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:  # also a test that was expected to fail and did not
        _write(id=report.nodeid, outcome="failed", text=report.longreprtext)
    elif report.skipped:
        outcome = "passed" if hasattr(report, "wasxfail") else "skipped"
        _write(id=report.nodeid, outcome=outcome)
    elif report.when == "call":
        _write(id=report.nodeid, outcome="passed")


def _look_at_starlette() -> None:
    module: Any = importlib.import_module("starlette.applications")
    _write(package=module.Starlette.__module__.partition(".")[0])


def _write(**line: str) -> None:
    if _PATH and not _is_worker:
        with open(_PATH, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(line) + "\n")
