"""Look up the current JSON codec: the one of the application that serves the request, or the default.

An endpoint creates a JSONResponse without naming an application. So the outermost layer of the application
stores its codec in a context variable. As long as no application has its own codec, ``encode`` and ``decode``
are the functions of ``spica.jsoncodec``, without a lookup. Call them through the module, as
``codec.encode(...)``, because they change when the first application with its own codec is created.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from spica.jsoncodec import JSONCodec, default_codec
from spica.jsoncodec import decode as decode_by_default
from spica.jsoncodec import encode as encode_by_default

encode: Callable[[Any], bytes] = encode_by_default
decode: Callable[[Any], Any] = decode_by_default

chosen: ContextVar[JSONCodec] = ContextVar("spica_json_codec", default=default_codec)
"""The current codec."""


def look_up() -> None:
    """Use the context variable from now on, because an application has its own codec."""
    global encode, decode
    encode, decode = _encode, _decode


def _encode(value: Any) -> bytes:
    return chosen.get().encode(value)


def _decode(data: bytes | str) -> Any:
    try:
        return chosen.get().decode(data)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as exc:
        # The client sees the message, and the message of a user's codec may quote the document.
        raise json.JSONDecodeError("Not JSON", "", 0) from exc


def check_codec(codec: Any, place: str) -> JSONCodec | None:
    """Return ``codec`` after a check of its methods, or None for None; errors name ``place``.

    Raises:
        TypeError: ``encode`` or ``decode`` is missing, or ``encode`` does not return bytes.
    """
    if codec is None:
        return None
    for name in ("encode", "decode"):
        if not callable(getattr(codec, name, None)):
            raise TypeError(
                f"{place}: json_codec must have encode(value) -> bytes and decode(data), but "
                f"{codec!r:.80} has no {name}()."
            )
    try:
        written = codec.encode({})
    except TypeError:
        if isinstance(codec, type):
            name = codec.__name__
            raise TypeError(
                f"{place}: json_codec must not be the class {name}: write {name}()."
            ) from None
        raise
    if not isinstance(written, bytes):
        raise TypeError(
            f"{place}: encode() of json_codec must return bytes, in UTF-8, not {type(written).__name__}."
        )
    checked: JSONCodec = codec
    return checked
