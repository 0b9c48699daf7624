"""Find misspelled parameters in a path or host pattern when a route is created.

Braces and angle brackets must be percent-encoded in a URL (RFC 3986 s.2.2), so one outside a parameter is a
mistake. When spica replaces Starlette (``spica.compat``), such patterns keep their literal meaning, because
installed programs must start.
"""

from __future__ import annotations

import re

from spica._http.host import encode_name
from spica.convertors import CONVERTOR_TYPES
from spica.exceptions import MisuseError
from spica.routing.base import is_stand_in
from spica.routing.patterns import PARAM_REGEX

_GROUP = re.compile(r"\{(?:[^{}]|\{[^{}]*\})*+\}")
"""Braces and their content: "{id}", "{id:[0-9]{2}}", "{{id}}"."""

_STRAY = re.compile(r"[{}]|<(?:(\w+)(?:\([^<>]*\))?:)?([A-Za-z_]\w*)>", re.ASCII)
"""An unbalanced brace, or a parameter in the notation of Flask and Django."""

_FOREIGN_KINDS = {"string": "str", "slug": "str", "any": "str"}
"""Convertors of other frameworks, and the equivalent ones of spica."""

_EXAMPLES = "'{name}' or '{name:int}'"

_ADVICE = [
    (r"\s*", rf"A parameter needs a name: {_EXAMPLES}."),
    (r"\{\s*([A-Za-z_]\w*)\s*\}", r"Write single braces: '{\1}'."),
    (r"\s*([A-Za-z_]\w*)\s*[:!|]\s*(KINDS)\s*", r"Write '{\1:\2}'."),
    (r"\s*(KINDS)\s*[:!|]\s*([A-Za-z_]\w*)\s*", r"The name comes first: write '{\2:\1}'."),
    (r"(?:\*+|\.{3}):?([A-Za-z_]\w*)|([A-Za-z_]\w*):?(?:\*+|\.{3})", r"Write '{\1\2:path}'."),
    (
        r"([A-Za-z_]\w*)(?::\w+)?\?",
        r"A parameter is never optional: add a second route without it.",
    ),
    (
        r"\s*([A-Za-z_]\w*)\s*:(?s:.+)",
        r"A convertor has a name, and is not written as a regular expression. Add one with "
        r"spica.convertors.register_url_convertor, and write '{\1:its_name}'.",
    ),
    (r"\s*([A-Za-z_]\w*)\s*", r"Write '{\1}'."),
    (
        r"(?s:.*)",
        r"A name has ASCII letters, digits and underscores, and does not begin with a digit.",
    ),
]
"""Advice for the content of a pair of braces. The first expression that matches applies."""


def check_spelling(pattern: str, place: str) -> None:
    """Refuse a pattern with a misspelled parameter. Errors begin with ``place``.

    Raises:
        MisuseError: A brace is unbalanced, the content of braces is not a parameter, a convertor is unknown,
            or a parameter has the notation of another framework.
    """
    if is_stand_in():
        return
    end = 0
    for found in _GROUP.finditer(pattern):
        _check_literal(pattern, end, found.start(), place)
        _check_group(found[0], found.start(), place)
        end = found.end()
    _check_literal(pattern, end, len(pattern), place)


def check_host_spelling(pattern: str, place: str) -> None:
    """Refuse a host pattern as `check_spelling` does, and one that matches no host.

    Raises:
        MisuseError: As there, or the pattern has a ``*``, which host names do not contain (RFC 1123 s.2.1),
            or a letter outside of ASCII, which clients encode (RFC 5890 s.2.3.2.1).
    """
    check_spelling(pattern, place)
    position = pattern.find("*")
    if position >= 0 and not is_stand_in():
        advice = pattern.replace("*", "{subdomain}", 1)
        raise MisuseError(
            f"{place}: '*' at position {position} is not a wildcard. Write {advice!r}."
        )
    if not pattern.isascii() and not is_stand_in():
        raise MisuseError(f"{place}: clients send host names in ASCII. Write {_to_ascii(pattern)}.")


def _to_ascii(pattern: str) -> str:
    """Return a host pattern as clients send it, in quotes, or a phrase that describes it."""
    try:
        labels = [label if "{" in label else encode_name(label) for label in pattern.split(".")]
    except ValueError:  # of a label that has no such form, or not the same everywhere
        labels = [pattern]
    ascii_form = ".".join(labels)
    return repr(ascii_form) if ascii_form.isascii() else "the form that has 'xn--' in it"


def _check_literal(pattern: str, start: int, end: int, place: str) -> None:
    found = _STRAY.search(pattern, start, end)
    if found is None:
        return
    where = f"{place}: {found[0]!r} at position {found.start()}"
    if found[0] == "{":
        raise MisuseError(f"{where} is not closed. A parameter is written {_EXAMPLES}.")
    if found[0] == "}":
        raise MisuseError(f"{where} was not opened. A parameter is written {_EXAMPLES}.")
    kind = _FOREIGN_KINDS.get(found[1], found[1])
    param = f"{{{found[2]}:{kind}}}" if kind in CONVERTOR_TYPES else f"{{{found[2]}}}"
    raise MisuseError(f"{where} is not a parameter. Write {param!r}.")


def _check_group(text: str, position: int, place: str) -> None:
    found = PARAM_REGEX.fullmatch(text)
    if found is None:
        advice = _advise(text[1:-1])
        raise MisuseError(f"{place}: {text!r} at position {position} is not a parameter. {advice}")
    name, kind = found[1], (found[2] or ":str")[1:]
    if kind in CONVERTOR_TYPES:
        return
    known = sorted(CONVERTOR_TYPES)
    if name in CONVERTOR_TYPES:
        advice = f"The name comes first: write '{{{kind}:{name}}}'."
    else:
        import difflib  # for messages alone

        close = difflib.get_close_matches(_FOREIGN_KINDS.get(kind, kind), known, 1)
        advice = f"Did you mean '{{{name}:{close[0]}}}'? " if close else ""
        advice += "Add one with spica.convertors.register_url_convertor."
    raise MisuseError(
        f"{place}: Unknown path convertor '{kind}' in {text!r} at position {position}. "
        f"Known convertors: {', '.join(known)}. {advice}"
    )


def _advise(inside: str) -> str:
    """Return advice for the content of a pair of braces."""
    kinds = "|".join(map(re.escape, CONVERTOR_TYPES))
    for expression, advice in _ADVICE:
        found = re.fullmatch(expression.replace("KINDS", kinds), inside, re.ASCII)
        if found is not None:
            return found.expand(advice)
    raise AssertionError("The last expression matches every string.")  # pragma: no cover
