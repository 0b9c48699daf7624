"""Names of files that a request brings: in its path, and with an upload.

Of a path: whether it can only lead downwards, and whether it is shown. Of an upload: a name under which
it can be kept. Text in, a decision out; the file system is not asked. Links, which text cannot show, are
left to ``spica.staticfiles``.

Standards: RFC 3986 section 3.3 (segments of a path), RFC 8615 (``.well-known``), RFC 7578 section 4.2
(names of files in forms).
"""

import re

MAX_NAME_SIZE = 200
"""Bytes of UTF-8 in a name that `make_safe_name` returns. File systems allow 255: this leaves room for
what an application puts before or after it."""

_MAX_EXTENSION_SIZE = 20

# Not allowed in a name on Windows (":" begins a stream), or with a meaning to shells everywhere.
_REPLACED = str.maketrans(dict.fromkeys('<>:"|?*', "_"))

# RFC 8615 s.3: the one name with a leading dot that exists to be served.
_VISIBLE_DOT_NAMES = frozenset((".well-known",))

_DIGITS = "0123456789\u00b9\u00b2\u00b3"  # Windows takes the superscripts for digits here

# Windows finds devices under these names in every directory, whatever stands after a dot.
_WINDOWS_DEVICES = frozenset(
    (
        *("con", "prn", "aux", "nul", "conin$", "conout$"),
        *("com" + digit for digit in _DIGITS),
        *("lpt" + digit for digit in _DIGITS),
    )
)

# The short name that Windows gives a file beside its own, and finds it by (MS-FSCC s.2.1.5.2.1): ".git" is
# "GIT~1". Eight characters with the number, and three behind a dot.
_is_short_name = re.compile(r"(?=[^.]{1,8}(?:\.|\Z))[^.]*~[0-9]+(?:\.[^.]{0,3})?").fullmatch


def split_path(path: str, *, is_windows: bool) -> list[str] | None:
    """Split a relative path into its names; None if it could lead elsewhere than downwards.

    ``is_windows`` says by whose rules: there a backslash separates too, and some names mean
    something else than a file.
    """
    if "\0" in path:
        return None
    if is_windows:
        path = path.replace("\\", "/")
    if path.startswith("/"):
        return None
    # RFC 3986 s.3.3: "." and ".." are segments with a meaning, and an empty one is none to a file.
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        return None
    if is_windows and any(_has_windows_meaning(name) or _is_short_name(name) for name in names):
        return None
    return names


def are_visible(names: list[str]) -> bool:
    """Tell whether no name is one of those that are hidden by a leading dot."""
    return all(name[0] != "." or name in _VISIBLE_DOT_NAMES for name in names)


def _has_windows_meaning(name: str) -> bool:
    """Tell whether Windows takes a name for another: of a drive, a stream, a device, a file."""
    stem = name.partition(".")[0].rstrip(" ")
    return ":" in name or name[-1] in ". " or stem.lower() in _WINDOWS_DEVICES


def make_safe_name(name: str, default: str = "file") -> str:
    """Return a name of one file, on any system, that is as much as possible like the one sent.

    RFC 7578 s.4.2: directories are to be dropped, and the rest must not be trusted. Gone are directories
    in either spelling, drives, leading dots, blanks and dashes, trailing dots and blanks, and what is not
    printable (controls, marks that turn the direction of writing); ``<>:"|?*`` become ``_``; names of
    devices on Windows get a ``_`` before them. At most `MAX_NAME_SIZE` bytes are left, the extension
    among them. Where nothing is left, it is `default`.
    """
    name = name.replace("\\", "/").rpartition("/")[2]
    if name[1:2] == ":":  # a drive
        name = name[2:]
    name = "".join([char for char in name if char.isprintable()])
    if not name.isascii():
        from unicodedata import normalize

        # One spelling of each letter: macOS sends them in two pieces.
        name = normalize("NFC", name)
    name = name.translate(_REPLACED).lstrip(". -").rstrip(". ")
    if name and _has_windows_meaning(name):
        name = f"_{name}"
    return _shorten(name) or default


def _shorten(name: str) -> str:
    """Cut a name to `MAX_NAME_SIZE` bytes, its extension left as it is unless it is none."""
    if len(name.encode()) <= MAX_NAME_SIZE:
        return name
    stem, dot, extension = name.rpartition(".")
    if len(extension.encode()) > _MAX_EXTENSION_SIZE:  # or no dot
        stem, dot, extension = name, "", ""
    room = MAX_NAME_SIZE - len((dot + extension).encode())
    # A character that is cut in two is dropped.
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + dot + extension
