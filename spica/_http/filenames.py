"""Names of files in the path of a request: which path can only lead downwards, and which is shown.

Text in, a decision out; the file system is not asked. Links, which text cannot show, are left to
``spica.staticfiles``.

Standards: RFC 3986 section 3.3 (segments of a path), RFC 8615 (``.well-known``).
"""

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
    if ".." in names or (is_windows and any(map(_has_windows_meaning, names))):
        return None
    return names


def are_visible(names: list[str]) -> bool:
    """Tell whether no name is one of those that are hidden by a leading dot."""
    return all(name[0] != "." or name in _VISIBLE_DOT_NAMES for name in names)


def _has_windows_meaning(name: str) -> bool:
    """Tell whether Windows takes a name for another: of a drive, a stream, a device, a file."""
    stem = name.partition(".")[0].rstrip(" ")
    return ":" in name or name[-1] in ". " or stem.lower() in _WINDOWS_DEVICES
