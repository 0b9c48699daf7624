"""The app that a server process loads: BENCH_FRAMEWORK and BENCH_CASE say which."""

import atexit
import importlib
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.cases import Material
from benchmarks.footprint import Waiting, socket_app
from benchmarks.transfer import transfer_app


def make_app(framework: str, case: str) -> Any:
    if case == "transfer":
        return transfer_app(framework, framework.title())
    if case == "sockets":
        return socket_app(framework, Waiting())
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)  # files are served from it
    material = Material(Path(directory.name))
    material.write()
    return importlib.import_module(f"benchmarks.apps_{framework}").apps(material)[case]


app = make_app(os.environ["BENCH_FRAMEWORK"], os.environ["BENCH_CASE"])
