"""How ``StaticFiles`` delivers files in production: compressed siblings, hashed names, cache headers, tags.

The search for a file runs in a worker thread. It returns the path as a ``ServedPath``, which records the
relative name, the encoding of a sibling, and the hash of the content. The response is made from it.

Standards: RFC 9110 s.8.8.3 (ETag), s.12.5.3 (Accept-Encoding), s.12.5.5 (Vary); RFC 9111 s.5.2
(Cache-Control), RFC 8246 (immutable).
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from spica._diagnostics.arguments import check_flag
from spica._http.codings import Accepted
from spica._http.fields import encode_field_value, parse_quality_list
from spica._http.filenames import are_visible, split_path
from spica._http.mediatypes import guess_media_type, weigh_media_type
from spica.responses.file.manifest import Manifest
from spica.responses.file.opening import Opened, has_same_content
from spica.responses.file.response import FileResponse

IMMUTABLE = "public, max-age=31536000, immutable"
"""The Cache-Control of hashed names: a year (RFC 8246)."""

EXTENSIONS = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}
"""The extension of a sibling with each encoding."""

_BLOCK_SIZE = 1024 * 1024
_MAX_TAGS = 4096
_QUIET_SECONDS = 2  # the coarsest file systems count in such steps

Siblings = tuple[tuple[str, str], ...]
"""Encodings and extensions, the best for the client first."""


def key_of(path: str, siblings: Siblings) -> str:
    """Return the key of a file in memory. No path of a file has a NUL."""
    return path if not siblings else "\0".join([path, *(coding for coding, _ in siblings)])


def parse_key(key: str) -> tuple[str, Siblings]:
    """Return the path and the siblings of a key."""
    path, *codings = key.split("\0")
    return path, tuple([(coding, EXTENSIONS[coding]) for coding in codings])


class ServedPath(str):
    """The path of a file to send, with what the search for it has found."""

    name: str = ""
    """The path relative to the directory, with slashes, without the extension of a sibling."""
    coding: str = ""
    """The encoding, if the file is a compressed sibling."""
    tag: str = ""
    """The hash of the content, if it is the ETag."""
    is_fallback: bool = False
    """Whether the file is sent in place of a missing one."""


class Delivery:
    """The settings of one ``StaticFiles``.

    Args: see ``StaticFiles``.
    """

    def __init__(
        self,
        *,
        cache_control: str | Callable[[str], str | None] | None = None,
        precompressed: Sequence[str] = (),
        fallback: str | None = None,
        manifest: Manifest | None = None,
        etag: Literal["stat", "content"] = "stat",
    ) -> None:
        self.cache_control = cache_control
        codings = [_coding_of(name) for name in precompressed]
        self._accepted = Accepted(tuple(dict.fromkeys(codings)))
        self.fallback = None if fallback is None else os.path.normpath(fallback.strip("/"))
        self.manifest = manifest
        self.tags = Tags() if etag == "content" else None
        self._has_siblings = bool(codings)

    def siblings_for(self, headers: Iterable[tuple[bytes, bytes]]) -> Siblings:
        """Return the siblings that the client accepts, the best first."""
        if not self._has_siblings:
            return ()
        ranking = self._accepted.rank(headers)
        return tuple([(coding, EXTENSIONS[coding]) for coding in ranking])

    def respond(self, path: ServedPath, status: os.stat_result, status_code: int) -> FileResponse:
        """Return the response for a file."""
        headers = {}
        if status_code == 200:
            cache_control = self._find_cache_control(path)
            if cache_control is not None:
                headers["cache-control"] = cache_control
        vary = ["Accept-Encoding"] if self._has_siblings else []
        vary += ["Accept"] if path.is_fallback else []
        if vary:
            headers["vary"] = ", ".join(vary)
        if path.tag:
            headers["etag"] = f'"{path.tag}"'
        media_type = None
        if path.coding:
            headers["content-encoding"] = path.coding
            media_type = guess_media_type(path.name) or "application/octet-stream"
        response = FileResponse(path, status_code, headers, media_type, stat_result=status)
        if path.coding and not path.tag:
            _mark_tag(response.raw_headers, path.coding)
        return response

    def _find_cache_control(self, path: ServedPath) -> str | None:
        if path.is_fallback:
            return "no-cache"  # never immutable: the name belongs to a page that may appear later
        if self.manifest is not None and self.manifest.is_hashed(path.name):
            return IMMUTABLE
        own = self.cache_control
        value = own(path.name) if callable(own) else own
        if value is None and self.manifest is not None:
            return "no-cache"
        return value

    def wants_fallback(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return whether a request for a missing file gets the fallback.

        It must accept HTML, and its last segment must have no dot: a missing script stays a 404.
        """
        if self.fallback is None or "." in path.rpartition("/")[2] or "\0" in path:
            return False
        fields = [value for name, value in headers if name == b"accept"]
        if not fields:
            return True
        ranges = parse_quality_list(b",".join(fields).decode("latin-1"))
        names = {name for name, _ in ranges}
        # A script that lists other types wants data: "application/json, text/plain, */*".
        is_listed = not names.isdisjoint({"text/html", "text/*"}) or names == {"*/*"}
        return is_listed and bool(weigh_media_type(ranges, "text/html"))


