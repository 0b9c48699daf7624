"""The parts of Markdown pages that the benchmarks write: between two comments.

::

    <!-- bench: NAME -->
    (written by scripts/bench)
    <!-- bench end -->
"""

import re
from collections.abc import Mapping
from pathlib import Path

BLOCK = re.compile(
    r"(?P<begin><!-- bench: (?P<name>[\w. -]+?) -->\n).*?(?P<end><!-- bench end -->)", re.DOTALL
)


def names_of(text: str) -> list[str]:
    """Return the names of the blocks of a page."""
    return [block["name"] for block in BLOCK.finditer(text)]


def replace(text: str, blocks: Mapping[str, str]) -> str:
    """Return a page with new contents of the blocks that are named; others stay."""

    def renewed(block: re.Match[str]) -> str:
        content = blocks.get(block["name"])
        return block[0] if content is None else f"{block['begin']}{content}\n{block['end']}"

    return BLOCK.sub(renewed, text)


def fill(page: Path, blocks: Mapping[str, str]) -> None:
    """Write the blocks of a page that are named here and occur there."""
    text = page.read_text(encoding="utf-8")
    page.write_text(replace(text, blocks), encoding="utf-8")
