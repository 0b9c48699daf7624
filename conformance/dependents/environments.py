"""The environments of the suites: Starlette, the package under test, and spica beside them."""

import hashlib
import subprocess
import sys
import venv
from collections import defaultdict
from pathlib import Path
from threading import Lock

from conformance.dependents.suites import Suite

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements" / "dependents"
STAMP = "spica-suite.stamp"


class EnvironmentMissing(Exception):
    """An environment could not be made; the message is what pip, or the switch, said."""


class Workshop:
    """Makes environments in `folder`; what is made on the way to them is put into `temporary`.

    Each gets spica as it was at the beginning: as a wheel, the way its users install it, so that files may
    change while the tests run.

    Raises:
        EnvironmentMissing: spica could not be built.
    """

    def __init__(self, folder: Path, temporary: Path) -> None:
        self._folder = folder / "environments"
        self._ready: dict[str, Path] = {}
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        # The backend is that of our own requirements.
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(temporary)]
        run_pip("wheel", *options, str(ROOT))
        self._wheel = next(temporary.glob("spica-*.whl"))

    def prepare(self, suite: Suite) -> Path:
        """Return the interpreter of the suite's environment.

        Raises:
            EnvironmentMissing: pip could not install what is needed.
        """
        name = suite.requirements
        with self._locks[name]:  # suites may share it, and are prepared in threads
            if name not in self._ready:
                self._ready[name] = self._make(name)
        return self._ready[name]

    def _make(self, name: str) -> Path:
        requirements = REQUIREMENTS / f"{name}.txt"
        directory = self._folder / "{}-{}.{}".format(name, *sys.version_info)
        python = directory / "bin" / "python"
        state = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()
        stamp = directory / STAMP
        if not stamp.is_file() or stamp.read_text() != state:
            venv.create(directory, clear=True, symlinks=True)
            run_pip("--python", str(python), "install", "--requirement", str(requirements))
            stamp.write_text(state)
        options = ("--no-deps", "--force-reinstall", "--no-index")
        run_pip("--python", str(python), "install", *options, str(self._wheel))
        _run(str(python), "-I", "-m", "spica.compat", "enable")
        return python


def run_pip(*words: str) -> None:
    """Run the pip of our own environment.

    Raises:
        EnvironmentMissing: It failed.
    """
    _run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words)


def _run(*command: str) -> None:
    got = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if got.returncode:
        raise EnvironmentMissing(got.stdout.strip())
