"""Hold the header fields of a message: RFC 9110 s.5, over ASGI's list of byte pairs.

`Headers` reads a list, `MutableHeaders` changes it. Neither copies the list, so what one side
does is seen by whoever holds the same list. What an application sets is checked, what a server
received is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, TypeVar, overload

from spica._http.fields import encode_field_name, encode_field_value, split_list

RawHeaders = list[tuple[bytes, bytes]]
T = TypeVar("T")

# Longer lists than any honest client sends are looked up through an index, so that a look-up of
# each name in turn (`dict(headers)`) costs no more than linear time.
_INDEXED_FROM = 64

# An index over at most so many fields is compared with the whole list before it is used, so that it
# sees every edit. The comparison is by identity and takes some microseconds. Of a longer list only the size,
# both ends and the found fields are compared, because the look-ups together would take quadratic time.
_COMPARED_UP_TO = 1024


class Headers(Mapping[str, str]):
    """Read header fields by name, whatever its case.

    Made of a mapping of strings, of raw pairs, or of a scope, whose `headers` become a list in
    place if they are none. `headers[name]` is the first value of a name, `getlist` has them
    all; `keys()`, `values()` and `items()` list each field there is. Bytes are read as latin-1.

    Raises:
        TypeError: more than one source is given, `headers` is no mapping, or a name or value is no string.
        ValueError: a name or value in the mapping may not stand in a header.
    """

    # A copy of a long list, and the positions of each name in it. Anybody who has the list may change it.
    _index: tuple[RawHeaders, dict[bytes, list[int]]] = ([], {})

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        raw: RawHeaders | None = None,
        scope: MutableMapping[str, Any] | None = None,
    ) -> None:
        pairs: Any
        if scope is not None:
            if headers is not None or raw is not None:
                raise _too_many_sources(type(self).__name__)
            pairs = scope["headers"]
            if type(pairs) is not list:
                pairs = scope["headers"] = list(pairs)
        elif raw is not None:
            if headers is not None:
                raise _too_many_sources(type(self).__name__)
            pairs = raw if type(raw) is list else list(raw)
        elif headers is None:
            pairs = []
        else:
            try:
                items = headers.items()
            except AttributeError:
                raise TypeError(
                    f"{type(self).__name__}: headers must be a mapping of names to values, not of type "
                    f"{type(headers).__name__}. Write a dict, or give pairs of bytes as raw=[...]."
                ) from None
            pairs = [encode_header(name, value) for name, value in items]
        self._list: RawHeaders = pairs

    @property
    def raw(self) -> RawHeaders:
        """The live list of (name, value) pairs in bytes; names are in lower case."""
        return self._list

    def keys(self) -> list[str]:  # type: ignore[override]  # a list with repeats, as documented
        """Return the name of each field, repeated names included."""
        return [name.decode("latin-1") for name, _ in self._list]

    def values(self) -> list[str]:  # type: ignore[override]  # as above
        """Return the value of each field."""
        return [value.decode("latin-1") for _, value in self._list]

    def items(self) -> list[tuple[str, str]]:  # type: ignore[override]  # as above
        """Return the name and the value of each field."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._list]

    def getlist(self, key: str) -> list[str]:
        """Return the values of all fields of this name, in order."""
        name = _encode_key(key)
        if name is None:
            return []
        pairs = self._list
        if len(pairs) >= _INDEXED_FROM:
            return [pairs[at][1].decode("latin-1") for at in self._positions(name)]
        return [pair[1].decode("latin-1") for pair in pairs if pair[0] == name]

    def mutablecopy(self) -> MutableHeaders:
        """Return a copy that can be changed; this one is not touched by it."""
        return MutableHeaders(raw=self._list[:])

    @overload
    def get(self, key: str, default: None = None) -> str | None: ...
    @overload
    def get(self, key: str, default: str) -> str: ...
    @overload
    def get(self, key: str, default: T) -> str | T: ...
    def get(self, key: str, default: Any = None) -> Any:
        """Return the first value of a name, or the default."""
        value = self._find(key)
        return default if value is None else value.decode("latin-1")

    def __getitem__(self, key: str) -> str:
        value = self._find(key)
        if value is None:
            raise KeyError(key)
        return value.decode("latin-1")

    def __contains__(self, key: object) -> bool:
        return self._find(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._list)

    def __eq__(self, other: object) -> bool:
        # The order of fields is free.
        if not isinstance(other, Headers):
            return False
        return sorted(map(tuple, self._list)) == sorted(map(tuple, other._list))

    def __repr__(self) -> str:
        name, fields = type(self).__name__, dict(self.items())
        if len(fields) == len(self._list):
            return f"{name}({fields!r})"
        return f"{name}(raw={self._list!r})"

    def _find(self, key: Any) -> bytes | None:
        try:
            name = key.encode("latin-1").lower()
        except (AttributeError, UnicodeEncodeError):
            return None  # nothing that is no latin-1 string is the name of a field
        pairs = self._list
        if len(pairs) >= _INDEXED_FROM:
            positions = self._positions(name)
            return pairs[positions[0]][1] if positions else None
        for pair in pairs:
            if pair[0] == name:
                return pair[1]
        return None

    def _positions(self, name: bytes) -> list[int]:
        """Return the positions of a name in a long list."""
        pairs = self._list
        copy, index = self._index
        if _is_same(copy, pairs):
            positions = index.get(name, _NOWHERE)
            if len(pairs) <= _COMPARED_UP_TO or not positions or pairs[positions[0]][0] == name:
                return positions
        # The list has changed since: read all of it, and note the positions.
        index = {}
        for at, pair in enumerate(pairs):
            index.setdefault(pair[0], []).append(at)
        self._index = pairs[:], index
        return index.get(name, _NOWHERE)


