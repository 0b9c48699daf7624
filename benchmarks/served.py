"""The app that a server process loads: BENCH_FRAMEWORK and BENCH_CASE say which."""

import importlib
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.cases import Material
from benchmarks.transfer import transfer_app


def make_app(framework: str, case: str) -> Any:
    if case == "transfer":
        return transfer_app(framework, framework.title())
    with tempfile.TemporaryDirectory() as directory:
        module = importlib.import_module(f"benchmarks.apps_{framework}")
        return module.apps(Material(Path(directory)))[case]


app = make_app(os.environ["BENCH_FRAMEWORK"], os.environ["BENCH_CASE"])
