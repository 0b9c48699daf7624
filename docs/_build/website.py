"""Pages as HTML: Markdown, highlighted code, links between pages that are all checked."""

from __future__ import annotations

import html
import posixpath
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pages import DOCS, Page
from pygments import highlight as colour
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

LAYOUT = (Path(__file__).parent / "layout.html").read_text(encoding="utf-8")
STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")

_FORMATTER: Any = HtmlFormatter(nowrap=True)


class BrokenLinks(Exception):
    """Some links lead nowhere; the text lists them."""


class Heading(NamedTuple):
    """A heading of a page that can be linked to."""

    level: int
    anchor: str
    text: str


class Rendered(NamedTuple):
    """A page as HTML, without its frame."""

    page: Page
    body: str
    headings: list[Heading]
    links: list[str]
    images: list[str]


class Website:
    """Render pages that know of each other."""

    def __init__(self, sections: dict[str, list[Page]]) -> None:
        self.sections = sections
        self.pages = {page.name: page for pages in sections.values() for page in pages}
        self.names = _index_names(self.pages.values())

    def write(self, directory: Path) -> int:
        """Write all pages below ``directory``; return how many there are.

        Raises:
            BrokenLinks: a link leads nowhere.
        """
        rendered = {name: self._render(page) for name, page in self.pages.items()}
        _check_links(rendered)
        for name, result in rendered.items():
            target = directory / f"{name}.html"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self._frame(result), encoding="utf-8")
        for image in {image for result in rendered.values() for image in result.images}:
            (directory / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(DOCS / image, directory / image)
        styles = [STYLE, _FORMATTER.get_style_defs("pre"), _dark_style()]
        (directory / "style.css").write_text("\n".join(styles), encoding="utf-8")
        return len(rendered)

    # -- one page --------------------------------------------------------------------------------------

    def _render(self, page: Page) -> Rendered:
        is_generated = page.name.startswith("reference/")
        markdown = MarkdownIt("commonmark", {"html": not is_generated, "highlight": _highlight})
        markdown.enable("table")
        tokens = markdown.parse(page.text)
        headings = _mark_headings(tokens)
        links: list[str] = []
        images: list[str] = []
        for before, token in zip([None, *tokens], tokens, strict=False):
            is_heading = before is not None and before.type == "heading_open"
            if token.type == "inline" and token.children and not is_heading:
                images += _images_of(token.children, page)
                token.children = list(self._link(token.children, page, links))
        body = markdown.renderer.render(tokens, markdown.options, {})
        return Rendered(page, _drop_comments(body), headings, links, images)

    def _link(self, tokens: Sequence[Token], page: Page, links: list[str]) -> Iterable[Token]:
        """Let links to pages end in ``.html``, and names of the reference lead there."""
        depth = 0
        for token in tokens:
            if token.type == "link_open":
                depth += 1
                href = str(token.attrs["href"])
                if not re.match(r"[a-z]+:", href):
                    href = re.sub(r"\.md(?=#|$)", ".html", href)
                    token.attrs["href"] = href
                    links.append(_resolve(page.name, href))
            elif token.type == "link_close":
                depth -= 1
            elif token.type == "code_inline" and depth == 0:
                target = self.names.get(token.content.removesuffix("()"))
                if target is not None and target != f"{page.name}.html":
                    href = posixpath.relpath(target, posixpath.dirname(page.name) or ".")
                    yield Token("link_open", "a", 1, attrs={"href": href, "class": "name"})
                    yield token
                    yield Token("link_close", "a", -1)
                    continue
            yield token

    # -- around it -------------------------------------------------------------------------------------

    def _frame(self, rendered: Rendered) -> str:
        page = rendered.page
        up = "../" * page.name.count("/")
        values = {
            "title": html.escape(page.title),
            "up": up,
            "navigation": self._navigation(page, up),
            "contents": _contents(rendered.headings),
            "body": rendered.body,
        }
        return re.sub(r"\{\{ (\w+) \}\}", lambda mark: values[mark[1]], LAYOUT)

    def _navigation(self, current: Page, up: str) -> str:
        parts = []
        for title, pages in self.sections.items():
            parts.append(f"<h2>{html.escape(title)}</h2>\n<ul>")
            for page in pages:
                mark = ' aria-current="page"' if page is current else ""
                text = html.escape(page.title.removeprefix("spica."))
                parts.append(f'<li><a href="{up}{page.name}.html"{mark}>{text}</a></li>')
            parts.append("</ul>")
        return "\n".join(parts)


def _index_names(pages: Iterable[Page]) -> dict[str, str]:
    """Return where the names of the reference are explained: those that mean one thing only."""
    places: dict[str, set[str]] = {}
    for page in pages:
        if not page.name.startswith("reference/"):
            continue
        places.setdefault(page.title, set()).add(f"{page.name}.html")
        for found in re.finditer(r"^##+ `([\w.]+)(?:\(\))?`$", page.text, re.MULTILINE):
            target = f"{page.name}.html#{_slug(found[1])}"
            places.setdefault(found[1], set()).add(target)
            places.setdefault(f"{page.title}.{found[1]}", set()).add(target)
    return {name: next(iter(targets)) for name, targets in places.items() if len(targets) == 1}


def _mark_headings(tokens: Sequence[Token]) -> list[Heading]:
    """Give each heading an anchor, and return them."""
    headings: list[Heading] = []
    taken: set[str] = set()
    for token, inline in zip(tokens, tokens[1:], strict=False):
        if token.type != "heading_open":
            continue
        text = inline.content.replace("`", "")
        anchor = base = _slug(text.removesuffix("()"))
        number = 1
        while anchor in taken:
            number += 1
            anchor = f"{base}-{number}"
        taken.add(anchor)
        token.attrs["id"] = anchor
        headings.append(Heading(int(token.tag[1]), anchor, text))
    return headings


def _slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text.lower()).strip("-")


