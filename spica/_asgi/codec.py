"""Which JSON codec is in force: that of the application that serves, or the default one.

A JSONResponse is written where it is made, by an endpoint that does not say for which application. So the
codec of an application is a context variable, set while the application is at work. Where no application has
one of its own, nothing is looked up: ``encode`` and ``decode`` are then those of ``spica.jsoncodec``. They
are to be called by ``codec.encode(...)``, with the name of this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from spica import jsoncodec
from spica.jsoncodec import JSONCodec, default_codec

encode: Callable[[Any], bytes] = jsoncodec.encode
decode: Callable[[Any], Any] = jsoncodec.decode

chosen: ContextVar[JSONCodec] = ContextVar("spica_json_codec", default=default_codec)
"""The codec in force."""


def look_up() -> None:
    """Look up from now on which codec is in force: an application has one of its own."""
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
        # What the codec says may repeat the text, and goes to a client.
        raise json.JSONDecodeError("Not JSON", "", 0) from exc


def check_codec(codec: Any, place: str) -> JSONCodec | None:
    """Return ``codec`` if it is one, or None; errors name ``place``.

    Raises:
        TypeError: it has no methods ``encode`` and ``decode``, or what it writes is no bytes.
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
