"""Hold values of the configuration: one that must not be shown, and a list in one string."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload


class Secret:
    """Keep a string out of tracebacks and logs.

    `repr()` shows ten stars whatever the length; `str()` gives the value, at the one place where
    it is needed. A secret is true when its value is not empty.
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
    """Read a list of strings out of one setting: `"a, b, 'c, d'"`.

    Quotes as in a shell keep commas and blanks within an item. A sequence of strings is taken as
    it is.

    Raises:
        ValueError: a quotation is not closed.
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
