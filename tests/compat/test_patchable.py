"""A name that is rebound in a module of either name is rebound wherever spica goes by it."""

import importlib

import pytest

import spica._layers.exception_handlers
import spica.concurrency
from spica.compat.doctor import demanded_names

pytestmark = pytest.mark.usefixtures("switched")


@pytest.mark.parametrize("module", ["starlette.concurrency", "spica.concurrency"])
def test_a_rebinding_reaches_every_module_of_spica(module, monkeypatch):
    old = spica.concurrency.run_in_threadpool

    async def run(func, *args, **kwargs):
        return func(*args, **kwargs)

    monkeypatch.setattr(importlib.import_module(module), "run_in_threadpool", run)
    assert spica._layers.exception_handlers.run_in_threadpool is run
    monkeypatch.undo()
    assert spica._layers.exception_handlers.run_in_threadpool is old


def test_a_rebinding_reaches_the_other_brand(monkeypatch):
    import starlette.applications

    class Another(starlette.applications.Starlette):
        pass

    monkeypatch.setattr(starlette.applications, "Starlette", Another)
    assert starlette.applications.Spica is Another
    monkeypatch.undo()
    assert starlette.applications.Spica is starlette.applications.Starlette is not Another


def test_another_object_of_the_same_name_stays():
    import starlette.routing

    before = spica.concurrency.iterate_in_threadpool
    starlette.routing.iterate_in_threadpool = print
    try:
        assert spica.concurrency.iterate_in_threadpool is before
    finally:
        del starlette.routing.iterate_in_threadpool


def test_a_value_that_is_no_function_or_class_is_set_in_one_module():
    import starlette.requests
    import starlette.responses

    starlette.requests.some_flag = starlette.responses.some_flag = 1
    starlette.requests.some_flag = 2
    assert starlette.responses.some_flag == 1
    del starlette.requests.some_flag, starlette.responses.some_flag


@pytest.mark.parametrize(("module", "name"), list(demanded_names()))
@pytest.mark.filterwarnings("ignore::spica.exceptions.SpicaDeprecationWarning")
def test_every_name_that_packages_import_is_there(module, name):
    assert getattr(importlib.import_module(module), name) is not None


def test_the_list_of_names_is_a_long_one():
    assert len(list(demanded_names())) >= 137


@pytest.mark.parametrize(
    ("module", "name", "home"),
    [
        ("responses", "guess_type", "spica.responses"),  # gradio
        ("middleware.base", "ASGIApp", "spica.types"),  # starlette-context
        ("middleware.exceptions", "HTTPException", "spica.exceptions"),  # piccolo-admin
        ("requests", "FormData", "spica.datastructures"),  # fasthtml
        ("requests", "URL", "spica.datastructures"),  # fastapi-pagination
        ("routing", "Request", "spica.requests"),
        ("responses", "BackgroundTask", "spica.background"),
    ],
)
def test_what_is_re_exported_by_accident_is_the_thing_itself(module, name, home):
    there = getattr(importlib.import_module(f"starlette.{module}"), name)
    assert there is getattr(importlib.import_module(home), name)
