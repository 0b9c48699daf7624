"""``typing.get_type_hints`` resolves public classes: containers of dependencies and cadwyn's tests use it."""

import importlib
import inspect
import typing

import pytest

from spica.compat.names import PUBLIC_MODULES


def public_classes():
    for module in PUBLIC_MODULES:
        if module.endswith((".wsgi", ".opentelemetry")):
            continue  # one warns, the other needs a package
        for name, value in vars(importlib.import_module(module)).items():
            if inspect.isclass(value) and value.__module__.startswith("spica"):
                yield pytest.param(value, id=f"{module}.{name}")


@pytest.mark.parametrize("cls", list(public_classes()))
def test_the_annotations_of_a_class_are_resolved(cls):
    assert isinstance(typing.get_type_hints(cls), dict)


@pytest.mark.filterwarnings("ignore::spica.exceptions.SpicaDeprecationWarning")
def test_those_of_the_wsgi_responder_too():
    from spica.middleware.wsgi import WSGIResponder

    assert typing.get_type_hints(WSGIResponder)["status"] == str | None
