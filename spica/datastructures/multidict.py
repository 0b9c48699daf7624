"""Mappings from a key to several values, in the order of insertion.

`d[key]` is the last value of a key, `d.getlist(key)` has all of its values, and `d.multi_items()` is the
whole list of pairs.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self, TypeVar, overload

from spica._http.urls import format_query, parse_query

K = TypeVar("K")
T = TypeVar("T")
V_co = TypeVar("V_co", covariant=True)


class ImmutableMultiDict(Mapping[K, V_co]):
    """Pairs of keys and values that do not change.

    As a mapping, it contains each key once, with its last value.

    Args:
        *args: At most one: another multi-dict, a mapping, or an iterable of pairs.
        **kwargs: Further pairs, added at the end.

    Raises:
        TypeError: There is more than one positional argument, or it does not contain pairs.

    >>> d = ImmutableMultiDict([("a", "1"), ("a", "2")])
    >>> d["a"], d.getlist("a"), len(d)
    ('2', ['1', '2'], 1)
    """

    # The values of each key, grouped when `getlist` first needs them.
    _groups: dict[Any, list[Any]] | None = None

    def __init__(
        self,
        *args: ImmutableMultiDict[K, V_co] | Mapping[K, V_co] | Iterable[tuple[K, V_co]],
        **kwargs: Any,
    ) -> None:
        self._list: list[Any] = pairs_of(type(self).__name__, args, kwargs)
        self._dict: dict[Any, Any] = dict(self._list)

    def getlist(self, key: Any) -> list[V_co]:
        """Return all values of a key, in order, or an empty list for an unknown key."""
        values, pairs = self._dict, self._list
        if key not in values:
            return []
        if len(values) == len(pairs):  # all keys are unique
            return [values[key]]
        if self._groups is None:
            # Group once, so that calling this for each key in turn takes linear time.
            self._groups = _group(pairs)
        return list(self._groups[key])

    def keys(self) -> KeysView[K]:
        """Return a view of the distinct keys."""
        return self._dict.keys()

    def values(self) -> ValuesView[V_co]:
        """Return a view of the last value of each key."""
        return self._dict.values()

    def items(self) -> ItemsView[K, V_co]:
        """Return a view of each key with its last value."""
        return self._dict.items()

    def multi_items(self) -> list[tuple[K, V_co]]:
        """Return a new list of all pairs, in order."""
        return list(self._list)

    @overload
    def get(self, key: K, default: None = None) -> V_co | None: ...
    @overload
    def get(self, key: K, default: V_co | T) -> V_co | T: ...
    def get(self, key: Any, default: Any = None) -> Any:
        """Return the last value of a key, or the default."""
        return self._dict.get(key, default)

    def __getitem__(self, key: K) -> V_co:
        value: V_co = self._dict[key]
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._dict

    def __iter__(self) -> Iterator[K]:
        return iter(self._dict)

    def __len__(self) -> int:
        return len(self._dict)

    def __eq__(self, other: object) -> bool:
        # Equal if each key has the same values in the same order. The order of keys does not matter.
        if not isinstance(other, type(self)):
            return False
        return self._list == other._list or _group(self._list) == _group(other._list)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.multi_items()!r})"


class MultiDict(ImmutableMultiDict[Any, Any]):
    """Pairs of keys and values that you can change.

    Args:
        *args: At most one: another multi-dict, a mapping, or an iterable of pairs.
        **kwargs: Further pairs, added at the end.

    >>> d = MultiDict(a="1")
    >>> d.append("a", "2")
    >>> d.multi_items()
    [('a', '1'), ('a', '2')]
    """

    def __setitem__(self, key: Any, value: Any) -> None:
        self.setlist(key, [value])

    def __delitem__(self, key: Any) -> None:
        del self._dict[key]
        self._drop(key)

    def pop(self, key: Any, default: Any = None) -> Any:
        """Remove a key with all its values. Return its last value, or the default for an unknown key."""
        if key not in self._dict:
            return default
        value = self._dict.pop(key)
        self._drop(key)
        return value

    def popitem(self) -> tuple[Any, Any]:
        """Remove the newest key with all its values. Return the key and its last value.

        Raises:
            KeyError: The multi-dict is empty.
        """
        key, value = self._dict.popitem()
        self._drop(key)
        return key, value

    def poplist(self, key: Any) -> list[Any]:
        """Remove a key. Return all its values, or an empty list for an unknown key."""
        values = self.getlist(key)
        if values:
            del self[key]
        return values

    def clear(self) -> None:
        """Remove all pairs."""
        self._dict.clear()
        self._list.clear()
        self._groups = None

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the last value of a key. If the key is unknown, set it to the default first."""
        if key not in self._dict:
            self.append(key, default)
        return self._dict[key]

    def setlist(self, key: Any, values: Iterable[Any]) -> None:
        """Replace the values of a key. An empty iterable removes the key."""
        pairs = [(key, value) for value in values]
        if key in self._dict:
            self._drop(key)
        self._list += pairs
        self._groups = None
        if pairs:
            self._dict[key] = pairs[-1][1]
        else:
            self._dict.pop(key, None)

    def append(self, key: Any, value: Any) -> None:
        """Add a value to the values of a key."""
        self._list.append((key, value))
        self._dict[key] = value
        self._groups = None

    def update(
        self, *args: MultiDict | Mapping[Any, Any] | Iterable[tuple[Any, Any]], **kwargs: Any
    ) -> None:
        """Set the given keys, each with all its given values. Other keys do not change."""
        added = pairs_of(f"{type(self).__name__}.update", args, kwargs)
        replaced = dict(added)
        self._list[:] = [pair for pair in self._list if pair[0] not in replaced] + added
        self._dict.update(replaced)
        self._groups = None

    def _drop(self, key: Any) -> None:
        self._list[:] = [pair for pair in self._list if pair[0] != key]
        self._groups = None


