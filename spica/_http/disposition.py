"""Content-Disposition: of the parts of a form that was sent, and of a file that is answered.

RFC 6266 (responses), RFC 7578 s.4.2 (parts of a form), RFC 8187 s.3.2 (``filename*``).
"""

import re
from urllib.parse import quote, unquote_to_bytes

from spica._http.fields import is_token, iterate_parameters

# Of the escapes in a quoted string only these two are resolved. Browsers send backslashes in file
# names as they are ("C:\new.txt"), while curl and others put a backslash before these two.
_ESCAPE = re.compile(r'\\(["\\])')

# What browsers send for the parts of a form, letter for letter.
_match_usual = re.compile(
    r'form-data; name="([^"\\]*+)"(?:; filename="([^"\\]*+)")?\Z', re.DOTALL
).match

# RFC 8187 s.3.2.1: the charsets of an extended value; a fixed table, since a request names them.
_CHARSETS = {"utf-8": "utf-8", "iso-8859-1": "latin-1"}

# RFC 8187 s.3.2.1: value-chars = *( pct-encoded / attr-char )
_is_extended_value = re.compile(r"(?:%[0-9A-Fa-f]{2}|[!#$&+.^_`|~0-9A-Za-z-])*+\Z").match


def parse_disposition(value: bytes | str, charset: str = "utf-8") -> tuple[str, dict[str, str]]:
    """Parse ``form-data; name="a"; filename="b"`` into ``("form-data", {"name": ..., ...})``.

    The type and the names are in lower case. Of equal names the first counts. A valid ``filename*``
    is returned as ``filename``, whatever else is given. Bytes are decoded with `charset`, and as
    latin-1 if they are not in it. Nothing is refused: what cannot be read is left out.
    """
    text = value if isinstance(value, str) else _decode(value, charset)
    usual = _match_usual(text)
    if usual is not None:
        field, filename = usual.groups()
        return "form-data", (
            {"name": field} if filename is None else {"name": field, "filename": filename}
        )
    disposition, semicolon, rest = text.partition(";")
    parameters: dict[str, str] = {}
    extended: dict[str, str] = {}
    for name, raw in iterate_parameters(semicolon + rest):
        if name[-1] == "*":
            decoded = _decode_extended(raw)
            if decoded is not None:
                extended.setdefault(name[:-1], decoded)
        else:
            parameters.setdefault(name, _unquote(raw))
    # RFC 6266 s.4.3: filename* is preferred to filename
    parameters.update(extended)
    return disposition.strip(" \t").lower(), parameters


def _decode(value: bytes, charset: str) -> str:
    try:
        return value.decode(charset)
    except (UnicodeDecodeError, LookupError):
        return value.decode("latin-1")


def _unquote(raw: str) -> str:
    if len(raw) < 2 or raw[0] != '"' or raw[-1] != '"':
        return raw
    raw = raw[1:-1]
    return _ESCAPE.sub(r"\1", raw) if "\\" in raw else raw


def _decode_extended(raw: str) -> str | None:
    """Decode ``utf-8'en'%e2%82%ac``; None if it is malformed or in an unknown charset."""
    # RFC 8187 s.3.2.1: ext-value = charset "'" [ language ] "'" value-chars
    charset, _, rest = raw.partition("'")
    _language, apostrophe, encoded = rest.partition("'")
    codec = _CHARSETS.get(charset.lower())
    if codec is None or not apostrophe or not _is_extended_value(encoded):
        return None
    try:
        return unquote_to_bytes(encoded).decode(codec)
    except UnicodeDecodeError:
        return None


def format_disposition(disposition: str, filename: str) -> str:
    """Write ``attachment; filename="report.pdf"``, or ``filename*`` when the name asks for it.

    Raises:
        ValueError: `disposition` is no token such as ``attachment`` or ``inline``.
    """
    if not is_token(disposition):
        raise ValueError(
            f"A content disposition must be a token such as 'attachment' or 'inline', "
            f"not {disposition!r:.80}."
        )
    # A lone surrogate stands for a byte that was no UTF-8 in the file system; it becomes "?".
    if quote(filename, errors="replace") == filename:
        return f'{disposition}; filename="{filename}"'
    # RFC 6266 s.4.3: characters outside ASCII; all that would need quoting goes here as well.
    # RFC 8187 s.3.2.1: "/" is not among the characters that stand for themselves.
    encoded = quote(filename, safe="", errors="replace")
    return f"{disposition}; filename*=utf-8''{encoded}"
