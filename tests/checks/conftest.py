"""Programs to be looked at."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_PROGRAM = """
from spica.applications import Spica
from spica.responses import PlainTextResponse
from spica.routing import Route


async def index(request):
    return PlainTextResponse("index")

"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Write a module into a directory of its own; what is imported is forgotten afterwards."""
    before = {*sys.modules}
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "shop") -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(_PROGRAM + text)
        return path

    yield write
    for name in {*sys.modules} - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
