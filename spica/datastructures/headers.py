"""Header fields of a message (RFC 9110 s.5), as views of ASGI's list of byte pairs.

`Headers` reads such a list, and `MutableHeaders` changes it. Neither copies the list, so every view of one
list shows all changes. Fields that your application sets are validated. Fields from a server are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, TypeVar, overload

from spica._http.fields import encode_field_name, encode_field_value, known_names, split_list

RawHeaders = list[tuple[bytes, bytes]]
T = TypeVar("T")

# Longer lists than legitimate clients send get an index, so that looking up each name in turn
# (`dict(headers)`) takes linear time.
_INDEXED_FROM = 64

# Up to this many fields, the whole list is compared with the index before each use, so every edit is
# noticed. The comparison is by identity and takes some microseconds. For a longer list, only the size, both
# ends and the found field are compared, because comparing everything would make the look-ups quadratic.
_COMPARED_UP_TO = 1024


class Headers(Mapping[str, str]):
    """A read-only, case-insensitive view of header fields, decoded as latin-1.

    `headers[name]` is the first value of a name, and `getlist(name)` has all of them. `keys()`, `values()`
    and `items()` list every field, including repeated names.

    Args:
        headers: A mapping of names to values.
        raw: A list of (name, value) pairs in bytes, with lower-case names. It is shared, not copied.
        scope: An ASGI scope. Its `headers` are shared, and become a list if they are another iterable.

    Raises:
        TypeError: More than one source is given, `headers` is not a mapping, or a name or value is not a
            string.
        ValueError: A name or value in the mapping is invalid.

    >>> headers = Headers({"Content-Type": "text/plain"})
    >>> headers["content-type"]
    'text/plain'
    """

    # A copy of a long list, and the positions of each name in it. Other code may change the list any time.
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
        """The live list of (name, value) pairs in bytes. Names are in lower case."""
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
        """Return the values of all fields with this name, in order."""
        name = _encode_key(key)
        if name is None:
            return []
        pairs = self._list
        if len(pairs) >= _INDEXED_FROM:
            return [pairs[at][1].decode("latin-1") for at in self._positions(name)]
        return [pair[1].decode("latin-1") for pair in pairs if pair[0] == name]

    def mutablecopy(self) -> MutableHeaders:
        """Return an independent copy that you can change."""
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
            return None  # field names are latin-1 strings
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
        # The list has changed since: index it again.
        index = {}
        for at, pair in enumerate(pairs):
            index.setdefault(pair[0], []).append(at)
        self._index = pairs[:], index
        return index.get(name, _NOWHERE)


_NOWHERE: list[int] = []


def _is_same(copy: RawHeaders, pairs: RawHeaders) -> bool:
    """Return whether ``copy`` still equals a long list, as far as the two are compared."""
    if len(copy) != len(pairs):
        return False
    if len(pairs) <= _COMPARED_UP_TO:
        return copy == pairs
    return copy[0] is pairs[0] and copy[-1] is pairs[-1]


class MutableHeaders(Headers):
    """Header fields that you can change. Each name and value is validated when you set it.

    Args:
        headers, raw, scope: As for `Headers`. Changes apply to the shared list.

    Raises:
        ValueError: A name or value is invalid, for example because it contains a line break.

    >>> headers = MutableHeaders({"vary": "Accept"})
    >>> headers.add_vary_header("Origin")
    >>> headers["Vary"]
    'Accept, Origin'
    """

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
        """Return the first value of a name. If there is none, set it to ``value`` first."""
        present = self._find(key)
        if present is not None:
            return present.decode("latin-1")
        self._list.append(encode_header(key, value))
        return value

    def update(self, other: Mapping[str, str]) -> None:
        """Set each field of a mapping. Existing fields of the same name are replaced.

        If the mapping has a name several times, all of its fields are set.
        """
        names = set()
        for key, value in other.items():
            if key in names:
                self.append(key, value)
            else:
                self[key] = value
                names.add(key)

    def append(self, key: str, value: str) -> None:
        """Add a field, and keep existing fields of the same name."""
        self._list.append(encode_header(key, value))

    def add_vary_header(self, vary: str) -> None:
        """Add names to the Vary field (RFC 9110 s.12.5.5), and merge several Vary lines into one.

        Names that are already listed are not repeated.
        """
        add_vary(self._list, vary)


def add_vary(pairs: RawHeaders, names: str) -> None:
    """Add names to the Vary field in a list of pairs, as ``add_vary_header`` does.

    Raises:
        ValueError: A name is invalid.
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
"""Longest Vary field that is cached, in characters."""


@lru_cache(maxsize=128)
def _merge_vary(listed: bytes, added: str) -> tuple[bytes, bytes]:
    """Return the merged Vary field. It is cached, because layers add the same names to every response."""
    names = split_list(listed.decode("latin-1"))
    known = {name.lower() for name in names}
    names += [name for name in split_list(added) if name.lower() not in known]
    return encode_header("vary", ", ".join(names))


def _replace(pairs: RawHeaders, first: tuple[bytes, bytes], new: tuple[bytes, bytes]) -> None:
    """Put a field at the position of the first one with its name, and remove the others."""
    at = pairs.index(first)
    pairs[at] = new
    after = at + 1
    if after < len(pairs):
        name = new[0]
        pairs[after:] = [pair for pair in pairs[after:] if pair[0] != name]


def encode_header(name: str, value: str) -> tuple[bytes, bytes]:
    """Validate and encode one header field. The name becomes lower case.

    Raises:
        TypeError: The name or the value is not a string.
        ValueError: One of them is invalid. The message names the header but not the value, which may be
            secret.
    """
    try:
        # Nearly always the name was encoded before and the value is plain ASCII, and both need no call.
        encoded = known_names[name]
        if value.isascii() and value.isprintable():
            return encoded, value.strip().encode()
    except (KeyError, TypeError, AttributeError):
        pass
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
    return TypeError(f"{name} takes one of headers, raw and scope, but more than one was given.")
