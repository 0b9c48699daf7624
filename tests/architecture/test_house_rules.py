"""The rules of the house that a syntax tree can show.

Each test lists the places that break one.
"""

import ast
import re

import pytest

MAX_LINES_OF_A_FILE = 600
MAX_LINES_OF_A_FUNCTION = 50
MAX_BRANCHES = 10
MAX_NESTED_FUNCTIONS = 6
MAX_TYPE_IGNORES = 5

BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.IfExp,
    ast.comprehension,
    ast.match_case,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
STANDARD = re.compile(r"\bRFC \d{3,5}\b|\bWHATWG\b|\bASGI\b")


@pytest.fixture(scope="module")
def rules_modules(modules):
    """The files of _http/ that hold rules, not just a face."""
    return [m for m in modules.values() if m.name.startswith("spica._http.") and not m.is_package]


def body_without_docstring(node):
    return node.body[1:] if ast.get_docstring(node) is not None else node.body


# Structure


def test_package_faces_only_re_export(modules):
    wrong = [
        module.place(statement)
        for module in modules.values()
        if module.is_package and module.name != "spica"
        for statement in body_without_docstring(module.tree)
        if not is_re_export(statement)
    ]
    assert wrong == []


def is_re_export(statement):
    """An import, or the assignment of a name such as ``__all__``; or these by ``if TYPE_CHECKING``."""
    if isinstance(statement, ast.If):
        is_lazy = isinstance(statement.test, ast.Name) and statement.test.id == "TYPE_CHECKING"
        return is_lazy and all(map(is_re_export, statement.body + statement.orelse))
    if isinstance(statement, ast.Assign):
        targets = statement.targets
        return all(isinstance(t, ast.Name) and re.fullmatch("__[a-z]+__", t.id) for t in targets)
    return isinstance(statement, ast.Import | ast.ImportFrom)


def test_files_are_small(modules):
    lengths = {module.place(module.tree): len(module.lines) for module in modules.values()}
    assert {place: n for place, n in lengths.items() if n > MAX_LINES_OF_A_FILE} == {}


def test_functions_are_short(modules):
    too_long = {}
    for module in modules.values():
        for node, _ in module.definitions():
            if isinstance(node, FUNCTIONS):
                body = body_without_docstring(node)
                length = node.end_lineno - body[0].lineno + 2 if body else 1
                if length > MAX_LINES_OF_A_FUNCTION:
                    too_long[f"{module.place(node)} {node.name}"] = length
    assert too_long == {}


def test_functions_have_few_branches(modules):
    too_many = {}
    for module in modules.values():
        for node, _ in module.definitions():
            if isinstance(node, FUNCTIONS) and count_branches(node) > MAX_BRANCHES:
                too_many[f"{module.place(node)} {node.name}"] = count_branches(node)
    assert too_many == {}


def count_branches(function):
    inside = list(ast.walk(function))
    choices = sum(isinstance(node, BRANCHES) for node in inside)
    return choices + sum(len(node.values) - 1 for node in inside if isinstance(node, ast.BoolOp))


def test_functions_are_hardly_ever_nested(modules):
    """Per-request state is an object, not a closure; decorators hand their inner function back."""
    nested = [
        f"{module.place(node)} {node.name}"
        for module in modules.values()
        for node, outer in module.definitions()
        if isinstance(node, FUNCTIONS)
        and any(isinstance(o, FUNCTIONS) for o in outer)
        and not hands_back_a_function(next(o for o in reversed(outer) if isinstance(o, FUNCTIONS)))
    ]
    assert len(nested) <= MAX_NESTED_FUNCTIONS, nested


def hands_back_a_function(function):
    inner = {node.name for node in ast.walk(function) if isinstance(node, FUNCTIONS)} - {
        function.name
    }
    return any(
        isinstance(node, ast.Return) and isinstance(node.value, ast.Name) and node.value.id in inner
        for node in ast.walk(function)
    )


# Rules of the protocol


def test_rules_do_no_input_or_output(rules_modules):
    asynchronous = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    wrong = [
        module.place(node)
        for module in rules_modules
        for node in ast.walk(module.tree)
        if isinstance(node, asynchronous) or getattr(node, "is_async", 0)
    ]
    assert wrong == []


def test_rules_cite_their_standard(rules_modules):
    assert [m.place(m.tree) for m in rules_modules if not STANDARD.search(m.source)] == []


# Documentation


def test_modules_have_a_docstring(modules):
    assert [m.place(m.tree) for m in modules.values() if not ast.get_docstring(m.tree)] == []


def test_public_names_have_a_docstring(modules):
    wrong = [
        f"{module.place(node)} {node.name}"
        for module in modules.values()
        for node, outer in module.definitions()
        if is_public(node, outer) and not ast.get_docstring(node)
    ]
    assert wrong == []


def is_public(node, outer):
    """A class or function that users see: no underscore on the way to it, not within a function."""
    if any(isinstance(o, FUNCTIONS) or o.name.startswith("_") for o in outer):
        return False
    overload = any("overload" in ast.dump(decorator) for decorator in node.decorator_list)
    return not node.name.startswith("_") and not overload


def test_docstrings_of_public_names_begin_with_a_sentence(modules):
    wrong = []
    for module in modules.values():
        for node, outer in module.definitions():
            text = ast.get_docstring(node)
            if is_public(node, outer) and text:
                sentence = text.split("\n\n")[0].rstrip()
                if not sentence.endswith((".", ":", "?", "!")):
                    wrong.append(f"{module.place(node)} {node.name}: {sentence[:60]!r}")
    assert wrong == []


# Errors and types


def test_assert_does_not_check_arguments(modules):
    """``assert`` vanishes under ``python -O``; it may only tell the type checker what is known."""
    wrong = []
    for module in modules.values():
        for node, _ in module.definitions():
            if isinstance(node, FUNCTIONS):
                for statement in ast.walk(node):
                    if isinstance(statement, ast.Assert) and not narrows_a_type(statement.test):
                        wrong.append(module.place(statement))
    assert sorted(set(wrong)) == []


def narrows_a_type(test):
    """``isinstance(x, T)``, ``x is None``, ``x is not None``, or several of them with ``and``."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return all(map(narrows_a_type, test.values))
    if isinstance(test, ast.Call):
        return isinstance(test.func, ast.Name) and test.func.id == "isinstance"
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.ops[0], ast.Is | ast.IsNot)
        and isinstance(test.comparators[0], ast.Constant)
        and test.comparators[0].value is None
    )


def test_types_are_hardly_ever_ignored(modules):
    places = [
        f"{module.path.name}:{number}: {line.strip()}"
        for module in modules.values()
        for number, line in enumerate(module.lines, 1)
        if "type: ignore" in line
    ]
    assert len(places) <= MAX_TYPE_IGNORES, places
    reasoned = re.compile(r"# type: ignore\[[a-z, -]+\]  # \w")
    assert [place for place in places if not reasoned.search(place)] == []


def test_no_todo_is_left_behind(modules):
    """What is left to do is an issue with a number, not a note in the code."""
    note = re.compile(r"#.*\b(TODO|FIXME|XXX)\b(?!.*#\d)")
    wrong = [
        f"{module.path.name}:{number}"
        for module in modules.values()
        for number, line in enumerate(module.lines, 1)
        if note.search(line)
    ]
    assert wrong == []
