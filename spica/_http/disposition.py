"""Content-Disposition: parse the field of a form part, and format the field of a file response.

Standards: RFC 6266 (responses), RFC 7578 s.4.2 (parts of a form), RFC 8187 s.3.2 (``filename*``).
"""

import re
from urllib.parse import quote, unquote_to_bytes

from spica._http.fields import is_token, iterate_parameters

# Only these two escapes are resolved. Browsers do not escape backslashes in file names ("C:\new.txt"),
# while curl and others put a backslash before these two characters.
_ESCAPE = re.compile(r'\\(["\\])')

# The exact form that browsers send for the parts of a form.
_match_usual = re.compile(
    r'form-data; name="([^"\\]*+)"(?:; filename="([^"\\]*+)")?\Z', re.DOTALL
).match

# RFC 6266 appendix D: many clients don't resolve a backslash in a quoted string, and some decode "%41".
_is_misread = re.compile(r"""[^ -~]|["\\]|%(?=[0-9A-Fa-f]{2})""")

_has_ascii_word = re.compile(r"[0-9A-Za-z]").search

# RFC 8187 s.3.2.1: a program must know UTF-8 and may know ISO-8859-1. Requests name these, so the table is
# fixed.
_CHARSETS = {"utf-8": "utf-8", "iso-8859-1": "latin-1"}

# RFC 8187 s.3.2.1: value-chars = *( pct-encoded / attr-char )
_is_extended_value = re.compile(r"(?:%[0-9A-Fa-f]{2}|[!#$&+.^_`|~0-9A-Za-z-])*+\Z").match

# RFC 2045 s.5.1: token. Characters outside ASCII are allowed as well.
_match_mime_token = re.compile(r'[^\x00-\x20\x7f()<>@,;:\\"/\[\]?=]++').match

# RFC 2231 s.3 and s.4.1: filename*0="a"; filename*1*=%62. A number has at most three digits here.
_match_section = re.compile(r"([^*]++)\*(0|[1-9][0-9]{0,2})(\*?)\Z").match


def parse_disposition(value: bytes | str, charset: str = "utf-8") -> tuple[str, dict[str, str]]:
    """Parse ``form-data; name="a"; filename="b"`` into ``("form-data", {"name": ..., ...})``.

    The type and the names are in lower case. The first one of several equal names wins. Bytes are decoded
    with `charset`, or as latin-1 if they are invalid in it. No value is rejected: a parameter without a
    value is left out.

    A ``filename*`` is returned as ``filename``. In a form, ``filename`` wins where both are present, since
    RFC 7578 s.4.2 forbids ``filename*``. Elsewhere ``filename*`` wins (RFC 6266 s.4.3).
    """
    text = value if isinstance(value, str) else _decode(value, charset)
    usual = _match_usual(text)
    if usual is not None:
        field, filename = usual.groups()
        return "form-data", (
            {"name": field} if filename is None else {"name": field, "filename": filename}
        )
    disposition, semicolon, rest = text.partition(";")
    disposition = disposition.strip(" \t").lower()
    parameters = list(iterate_parameters(semicolon + rest, limit=None))
    if disposition == "form-data":
        return disposition, _read_form_parameters(parameters)
    regular: dict[str, str] = {}
    extended: dict[str, str] = {}
    for name, raw in parameters:
        if name[-1] == "*":
            decoded = _decode_extended(raw)
            if decoded is not None:
                extended.setdefault(name[:-1], decoded)
        else:
            regular.setdefault(name, _unquote(raw))
    # RFC 6266 s.4.3: filename* is preferred to filename
    return disposition, regular | extended


