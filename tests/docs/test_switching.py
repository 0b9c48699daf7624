"""The page on the switch and the table in the package say the same."""

import re
from pathlib import Path

from spica.compat.doctor import tried_packages

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "switching.md"
ROW = re.compile(r"^\| ([\w.-]+) \| ([\w., ]*) \| (\w+) \|", re.MULTILINE)


def test_what_was_tried_is_what_the_doctor_tells():
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    told = [
        (package["name"], ", ".join(package["versions"]), package["result"])
        for package in tried_packages()
    ]
    assert [row for row in rows if row[0] not in ("package",)] == told
