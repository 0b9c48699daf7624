"""Virtual environments for tests of the switch: they share the packages of the environment of the tests."""

import subprocess
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def make_environment(directory: Path) -> Path:
    """Make an environment that finds spica and all packages of this one; return its interpreter."""
    venv.create(directory, symlinks=True)
    python = directory / "bin" / "python"
    # Lines that name a directory only extend sys.path: start-up files there are not read.
    lines = [str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (purelib_of(directory) / "a_shared_packages.pth").write_text("\n".join(lines) + "\n")
    return python


def purelib_of(directory: Path) -> Path:
    """Return the site-packages of an environment."""
    (purelib,) = (directory / "lib").glob("python*/site-packages")
    return purelib


def enable(python: Path) -> None:
    """Write the start-up file of the switch into the environment of this interpreter."""
    subprocess.run([python, "-m", "spica.compat", "enable"], check=True, capture_output=True)
