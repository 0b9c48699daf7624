"""The sources of the website: Markdown for Sphinx, with a menu and with links to the reference.

Sphinx renders the pages and checks each link. This module writes them into a temporary folder, because some do
not exist as files: the reference comes from docstrings, and some pages include others.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from pages import DOCS, Page

HERE = Path(__file__).parent

_CODE_BLOCK = re.compile(r"^(```+).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_LINK_OR_NAME = re.compile(r"\[[^\]]*\]\([^)]*\)|^#.*$|``.*?``|`(?P<name>[\w.]+)(?:\(\))?`", re.MULTILINE)
_IMAGE = re.compile(r"!\[[^\]]*\]\((?P<path>[^)#:]+)\)")


def slug(text: str) -> str:
    """Return the anchor of a heading: ``BaseRoute.matches()`` becomes ``baseroute.matches``."""
    return re.sub(r"[^\w.]+", "-", text.replace("`", "").removesuffix("()").lower()).strip("-")


def write_sources(sections: dict[str, list[Page]], folder: Path) -> int:
    """Write all pages, the menu and the settings below ``folder``. Return the number of pages."""
    pages = [page for group in sections.values() for page in group]
    names = index_names(pages)
    for page in pages:
        target = folder / f"{page.name}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        text = link_names(page, names)
        if page.name == "index":
            text += "\n" + "\n".join(_menu(title, group) for title, group in sections.items())
        target.write_text(text, encoding="utf-8")
        _copy_images(page, folder)
    shutil.copyfile(HERE / "conf.py", folder / "conf.py")
    shutil.copytree(HERE / "static", folder / "static")
    return len(pages)


def _menu(title: str, pages: list[Page]) -> str:
    entries = []
    for page in pages:
        if page.name != "index":
            entries.append(f"{page.title.removeprefix('spica.')} <{page.name}>")
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *entries, "```", ""])


def _copy_images(page: Page, folder: Path) -> None:
    for found in _IMAGE.finditer(page.text):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.name), found["path"]))
        if (DOCS / path).is_file():  # Sphinx reports a missing one
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(DOCS / path, folder / path)


def index_names(pages: Iterable[Page]) -> dict[str, str]:
    """Return the place in the reference of each public name that has one meaning only."""
    places: dict[str, set[str]] = {}
    for page in pages:
        if not page.name.startswith("reference/"):
            continue
        places.setdefault(page.title, set()).add(f"{page.name}.md")
        for found in re.finditer(r"^##+ `([\w.]+)(?:\(\))?`$", page.text, re.MULTILINE):
            target = f"{page.name}.md#{slug(found[1])}"
            places.setdefault(found[1], set()).add(target)
            places.setdefault(f"{page.title}.{found[1]}", set()).add(target)
    return {name: next(iter(targets)) for name, targets in places.items() if len(targets) == 1}


def link_names(page: Page, names: dict[str, str]) -> str:
    """Return the page with a link at each public name in running text, outside of code and headings."""
    parts = []
    position = 0
    for block in _CODE_BLOCK.finditer(page.text):
        parts.append(_link_names_of_text(page.text[position : block.start()], page, names))
        parts.append(block[0])
        position = block.end()
    parts.append(_link_names_of_text(page.text[position:], page, names))
    return "".join(parts)


def _link_names_of_text(text: str, page: Page, names: dict[str, str]) -> str:
    here = posixpath.dirname(page.name) or "."

    def link(found: re.Match[str]) -> str:
        target = names.get(found["name"]) if found["name"] else None
        if target is None or target.partition("#")[0] == f"{page.name}.md":
            return found[0]
        return f"[{found[0]}]({posixpath.relpath(target, here)})"

    return _LINK_OR_NAME.sub(link, text)
