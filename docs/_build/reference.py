"""The API reference: one page of Markdown for each public module, made of its docstrings.

What is public is what ``__all__`` lists, or else every name without a leading underscore that the module
defines. The order of a module is that of its source. Signatures are those of the source, too, with the
values of constants that have private names.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from docstrings import to_markdown
from pages import Page

OPEN_PACKAGES = ("spica", "spica.middleware")
"""Packages whose modules are imported from by name; of others the package has all names."""

INTERNAL = {"spica.middleware.debug_page"}
"""Modules without an underscore that are still no one's business."""

MAX_WIDTH = 88

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Assign | ast.AnnAssign


def public_modules() -> list[str]:
    """Return the names of the modules that the reference has pages for, sorted."""
    names = ["spica.middleware"]
    for package in OPEN_PACKAGES:
        for module in pkgutil.iter_modules(_import(package).__path__, package + "."):
            is_private = module.name.rpartition(".")[2].startswith("_")
            if not is_private and module.name not in INTERNAL:
                names.append(module.name)
    return sorted(set(names))


def reference_pages() -> list[Page]:
    """Return the pages of the reference."""
    return [module_page(name) for name in public_modules()]


def module_page(name: str) -> Page:
    """Return the page of one module."""
    module = _import(name)
    parts = [f"# `{name}`", to_markdown(module.__doc__)]
    for public in public_names(module):
        parts.append(_describe(module, public))
    return Page(f"reference/{name}", name, "\n\n".join(part for part in parts if part) + "\n")


def public_names(module: ModuleType) -> list[str]:
    """Return the public names of a module, in the order of its source."""
    defined = [found.name for found in _definitions(module.__name__)]
    listed = getattr(module, "__all__", None)
    if listed is None:
        return [name for name in defined if not name.startswith("_") and not _is_alien(name)]
    own = [name for name in defined if name in listed]
    return own + sorted(set(listed) - set(own), key=str.lower)


def _is_alien(name: str) -> bool:
    return len(name) <= 3 and name.rstrip("_co").isupper()  # a type variable


def _import(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some modules are deprecated
        return importlib.import_module(name)


# -- finding -------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """Where and how a name is defined."""

    name: str
    module: str
    node: Definition
    docstring: str | None


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(_import(module)))


@cache
def _definitions(module: str) -> list[Found]:
    """Return what a module defines, in order; the text behind a constant is its docstring."""
    return list(_defined_in(_tree(module).body, module))


def _defined_in(body: list[ast.stmt], module: str) -> Iterator[Found]:
    for position, node in enumerate(body):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if not any(ast.unparse(mark) == "overload" for mark in node.decorator_list):
                yield Found(node.name, module, node, ast.get_docstring(node))
            continue
        target = None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
        elif isinstance(node, ast.AnnAssign):
            target = node.target
        if isinstance(target, ast.Name) and isinstance(node, (ast.Assign, ast.AnnAssign)):
            yield Found(target.id, module, node, _text_behind(body, position))


def _text_behind(body: list[ast.stmt], position: int) -> str | None:
    behind = body[position + 1] if position + 1 < len(body) else None
    if isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
        text = behind.value.value
        return text if isinstance(text, str) else None
    return None


