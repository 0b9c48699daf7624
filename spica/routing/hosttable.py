"""Look up which of several ``Host`` routes a host name belongs to.

Pure. The cost of a look-up does not grow with the number of names, only with that of the patterns that have
parameters.
"""

from __future__ import annotations

from typing import Any

from spica.routing.mounts import Host


class HostTable:
    """The hosts of a run of routes; the first one in the list that matches counts."""

    __slots__ = ("_names", "_patterns")

    def __init__(self) -> None:
        self._names: dict[str, tuple[int, Host]] = {}
        self._patterns: list[tuple[int, Host]] = []

    def add(self, route: Host, order: int) -> None:
        """Add the next route, which is at position ``order`` of the list."""
        if type(route) is Host and not route.param_convertors:
            self._names.setdefault(route._plain_name(), (order, route))
        else:
            self._patterns.append((order, route))

    def find(self, name: str) -> tuple[Host, dict[str, Any]] | None:
        """Return the first route that matches a host name, with its parameters."""
        named = self._names.get(name)
        for order, route in self._patterns:
            if named is not None and named[0] < order:
                break
            params = route._read_params(name)
            if params is not None:
                return route, params
        return None if named is None else (named[1], {})
