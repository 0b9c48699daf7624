"""What a measurement was made with: interpreter, packages, machine and day."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = {
    "Starlette": "starlette",
    "FastAPI": "fastapi",
    "BlackSheep": "blacksheep",
    "Falcon": "falcon",
    "Litestar": "litestar",
    "uvicorn": "uvicorn",
    "granian": "granian",
}
"""Distributions by the name that is shown."""


@dataclass(frozen=True)
class Environment:
    """Everything a reader needs to repeat a measurement."""

    python: str
    packages: dict[str, str]
    machine: str
    day: str

    def sentence(self, *names: str) -> str:
        """Return it as text, with the packages of these names."""
        known = [f"{name} {self.packages[name]}" for name in names if name in self.packages]
        return ", ".join([f"CPython {self.python}", *known, self.machine, self.day])


def this_environment() -> Environment:
    """Return what this process runs on."""
    packages = {}
    for shown, name in PACKAGES.items():
        try:
            packages[shown] = version(name)
        except PackageNotFoundError:
            continue
    day = datetime.now(UTC).date().isoformat()
    return Environment(platform.python_version(), packages, machine(), day)


def machine() -> str:
    """Return processor, number of cores and operating system."""
    return f"{processor()}, {os.cpu_count()} cores, {platform.system()}"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
