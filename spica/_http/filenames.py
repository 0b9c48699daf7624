"""File names in requests: the path of a URL, and the names of uploads.

For a path, this module decides whether it can leave its directory and whether it is visible. For an upload,
it makes a name that is safe to store the file under. It never accesses the file system, so
``spica.staticfiles`` handles links.

Standards: RFC 3986 section 3.3 (segments of a path), RFC 8615 (``.well-known``), RFC 7578 section 4.2
(names of files in forms).
"""

import re

MAX_NAME_SIZE = 200
"""Longest name that `make_safe_name` returns, in bytes of UTF-8. File systems allow 255, so your application
has room for a prefix or suffix."""

_MAX_EXTENSION_SIZE = 20

# Not allowed in a name on Windows (":" begins a stream), or with a meaning to shells everywhere.
_REPLACED = str.maketrans(dict.fromkeys('<>:"|?*', "_"))

# RFC 8615 s.3: the only name with a leading dot that is public.
_VISIBLE_DOT_NAMES = frozenset((".well-known",))

_DIGITS = "0123456789\u00b9\u00b2\u00b3"  # Windows reads the superscripts as digits here

# Windows finds devices under these names in every directory, with any extension.
_WINDOWS_DEVICES = frozenset(
    (
        *("con", "prn", "aux", "nul", "conin$", "conout$"),
        *("com" + digit for digit in _DIGITS),
        *("lpt" + digit for digit in _DIGITS),
    )
)

# Windows also finds a file by a short name that it generates (MS-FSCC s.2.1.5.2.1), such as "GIT~1" for
# ".git". A short name has up to eight characters with the number, and up to three after a dot.
_is_short_name = re.compile(r"(?=[^.]{1,8}(?:\.|\Z))[^.]*~[0-9]+(?:\.[^.]{0,3})?").fullmatch


def split_path(path: str, *, is_windows: bool) -> list[str] | None:
    """Split a relative path into names, or return None if it could leave its directory.

    ``is_windows`` selects the rules of Windows: a backslash also separates names, and some names do not
    refer to files.
    """
    if "\0" in path:
        return None
    if is_windows:
        path = path.replace("\\", "/")
    if path.startswith("/"):
        return None
    # RFC 3986 s.3.3: "." and ".." have a special meaning. Files have no empty names.
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        return None
    if is_windows and any(_has_windows_meaning(name) or _is_short_name(name) for name in names):
        return None
    return names


def are_visible(names: list[str]) -> bool:
    """Return whether no name is hidden by a leading dot."""
    return all(name[0] != "." or name in _VISIBLE_DOT_NAMES for name in names)


def _has_windows_meaning(name: str) -> bool:
    """Return whether Windows reads a name as a drive, a stream, a device or another file."""
    stem = name.partition(".")[0].rstrip(" ")
    return ":" in name or name[-1] in ". " or stem.lower() in _WINDOWS_DEVICES


def make_safe_name(name: str, default: str = "file") -> str:
    """Return a valid file name on every system, as close as possible to the given name.

    RFC 7578 s.4.2: drop directories, and do not trust the rest. The function removes directories in either
    spelling, drives, leading dots, blanks and dashes, trailing dots and blanks, and unprintable characters
    (controls, and marks that change the direction of text). The characters ``<>:"|?*`` become ``_``. Names
    of Windows devices get the prefix ``_``. The result has at most `MAX_NAME_SIZE` bytes, including the
    extension. If nothing remains, it is `default`.
    """
    name = name.replace("\\", "/").rpartition("/")[2]
    if name[1:2] == ":":  # a drive
        name = name[2:]
    name = "".join([char for char in name if char.isprintable()])
    if not name.isascii():
        from unicodedata import normalize

        # macOS sends a letter and its accent as two characters. NFC combines them.
        name = normalize("NFC", name)
    name = name.translate(_REPLACED).lstrip(". -").rstrip(". ")
    if name and _has_windows_meaning(name):
        name = f"_{name}"
    return _shorten(name) or default


def _shorten(name: str) -> str:
    """Cut a name to `MAX_NAME_SIZE` bytes, and keep its extension."""
    if len(name.encode()) <= MAX_NAME_SIZE:
        return name
    stem, dot, extension = name.rpartition(".")
    if len(extension.encode()) > _MAX_EXTENSION_SIZE:  # or no dot
        stem, dot, extension = name, "", ""
    room = MAX_NAME_SIZE - len((dot + extension).encode())
    # A character that is cut in two is dropped.
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + dot + extension
