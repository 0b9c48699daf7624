"""Text encodings that a client may name.

Most are in a list here. Other names are looked up in Python's registry, since an application may
have registered a codec of its own, but not without bounds: Python remembers every name it was ever
asked for, and some of its codecs are no text encodings, or take quadratic time.
"""

import codecs

MAX_LOOKED_UP = 256
"""How many names outside the list are ever looked up; the ones after that count as unknown."""

_MAX_NAME_SIZE = 40

# WHATWG Encoding s.4.2 names these, with more spellings; what browsers and mail programs send.
_NAMES = """
    utf-8 utf8 us-ascii ascii
    iso-8859-1 latin-1 latin1 l1
    iso-8859-2 latin2 iso-8859-3 latin3 iso-8859-4 latin4 iso-8859-5 iso-8859-6 iso-8859-7
    iso-8859-8 iso-8859-9 latin5 iso-8859-10 latin6 iso-8859-11 iso-8859-13 iso-8859-14
    iso-8859-15 iso-8859-16
    windows-874 windows-1250 windows-1251 windows-1252 windows-1253 windows-1254 windows-1255
    windows-1256 windows-1257 windows-1258 cp874 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255
    cp1256 cp1257 cp1258 cp437 cp850 cp866
    koi8-r koi8-u macintosh mac-cyrillic
    big5 big5-hkscs euc-jp euc-kr gb18030 gb2312 gbk iso-2022-jp shift-jis shift_jis sjis
    utf-16 utf-16be utf-16le utf-32 utf-32be utf-32le
"""
_KNOWN = frozenset(_NAMES.split())

# Python has another name for these.
_PYTHON_NAMES = {"windows-874": "cp874", "macintosh": "mac-roman"}

# Codecs that turn bytes into text in a way that is none of a form's.
_UNFIT = frozenset(
    ["idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"]
)

_looked_up: set[str] = set()


def find_charset(name: str | None) -> str:
    """Return the codec for a charset named by a client: UTF-8 for none, latin-1 for an unknown one.

    Latin-1 never fails and loses nothing: the text can be turned back into the bytes received.
    """
    if not name:
        return "utf-8"
    name = name.strip().lower()
    if name not in _KNOWN:
        return _look_up(name)
    return _PYTHON_NAMES.get(name, name)


def _look_up(name: str) -> str:
    """Find a codec that is not in the list; latin-1 if there is none that fits."""
    if name not in _looked_up:
        if len(_looked_up) >= MAX_LOOKED_UP or len(name) > _MAX_NAME_SIZE:
            return "latin-1"
        _looked_up.add(name)
    try:
        canonical = codecs.lookup(name).name
        if canonical in _UNFIT:
            return "latin-1"
        # Only text encodings can do this; any other codec is a LookupError here.
        b"a".decode(name)
    except (LookupError, ValueError):
        return "latin-1"
    return name


def is_ascii_based(charset: str) -> bool:
    """Tell whether ASCII text is the same bytes in `charset` (a name from `find_charset`)."""
    return not charset.startswith(("utf-16", "utf-32"))


def decode_text(data: bytes, charset: str) -> str:
    """Decode `data`; when it is not valid in `charset`, as latin-1."""
    try:
        return data.decode(charset)
    except UnicodeError:
        return data.decode("latin-1")
