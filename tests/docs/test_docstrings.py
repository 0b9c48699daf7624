"""The examples in docstrings are doctests, and all of them run."""

import doctest
import importlib
import pkgutil

import pytest

import spica

# Importing these warns, patches modules or starts a program.
SKIPPED = ("spica.__main__", "spica.compat", "spica.checks", "spica.middleware.wsgi")


def collect_examples():
    """Return every docstring of the package that has an example."""
    examples = []
    finder = doctest.DocTestFinder(exclude_empty=True)
    for info in pkgutil.walk_packages(spica.__path__, "spica."):
        if info.ispkg or info.name.startswith(SKIPPED):
            continue
        module = importlib.import_module(info.name)
        examples += [test for test in finder.find(module) if test.examples]
    return examples


@pytest.mark.parametrize("example", collect_examples(), ids=lambda example: example.name)
def test_an_example_does_what_it_shows(example):
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert result.failed == 0
