"""Path patterns: from ``"/users/{id:int}"`` to what matches a path and what builds one.

Pure functions. A pattern matches whole paths (``\\Z``, never ``$``, which would let a line feed pass). URLs
are built with each character that has another meaning percent-encoded (RFC 3986 s.2, s.3.3), so that the path
a server decodes from them is the path they were built for.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, cast

from spica.convertors import (
    CONVERTOR_TYPES,
    Convertor,
    FloatConvertor,
    IntegerConvertor,
    PathConvertor,
    StringConvertor,
    UUIDConvertor,
)
from spica.exceptions import MisuseError
from spica.routing.automaton import (
    Automaton,
    Node,
    Parameter,
    Sequenced,
    UnsupportedRegex,
    literal_node,
    read_regex,
)
from spica.routing.linear import LinearPattern

PARAM_REGEX = re.compile(r"\{([a-zA-Z_]\w*)(:[a-zA-Z_]\w*)?\}", re.ASCII)
"""A parameter in a path pattern: its name, and its convertor after a colon."""

PARAM_FORMAT_REGEX = re.compile(r"\{([a-zA-Z_]\w*)\}", re.ASCII)
"""A parameter in a path format."""

PATH_SAFE = "/:@!$&'()*+,;=~{}"
"""Characters that stand for themselves in a path (RFC 3986 s.3.3: pchar and "/"). Braces, which servers and
browsers accept too, are those of a parameter that was left open."""

WITHIN_SEGMENT = (StringConvertor, IntegerConvertor, FloatConvertor, UUIDConvertor)
"""Convertors whose text never contains a slash."""

PathConvertors = dict[str, Convertor[Any]]
Conversions = Sequence[tuple[str, Callable[[str], Any]]]
Token = str | tuple[str, Convertor[Any]]
"""A fixed text of a pattern, or a parameter: its name and convertor. They alternate."""


def compile_path(path: str) -> tuple[re.Pattern[str], str, PathConvertors]:
    """Return the compiled pattern, the format, and the convertors of a path or host pattern.

    A pattern that does not begin with "/" is one of hosts: it matches in any case and ignores a port.
    Matching takes time linear in the path. Where ``re`` could try many ways to divide a path, the pattern
    is a `LinearPattern`, which gives the same matches and has the attributes of ``re.Pattern``.

    Raises:
        ValueError: a parameter occurs twice, or a convertor is not known.
    """
    convertors: PathConvertors = {}
    is_host = not path.startswith("/")
    text = path.removesuffix(_port_of(path)) if is_host else path
    tokens: list[Token] = []
    end = 0
    for found in PARAM_REGEX.finditer(text):
        name, suffix = found.groups(default=":str")
        if name in convertors:
            raise _repeated(path)
        convertor = convertors[name] = _find_convertor(suffix[1:], path)
        tokens += [text[end : found.start()], (name, convertor)]
        end = found.end()
    tokens.append(text[end:])
    # The port of a Host field is not part of the name, which counts in any case (RFC 9110 s.4.2.3).
    regex = re.compile(rf"{''.join(map(_regex_of, tokens))}\Z", re.IGNORECASE if is_host else 0)
    path_format = PARAM_REGEX.sub(r"{\1}", path)
    return _make_linear(regex, tokens), path_format, convertors


def _regex_of(token: Token) -> str:
    if isinstance(token, str):
        return re.escape(token)
    name, convertor = token
    return f"(?P<{name}>{convertor.regex})"


def _make_linear(regex: re.Pattern[str], tokens: Sequence[Token]) -> re.Pattern[str]:
    """Return ``regex`` if there is one way to divide each path, else a pattern that needs linear time."""
    params = [token[1] for token in tokens if not isinstance(token, str)]
    if not params:
        return regex
    flags = regex.flags & re.IGNORECASE
    try:
        # A fixed text at the end is compared once for each end of the last parameter. That is linear.
        without_tail = Automaton(_expression_of(tokens[:-1]), flags)
        if without_tail.is_linear():
            return regex
        automaton = Automaton(_expression_of(tokens), flags)
        ambiguous: int | None = without_tail.count_ambiguous()
        if not all(_is_linear_alone(convertor.regex, flags) for convertor in params):
            ambiguous = None
    except UnsupportedRegex:
        return regex  # `find_slow_param` tells of it
    # The cast: it has the methods of a re.Pattern, which can't have subclasses.
    return cast("re.Pattern[str]", LinearPattern(regex, automaton, ambiguous))


def _expression_of(tokens: Sequence[Token]) -> Node:
    parts: list[Node] = []
    for place, token in enumerate(tokens):
        if isinstance(token, str):
            parts.append(literal_node(token))
        else:
            parts.append(Parameter(read_regex(token[1].regex), place // 2))
    return Sequenced(parts)


@lru_cache(maxsize=256)
def _is_linear_alone(regex: str, flags: int) -> bool:
    """Return whether there is one way to go through a text of a convertor."""
    return Automaton(read_regex(regex), flags).is_linear()


def find_slow_param(convertors: Mapping[str, Convertor[Any]]) -> str | None:
    """Return the first parameter whose regular expression has no bound for its time; None: there is none.

    That is one that the `Automaton` can't match, so that it is left to ``re``.
    """
    for name, convertor in convertors.items():
        try:
            read_regex(convertor.regex)
        except UnsupportedRegex:
            return name
    return None


def _repeated(path: str) -> ValueError:
    names = [found.group(1) for found in PARAM_REGEX.finditer(path)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    plural = "s" if len(repeated) > 1 else ""
    return ValueError(f"Duplicated param name{plural} {', '.join(repeated)} at path {path}")


def _find_convertor(name: str, path: str) -> Convertor[Any]:
    try:
        return CONVERTOR_TYPES[name]
    except KeyError:
        known = ", ".join(sorted(CONVERTOR_TYPES))
        raise MisuseError(
            f"Unknown path convertor '{name}' in {path!r}. Known convertors: {known}. "
            "Add one with spica.convertors.register_url_convertor."
        ) from None


def _port_of(host: str) -> str:
    """Return the colon and port a host pattern ends with, if any."""
    _, colon, port = host.rpartition(":")
    return colon + port if port.isdigit() else ""


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
}


def conversions_of(convertors: Mapping[str, Convertor[Any]]) -> Conversions:
    """Return what is to be done with the texts of parameters, leaving out what stays as it is."""
    conversions = [
        (name, _BUILT_IN.get(type(convertor), convertor.convert))
        for name, convertor in convertors.items()
    ]
    # A tuple: the empty one, which most routes have, takes no memory.
    return tuple([(name, convert) for name, convert in conversions if convert is not None])


def match_path(
    regex: re.Pattern[str], conversions: Conversions, path: str
) -> dict[str, Any] | None:
    """Return the converted parameters if ``path`` matches, else None."""
    found = regex.match(path)
    return None if found is None else convert_params(found, conversions)


def convert_params(found: re.Match[str], conversions: Conversions) -> dict[str, Any] | None:
    """Return the parameters of a path that matched, converted.

    A convertor refuses a text with ValueError; then the path does not match, and it is None.
    """
    params: dict[str, Any] = found.groupdict()
    try:
        for name, convert in conversions:
            params[name] = convert(params[name])
    except ValueError:
        return None
    return params


def read_params(found: re.Match[str], convertors: PathConvertors) -> dict[str, Any] | None:
    """Return the parameters of a path or host that matched; None if a convertor refuses one."""
    return convert_params(found, conversions_of(convertors)) if convertors else found.groupdict()


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
    value = params[name]
    try:
        if value is None:
            raise MisuseError("Must not be None")  # as text it would be the path "/None"
        return convertors[name].to_string(value)
    except Exception as exc:
        exc.add_note(f"This was the parameter {name!r} of a URL, {value!r:.80}.")
        raise


def encode_path(path: str) -> str:
    """Return ``path`` with what would end or change it in a URL percent-encoded."""
    return urllib.parse.quote(path, safe=PATH_SAFE)
