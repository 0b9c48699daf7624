"""The manifest of a build: which hashed name a file has.

``spica static build`` writes ``{"app.js": "app.0123456789.js"}``. The manifest of Vite is read too: its
values are objects with ``file``, ``css`` and ``assets``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from spica._http.filenames import split_path


class Manifest:
    """The names of a manifest.

    Args:
        path: The file with the manifest.
        directory: Where to look for a relative ``path`` that is not in the working directory.

    Raises:
        RuntimeError: There is no such file.
        ValueError: The file is not a manifest.
    """

    def __init__(
        self, path: str | os.PathLike[str], directory: str | os.PathLike[str] | None
    ) -> None:
        data = _read(path, directory)
        place = f"StaticFiles(manifest={os.fspath(path)!r})"
        if not isinstance(data, dict):
            raise ValueError(f"{place}: the file must contain a JSON object.")
        self._names: dict[str, str] = {}
        hashed: set[str] = set()
        stable = set(data)
        for name, entry in data.items():
            files = list(_files_of(entry))
            if not files or not all(isinstance(file, str) for file in files):
                raise ValueError(
                    f"{place}: the entry of {name!r:.80} must be the hashed name, or an object with the "
                    f'key "file" as Vite writes it, not {entry!r:.80}.'
                )
            for file in files:
                _check_path(file, f"{place}: the entry of {name!r:.80}")
            self._names[name] = files[0]
            hashed.update(files)
            # A build may be set to leave the hashes out: "src/main.ts" becomes "assets/main.js".
            stable.update(file for file in files if _keeps_name(name, file))
        # A file that keeps its name must not be cached for ever.
        self._hashed = frozenset(hashed - stable)

    def find(self, name: str) -> str | None:
        """Return the hashed name of a file, or None for a file that is not in the manifest."""
        if name in self._hashed:
            return name
        return self._names.get(name)

    def is_hashed(self, name: str) -> bool:
        """Return whether ``name`` changes when the content of the file changes."""
        return name in self._hashed

    @property
    def names(self) -> tuple[str, ...]:
        """The names without hashes."""
        return tuple(self._names)


def _read(path: str | os.PathLike[str], directory: str | os.PathLike[str] | None) -> Any:
    candidates = [os.fspath(path)]
    if directory is not None and not os.path.isabs(path):
        candidates.append(os.path.join(directory, path))
    for candidate in candidates:
        try:
            with open(candidate, encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            continue
        except IsADirectoryError:
            raise ValueError(
                f"StaticFiles(manifest={os.fspath(path)!r}): this is a directory. Give the path of the file, "
                "for example 'manifest.json'."
            ) from None
        except ValueError as error:
            raise ValueError(
                f"StaticFiles(manifest={os.fspath(path)!r}): the file is not JSON: {error}."
            ) from None
    places = " or ".join(os.path.abspath(candidate) for candidate in candidates)
    raise RuntimeError(
        f"StaticFiles(manifest={os.fspath(path)!r}): there is no file at {places}. Run the build first, "
        "for example: spica static build SRC OUT."
    )


def _check_path(file: str, place: str) -> None:
    """Refuse a path that ``StaticFiles`` can't serve, so that ``url_for`` would return a broken URL."""
    if not file.strip("/") or "://" in file or split_path(file, is_windows=False) is None:
        raise ValueError(
            f"{place} has {file!r:.80}. Write a path relative to the directory of StaticFiles, such as "
            "'assets/app.0123456789.js'."
        )


def _keeps_name(name: str, file: str) -> bool:
    """Return whether the last segments of two paths differ in nothing but an extension."""
    before, after = name.rpartition("/")[2], file.rpartition("/")[2]
    stem, extension = os.path.splitext(before)
    return before == after or (extension != "" and os.path.splitext(after)[0] == stem)


def _files_of(entry: Any) -> Iterator[Any]:
    """Yield the files of an entry, the one of the name itself first."""
    if not isinstance(entry, dict):
        yield entry
        return
    if "file" in entry:
        yield entry["file"]
        for key in ("css", "assets"):
            files = entry.get(key) or ()
            yield from files if isinstance(files, (list, tuple)) else [None]  # refused
