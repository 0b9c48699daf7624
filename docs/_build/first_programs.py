"""Write the first program of each page of the guide and of the tutorial to a directory, for type checkers.

A reader copies the first program of a page, and must not begin with errors of a type checker. Later blocks are
fragments. A page whose first block is not run begins with a fragment too.

Usage: ``python docs/_build/first_programs.py DIRECTORY``
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("guide", "tutorial")
FIRST = re.compile(r"(?P<before>.*?)^```python[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def find_program(page: Path) -> str | None:
    """Return the first program of a page, at the lines that it has there; None if there is none."""
    found = FIRST.match(page.read_text("utf-8"))
    if found is None or found["before"].rstrip().endswith("-->"):
        return None
    return "\n" * found["before"].count("\n") + "\n" + found["code"]


def write_programs(directory: Path) -> int:
    """Write the programs and the settings of pyright to a directory; return the number of programs."""
    pages = [page for folder in FOLDERS for page in sorted((ROOT / "docs" / folder).glob("*.md"))]
    programs = {page: find_program(page) for page in pages}
    for page, program in programs.items():
        if program is not None:
            name = f"{page.parent.name}_{page.stem}".replace("-", "_")
            directory.joinpath(f"{name}.py").write_text(program, "utf-8")
    settings = {"typeCheckingMode": "standard", "pythonVersion": "3.11", "extraPaths": [str(ROOT)]}
    directory.joinpath("pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    return sum(program is not None for program in programs.values())


if __name__ == "__main__":
    print(f"{write_programs(Path(sys.argv[1]))} programs")
