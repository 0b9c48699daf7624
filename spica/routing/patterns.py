"""Path patterns: compile ``"/users/{id:int}"``, match paths with it, and build paths from it.

Pure functions. A pattern matches whole paths. It ends with ``\\Z``, because ``$`` accepts a line feed at the
end. A built URL percent-encodes each character with another meaning (RFC 3986 s.2, s.3.3), so that a server
decodes exactly the path that was built.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from spica.routing.linear import Token

PARAM_REGEX = re.compile(r"\{([a-zA-Z_]\w*)(:[a-zA-Z_]\w*)?\}", re.ASCII)
"""A parameter in a path pattern: its name, and its convertor after a colon."""

PARAM_FORMAT_REGEX = re.compile(r"\{([a-zA-Z_]\w*)\}", re.ASCII)
"""A parameter in a path format."""

PATH_SAFE = "/:@!$&'()*+,;=~{}"
"""Characters that a path may contain unencoded (RFC 3986 s.3.3: pchar and "/").

Braces belong to a parameter that was not filled. Servers and browsers accept them."""

WITHIN_SEGMENT = (StringConvertor, IntegerConvertor, FloatConvertor, UUIDConvertor)
"""Convertors that never match a slash."""

_ONE_SEGMENT_REGEXES = frozenset([cls.regex for cls in WITHIN_SEGMENT])
_COMMON_REGEXES = _ONE_SEGMENT_REGEXES | {PathConvertor.regex}

PathConvertors = dict[str, Convertor[Any]]
Conversions = Sequence[tuple[str, Callable[[str], Any]]]


def compile_path(path: str) -> tuple[re.Pattern[str], str, PathConvertors]:
    """Return the compiled pattern, the format, and the convertors of a path or host pattern.

    A pattern that does not begin with "/" is a host pattern, which ignores case and port. Matching takes time
    linear in the length of the path. If ``re`` could try many ways to divide a path, the pattern is a
    `LinearPattern`, with the same matches and the attributes of ``re.Pattern``.

    Raises:
        ValueError: A parameter occurs twice, or a convertor is unknown.
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
    # Host names ignore case (RFC 9110 s.4.2.3).
    regex = re.compile(rf"{''.join(map(_regex_of, tokens))}\Z", re.IGNORECASE if is_host else 0)
    path_format = PARAM_REGEX.sub(r"{\1}", path)
    if not _is_divided_by_slashes(tokens):
        from spica.routing.linear import make_linear

        regex = make_linear(regex, tokens)
    return regex, path_format, convertors


def _regex_of(token: Token) -> str:
    if isinstance(token, str):
        return re.escape(token)
    name, convertor = token
    return f"(?P<{name}>{convertor.regex})"


def _is_divided_by_slashes(tokens: Sequence[Token]) -> bool:
    """Return whether each path has one way to be divided, which is the case for nearly all patterns.

    The parameters have common convertors, and a slash follows each but the last. This needs no `Automaton`,
    so that most applications never load its module.
    """
    regexes = [token[1].regex for token in tokens if not isinstance(token, str)]
    if not regexes:
        return True
    literals = [
        token for token in tokens if isinstance(token, str)
    ]  # around and between the parameters
    return (
        regexes[-1] in _COMMON_REGEXES
        and _ONE_SEGMENT_REGEXES.issuperset(regexes[:-1])
        and all(literal.startswith("/") for literal in literals[1:-1])
    )


def find_slow_param(convertors: Mapping[str, Convertor[Any]]) -> str | None:
    """Return the first parameter whose matching time has no bound, or None.

    Its regular expression has a construct that the `Automaton` does not support, so that ``re`` has to match
    it.
    """
    for name, convertor in convertors.items():
        if convertor.regex in _COMMON_REGEXES:
            continue
        from spica.routing.automaton import UnsupportedRegex, read_regex

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
    """Return the colon and port at the end of a host pattern, or ""."""
    _, colon, port = host.rpartition(":")
    return colon + port if port.isdigit() else ""


def check_path(path: object, place: str) -> str:
    """Return ``path`` if it is a string that begins with "/". Errors begin with ``place``."""
    if not isinstance(path, str):
        raise TypeError(f"{place}: the path must be a string, not {path!r}.")
    if not path.startswith("/"):
        raise MisuseError(
            f"{place}: Routed paths must start with '/', but {path!r} does not. "
            f"Write {'/' + path!r}."
        )
    return path


_BUILT_IN: dict[type, Callable[[str], Any] | None] = {
    # The effect of these convertors without the call of their method. None: they keep the string.
    StringConvertor: None,
    PathConvertor: None,
    IntegerConvertor: int,
}


def conversions_of(convertors: Mapping[str, Convertor[Any]]) -> Conversions:
    """Return the conversions of a match: names and functions. Parameters that stay strings are left out."""
    conversions = [
        (name, _BUILT_IN.get(type(convertor), convertor.convert))
        for name, convertor in convertors.items()
    ]
    # A tuple, because most routes have none and all empty tuples are one object.
    return tuple([(name, convert) for name, convert in conversions if convert is not None])


def match_path(
    regex: re.Pattern[str], conversions: Conversions, path: str
) -> dict[str, Any] | None:
    """Return the converted parameters if ``path`` matches, else None."""
    found = regex.match(path)
    return None if found is None else convert_params(found, conversions)


def convert_params(found: re.Match[str], conversions: Conversions) -> dict[str, Any] | None:
    """Return the converted parameters of a path that matched, or None if a convertor raises ValueError.

    The path then does not match.
    """
    params: dict[str, Any] = found.groupdict()
    try:
        for name, convert in conversions:
            params[name] = convert(params[name])
    except ValueError:
        return None
    return params


def read_params(found: re.Match[str], convertors: PathConvertors) -> dict[str, Any] | None:
    """Return the converted parameters of a path or host that matched, or None if a convertor refuses one."""
    return convert_params(found, conversions_of(convertors)) if convertors else found.groupdict()


def replace_params(
    path: str, param_convertors: Mapping[str, Convertor[Any]], path_params: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Fill the parameters of a path format. Return the path, and the values that it has no parameter for.

    A value that looks like a parameter is not filled again.
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
            raise MisuseError("Must not be None")  # as a string it would become the path "/None"
        return convertors[name].to_string(value)
    except Exception as exc:
        exc.add_note(f"This was the parameter {name!r} of a URL, {value!r:.80}.")
        raise


def encode_path(path: str) -> str:
    """Percent-encode the characters of ``path`` that would end or change it in a URL."""
    return urllib.parse.quote(path, safe=PATH_SAFE)
