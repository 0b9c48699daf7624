"""The figures in guide/glue.md: half of the hand-written lines are gone."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "glue.md").read_text("utf-8")
ROW = re.compile(r"^\| \[(.+)\]\(#.+\) \| (\d+) lines \| (\d+) lines \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE)
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_the_table_has_three_programs():
    assert [row[0] for row in ROWS] == ["an API", "a login", "a gateway"]


@pytest.mark.parametrize(("name", "before", "now"), ROWS, ids=[row[0] for row in ROWS])
def test_the_lines_of_glue_are_counted(name, before, now):
    program = SECTIONS[name[0].upper() + name[1:]]
    assert program.count("  # glue\n") == int(now)
    assert int(now) * 2 <= int(before)
