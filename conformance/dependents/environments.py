"""The environments of the suites: Starlette, the package under test, and spica beside them."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from conformance.dependents.suites import Suite

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements" / "dependents"
STAMP = "spica-suite.stamp"


class EnvironmentMissing(Exception):
    """An environment could not be made; the message is what pip said."""


def prepare(suite: Suite, folder: Path, wheel: Path) -> Path:
    """Return the interpreter of the suite's environment, which has spica as it is now.

    Raises:
        EnvironmentMissing: pip could not install what is needed.
    """
    requirements = REQUIREMENTS / f"{suite.requirements}.txt"
    version = "{}.{}".format(*sys.version_info)
    directory = folder / "environments" / f"{suite.requirements}-{version}"
    python = directory / "bin" / "python"
    state = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()
    stamp = directory / STAMP
    if not stamp.is_file() or stamp.read_text() != state:
        venv.create(directory, clear=True, with_pip=True, symlinks=True)
        pip(python, "install", "--requirement", str(requirements))
        stamp.write_text(state)
    pip(python, "install", "--no-deps", "--force-reinstall", "--no-index", str(wheel))
    return python


def build_wheel(folder: Path) -> Path:
    """Build spica as it is installed by its users, with the backend of our own requirements.

    A wheel is a copy, so that the files may change while the tests run.

    Raises:
        EnvironmentMissing: The build failed.
    """
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    pip(Path(sys.executable), "wheel", *options, str(ROOT))
    return next(folder.glob("spica-*.whl"))


def pip(python: Path, *words: str) -> None:
    """Run pip for an interpreter.

    Raises:
        EnvironmentMissing: It failed.
    """
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    got = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if got.returncode:
        raise EnvironmentMissing(got.stdout.strip())
