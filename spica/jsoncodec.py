"""The JSON codec of spica: one pair of functions for requests, responses, WebSockets and sessions."""

import json
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def encode(value: Any) -> bytes:
    """Encode a value as compact JSON in UTF-8."""
    try:
        data = _encoder.encode(value)
    except TypeError:
        data = b"null"
    if b"null" in data:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
    return data


def decode(data: bytes | str) -> Any:
    """Decode JSON text."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return json.loads(data)