class Tags:
    """Hashes of files. They are computed in worker threads, and kept while a file does not change."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Any, ...], str] = OrderedDict()

    # Applications are copied, and pickled for other processes. The hashes are left out.
    def __reduce__(self) -> tuple[type[Tags], tuple[()]]:
        return Tags, ()

    def find(self, opened: Opened) -> str | None:
        """Return the hash of an open file, or None if it changed meanwhile."""
        status = opened.status
        key = (
            opened.path,
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        tag = self._known.get(key)
        if tag is not None or opened.descriptor is None:
            return tag
        tag = _hash(opened.descriptor)
        if not has_same_content(status, os.fstat(opened.descriptor)):
            return None
        # A file that has just changed may change again without a new time.
        if time.time() - max(status.st_mtime, status.st_ctime) > _QUIET_SECONDS:
            self._known[key] = tag
            while len(self._known) > _MAX_TAGS:
                self._known.popitem(last=False)
        return tag


def _hash(descriptor: int) -> str:
    import hashlib

    digest = hashlib.sha256()
    os.lseek(descriptor, 0, os.SEEK_SET)
    while block := os.read(descriptor, _BLOCK_SIZE):
        digest.update(block)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return digest.hexdigest()[:32]


def _mark_tag(raw_headers: list[tuple[bytes, bytes]], coding: str) -> None:
    """Distinguish the tag of a sibling, since two files may have the same time and size."""
    for index, (name, value) in enumerate(raw_headers):
        if name == b"etag":
            raw_headers[index] = name, value[:-1] + b"-" + coding.encode() + b'"'


def _coding_of(name: str) -> str:
    for coding, extension in EXTENSIONS.items():
        if name in (coding, extension, extension[1:]):
            return coding
    known = ", ".join(map(repr, EXTENSIONS))
    raise ValueError(f"StaticFiles: precompressed has {name!r:.80}. Choose from {known}.")


def check_flags(**flags: Any) -> None:
    """Raise a TypeError for a flag that is not a bool: ``dotfiles="false"`` would serve secret files."""
    for name, value in flags.items():
        check_flag(value, f"StaticFiles: {name}")


def check_directory(directory: Any, *, is_built: bool) -> None:
    """Raise RuntimeError if ``directory`` does not exist. ``is_built`` names a build as the fix."""
    if os.path.isdir(directory):
        return
    fix = "Pass check_dir=False if you create it later."
    if is_built:
        fix = "Run the build first: spica static build SRC OUT."
    raise RuntimeError(
        f"Directory '{os.fspath(directory)}' does not exist: there is no directory at "
        f"{os.path.abspath(directory)!r}, which StaticFiles(directory=...) names. {fix}"
    )


def check_delivery(
    cache_control: Any,
    precompressed: Any,
    fallback: Any,
    manifest: Any,
    etag: Any,
    *,
    dotfiles: bool = False,
) -> bool:
    """Check the settings of a ``Delivery``, and return whether any of them is not the default.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting has an unknown or invalid value.
    """
    if isinstance(precompressed, (str, bytes)) or not isinstance(precompressed, Sequence):
        raise TypeError(
            f"StaticFiles(precompressed={precompressed!r:.80}): give a list of encodings, for example "
            "precompressed=['br', 'gzip']."
        )
    _check_cache_control(cache_control)
    if fallback is not None:
        _check_fallback_path(fallback, dotfiles)
    if manifest is not None and not isinstance(manifest, (str, os.PathLike)):
        raise TypeError(f"StaticFiles(manifest={manifest!r:.80}): give the path of a file.")
    if manifest is not None and not os.fspath(manifest):
        raise ValueError("StaticFiles(manifest=''): give the path of a file, or None.")
    if etag not in ("stat", "content"):
        raise ValueError(f"StaticFiles(etag={etag!r:.80}): choose 'stat' or 'content'.")
    return any((precompressed, cache_control, fallback, manifest, etag != "stat"))


def _check_cache_control(cache_control: Any) -> None:
    if isinstance(cache_control, str):
        encode_field_value(cache_control)
    elif cache_control is not None and not callable(cache_control):
        raise TypeError(
            f"StaticFiles(cache_control={cache_control!r:.80}): give a string, or a function that returns "
            "one for the path of a file."
        )


def _check_fallback_path(fallback: Any, dotfiles: bool) -> None:
    """Refuse a path that no request could get."""
    place = f"StaticFiles(fallback={fallback!r:.80})"
    if not isinstance(fallback, str):
        raise TypeError(
            f"{place}: give the path of a file in the directory, for example 'index.html'."
        )
    names = split_path(fallback.strip("/"), is_windows=os.name == "nt")
    if not names:
        raise ValueError(
            f"{place}: give the path of a file in the directory, for example 'index.html'."
        )
    if not dotfiles and not are_visible(names):
        raise ValueError(
            f"{place}: names that begin with a dot are not served. Rename the file, or pass dotfiles=True."
        )


def check_fallback(fallback: str, directories: Sequence[str | os.PathLike[str]]) -> None:
    """Raise a RuntimeError if no directory has the file."""
    if not any(os.path.isfile(os.path.join(each, fallback.strip("/"))) for each in directories):
        places = " or ".join(os.fspath(os.path.abspath(each)) for each in directories)
        raise RuntimeError(
            f"StaticFiles(fallback={fallback!r}): there is no such file in {places}. Pass check_dir=False if "
            "you create it later."
        )
