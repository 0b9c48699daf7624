"""Text encodings that a client may name.

Clients choose these names, so the names of all encodings come from two fixed tables: the list here and
Python's own aliases. Python's codec registry would remember each unknown name forever, and some of its
codecs are not text encodings or take quadratic time. Only the charset of a whole form may also be a codec
that the application has registered.
"""

import codecs
import encodings
from encodings import normalize_encoding
from encodings.aliases import aliases

CHARSET_FIELD = "_charset_"
"""The name of the field whose value is the encoding of the form (RFC 7578 s.4.6)."""

MAX_NAME_SIZE = 40
"""Characters of the name of an encoding. Longer names are unknown."""

# WHATWG Encoding s.4.2 has these names and more spellings. Browsers and mail programs send them.
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

# Codecs whose text has nothing to do with the text of a form.
_UNFIT = frozenset(
    ["idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"]
)

_ASCII = bytes(range(0x20, 0x7F))


def find_charset_of_form(name: str | None) -> str | None:
    """Return the codec for the charset of a whole form: UTF-8 for no name, None for an unknown one.

    A form names one charset, so this one may also be a codec that the application has registered.
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
        # Python remembers unknown names without a bound.
        remembered = getattr(encodings, "_cache", {})
        for key in (name, normalize_encoding(name)):
            if remembered.get(key, key) is None:
                remembered.pop(key, None)
        return None


def _is_fit(name: str) -> bool:
    """Return whether a codec decodes text, in a way that fits forms.

    Raises:
        LookupError: there is no such codec.
    """
    if codecs.lookup(name).name in _UNFIT:
        return False
    try:
        # Only a text encoding can do this. Any other codec raises LookupError.
        b"a".decode(name)
    except UnicodeError:
        return True  # one of more bytes for a character
    except LookupError:
        return False
    return True


def find_charset(name: str | None) -> str:
    """Return the codec for a charset that a client named: UTF-8 for none, latin-1 for an unknown one.

    Latin-1 never fails and loses nothing, so the application can get the received bytes back.
    """
    if not name:
        return "utf-8"
    return look_up_charset(name) or "latin-1"


def look_up_charset(name: str) -> str | None:
    """Return the codec for a charset that a client named, None for an unknown one.

    No name leaves a trace, so one client cannot change the answer that another one gets.
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
    except LookupError:  # the module is for another system, as mbcs is
        return None


def is_ascii_based(charset: str) -> bool:
    """Return whether ASCII text is the same bytes in `charset` (a name from `find_charset`)."""
    if charset == "utf-8":
        return True
    try:
        return _ASCII.decode(charset).encode("ascii") == _ASCII
    except UnicodeError:
        return False


def decode_text(data: bytes, charset: str) -> str:
    """Decode `data`; as latin-1 if it is not valid in `charset`."""
    try:
        return data.decode(charset)
    except UnicodeError:
        return data.decode("latin-1")
