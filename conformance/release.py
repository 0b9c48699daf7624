"""Get the source release that tests come from."""

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Release:
    """A source distribution on the package registry."""

    distribution: str
    version: str
    wanted: tuple[str, ...] = ()
    """What is unpacked of it; nothing given: all."""
    has_our_backend: bool = False
    """Whether it is built by the backend of our requirements, so that none must be fetched.

    pip asks the build backend of a source distribution for its name.
    """

    @property
    def name(self) -> str:
        return f"{self.distribution}-{self.version}"


class ReleaseMissing(Exception):
    """The source release could not be had; the message is what pip said."""


def fetch(folder: Path, release: Release) -> Path:
    """Return the directory of the release below `folder`, fetched by pip if it is not there yet.

    Raises:
        ReleaseMissing: It is not there, and pip did not get it.
    """
    directory = folder / release.name
    if directory.is_dir():
        return directory
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as name:
        temporary = Path(name)
        with tarfile.open(_download(temporary, release)) as archive:
            archive.extractall(temporary / "unpacked", _select(archive, release), filter="data")
        (unpacked,) = (temporary / "unpacked").iterdir()
        try:
            # In one step, so that a half unpacked release is never taken for a whole one.
            os.replace(unpacked, directory)
        except OSError:
            if not directory.is_dir():  # else another run was faster
                raise
    return directory


def _download(folder: Path, release: Release) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    if release.has_our_backend:
        command += ["--no-build-isolation"]
    command += ["--no-binary", release.distribution, "--dest", str(folder)]
    got = subprocess.run(
        [*command, f"{release.distribution}=={release.version}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    archive = next(folder.glob("*.tar.gz"), None)
    if got.returncode or archive is None:
        raise ReleaseMissing(got.stdout.strip())
    return archive


def _select(archive: tarfile.TarFile, release: Release) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        parts = Path(member.name).parts
        if not release.wanted or (len(parts) > 1 and parts[1] in release.wanted):
            yield member
