"""The programs on the pages of the documentation, for tests that run them with other options."""

import re
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read_program(page, blocks=1):
    """Return the first Python blocks of a page of the guide."""
    return "\n".join(BLOCK.findall((GUIDE / f"{page}.md").read_text("utf-8"))[:blocks])
