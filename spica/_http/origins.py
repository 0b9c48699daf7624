"""Origins: what a browser writes into the Origin field, and patterns that are meant to match it.

RFC 6454 (s.4 what an origin is, s.6.2 how it is written, s.7 the field). For those who configure which
origins may read a response: says what can never stand in the field, and where a pattern is wider than
it looks. Does not decide who is allowed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from spica._http.host import format_host, parse_host

MAX_ORIGIN_SIZE = 300
"""The longest origin a pattern is tried on, in characters: a host name has 253 at most."""

# RFC 6454 s.4, WHATWG URL s.3.4: schemes whose hosts are names, with the port that is left out.
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}

# RFC 3986 s.3.1: scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_BEHIND_AUTHORITY = re.compile(r"[/?#\\]")


def serialize_origin(text: str) -> str:
    """Return `text` as a browser writes this origin: in lower case, in ASCII, without default port.

    Raises:
        ValueError: it is no origin, so that no browser ever sends it. The text says what is wrong
            with it, as a phrase to stand behind it, and what to write instead.
    """
    if text == "null":
        return text  # RFC 6454 s.6.2: an origin that is not to be told, of a sandbox for example
    scheme, separator, authority = text.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        hint = "" if separator or not text else f": write 'https://{text}'"
        raise ValueError(f"has no scheme{hint}")
    _check_authority(scheme, authority)
    scheme = scheme.lower()
    if scheme in _DEFAULT_PORTS:
        authority = _serialize_host(scheme, authority)
    return f"{scheme}://{authority}"


def _check_authority(scheme: str, authority: str) -> None:
    """Refuse what no origin has behind its scheme, whatever that is."""
    end = _BEHIND_AUTHORITY.search(authority)
    if end is not None:
        # RFC 6454 s.6.2: scheme "://" host [ ":" port ], and nothing behind it.
        what = "a trailing slash" if authority[end.start() :] == "/" else "a path"
        raise ValueError(f"has {what}: write '{scheme}://{authority[: end.start()]}'")
    if "*" in authority:
        raise ValueError("has a '*', which stands for itself here: use allow_origin_regex")
    if "@" in authority:
        raise ValueError("has a user name, which is no part of an origin")
    if not authority.isprintable() or " " in authority:
        raise ValueError("has a blank or control character")


def _serialize_host(scheme: str, authority: str) -> str:
    try:
        # RFC 6454 s.4: names are compared in their ASCII form.
        parsed = parse_host(authority if authority.isascii() else authority.encode("idna").decode())
    except UnicodeError:
        parsed = None
    if parsed is None:
        raise ValueError("has no valid host and port")
    host, port = parsed
    return format_host(host, None if port == _DEFAULT_PORTS[scheme] else port)


class Looseness(NamedTuple):
    """A place in a pattern that matches more than it seems to."""

    position: int
    text: str


# As much of the grammar of `re` as is needed to see what stands beside a dot.
_PIECES = re.compile(
    r"""
      (?P<escape> \\. )
    | (?P<set> \[ \^? \]? (?: \\. | [^\]\\] )*+ \]? )
    | (?P<open> \( (?: \? (?: P?<\w+> | <?[=!] | > | [a-zA-Z-]*:? ) )? )
    | (?P<repeat> (?: [*+?] | \{\d*,?\d*\} ) [?+]? )
    | (?P<dot> \. )
    | (?P<letter> \w )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
Piece = tuple[str, str]
_END = ("other", "$")
_ENDS = ("|", "$")
_ANY = "'.' is any character there: write '\\.'"


def find_looseness(pattern: str) -> list[Looseness]:
    """Return where a pattern for whole origins is wider than whoever wrote it may think.

    A dot that is not escaped inside a name, "anything" in front of a name, and "anything" behind one:
    each lets in origins that a stranger can register. It is a help and no proof: other patterns are
    wide too.
    """
    pieces = [(match.lastgroup or "", match[0]) for match in _PIECES.finditer(pattern)]
    inside = _before_a_dot(pieces)
    pieces += [_END] * 2
    found = []
    position, before = 0, _END
    for at, piece in enumerate(pieces[:-2]):
        if piece[0] == "dot" or (piece[0] == "set" and piece[1].startswith("[^")):
            text = _judge(piece, before, pieces[at + 1], pieces[at + 2])
            if text is not None and (text is not _ANY or inside[at]):
                found.append(Looseness(position, text))
        position, before = position + len(piece[1]), piece
    return found


def _before_a_dot(pieces: list[Piece]) -> list[bool]:
    """Tell of each piece whether a dot follows it in its alternative.

    What stands for the last dot of a name is harmless: nobody can register "exampleXorg".
    """
    answers = []
    depth, has_dot = 0, False
    for kind, text in reversed(pieces):
        answers.append(has_dot)
        if kind == "dot" or text in ("\\.", "[.]"):
            has_dot = True
        elif text == "|" and depth == 0:
            has_dot = False
        elif kind == "open":
            depth -= 1
        elif text == ")":
            depth += 1
    answers.reverse()
    return answers


def _judge(wide: Piece, before: Piece, after: Piece, next_after: Piece) -> str | None:
    """Return what is wrong with a piece that matches nearly any character, beside these others."""
    if after[0] != "repeat":
        return _ANY if wide[0] == "dot" else None
    if next_after[0] == "letter":
        return "anything may stand in front of the name there"
    if next_after[1] in _ENDS and (before[0] == "letter" or before[1] == "\\."):
        return "anything may stand behind the name there"
    return None
