"""The names that ``spica`` itself offers, loaded on first use."""

import importlib
import subprocess
import sys

import pytest

import spica


def run(program: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_import_loads_one_module() -> None:
    program = "import sys; old = set(sys.modules); import spica; print(*(set(sys.modules) - old))"
    assert run(program) == "spica"


@pytest.mark.parametrize("name", sorted(spica._MODULE_OF))
def test_each_name_is_the_class_of_its_module(name: str) -> None:
    module = importlib.import_module(f"spica.{spica._MODULE_OF[name]}")
    assert getattr(spica, name) is getattr(module, name)


def test_a_star_import_needs_no_extra() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('httpx', 'httpx2', 'jinja2', 'itsdangerous')))\n"
        "from spica import *\nprint(Spica.__name__, Request.__name__)"
    )
    assert run(program) == "Spica Request"


def test_dir_lists_the_names_before_they_are_loaded() -> None:
    assert run("import spica; print({'Spica', 'Jinja2Templates'} <= set(dir(spica)))") == "True"


def test_the_declared_names_are_those_for_type_checkers() -> None:
    source = importlib.import_module("inspect").getsource(spica)
    declared = {line.split(" as ")[1] for line in source.splitlines() if " as " in line[:80]} & set(
        spica._MODULE_OF
    )
    assert declared == set(spica._MODULE_OF)
    assert set(spica.__all__) == declared - {"Jinja2Templates", "TestClient"}


def test_submodules_can_still_be_imported_from_the_package() -> None:
    assert run("from spica import requests; print(requests.__name__)") == "spica.requests"


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("Flask", "The application class is spica.Spica."),
        ("Depends", "read what the lifespan yielded from request.state"),
        ("CORSMiddleware", "Write from spica.middleware.cors import CORSMiddleware."),
        ("request", "Each endpoint gets the request as its argument."),
    ],
)
def test_an_import_by_habit_names_the_spica_way(name: str, fix: str) -> None:
    with pytest.raises(ImportError) as caught:
        exec(f"from spica import {name}")
    assert fix in str(caught.value)


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(
        AttributeError, match=r"no attribute 'JsonResponse'. Did you mean 'JSONResponse'"
    ):
        spica.JsonResponse  # noqa: B018


def test_an_unknown_name_is_an_attribute_error_so_that_hasattr_works() -> None:
    assert not hasattr(spica, "zebra")
    assert not hasattr(spica, "__wrapped__")
