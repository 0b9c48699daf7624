"""The package as its syntax trees show it: nothing is imported to look at it."""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "spica"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    path: Path
    source: str

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, str(self.path))

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def lines(self) -> list[str]:
        return self.source.splitlines()

    def place(self, node: ast.AST) -> str:
        """Name a place so that an editor can open it."""
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"

    def imports(self) -> Iterator[tuple[ast.stmt, str, list[str]]]:
        """Every import, wherever it stands: (statement, module, names taken from it)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node, alias.name, []
            elif isinstance(node, ast.ImportFrom):
                yield node, self._origin(node), [alias.name for alias in node.names]

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*parts, node.module] if node.module else parts)

    def definitions(self) -> Iterator[tuple[Definition, tuple[Definition, ...]]]:
        """Every class and function of the file with those it stands in, the outermost first."""
        yield from _definitions(self.tree, ())


def _definitions(
    node: ast.AST, outer: tuple[Definition, ...]
) -> Iterator[tuple[Definition, tuple[Definition, ...]]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            yield child, outer
            yield from _definitions(child, (*outer, child))
        else:
            yield from _definitions(child, outer)


@functools.cache
def read_package() -> dict[str, Module]:
    modules = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        modules[name] = Module(name, path, path.read_text(encoding="utf-8"))
    return modules


@pytest.fixture(scope="session")
def modules() -> dict[str, Module]:
    """The modules of the package by their names."""
    return read_package()


@pytest.fixture(scope="session")
def graph(modules: dict[str, Module]) -> dict[str, dict[str, str]]:
    """Who imports whom within the package, with the place of the import."""
    edges: dict[str, dict[str, str]] = {name: {} for name in modules}
    for module in modules.values():
        for node, origin, names in module.imports():
            targets = {
                f"{origin}.{name}" if f"{origin}.{name}" in modules else origin for name in names
            }
            for target in targets or {origin}:
                if target in modules and target != module.name:
                    edges[module.name].setdefault(target, module.place(node))
    return edges
