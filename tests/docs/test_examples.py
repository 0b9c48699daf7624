"""Every Python block of the documentation runs, page by page.

The blocks of a page share their names, in order. A block ``output`` behind one is what it prints. A
block behind the comment ``<!-- not run: reason -->`` is compiled only.
"""

import contextlib
import io
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])

NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*\Z")
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str
    line: int
    is_run: bool


def read_blocks(text):
    blocks = []
    end = 0
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start("code")) + 1
        is_run = NOT_RUN.search(text[end : found.start()]) is None
        blocks.append(Block(found["language"], found["code"], line, is_run))
        end = found.end()
    return blocks


def has_python(page):
    return any(block.language == "python" for block in read_blocks(page.read_text("utf-8")))


def run_page(page):
    """Run the blocks of a page as one module, and compare what they print."""
    module = ModuleType("__main__")
    printed = None
    for block in read_blocks(page.read_text("utf-8")):
        if block.language == "output":
            assert printed == block.code, f"{page}:{block.line}: the block prints something else"
        elif block.language == "python":
            # Empty lines before it, so that a traceback shows the line of the page.
            source = "\n" * (block.line - 1) + block.code
            code = compile(source, str(page), "exec", dont_inherit=True)
            if block.is_run:
                with contextlib.redirect_stdout(io.StringIO()) as output:
                    exec(code, module.__dict__)
                printed = output.getvalue()


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.exists() and has_python(page)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    # Examples write files and change settings of the process; neither stays.
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("spica.middleware.metrics.REGISTRY", CollectorRegistry())
    known = set(sys.modules)
    try:
        run_page(page)
    finally:
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]


def test_blocks_share_names_and_print():
    text = "```python\nx = 1\n```\n\n```python\nprint(x)\n```\n\n```output\n1\n```\n"

    blocks = read_blocks(text)

    assert [(block.language, block.line) for block in blocks] == [
        ("python", 2),
        ("python", 6),
        ("output", 10),
    ]


def test_a_block_behind_the_comment_is_not_run():
    text = "<!-- not run: needs a network -->\n```python\nfetch()\n```\n\n```python\nx = 1\n```\n"

    assert [block.is_run for block in read_blocks(text)] == [False, True]
