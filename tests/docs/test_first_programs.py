"""Tests of docs/_build/first_programs.py. scripts/check runs the type checkers on what it writes."""

import pytest
from first_programs import find_program, write_programs


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("# A\n\n```python\nx = 1\n```\n\n```python\ny = 2\n```\n", "\n\n\nx = 1\n"),
        ("```sh\nls\n```\n\n```python\nx = 1\n```\n", "\n" * 5 + "x = 1\n"),
        ("<!-- not run: a part -->\n```python\nx\n```\n\n```python\ny = 2\n```\n", None),
        ("# Words\n", None),
    ],
    ids=["first", "shell", "fragment", "none"],
)
def test_the_first_program_keeps_its_lines(text, program, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert find_program(page) == program


def test_the_guide_has_programs(tmp_path):
    count = write_programs(tmp_path)
    assert count == len([*tmp_path.glob("*.py")]) > 50
    assert (tmp_path / "tutorial_1_hello.py").exists()
    assert (tmp_path / "pyrightconfig.json").exists()
