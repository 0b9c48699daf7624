"""Convertors: match, convert and write a path parameter such as ``{id:int}``.

A convertor has three parts: a regular expression for the string in the path, `convert` from this string to
the value for the endpoint, and `to_string` from a value to the string in a URL.
"""

import math
import re
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from spica.exceptions import MisuseError

if TYPE_CHECKING:
    import uuid

T = TypeVar("T")


class Convertor(Generic[T]):
    """Base class of all convertors. Subclass it, and register an instance with `register_url_convertor`.

    Example::

        class HexConvertor(Convertor[int]):
            regex = "[0-9a-f]+"

            def convert(self, value: str) -> int:
                return int(value, 16)

            def to_string(self, value: int) -> str:
                return f"{value:x}"

    Attributes:
        regex: The regular expression for the whole string in the path. It must not contain capturing groups.
    """

    regex: ClassVar[str] = ""

    def convert(self, value: str) -> T:
        """Return the value of a string that matched `regex`.

        Raises:
            ValueError: The string is not valid after all. The route then does not match.
        """
        raise NotImplementedError(f"{type(self).__name__} must define convert()")

    def to_string(self, value: T) -> str:
        """Return the string for `value` in a path.

        Raises:
            ValueError: No string in a path can represent the value.
        """
        raise NotImplementedError(f"{type(self).__name__} must define to_string()")


class StringConvertor(Convertor[str]):
    """Match one path segment: any string without a slash."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """Return the string unchanged."""
        return value

    def to_string(self, value: str) -> str:
        """Return the string. It must not be empty or contain a slash."""
        value = str(value)
        if "/" in value:
            raise MisuseError("May not contain path separators")
        if not value:
            raise MisuseError("Must not be empty")
        return value


class PathConvertor(Convertor[str]):
    """Match the rest of the path, slashes included."""

    regex = "(?s:.*)"  # includes line feeds: a decoded path may contain any character

    def convert(self, value: str) -> str:
        """Return the string unchanged."""
        return str(value)

    def to_string(self, value: str) -> str:
        """Return the string unchanged."""
        return str(value)


class IntegerConvertor(Convertor[int]):
    """Match ASCII digits. The value is an int of zero or more."""

    regex = "[0-9]+"

    def convert(self, value: str) -> int:
        """Return the number. Too many digits for `int` are a ValueError, so they do not match."""
        return int(value)

    def to_string(self, value: int) -> str:
        """Return the digits of a whole number of zero or more."""
        number = int(value)
        if number < 0:
            raise MisuseError("Negative integers are not supported")
        if number != value and not isinstance(value, str):
            raise MisuseError(f"{value!r:.80} is not a whole number")
        return str(number)


class FloatConvertor(Convertor[float]):
    """Match ASCII digits with an optional fraction. The value is a float of zero or more."""

    regex = r"[0-9]+(\.[0-9]+)?"

    def convert(self, value: str) -> float:
        """Return the number.

        Raises:
            ValueError: The number is too large for a float. The route then does not match.
        """
        number = float(value)
        if number == math.inf:
            raise ValueError("The number is too large for a float.")
        return number

    def to_string(self, value: float) -> str:
        """Return the shortest decimal for the number, without an exponent."""
        number = float(value) + 0.0  # turns -0.0 into 0.0
        if number < 0.0:
            raise MisuseError("Negative floats are not supported")
        if math.isnan(number):
            raise MisuseError("NaN values are not supported")
        if math.isinf(number):
            raise MisuseError("Infinite values are not supported")
        text = repr(number)
        if "e" in text:
            from decimal import Decimal

            text = format(Decimal(text), "f")
        return text.removesuffix(".0")


class UUIDConvertor(Convertor["uuid.UUID"]):
    """Match a UUID, with hyphens or without, in upper or lower case."""

    # RFC 9562 s.4: five groups of hexadecimal digits
    regex = "-?".join(f"[0-9a-fA-F]{{{digits}}}" for digits in (8, 4, 4, 4, 12))

    def convert(self, value: str) -> "uuid.UUID":
        """Return the UUID."""
        import uuid

        return uuid.UUID(value)

    def to_string(self, value: "uuid.UUID") -> str:
        """Return the UUID in lower case, with hyphens."""
        return str(value)


CONVERTOR_TYPES: dict[str, Convertor[Any]] = {
    "float": FloatConvertor(),
    "int": IntegerConvertor(),
    "path": PathConvertor(),
    "str": StringConvertor(),
    "uuid": UUIDConvertor(),
}
"""The convertors by their name in a path pattern: ``int`` in ``{id:int}``."""

_KEY = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


def register_url_convertor(key: str, convertor: Convertor[Any]) -> None:
    """Register a convertor for the path patterns of routes created later.

    Args:
        key: The name in path patterns, for example "hex" for ``{color:hex}``.
        convertor: An instance of a convertor.

    Raises:
        TypeError: `convertor` is a class, or lacks `regex`, `convert` or `to_string`.
        ValueError: `key` is not a valid name, or the regex is not valid.
    """
    place = f"register_url_convertor({key!r:.80}, {convertor!r:.80})"
    if not isinstance(key, str):
        raise TypeError(f"{place}: the key must be a str.")
    if not _KEY.match(key):
        raise ValueError(f"{place}: the key must be letters, digits and _, as in '{{id:int}}'.")
    if isinstance(convertor, type):
        raise TypeError(f"{place}: pass an instance, {convertor.__name__}(), not the class.")
    for name in ("convert", "to_string"):
        if not callable(getattr(convertor, name, None)):
            raise TypeError(f"{place}: the convertor has no method {name}().")
    regex = getattr(convertor, "regex", None)
    if not isinstance(regex, str) or not regex:
        raise TypeError(f"{place}: the convertor's regex must be a str that is not empty.")
    try:
        re.compile(regex)
    except re.error as error:
        raise ValueError(f"{place}: the regex {regex!r:.80} is not valid: {error}") from error
    CONVERTOR_TYPES[key] = convertor
