"""What the page on the check command shows is what the command prints."""

import sys
from pathlib import Path

import pytest

from spica.__main__ import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "checking.md"


def blocks(language: str) -> list[str]:
    parts = PAGE.read_text("utf-8").split("```")
    return [
        part.removeprefix(language + "\n") for part in parts if part.startswith(language + "\n")
    ]


@pytest.mark.parametrize(("command", "number", "status"), [("check", 0, 1), ("routes", 1, 0)])
def test_the_output_on_the_page(
    command: str,
    number: int,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "shop.py").write_text(blocks("python")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("shop", None)
    try:
        assert main([command, "shop:app"]) == status
    finally:
        sys.modules.pop("shop", None)  # other pages have one, too
    printed = capsys.readouterr().out.replace(f"{tmp_path}/", "")
    assert printed == blocks("text")[number]
