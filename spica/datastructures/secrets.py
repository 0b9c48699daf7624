"""Values of settings: secret strings, and lists in one string."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload


class Secret:
    """A string that does not appear in tracebacks and logs.

    `repr()` always shows ten stars. `str()` returns the value: call it only where you need the value. A
    secret is true if its value is not empty.

    Args:
        value: The secret string.

    >>> key = Secret("swordfish")
    >>> key
    Secret('**********')
    >>> str(key)
    'swordfish'
    """

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"{type(self).__name__}('**********')"

    def __str__(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)


class CommaSeparatedStrings(Sequence[str]):
    """A list of strings from one setting: `"a, b, 'c, d'"`.

    Quotes keep commas and blanks within an item, as in a shell.

    Args:
        value: The setting, or a sequence of strings, which is used unchanged.

    Raises:
        ValueError: A quote is not closed.

    >>> list(CommaSeparatedStrings("example.org, 'a, b'"))
    ['example.org', 'a, b']
    """

    def __init__(self, value: str | Sequence[str]) -> None:
        self._items = _split(value) if isinstance(value, str) else list(value)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._items[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"

    def __str__(self) -> str:
        return ", ".join(map(repr, self._items))


def _split(text: str) -> list[str]:
    from shlex import shlex  # settings are read once, at start-up

    lexer = shlex(text, posix=True)
    lexer.whitespace = ","
    lexer.whitespace_split = True
    lexer.commenters = ""  # a `#` is part of an item, it does not end the list
    return [item.strip() for item in lexer]