def _locate(module: str, name: str) -> Found | None:
    """Find the definition of a name, through the modules that only hand it on."""
    for found in _definitions(module):
        if found.name == name:
            return found
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("spica"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _locate(node.module, alias.name)
    return None


# -- describing ----------------------------------------------------------------------------------------


def _describe(module: ModuleType, name: str) -> str:
    found = _locate(module.__name__, name)
    value = getattr(module, name)
    if found is None:
        return f"## `{name}`\n\n{to_markdown(inspect.getdoc(value))}"
    if isinstance(found.node, ast.ClassDef):
        return _describe_class(found, found.node, value)
    if isinstance(found.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        code = _code(_signature(found.node, value, name))
        return f"## `{name}()`\n\n{code}\n\n{to_markdown(found.docstring)}"
    return _describe_constant(found, value)


def _describe_constant(found: Found, value: Any) -> str:
    text = ast.unparse(found.node)
    if isinstance(value, (int, str)) and not isinstance(value, type):
        text = f"{found.name} = {value!r}"
    if len(text) > 4 * MAX_WIDTH:
        text = f"{found.name} = ..."
    return f"## `{found.name}`\n\n{_code(text)}\n\n{to_markdown(found.docstring)}"


def _describe_class(found: Found, node: ast.ClassDef, cls: Any) -> str:
    bases = [ast.unparse(base) for base in node.bases]
    shown = [base for base in bases if not base.startswith("_")]
    heading = f"class {node.name}({', '.join(shown)})" if shown else f"class {node.name}"
    members = list(_defined_in(node.body, found.module))
    init = next((member for member in members if member.name == "__init__"), None)
    code = heading
    if init is not None and isinstance(init.node, ast.FunctionDef):
        code = f"{heading}\n{_signature(init.node, cls.__init__, node.name, is_method=True)}"
    parts = [f"## `{node.name}`", _code(code), to_markdown(found.docstring)]
    if init is not None and init.docstring:
        parts.append(to_markdown(init.docstring))
    parts += [text for member in members if (text := _describe_member(node.name, member, cls))]
    inherited = _inherited(cls, {member.name for member in members})
    return "\n\n".join([part for part in parts if part] + inherited)


def _describe_member(class_name: str, member: Found, cls: Any) -> str:
    """Return the text for a method, property or attribute; an empty one if it is not public."""
    name, node = member.name, member.node
    if name.startswith("_") and not (name == "__call__" and member.docstring):
        return ""
    heading = f"### `{class_name}.{name}`"
    if isinstance(node, ast.ClassDef):
        return ""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        marks = {ast.unparse(mark) for mark in node.decorator_list}
        if any(mark.endswith((".setter", ".deleter")) for mark in marks):
            return ""
        if "property" in marks:
            returns = f": {ast.unparse(node.returns)}" if node.returns else ""
            code = _code(f"{name}{returns}  # property")
        else:
            is_method = "staticmethod" not in marks
            function = inspect.getattr_static(cls, name)
            code = _code(_signature(node, getattr(function, "__func__", function), name, is_method))
        return f"{heading}\n\n{code}\n\n{to_markdown(member.docstring)}"
    if member.docstring is None and not _is_enum(cls):
        return ""
    return f"{heading}\n\n{_code(ast.unparse(node))}\n\n{to_markdown(member.docstring)}"


def _is_enum(cls: Any) -> bool:
    return any(base.__name__ == "Enum" for base in cls.__mro__)


def _inherited(cls: Any, own: set[str]) -> list[str]:
    """Return one line for each public class of ours that it has members of."""
    lines = []
    for base in cls.__mro__[1:]:
        if not base.__module__.startswith("spica.") or base.__name__.startswith("_"):
            continue
        names = [
            name
            for name, value in vars(base).items()
            if not name.startswith("_")
            and name not in own
            and (inspect.isfunction(value) or isinstance(value, (property, staticmethod)))
        ]
        own |= set(names)
        if names:
            lines.append(f"Inherited from `{base.__name__}`: {', '.join(f'`{n}`' for n in names)}.")
    return lines


# -- signatures ----------------------------------------------------------------------------------------


def _signature(
    node: ast.FunctionDef | ast.AsyncFunctionDef,
    function: Any,
    name: str,
    is_method: bool = False,
) -> str:
    """Return the signature as it stands in the source, one parameter a line if it is long."""
    arguments = node.args
    _show_values(arguments, function)
    parts = _parameters(arguments)
    if is_method and parts and parts[0].split(":")[0] in ("self", "cls"):
        parts = parts[1:]
        if parts and parts[0] == "/":
            parts = parts[1:]
    prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    line = f"{prefix}{name}({', '.join(parts)}){returns}"
    if len(line) <= MAX_WIDTH:
        return line
    inner = "".join(f"    {part},\n" for part in parts)
    return f"{prefix}{name}(\n{inner}){returns}"


def _parameters(arguments: ast.arguments) -> list[str]:
    """Return the parameters as they are written, the marks ``/`` and ``*`` among them."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults
    parts = []
    for position, (argument, default) in enumerate(zip(positional, defaults, strict=True), 1):
        parts.append(_parameter(argument, default))
        if position == len(arguments.posonlyargs):
            parts.append("/")
    if arguments.vararg is not None:
        parts.append("*" + _parameter(arguments.vararg, None))
    elif arguments.kwonlyargs:
        parts.append("*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parts.append(_parameter(argument, default))
    if arguments.kwarg is not None:
        parts.append("**" + _parameter(arguments.kwarg, None))
    return parts


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    text = argument.arg
    if argument.annotation is not None:
        text += f": {ast.unparse(argument.annotation)}"
    if default is not None:
        equals = " = " if argument.annotation is not None else "="
        text += f"{equals}{ast.unparse(default)}"
    return text


def _show_values(arguments: ast.arguments, function: Any) -> None:
    """Put numbers and texts in the place of the private constants that hold them."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return
    positional = [*arguments.posonlyargs, *arguments.args]
    last = positional[len(positional) - len(arguments.defaults) :]
    for names, defaults in (
        (last, arguments.defaults),
        (arguments.kwonlyargs, arguments.kw_defaults),
    ):
        for position, (argument, default) in enumerate(zip(names, defaults, strict=True)):
            parameter = parameters.get(argument.arg)
            if isinstance(default, ast.Name) and parameter is not None:
                if isinstance(parameter.default, (int, str, float)):
                    defaults[position] = ast.Constant(parameter.default)


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
