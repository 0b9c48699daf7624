"""Get the tests of the release that spica is held against."""

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

VERSION = "1.10.0"
NAME = f"starlette-{VERSION}"

WANTED = ("tests", "pyproject.toml")
"""What is unpacked: the tests and their settings. The package itself stays in its archive."""


class ReleaseMissing(Exception):
    """The source release could not be had; the message is what pip said."""


def fetch(folder: Path) -> Path:
    """Return the directory of the tests below `folder`, fetched by pip if it is not there yet.

    Raises:
        ReleaseMissing: It is not there, and pip did not get it.
    """
    directory = folder / NAME
    if directory.is_dir():
        return directory
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as name:
        temporary = Path(name)
        with tarfile.open(_download(temporary)) as archive:
            archive.extractall(temporary, _select(archive), filter="data")
        try:
            # In one step, so that a half unpacked release is never taken for a whole one.
            os.replace(temporary / NAME, directory)
        except OSError:
            if not directory.is_dir():  # else another run was faster
                raise
    return directory


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    # pip asks the release's build backend for its name: the one of our requirements serves.
    command += ["--no-build-isolation", "--no-binary", "starlette", "--dest", str(folder)]
    got = subprocess.run(
        [*command, f"starlette=={VERSION}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    archive = next(folder.glob("*.tar.gz"), None)
    if got.returncode or archive is None:
        raise ReleaseMissing(got.stdout.strip())
    return archive


def _select(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        parts = Path(member.name).parts
        if parts[:1] == (NAME,) and len(parts) > 1 and parts[1] in WANTED:
            yield member