def _read_form_parameters(parameters: list[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters of a form part.

    The rules are those that Werkzeug and Python's ``email`` package share. A parameter without a value is
    ignored. Any other ``filename`` makes the part a file, even an invalid one.
    """
    regular: dict[str, str] = {}
    extended: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[bool, str]]] = {}
    for name, raw in parameters:
        value = _read_form_value(raw) if raw else None
        if value is None:
            continue
        section = _match_section(name)
        if section is not None:
            numbered = sections.setdefault(section[1], {})
            numbered.setdefault(int(section[2]), (bool(section[3]), value))
        elif name[-1] == "*":
            extended.setdefault(name[:-1], _decode_any_extended(value))
        else:
            regular.setdefault(name, value)
    joined = {name: _join_sections(numbered) for name, numbered in sections.items()}
    # RFC 7578 s.4.2 forbids filename*, so any other name of the file takes precedence.
    return extended | joined | regular


def _read_form_value(raw: str) -> str | None:
    """Return a parameter value: a token, or a quoted string, which may lack its closing quote."""
    if raw[0] == '"':
        return _unquote(raw) if len(raw) > 1 and raw[-1] == '"' else raw[1:]
    token = _match_mime_token(raw)
    return None if token is None else token[0]


def _join_sections(numbered: dict[int, tuple[bool, str]]) -> str:
    """Join ``filename*0="a"; filename*1="b"`` (RFC 2231 s.3), in the order of the numbers."""
    pieces: list[str] = []
    encoded = ""
    charset = "utf-8"
    for number, (is_encoded, text) in sorted(numbered.items()):
        if is_encoded:
            if number == 0:
                charset, text = _split_extended(text)
            encoded += text
        else:
            pieces.append(unquote_to_bytes(encoded).decode(charset, "replace") + text)
            encoded = ""
    return "".join(pieces) + unquote_to_bytes(encoded).decode(charset, "replace")


def _decode_any_extended(text: str) -> str:
    """Decode ``utf-8'en'%e2%82%ac`` as far as possible, even if it is malformed."""
    charset, encoded = _split_extended(text)
    return unquote_to_bytes(encoded).decode(charset, "replace")


def _split_extended(text: str) -> tuple[str, str]:
    """Split an extended value into its codec and its encoded part. Unknown charsets count as UTF-8."""
    charset, _, rest = text.partition("'")
    _language, apostrophe, encoded = rest.partition("'")
    if not apostrophe:
        return "utf-8", text
    return _CHARSETS.get(charset.lower(), "utf-8"), encoded


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
    """Decode ``utf-8'en'%e2%82%ac``, or return None if it is malformed or in an unknown charset."""
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
    """Format a Content-Disposition field, for example ``attachment; filename="report.pdf"``.

    A name that needs quoting is sent twice: as ``filename="my report.pdf"`` for all clients, and as the
    exact ``filename*``. Outside ASCII, ``filename`` is only an approximation. It is left out if no letter
    or digit of the stem would remain.

    Raises:
        ValueError: `disposition` is not a token such as ``attachment`` or ``inline``.
    """
    if not is_token(disposition):
        raise ValueError(
            f"A content disposition must be a token such as 'attachment' or 'inline', "
            f"not {disposition!r:.80}."
        )
    # A lone surrogate represents a byte of a file name that is not UTF-8. It becomes "?".
    if quote(filename, errors="replace") == filename:
        return f'{disposition}; filename="{filename}"'
    # RFC 8187 s.3.2.1: "/" must be encoded.
    exact = f"filename*=utf-8''{quote(filename, safe='', errors='replace')}"
    fallback = _approximate(filename)
    # RFC 6266 appendix D: send `filename` first, for clients that only read the first one.
    return (
        f'{disposition}; filename="{fallback}"; {exact}' if fallback else f"{disposition}; {exact}"
    )


def _approximate(filename: str) -> str:
    """Return an ASCII name that needs no escapes in quotes, or "" if nothing useful remains."""
    if not filename.isascii():
        from unicodedata import normalize

        # A letter with a mark becomes the letter and the mark, which is then dropped.
        filename = "".join(
            char for char in normalize("NFKD", filename) if not 0x300 <= ord(char) < 0x370
        )
        stem = filename.rpartition(".")[0] or filename
        if not _has_ascii_word(stem):
            return ""
    return _is_misread.sub("_", filename)