def _contents(headings: Sequence[Heading]) -> str:
    shown = [heading for heading in headings if heading.level == 2]
    if len(shown) < 2:
        return ""
    items = [f'<li><a href="#{h.anchor}">{html.escape(h.text)}</a></li>' for h in shown]
    return "<h2>On this page</h2>\n<ul>\n" + "\n".join(items) + "\n</ul>"


def _highlight(code: str, language: str, attributes: str) -> str:
    try:
        lexer = get_lexer_by_name(language) if language else None
    except ClassNotFound:
        lexer = None
    return html.escape(code) if lexer is None else str(colour(code, lexer, _FORMATTER))


def _dark_style() -> str:
    dark: Any = HtmlFormatter(style="github-dark")
    rules = dark.get_style_defs("pre")
    return "@media (prefers-color-scheme: dark) {\n" + rules + "\n}"


def _drop_comments(text: str) -> str:
    return re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)


def _resolve(page_name: str, href: str) -> str:
    """Return a link as seen from the top: ``guide/routing.html#mounts``."""
    path, mark, anchor = href.partition("#")
    here = f"{page_name}.html"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(here), path)) if path else here
    return target + mark + anchor


def _images_of(tokens: Sequence[Token], page: Page) -> list[str]:
    """Return the images that are shown, as seen from the top."""
    return [_resolve(page.name, str(t.attrs["src"])) for t in tokens if t.type == "image"]


def _check_links(rendered: dict[str, Rendered]) -> None:
    anchors = {f"{name}.html": {h.anchor for h in r.headings} for name, r in rendered.items()}
    broken = []
    for name, result in rendered.items():
        for link in result.links:
            target, _, anchor = link.partition("#")
            if target not in anchors or (anchor and anchor not in anchors[target]):
                broken.append(f"{DOCS.name}/{name}: {link}")
        broken += [
            f"{DOCS.name}/{name}: {image}"
            for image in result.images
            if not (DOCS / image).is_file()
        ]
    if broken:
        raise BrokenLinks("Links that lead nowhere:\n" + "\n".join(broken))
