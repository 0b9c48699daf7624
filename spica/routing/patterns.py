"""Path patterns: from ``"/users/{id:int}"`` to what matches a path and what builds one.

Pure functions. A pattern matches whole paths (``\\Z``, never ``$``, which would let a line feed pass). URLs
are built with each character that has another meaning percent-encoded (RFC 3986 s.2, s.3.3), so that the path
a server decodes from them is the path they were built for.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from spica.convertors import (
    CONVERTOR_TYPES,
    Convertor,
    FloatConvertor,
    IntegerConvertor,
    PathConvertor,
    StringConvertor,
)
from spica.exceptions import MisuseError

PARAM_REGEX = re.compile(r"\{([a-zA-Z_]\w*)(:[a-zA-Z_]\w*)?\}", re.ASCII)
"""A parameter in a path pattern: its name, and its convertor after a colon."""

PARAM_FORMAT_REGEX = re.compile(r"\{([a-zA-Z_]\w*)\}", re.ASCII)
"""A parameter in a path format."""

PATH_SAFE = "/:@!$&'()*+,;=~{}"
"""Characters that stand for themselves in a path (RFC 3986 s.3.3: pchar and "/"). Braces, which servers and
browsers accept too, are those of a parameter that was left open."""

PathConvertors = dict[str, Convertor[Any]]
Conversions = Sequence[tuple[str, Callable[[str], Any]]]


def compile_path(path: str) -> tuple[re.Pattern[str], str, PathConvertors]:
    """Return the compiled pattern, the format, and the convertors of a path or host pattern.

    A pattern that does not begin with "/" is one of hosts: it matches in any case and ignores a port.

    Raises:
        ValueError: a parameter occurs twice, or a convertor is not known.
    """
    convertors: PathConvertors = {}
    regex, path_format = "", ""
    end = 0
    for found in PARAM_REGEX.finditer(path):
        name, suffix = found.groups(default=":str")
        if name in convertors:
            names = [m.group(1) for m in PARAM_REGEX.finditer(path)]
            repeated = sorted({n for n in names if names.count(n) > 1})
            plural = "s" if len(repeated) > 1 else ""
            raise ValueError(f"Duplicated param name{plural} {', '.join(repeated)} at path {path}")
        convertor = convertors[name] = _find_convertor(suffix[1:], path)
        literal = path[end : found.start()]
        regex += f"{re.escape(literal)}(?P<{name}>{convertor.regex})"
        path_format += f"{literal}{{{name}}}"
        end = found.end()
    is_host = not path.startswith("/")
    rest = path[end:]
    path_format += rest
    if is_host:
        # The port of a Host field is not part of the name (RFC 9110 s.4.2.3: names in any case).
        rest = rest.rpartition(":")[0] if _ends_in_port(rest) else rest
    regex += re.escape(rest)
    return re.compile(rf"{regex}\Z", re.IGNORECASE if is_host else 0), path_format, convertors


def _find_convertor(name: str, path: str) -> Convertor[Any]:
    try:
        return CONVERTOR_TYPES[name]
    except KeyError:
        known = ", ".join(sorted(CONVERTOR_TYPES))
        raise MisuseError(
            f"Unknown path convertor '{name}' in {path!r}. Known convertors: {known}. "
            "Add one with spica.convertors.register_url_convertor."
        ) from None


def _ends_in_port(text: str) -> bool:
    _, colon, port = text.rpartition(":")
    return bool(colon) and port.isdigit()


def check_path(path: object, place: str) -> str:
    """Return ``path`` if it may be that of a route; errors name ``place``."""
    if not isinstance(path, str):
        raise TypeError(f"{place}: the path must be text, not {path!r}.")
    if not path.startswith("/"):
        raise MisuseError(
            f"{place}: Routed paths must start with '/', but {path!r} does not. "
            f"Write {'/' + path!r}."
        )
    return path


_BUILT_IN: dict[type, Callable[[str], Any] | None] = {
    # What these convertors do, without the step to them; None: nothing.
    StringConvertor: None,
    PathConvertor: None,
    IntegerConvertor: int,
    FloatConvertor: float,
}


def conversions_of(convertors: Mapping[str, Convertor[Any]]) -> Conversions:
    """Return what is to be done with the texts of parameters, leaving out what stays as it is."""
    conversions = [
        (name, _BUILT_IN.get(type(convertor), convertor.convert))
        for name, convertor in convertors.items()
    ]
    return [(name, convert) for name, convert in conversions if convert is not None]


def match_path(
    regex: re.Pattern[str], conversions: Conversions, path: str
) -> dict[str, Any] | None:
    """Return the converted parameters if ``path`` matches, else None.

    A convertor refuses a text with ValueError; then the path does not match.
    """
    found = regex.match(path)
    if found is None:
        return None
    params: dict[str, Any] = found.groupdict()
    try:
        for name, convert in conversions:
            params[name] = convert(params[name])
    except ValueError:
        return None
    return params


def replace_params(
    path: str, param_convertors: Mapping[str, Convertor[Any]], path_params: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return ``path`` with the parameters that are given put in, and the values left over.

    A value that looks like a parameter stays as it is.
    """
    used: set[str] = set()
    fill = partial(_fill_one, param_convertors, path_params, used)
    text = PARAM_FORMAT_REGEX.sub(fill, path)
    return text, {name: value for name, value in path_params.items() if name not in used}


def _fill_one(
    convertors: Mapping[str, Convertor[Any]],
    params: Mapping[str, Any],
    used: set[str],
    found: re.Match[str],
) -> str:
    name = found.group(1)
    if name not in params:
        return found.group()
    used.add(name)
    return convertors[name].to_string(params[name])


def encode_path(path: str) -> str:
    """Return ``path`` with what would end or change it in a URL percent-encoded."""
    return urllib.parse.quote(path, safe=PATH_SAFE)


def is_static(path: str) -> bool:
    """Return whether a path pattern has no parameters."""
    return "{" not in path or PARAM_REGEX.search(path) is None
