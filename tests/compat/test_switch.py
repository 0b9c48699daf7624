"""The switch is turned on, found too late, and turned off."""

import sys

import pytest

import spica.applications
import spica.compat
from spica.compat import CompatError, install, is_installed, uninstall


def test_it_is_on_within_a_block(unswitched):
    assert not is_installed()
    with install():
        assert is_installed()
        import starlette.applications

        assert starlette.applications is spica.applications
    assert not is_installed()
    assert not [name for name in sys.modules if name.startswith("starlette")]


def test_a_second_time_does_nothing(switched):
    finders = list(sys.meta_path)
    import starlette.routing as before

    install()
    assert sys.meta_path == finders
    import starlette.routing as after

    assert before is after


def test_off_when_it_is_off_does_nothing(unswitched):
    uninstall()
    assert not is_installed()


def test_nothing_is_left_in_spica_when_it_is_off(unswitched):
    import spica.exceptions
    import spica.responses

    with install():
        import starlette.exceptions

        assert starlette.exceptions.StarletteDeprecationWarning
    assert type(spica.exceptions) is type(sys)
    assert not hasattr(spica.exceptions, "StarletteDeprecationWarning")
    assert not hasattr(spica.responses.Response, "_wrap_websocket_denial_send")


def test_modules_that_were_loaded_before_get_their_second_name_too(unswitched):
    assert "spica.applications" in sys.modules
    with install():
        assert sys.modules["starlette.applications"] is spica.applications


def test_nothing_is_imported_before_it_is_asked_for(run_python):
    out = run_python("""
        import spica.compat, sys
        spica.compat.install()
        print(sorted(n for n in sys.modules if n.partition(".")[0] in ("starlette", "anyio")))
    """)
    assert out == "[]\n"


def test_too_late_names_who_was_first(tmp_path, run_python):
    (tmp_path / "starlette").mkdir()
    (tmp_path / "starlette" / "__init__.py").write_text("")
    (tmp_path / "starlette" / "requests.py").write_text("class Request: pass")
    (tmp_path / "early_bird.py").write_text("import json\nfrom starlette.requests import Request\n")
    (tmp_path / "on_top.py").write_text("import early_bird, decimal\n")
    out = run_python(
        """
        import on_top, spica.compat
        from starlette.requests import Request
        try:
            spica.compat.install()
        except spica.compat.CompatError as exc:
            print(exc.importer, exc.file, isinstance(exc, RuntimeError), exc, sep="\\n")
        """,
        cwd=tmp_path,
    )
    importer, file, is_runtime_error, text = out.strip().split("\n")
    assert (importer, file, is_runtime_error) == (
        "early_bird",
        str(tmp_path / "early_bird.py"),
        "True",
    )
    assert f"by the module 'early_bird' ({file})" in text
    assert "python -m spica.compat" in text
    assert "SPICA_COMPAT=1" in text


def test_too_late_when_nobody_can_be_named(unswitched):
    sys.modules["starlette"] = type(sys)("starlette")
    with pytest.raises(CompatError, match="already imported, by something"):
        install()
    assert not is_installed()