class QueryParams(ImmutableMultiDict[str, str]):
    """The parameters of a query. Keys and values are strings.

    Empty values are kept. Bytes that are not UTF-8 become U+FFFD. `str()` formats the query again.

    Args:
        *args: At most one: the query as a string or bytes, another multi-dict, a mapping, or an iterable of
            pairs.
        **kwargs: Further parameters, added at the end.

    >>> params = QueryParams("q=a+b&page=2")
    >>> params["q"], int(params["page"])
    ('a b', 2)
    """

    def __init__(
        self,
        *args: ImmutableMultiDict[Any, Any]
        | Mapping[Any, Any]
        | Iterable[tuple[Any, Any]]
        | str
        | bytes,
        **kwargs: Any,
    ) -> None:
        if len(args) == 1 and not kwargs and isinstance(args[0], (str, bytes)):
            pairs = parse_query(args[0]) if args[0] else []  # most requests have no query
        else:
            read = tuple(parse_query(a) if isinstance(a, (str, bytes)) else a for a in args)
            given = pairs_of(type(self).__name__, read, kwargs)
            pairs = [(str(key), str(value)) for key, value in given]
        self._list = pairs
        self._dict = dict(pairs)

    @classmethod
    def _of_query(cls, query: bytes) -> Self:
        """Return the parameters of the query of a request. This is faster than the constructor."""
        params = cls.__new__(cls)
        pairs = params._list = parse_query(query) if query else []  # most requests have no query
        params._dict = {name: value for name, value in pairs}  # noqa: C416  # faster than dict()
        return params

    def __str__(self) -> str:
        return format_query(self._list)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


def pairs_of(caller: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """Collect the pairs for a multi-dict from one argument and the keyword arguments.

    `caller` names the caller in the error message.

    Raises:
        TypeError: There is more than one positional argument, or it does not contain pairs.
    """
    if len(args) > 1:
        raise TypeError(f"{caller} takes one positional argument, {len(args)} were given.")
    source: Any = args[0] if args else None
    pairs: list[Any] = []
    if hasattr(source, "multi_items"):
        pairs = list(source.multi_items())
    elif hasattr(source, "items"):
        pairs = list(source.items())
    elif source:
        pairs = list(source)
    if kwargs:
        pairs.extend(kwargs.items())
    return pairs


def _group(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
