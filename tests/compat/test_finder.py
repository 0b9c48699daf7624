"""Each way in which Python finds a module finds spica under Starlette's name."""

import importlib
import importlib.util
import pickle
import pkgutil
import sys

import pytest

import spica.middleware.cors
import spica.routing
from spica.compat.names import PUBLIC_MODULES, their_name

pytestmark = pytest.mark.usefixtures("switched")


@pytest.mark.parametrize("name", PUBLIC_MODULES)
@pytest.mark.filterwarnings("ignore::spica.exceptions.SpicaDeprecationWarning")
def test_a_module_is_the_same_object_under_both_names(name):
    assert importlib.import_module(their_name(name)) is importlib.import_module(name)
    assert sys.modules[name].__spec__.name == name


def test_every_form_of_import_finds_it():
    import starlette.middleware.cors
    import starlette.middleware.cors as cors
    from starlette import routing
    from starlette.middleware import cors as cors_again

    assert cors is cors_again is starlette.middleware.cors is spica.middleware.cors
    assert routing is spica.routing


def test_submodules_are_attributes_after_the_package_alone_was_imported():
    # ddtrace, sentry-sdk, shiny
    import starlette

    assert starlette.routing.Route is spica.routing.Route
    assert starlette.background.BackgroundTasks
    assert starlette.middleware.body_limit._RequestBodyTooLarge
    with pytest.raises(AttributeError, match="module 'starlette' has no attribute 'nothing'"):
        starlette.nothing  # noqa: B018
    with pytest.raises(AttributeError, match=r"module 'spica.routing' has no attribute 'nothing'"):
        starlette.routing.nothing  # noqa: B018


def test_what_spica_lacks_is_not_found(monkeypatch):
    assert importlib.util.find_spec("starlette.nothing") is None
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'starlette.nothing'"):
        importlib.import_module("starlette.nothing")


def test_specs_are_found_without_an_import():
    sys.modules.pop("starlette.schemas", None)
    assert importlib.util.find_spec("starlette").submodule_search_locations
    assert importlib.util.find_spec("starlette.schemas").origin.endswith("schemas.py")
    assert importlib.util.find_spec("starlette.schemas").submodule_search_locations is None
    assert importlib.util.find_spec("starlette.middleware").submodule_search_locations
    assert "starlette.schemas" not in sys.modules


def test_pkgutil_walks_over_it():
    import starlette

    names = [each.name for each in pkgutil.iter_modules(starlette.__path__, "starlette.")]
    assert "starlette.routing" in names


def test_reload_keeps_the_objects():
    import starlette

    assert importlib.reload(starlette) is starlette
    assert importlib.reload(spica.routing) is spica.routing


def test_reload_gives_the_other_brand_too(run_python):
    run_python("""
        import importlib, spica.compat
        spica.compat.install()
        import starlette.exceptions as exceptions
        before = exceptions.StarletteDeprecationWarning
        assert importlib.reload(exceptions) is exceptions
        assert exceptions.StarletteDeprecationWarning is not before
        assert exceptions.StarletteDeprecationWarning is exceptions.SpicaDeprecationWarning
    """)


def test_a_module_that_was_taken_out_is_executed_once_more():
    import starlette.status as before

    del sys.modules["starlette.status"]
    own = sys.modules["spica.status"]
    try:
        after = importlib.import_module("starlette.status")
        assert after is not before
        assert after is sys.modules["spica.status"]
    finally:
        sys.modules["starlette.status"] = sys.modules["spica.status"] = own
        importlib.import_module("spica").status = own


def test_classes_and_their_objects_are_pickled():
    from starlette.applications import Starlette
    from starlette.datastructures import URL
    from starlette.exceptions import HTTPException

    assert pickle.loads(pickle.dumps(Starlette)) is Starlette
    exc = pickle.loads(pickle.dumps(HTTPException(404)))
    assert isinstance(exc, HTTPException)
    assert pickle.loads(pickle.dumps(URL("/a"))) == URL("/a")
    # As a pickle that was made on Starlette itself has it.
    assert pickle.loads(b"cstarlette.applications\nStarlette\n.") is Starlette


def test_the_version_is_one_that_packages_can_parse():
    import starlette
    from packaging.version import Version

    numbers = tuple(int(part) for part in starlette.__version__.split(".")[:3])  # newrelic
    assert numbers >= (1, 10, 0)
    assert Version("0.46") <= Version(starlette.__version__) < Version("2")


class LateHook:
    """Waits for the import of a module, as wrapt's hooks do."""

    def __init__(self, name):
        self.name = name
        self.modules = []
        self.is_searching = False

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.name or self.is_searching:
            return None
        self.is_searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.is_searching = False
        spec.loader = HookedLoader(spec.loader, self.modules)
        return spec


class HookedLoader:
    def __init__(self, loader, modules):
        self.loader = loader
        self.modules = modules

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        self.modules.append(module)


@pytest.mark.parametrize("importer", ["spica.schemas", "starlette.schemas"])
def test_a_hook_on_the_import_hears_of_it_under_either_name(importer, monkeypatch):
    # newrelic and ddtrace patch a module when it is imported.
    for name in ("spica.schemas", "starlette.schemas"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    hook = LateHook("starlette.schemas")
    monkeypatch.setattr(sys, "meta_path", [hook, *sys.meta_path])
    module = importlib.import_module(importer)
    assert hook.modules == [module]
    assert sys.modules["starlette.schemas"] is sys.modules["spica.schemas"] is module
