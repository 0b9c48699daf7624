"""Text encodings that a client may name.

Clients choose these names, so all of them come from two fixed tables: the list below and Python's own
aliases. Python's codec registry would remember each unknown name forever. Some of its codecs are not text
encodings, and some take quadratic time. Only the charset of a whole form may also be a codec that the
application has registered.

Standards: WHATWG Encoding s.4.2 (names), RFC 7578 s.4.5 and s.4.6 (charsets of forms).
"""

import codecs
import encodings
from encodings import normalize_encoding
from encodings.aliases import aliases

CHARSET_FIELD = "_charset_"
"""The name of the field that gives the encoding of the form (RFC 7578 s.4.6)."""

MAX_NAME_SIZE = 40
"""Longest name of an encoding in characters. Longer names are unknown."""

# Browsers and mail programs send these. WHATWG Encoding s.4.2 lists them with more spellings.
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

# The modules of Python's encodings: those that have aliases, and those that have none.
_WITHOUT_ALIASES = """
    cp720 cp737 cp856 cp874 cp875 cp1006 iso8859_1 koi8_t koi8_u mac_arabic mac_croatian mac_farsi
    mac_romanian utf_8_sig
"""
_MODULES = frozenset(aliases.values()) | frozenset(_WITHOUT_ALIASES.split())

# Codecs that are not text encodings of forms.
_UNFIT = frozenset(
    ["idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"]
)

_ASCII = bytes(range(0x20, 0x7F))


def find_charset_of_form(name: str | None) -> str | None:
    """Return the codec for the charset of a whole form. No name means UTF-8, and an unknown one None.

    A form names one charset, so this function also accepts a codec that the application has registered.
    """
    if not name:
        return "utf-8"
    return look_up_charset(name) or _look_up_registered(name.strip().lower())


def _look_up_registered(name: str) -> str | None:
    if len(name) > MAX_NAME_SIZE or not name.isascii() or not name.isprintable():
        return None
    try:
        return name if _is_fit(name) else None
    except (LookupError, ValueError):
        # Python caches unknown names without a limit.
        remembered = getattr(encodings, "_cache", {})
        for key in (name, normalize_encoding(name), name.replace(" ", "-")):  # 3.15 keeps hyphens
            if remembered.get(key, key) is None:
                remembered.pop(key, None)
        return None


def _is_fit(name: str) -> bool:
    """Return whether a codec is a character encoding that is suitable for forms.

    Raises:
        LookupError: There is no such codec.
    """
    if codecs.lookup(name).name in _UNFIT:
        return False
    try:
        # Only text encodings can do this. Other codecs raise LookupError.
        b"a".decode(name)
    except UnicodeError:
        return True  # an encoding with several bytes per character
    except LookupError:
        return False
    return True


def find_charset(name: str | None) -> str:
    """Return the codec for a charset from a client. No name means UTF-8, and an unknown one latin-1.

    Latin-1 never fails and keeps every byte, so the application can restore the received bytes.
    """
    if not name:
        return "utf-8"
    return look_up_charset(name) or "latin-1"


def look_up_charset(name: str) -> str | None:
    """Return the codec for a charset from a client, or None for an unknown one.

    Names are never cached, so one client cannot change the result for another one.
    """
    name = name.strip().lower()
    if name in _KNOWN:
        return _PYTHON_NAMES.get(name, name)
    if len(name) > MAX_NAME_SIZE or not name.isascii() or not name:
        return None
    module = normalize_encoding(name)
    module = aliases.get(module) or aliases.get(module.replace(".", "_")) or module
    if module not in _MODULES:
        return None
    try:
        return module if _is_fit(module) else None
    except LookupError:  # the module is for another system, such as mbcs
        return None


def is_ascii_based(charset: str) -> bool:
    """Return whether ASCII characters have the same bytes in `charset` (a name from `find_charset`)."""
    if charset == "utf-8":
        return True
    try:
        return _ASCII.decode(charset).encode("ascii") == _ASCII
    except UnicodeError:
        return False


def decode_text(data: bytes, charset: str) -> str:
    """Decode `data`, or decode it as latin-1 if it is invalid in `charset`."""
    try:
        return data.decode(charset)
    except UnicodeError:
        return data.decode("latin-1")
