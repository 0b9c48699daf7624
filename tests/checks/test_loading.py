"""Which application a command line names."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spica.applications import Spica
from spica.checks import LoadError, load_application
from spica.checks.loading import MAX_DEPTH, _unwrap
from spica.routing import Router

Program = Callable[..., Path]


def fails(target: str, **options: Any) -> str:
    with pytest.raises(LoadError) as caught:
        load_application(target, **options)
    return str(caught.value)


def test_a_module_and_an_attribute(program: Program) -> None:
    program("other = Spica()")
    loaded = load_application("shop:other")
    assert isinstance(loaded.application, Spica)
    assert loaded.layers == 0


def test_the_attribute_is_app_by_default(program: Program) -> None:
    program("app = Router()\n".replace("Router", "Spica"))
    assert isinstance(load_application("shop").application, Spica)


def test_an_attribute_of_an_attribute(program: Program) -> None:
    program("class box:\n    app = Spica()")
    assert isinstance(load_application("shop:box.app").application, Spica)


def test_another_directory(program: Program, tmp_path: Path, monkeypatch: Any) -> None:
    program("app = Spica()")
    monkeypatch.chdir("/")
    assert isinstance(load_application("shop:app", app_dir=str(tmp_path)).application, Spica)


def test_a_factory(program: Program) -> None:
    program("def create():\n    return Spica()")
    assert isinstance(load_application("shop:create", is_factory=True).application, Spica)
    assert "With --factory it is called to make one." in fails("shop:create")


class Layer:
    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self) -> None: ...


class OtherLayer(Layer):
    def __init__(self, app: Any) -> None:
        self._app = app


def test_the_only_application_of_a_module(program: Program) -> None:
    program("api = Spica()\nsame = api")
    assert load_application("shop").target in ("shop:api", "shop:same")


def test_a_factory_by_its_usual_name(program: Program) -> None:
    program("def create_app():\n    return Spica()")
    assert load_application("shop").target == "shop:create_app"


def test_the_usual_places(program: Program, tmp_path: Path, monkeypatch: Any) -> None:
    program("app = Spica()").rename(tmp_path / "main.py")
    monkeypatch.delitem(sys.modules, "main", raising=False)
    assert load_application(None).target == "main:app"
    monkeypatch.delitem(sys.modules, "main")


def test_layers_of_others_are_looked_through() -> None:
    app = Spica()
    assert _unwrap(Layer(OtherLayer(functools.partial(Layer(app)))), "m:a") == (app, 4)
    router = Router()
    assert _unwrap(Layer(router), "m:a") == (router, 1)


def test_a_circle_of_layers_has_an_end() -> None:
    layer = Layer(None)
    layer.app = layer
    assert MAX_DEPTH == 100
    with pytest.raises(LoadError, match="none was found inside it"):
        _unwrap(layer, "m:a")


class TestErrors:
    def test_no_module(self) -> None:
        assert (
            fails(":app")
            == "':app' does not name a module. Write module:attribute, for example main:app."
        )

    def test_a_module_that_is_not_there(self, program: Program, tmp_path: Path) -> None:
        program("app = Spica()")
        assert fails("shpo:app") == (
            f"There is no module 'shpo' in {tmp_path} or on sys.path. Did you mean 'shop'? "
            "Use --app-dir for another directory."
        )

    def test_a_package_that_is_not_there(self, program: Program) -> None:
        assert fails("nowhere.inside:app").startswith("There is no module 'nowhere.inside' in ")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("import missing_package", "No module named 'missing_package'."),
            ("1 / 0", "ZeroDivisionError: division by zero"),
            ("raise SystemExit('no database')", "SystemExit: no database"),
            ("a b", "SyntaxError: invalid syntax"),
        ],
    )
    def test_a_module_that_fails(self, program: Program, text: str, message: str) -> None:
        program(text)
        with pytest.raises(LoadError) as caught:
            load_application("shop:app")
        assert str(caught.value).startswith(f"Module 'shop' can't be imported: {message}")
        assert str(caught.value).endswith(f": {text})")  # the line of the program
        assert caught.value.__cause__ is not None

    def test_an_attribute_that_is_not_there(self, program: Program) -> None:
        program("one = Spica()\ntwo = Spica()")
        assert fails("shop:app") == (
            "shop:app: there is no 'app'. Applications there: shop:one, shop:two."
        )

    def test_a_misspelt_attribute(self, program: Program) -> None:
        program("api = Spica()")
        assert fails("shop:apii") == "shop:apii: there is no 'apii'. Did you mean 'api'?"

    def test_several_applications(self, program: Program) -> None:
        program("one = Spica()\ntwo = Spica()")
        assert fails("shop") == "shop has several applications. Name one of shop:one, shop:two."

    def test_no_application(self, program: Program) -> None:
        program("")
        assert fails("shop") == (
            "No application was found in shop: there is no name 'app' and no other application."
            " Name it: shop:NAME."
        )

    def test_an_async_factory(self, program: Program) -> None:
        program("async def create(): ...")
        assert fails("shop:create", is_factory=True) == (
            "shop:create is an async function. A factory must be a `def` function."
        )

    def test_an_attribute_where_there_is_nothing(self, program: Program) -> None:
        program("")
        assert fails("shop:app") == "shop:app: there is no 'app'."

    def test_a_factory_that_fails(self, program: Program) -> None:
        program("def create():\n    raise OSError('no database')")
        assert fails("shop:create", is_factory=True) == (
            "shop:create() failed: OSError: no database"
            " (shop.py, line 11: raise OSError('no database'))"
        )

    def test_a_factory_that_is_none(self, program: Program) -> None:
        program("create = 3")
        assert fails("shop:create", is_factory=True) == (
            "shop:create must be a function that returns an application, not 3."
        )

    def test_something_else(self, program: Program) -> None:
        program("app = 3")
        assert fails("shop:app") == (
            "shop:app is not a spica application, and none was found inside it: it is 3."
        )

    def test_an_application_on_starlette(self, program: Program) -> None:
        program("class Other:\n    __module__ = 'starlette.applications'\napp = Other()")
        assert "With --compat it runs on spica." in fails("shop:app")


def test_warnings_while_it_is_made_are_kept(program: Program) -> None:
    path = program(
        "from spica.middleware.trustedhost import TrustedHostMiddleware\n"
        "app = TrustedHostMiddleware(Spica(), [])"
    )
    (warning,) = load_application("shop:app").warnings
    assert "allowed_hosts is empty" in str(warning.message)
    assert warning.filename == str(path)
