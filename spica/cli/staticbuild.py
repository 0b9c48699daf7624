"""The command ``spica static build``: hash the names of static files, and compress them.

The same source gives the same names and bytes on every machine. Existing files of an earlier build stay, so
that pages that are open in browsers still find them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spica._http.mediatypes import guess_media_type

HASH_SIZE = 10
"""The hexadecimal digits of SHA-256 in a name. Two versions of one file then hardly ever have the same."""

MINIMUM_SIZE = 500
"""Smaller files are not compressed, in bytes."""

MAXIMUM_RATIO = 0.95
"""A compressed file is kept if it is smaller by 5 %."""

MANIFEST = "manifest.json"

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells report it."""

_DESCRIPTION = """\
Copy the files below SRC to OUT, under their names and under names with a hash of their content, and write
OUT/manifest.json. Serve OUT with StaticFiles(directory=OUT, manifest="manifest.json",
precompressed=["zstd", "br", "gzip"])."""


def add_commands(commands: Any) -> None:
    """Add the command to the sub-parsers of a command line."""
    static = commands.add_parser("static", help="prepare static files for production")
    actions = static.add_subparsers(metavar="ACTION", required=True)
    build = actions.add_parser(
        "build", help="hash and compress the files of a directory", description=_DESCRIPTION
    )
    build.add_argument("source", metavar="SRC", type=Path, help="the directory with the files")
    build.add_argument("output", metavar="OUT", type=Path, help="the directory to write to")
    build.add_argument(
        "--precompress",
        metavar="LIST",
        default="",
        help="write compressed siblings: a list of zst, br, gz (default: none)",
    )
    build.set_defaults(run=run_build)


