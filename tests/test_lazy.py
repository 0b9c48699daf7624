"""Tests of spica/_lazy.py, and of the packages that use it."""

import importlib
import subprocess
import sys

import pytest

PACKAGES = ["spica.datastructures", "spica.responses", "spica.websockets"]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_and_has_all_its_public_names(package):
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nothing'"):
        importlib.import_module(package).Nothing  # noqa: B018


def test_a_name_that_is_patched_before_its_first_use_changes_everywhere():
    program = (
        "import spica.compat; spica.compat.install()\n"
        "import starlette.responses\n"
        "class Traced: pass\n"
        "starlette.responses.FileResponse = Traced\n"
        "import spica.responses.file.finding as finding\n"
        "print(finding.FileResponse.__name__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (result.stdout.strip(), result.stderr) == ("Traced", "")