_NOWHERE: list[int] = []


def _is_same(copy: RawHeaders, pairs: RawHeaders) -> bool:
    """Return whether a long list is still that of which ``copy`` was made, as far as it is compared."""
    if len(copy) != len(pairs):
        return False
    if len(pairs) <= _COMPARED_UP_TO:
        return copy == pairs
    return copy[0] is pairs[0] and copy[-1] is pairs[-1]


class MutableHeaders(Headers):
    """Change header fields; each name and value is checked where it is set."""

    def __setitem__(self, key: str, value: str) -> None:
        new = encode_header(key, value)
        name, pairs = new[0], self._list
        for pair in pairs:
            if pair[0] == name:
                _replace(pairs, pair, new)
                return
        pairs.append(new)

    def __delitem__(self, key: str) -> None:
        name = _encode_key(key)
        pairs = self._list
        for pair in pairs:
            if pair[0] == name:
                pairs[:] = [pair for pair in pairs if pair[0] != name]
                return

    def __ior__(self, other: Mapping[str, str]) -> MutableHeaders:
        _check_mapping(other)
        self.update(other)
        return self

    def __or__(self, other: Mapping[str, str]) -> MutableHeaders:
        _check_mapping(other)
        merged = self.mutablecopy()
        merged.update(other)
        return merged

    def setdefault(self, key: str, value: str) -> str:
        """Return the first value of a name; set it first if there is none."""
        present = self._find(key)
        if present is not None:
            return present.decode("latin-1")
        self._list.append(encode_header(key, value))
        return value

    def update(self, other: Mapping[str, str]) -> None:
        """Set each field of a mapping, in place of those of the same name.

        Of a name that the mapping has several times, all fields are taken.
        """
        names = set()
        for key, value in other.items():
            if key in names:
                self.append(key, value)
            else:
                self[key] = value
                names.add(key)

    def append(self, key: str, value: str) -> None:
        """Add a field, beside those of the same name."""
        self._list.append(encode_header(key, value))

    def add_vary_header(self, vary: str) -> None:
        """Add names to the Vary field (RFC 9110 s.12.5.5), which becomes one line.

        Names that are listed already are not listed twice.
        """
        add_vary(self._list, vary)


def add_vary(pairs: RawHeaders, names: str) -> None:
    """Add names to the Vary field in a list of pairs, as ``add_vary_header`` does.

    Raises:
        ValueError: they may not stand in a header.
    """
    present = [pair for pair in pairs if pair[0] == b"vary"]
    listed = b", ".join([pair[1] for pair in present])
    is_short = len(listed) + len(names) <= _REMEMBERED_SIZE
    new = (_merge_vary if is_short else _merge_vary.__wrapped__)(listed, names)
    if present:
        _replace(pairs, present[0], new)
    else:
        pairs.append(new)


_REMEMBERED_SIZE = 100
"""The longest Vary field that is remembered, in characters."""


@lru_cache(maxsize=128)
def _merge_vary(listed: bytes, added: str) -> tuple[bytes, bytes]:
    """Return the Vary field with all these names. Layers add the same ones to each response."""
    names = split_list(listed.decode("latin-1"))
    known = {name.lower() for name in names}
    names += [name for name in split_list(added) if name.lower() not in known]
    return encode_header("vary", ", ".join(names))


def _replace(pairs: RawHeaders, first: tuple[bytes, bytes], new: tuple[bytes, bytes]) -> None:
    """Put a field where the first of its name stands; the others of that name go."""
    at = pairs.index(first)
    pairs[at] = new
    after = at + 1
    if after < len(pairs):
        name = new[0]
        pairs[after:] = [pair for pair in pairs[after:] if pair[0] != name]


def encode_header(name: str, value: str) -> tuple[bytes, bytes]:
    """Check and encode one header field; the name in lower case.

    Raises:
        TypeError: the name or the value is no string.
        ValueError: one of them may not stand in a header. The text names the header, and does
            not show the value, which may be a secret.
    """
    try:
        encoded = encode_field_name(name)
    except AttributeError:
        raise TypeError(f"The name of a header must be a string, not {name!r:.80}.") from None
    try:
        return encoded, encode_field_value(value)
    except AttributeError:
        kind = type(value).__name__
        raise TypeError(f"The value of the header {name!r} must be a string, not {kind}.") from None
    except ValueError as error:
        raise ValueError(f"In the header {name!r}: {error}") from None


def _encode_key(key: Any) -> bytes | None:
    try:
        lowered: bytes = key.encode("latin-1").lower()
    except (AttributeError, UnicodeEncodeError):
        return None
    return lowered


def _check_mapping(other: object) -> None:
    if not isinstance(other, Mapping):
        raise TypeError(f"Expected a mapping but got {type(other).__name__}")


def _too_many_sources(name: str) -> TypeError:
    return TypeError(f"{name} is made of one of headers, raw and scope; more than one was given.")