def run_build(arguments: argparse.Namespace) -> int:
    """Build, print a summary, and return the exit status."""
    extensions = [each.strip(" .") for each in arguments.precompress.split(",") if each.strip()]
    try:
        files, siblings = build(arguments.source, arguments.output, extensions)
    except (BuildError, ImportError, OSError) as error:
        print(f"spica: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("spica: interrupted. The manifest in OUT was not changed.", file=sys.stderr)
        return INTERRUPTED
    print(f"Wrote {files} files and {siblings} compressed siblings to {arguments.output}")
    return 0


class BuildError(Exception):
    """The build can't be made. The message names the fix."""


def build(source: Path, output: Path, extensions: Sequence[str] = ()) -> tuple[int, int]:
    """Write the files of ``source`` to ``output``, and return the numbers of files and of siblings.

    Args:
        source: The directory with the files. Names that begin with a dot are left out, except
            ``.well-known`` (RFC 8615).
        output: The directory to write to. It is created if necessary.
        extensions: The siblings to write: ``zst``, ``br``, ``gz``. Other siblings of an earlier build are
            removed, since they may belong to another content.

    Raises:
        BuildError: There is nothing to build, an argument is wrong, or a link in ``source`` leads to a
            directory or to nothing.
        ImportError: The package of an encoding is missing.
    """
    if not source.is_dir():
        raise BuildError(f"SRC {str(source)!r} is not a directory.")
    resolved, target = source.resolve(), output.resolve()
    if target == resolved or resolved in target.parents or target in resolved.parents:
        raise BuildError("OUT must be outside of SRC, and SRC outside of OUT.")
    if (source / MANIFEST).exists():
        raise BuildError(
            f"SRC has a file {MANIFEST!r}, and the build writes its own one to OUT. Give it another name. A "
            "web application manifest, for example, is usually called 'site.webmanifest'."
        )
    compressors = _Compressors(extensions)
    manifest, siblings = {}, 0
    for path in sorted(_find_files(source)):
        name = path.relative_to(source).as_posix()
        content = path.read_bytes()
        hashed = _hashed_name(name, content)
        manifest[name] = hashed
        encoded = [(each.extension, each.encode(content)) for each in compressors.select(name)]
        for each in (name, hashed):
            siblings += _write_with_siblings(output / each, content, encoded, path)
    if not manifest:
        raise BuildError(f"SRC {str(source)!r} has no files.")
    _write(output / MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")
    return len(manifest), siblings


def _find_files(source: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name == ".well-known" or name[0] != "."]
        for name in folders:
            _refuse_link(Path(folder, name), "a directory")
        for name in names:
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if path.is_file():
                yield path
            elif not path.exists():
                _refuse_link(path, "a file that does not exist")


def _refuse_link(path: Path, target: str) -> None:
    """Refuse a link that can't be built. Without it, the files behind it would be missing."""
    if path.is_symlink():
        raise BuildError(
            f"{str(path)!r} is a link to {target}. The build follows only links to files. Remove it, or "
            "replace it by a copy."
        )


def _hashed_name(name: str, content: bytes) -> str:
    """Return ``css/site.<hash>.css`` for ``css/site.css``."""
    digest = hashlib.sha256(content).hexdigest()[:HASH_SIZE]
    stem, extension = os.path.splitext(name)
    return f"{stem}.{digest}{extension}"


def _write_with_siblings(
    path: Path, content: bytes, encoded: Sequence[tuple[str, bytes | None]], source: Path
) -> int:
    """Write a file and its siblings, with the times and the mode of ``source``. Return how many siblings."""
    # Remove old siblings first. Their times may equal that of the new file, so a server would send them for
    # it, and would do so for good if the build stopped in between.
    for extension in _CODINGS:
        _remove(_sibling_of(path, extension))
    _write(path, content, source)
    worthwhile = [(extension, data) for extension, data in encoded if data is not None]
    for extension, data in worthwhile:
        _write(_sibling_of(path, extension), data, source)
    return len(worthwhile)


def _sibling_of(path: Path, extension: str) -> Path:
    return path.with_name(f"{path.name}.{extension}")


def _write(path: Path, content: bytes, source: Path | None = None) -> None:
    """Replace a file at once, so that a running server never sees half of it, or a time that changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Builds in two containers may have the same process id, and the name of the file may be very long.
    temporary = path.with_name(f".{secrets.token_hex(8)}")
    try:
        temporary.write_bytes(content)
        if source is not None:
            shutil.copystat(source, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove(path: Path) -> None:
    if os.path.lexists(path):  # a name may be too long to exist
        path.unlink(missing_ok=True)  # another build may remove it at the same time


_CODINGS = {"zst": ("zstd", 19), "br": ("br", 11), "gz": ("gzip", 9)}
"""The encoding and the level of each extension."""


class _Compressors:
    """The encodings of a build."""

    def __init__(self, extensions: Sequence[str]) -> None:
        from spica.middleware.gzip.rules import DEFAULT_EXCLUDED_CONTENT_TYPES, EncodableTypes

        self._all = [_Compressor(extension) for extension in extensions]
        self._types = EncodableTypes(DEFAULT_EXCLUDED_CONTENT_TYPES)

    def select(self, name: str) -> list[_Compressor]:
        """Return the encodings to try for a file: none for a format that is compressed already.

        The highest level of Brotli takes more than a second for each megabyte of a video.
        """
        media_type = guess_media_type(name) or "application/octet-stream"
        return self._all if self._types.allow(200, [(b"content-type", media_type.encode())]) else []


class _Compressor:
    """Compress files with one encoding, at its highest useful level."""

    def __init__(self, extension: str) -> None:
        from spica._http.codings import ENCODERS, is_available

        if extension not in _CODINGS:
            raise BuildError(f"--precompress has {extension!r}. Choose from zst, br and gz.")
        coding, self._level = _CODINGS[extension]
        if not is_available(coding):
            raise BuildError(
                f"--precompress {extension} needs a package: pip install 'spica[compression]'."
            )
        self._encoder = ENCODERS[coding]
        self.extension = extension

    def encode(self, content: bytes) -> bytes | None:
        """Return the compressed content, or None if it is not worth a file of its own."""
        if len(content) < MINIMUM_SIZE:
            return None
        encoded = self._encoder(self._level).encode(content, is_end=True)
        return encoded if len(encoded) <= len(content) * MAXIMUM_RATIO else None
