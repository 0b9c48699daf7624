"""Findings as text and as JSON."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

import spica
from spica.checks.finding import Finding, error, info, warning
from spica.checks.report import format_json, format_text, has_colours

FINDINGS = [
    error("a-code", "wrong.", "a.py:3"),
    warning("b-code", "odd."),
    info("c-code", "so.", "x"),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_text() -> None:
    assert format_text(FINDINGS, "shop:app") == (
        "a.py:3: error: wrong. [a-code]\n"
        "shop:app: warning: odd. [b-code]\n"
        "x: info: so. [c-code]\n"
        "shop:app: 1 error, 1 warning, 1 info."
    )


def test_text_of_nothing() -> None:
    assert format_text([], "shop:app") == "shop:app: 0 errors, 0 warnings, 0 infos."


def test_colours() -> None:
    text = format_text([FINDINGS[0]], "shop:app", colours=True)
    assert text.startswith("a.py:3: \x1b[31merror\x1b[0m: wrong.")


def test_files_below_the_working_directory_are_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    finding = error("c", "text", f"{tmp_path}/a.py:1")
    assert format_text([finding], "m:a").startswith("a.py:1: error")


def test_json() -> None:
    document = json.loads(format_json(FINDINGS[:2], "shop:app"))
    assert document == {
        "spica": spica.__version__,
        "target": "shop:app",
        "summary": {"error": 1, "warning": 1, "info": 0},
        "findings": [
            {"severity": "error", "code": "a-code", "message": "wrong.", "file": "a.py", "line": 3},
            {
                "severity": "warning",
                "code": "b-code",
                "message": "odd.",
                "file": None,
                "line": None,
            },
        ],
    }


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("a.py:3", ("a.py", 3)),
        ("C:\\a.py:3", ("C:\\a.py", 3)),
        ("", (None, None)),
        ("x", (None, None)),
    ],
)
def test_a_place_has_two_parts(place: str, expected: Any) -> None:
    assert Finding(FINDINGS[0].severity, "c", "m", place).file_and_line == expected


@pytest.mark.parametrize(
    ("stream", "environ", "expected"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),  # no-color.org: "and not an empty string"
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours_are_for_terminals(stream: Any, environ: Any, expected: bool) -> None:
    assert has_colours(stream, environ) is expected
