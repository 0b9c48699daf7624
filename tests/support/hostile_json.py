"""Documents that are not JSON, or that hold a value for which Python or JSON has no form."""

REFUSED: dict[str, str | bytes] = {
    "empty": "",
    "cut": '{"a": [1',
    "extra data": "[1] [2]",
    "NUL": "[1]\0",
    "control in a string": '"\n"',
    "single quotes": "{'a': 1}",
    "trailing comma": "[1,]",
    "leading zero": "[01]",
    "NaN": "[NaN]",
    "Infinity": '{"a": Infinity}',
    "-Infinity": "-Infinity",
    "infinite": "1e400",
    "infinite, long exponent": "1e0000000000000000000999",
    "infinite, long exponent with a sign": '{"a": [-1E+0000400]}',
    "infinite, many digits": "[" + "1" * 400 + ".0]",
    "infinite beside a long integer": "[" + "1" * 400 + ", 1e0000000000000000000999]",
    "too many digits": "[" + "1" * 5000 + "]",
    "too deep": "[" * 5000 + "]" * 5000,
    "too deep beside a long integer": "[" * 5000 + "1" * 30 + "]" * 5000,
    "unclosed and deep": '{"a":' * 100_000,
    "escape of a lone surrogate": '"\\ud800"',
    "escape of a lone surrogate in a name": '{"\\udfff": 1}',
    "not UTF-8": b'"\xff"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "UTF-16": "[1]".encode("utf-16"),
    "UTF-32": "[1]".encode("utf-32"),
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf[1]",
}
"""Strings can arrive in text frames and in bytes, the others in bytes only."""


def as_bytes(document: str | bytes) -> bytes:
    """Return a document as a client sends it in a body or a binary frame."""
    return document if isinstance(document, bytes) else document.encode()
