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
from itertools import pairwise
from typing import Any

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

PARAM_REGEX = re.compile(r"\{([a-zA-Z_]\w*)(:[a-zA-Z_]\w*)?\}", re.ASCII)
"""A parameter in a path pattern: its name, and its convertor after a colon."""

PARAM_FORMAT_REGEX = re.compile(r"\{([a-zA-Z_]\w*)\}", re.ASCII)
"""A parameter in a path format."""

_GROUP_NAME = re.compile(r"\(\?P<\w+>")

PATH_SAFE = "/:@!$&'()*+,;=~{}"
"""Characters that stand for themselves in a path (RFC 3986 s.3.3: pchar and "/"). Braces, which servers and
browsers accept too, are those of a parameter that was left open."""

WITHIN_SEGMENT = (StringConvertor, IntegerConvertor, FloatConvertor, UUIDConvertor)
"""Convertors whose text never contains a slash."""

PathConvertors = dict[str, Convertor[Any]]
Conversions = Sequence[tuple[str, Callable[[str], Any]]]


def compile_path(path: str) -> tuple[re.Pattern[str], str, PathConvertors]:
    """Return the compiled pattern, the format, and the convertors of a path or host pattern.

    A pattern that does not begin with "/" is one of hosts: it matches in any case and ignores a port.

    Raises:
        ValueError: a parameter occurs twice, or a convertor is not known.
    """
    convertors: PathConvertors = {}
    is_host = not path.startswith("/")
    pieces = [path.removesuffix(_port_of(path))] if is_host else path.split("/")
    regex = "/".join([_compile_piece(piece, path, convertors) for piece in pieces])
    regex = _bound_rests(regex, path, convertors)
    # The port of a Host field is not part of the name, which counts in any case (RFC 9110 s.4.2.3).
    path_format = PARAM_REGEX.sub(r"{\1}", path)
    return re.compile(rf"{regex}\Z", re.IGNORECASE if is_host else 0), path_format, convertors


def _compile_piece(piece: str, path: str, convertors: PathConvertors) -> str:
    """Return the regex of one segment of a path, or of a host; its parameters go to ``convertors``."""
    regex = ""
    end = 0
    own = []
    for found in PARAM_REGEX.finditer(piece):
        name, suffix = found.groups(default=":str")
        if name in convertors:
            raise _repeated(path)
        convertor = convertors[name] = _find_convertor(suffix[1:], path)
        own.append(convertor)
        regex += f"{re.escape(piece[end : found.start()])}(?P<{name}>{convertor.regex})"
        end = found.end()
    regex += re.escape(piece[end:])
    if len(own) > 1 and all(type(convertor) in WITHIN_SEGMENT for convertor in own):
        # Where the segment ends does not depend on how it is divided: an atomic group, which is not
        # tried in other ways when something behind it fails, keeps the cost from growing with a power.
        return rf"(?>{regex}(?=/|\Z))"
    return regex


def _bound_rests(regex: str, path: str, convertors: PathConvertors) -> str:
    """Let a regex with several ways to divide a path among its parameters try no more than it must.

    Otherwise each way would be tried before it is seen that a later part does not fit: a power of the
    length of the path. What is matched, and how it is divided, stays the same.
    """
    params = list(PARAM_REGEX.finditer(path))
    rests = [param for param in params if _is_rest(param, convertors)]
    if not rests:
        return regex
    is_divided = len(rests) > 1
    for before, param in pairwise(params):
        between = path[before.end() : param.start()]
        if param is rests[-1]:
            is_divided = is_divided or "/" not in between
        elif before in rests:
            # It can't hold the text that stands before it: what is before that would have taken more.
            bounded = _regex_without(between, convertors[param[1]])
            regex = regex.replace(_group(param, convertors), f"(?P<{param[1]}>{bounded})", 1)
    end = _GROUP_NAME.sub("(?:", regex.partition(_group(rests[-1], convertors))[2])
    if end and is_divided:
        # What follows the last of them is looked at before all.
        regex = regex.replace("(?P<", rf"(?={PathConvertor.regex}{end}\Z)(?P<", 1)
    return regex


def _is_rest(param: re.Match[str], convertors: PathConvertors) -> bool:
    return type(convertors[param[1]]) is PathConvertor


def _group(param: re.Match[str], convertors: PathConvertors) -> str:
    return f"(?P<{param[1]}>{convertors[param[1]].regex})"


def _regex_without(text: str, convertor: Convertor[Any]) -> str:
    """Return the regex of ``convertor`` for what does not hold ``text``, but may begin it at its end."""
    if type(convertor) is PathConvertor:
        if not text:
            return ""
        other = rf"(?!{re.escape(text)})"
        return rf"(?s:(?:{other}.)*.{{0,{len(text) - 1}}})"
    if type(convertor) is StringConvertor and "/" not in text:
        if not text:
            return "[^/]"
        # It is not empty, so it may end with the text.
        other = rf"(?!{re.escape(text)})"
        return rf"(?:{other}[^/])+[^/]{{0,{len(text)}}}|[^/]{{1,{len(text)}}}"
    return convertor.regex  # there it makes no difference, or is not known


def find_slow_param(path: str, convertors: PathConvertors) -> str | None:
    """Return the first parameter that may make the time for a path grow with the square of its length.

    That is a ``path`` with several others in its segment; or one that stands before another ``path`` and
    behind a parameter of another kind, so that it may begin at many places and go on in many ways.
    None: there is none among the built-in kinds.
    """
    params = list(PARAM_REGEX.finditer(path))
    rests = [param for param in params if _is_rest(param, convertors)]
    for index, param in enumerate(params):
        if param not in rests:
            continue
        before, after = path[: param.start()], path[param.end() :]
        segment = before.rpartition("/")[2] + after.partition("/")[0]
        beside = [each for each in PARAM_REGEX.finditer(segment) if not _is_rest(each, convertors)]
        if len(beside) > 1:
            return param[1]
        follows_other = index > 0 and params[index - 1] not in rests
        is_divided = (
            param is not rests[0] or "/" not in path[params[index - 1].end() : param.start()]
        )
        if follows_other and is_divided and param is not rests[-1]:
            return param[1]
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
