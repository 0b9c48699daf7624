"""The doctor says what the switch does, and what is wrong with it."""

import importlib.metadata
import os
import re
import subprocess
import sys

import pytest
from environments import make_environment, purelib_of

from spica.compat.doctor import _requires_starlette, tried_packages


def examine(*, before="", python=sys.executable, **environment):
    code = (
        f"{before}\nimport sys; from spica.compat.__main__ import main; sys.exit(main(['doctor']))"
    )
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, env=os.environ | environment
    )
    return done.returncode, done.stdout


def test_all_is_well():
    status, text = examine()
    assert status == 0, text
    assert "WRONG" not in text
    assert re.search(r"^spica \S+ \(.+spica\)$", text, re.MULTILINE)
    assert "provides the API of Starlette 1.10.0" in text
    assert "Starlette itself: 1.10.0, installed and not used" in text
    assert "start-up file: none, so SPICA_COMPAT=1 does nothing in this environment" in text
    assert "`python -m spica.compat enable` writes it" in text
    assert "SPICA_COMPAT here: not set" in text
    assert re.search(r"names that packages import from Starlette: \d+ looked up", text)
    assert re.search(r"^  fastapi 0\.\d+\.\d+: tried ", text, re.MULTILINE)


def test_where_it_is_enabled(enabled_python):
    status, text = examine(python=enabled_python)
    assert status == 0, text
    assert re.search(r"start-up file, for SPICA_COMPAT=1: .+/enabled0/.+/spica_compat\.pth", text)


def test_the_variable_is_set_where_it_is_not_enabled():
    status, text = examine(SPICA_COMPAT="1")
    assert status == 1
    assert "WRONG: SPICA_COMPAT is set, and this environment does not obey it. Run `python" in text


def test_the_variable_has_a_value_that_means_nothing():
    status, text = examine(SPICA_COMPAT="maybe")
    assert status == 1
    assert "WRONG: SPICA_COMPAT is 'maybe'. Set it to one of 1, true, yes, on" in text


def test_the_start_up_file_is_that_of_another_version(tmp_path):
    python = make_environment(tmp_path)
    (purelib_of(tmp_path) / "spica_compat.pth").write_text("import os")
    status, text = examine(python=python)
    assert status == 1
    assert (
        "was written by another version of spica. Run `python -m spica.compat enable` again" in text
    )


def test_starlette_itself_is_already_there():
    status, text = examine(before="import starlette.requests")
    assert status == 1
    assert "WRONG: spica.compat.install() comes too late" in text


def test_a_name_is_missing():
    status, text = examine(before="import spica.status, spica.compat; del spica.status.HTTP_200_OK")
    assert status == 1
    assert "WRONG: starlette.status.HTTP_200_OK is missing" in text


def test_a_part_whose_extra_is_not_installed_is_no_error():
    status, text = examine(before="import sys; sys.modules['jinja2'] = None")
    assert status == 0
    assert text.count("starlette.templating can't be used here: ") == 1
    assert "pip install 'spica[templates]'" in text


def test_a_part_that_raises_another_error_is_no_error_either():
    status, text = examine(before="import sys; sys.modules['httpx2'] = sys.modules['httpx'] = None")
    assert status == 0
    assert text.count("starlette.testclient can't be used here: ") == 1


class Installed(importlib.metadata.Distribution):
    """A distribution that requires this."""

    def __init__(self, requires):
        self._requires = requires

    requires = property(lambda self: self._requires)

    def read_text(self, filename):
        return None

    def locate_file(self, path):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("requires", "is_dependent"),
    [
        (None, False),
        ([], False),
        (["anyio", "starlette>=0.40,<2"], True),
        (["Starlette[full] (>=0.40)"], True),
        (["starlette"], True),
        (["starlette-csrf>=1"], False),
        (["starlette>=0.40; extra == 'web'"], False),
    ],
    ids=str,
)
def test_who_uses_starlette(requires, is_dependent):
    assert _requires_starlette(Installed(requires)) is is_dependent


@pytest.mark.parametrize("package", tried_packages(), ids=lambda package: package["name"])
def test_the_table_of_what_was_tried_is_in_order(package):
    assert package.keys() <= {"name", "versions", "result", "remarks"}
    assert package["result"] in ("passes", "listed", "works")
    assert all(re.fullmatch(r"\d+(\.\w+)*", version) for version in package["versions"])
