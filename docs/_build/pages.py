"""Which pages the documentation has, in which order, and what a page may include."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[1]

SECTIONS: dict[str, list[str]] = {
    "Start": [
        "index",
        "tutorial/1-hello",
        "tutorial/2-api",
        "tutorial/3-forms",
        "tutorial/4-live",
        "tutorial/5-deploy",
        "guide/one-page",
        "coming-from-starlette",
        "guide/coming-from-flask",
        "guide/switching",
    ],
    "Guide": [
        "guide/routing",
        "guide/requests",
        "guide/responses",
        "guide/errors",
        "guide/templates",
        "guide/static-files",
        "guide/events",
        "guide/channels",
        "guide/websockets",
        "guide/lifespan",
        "guide/configuration",
        "guide/threads",
        "guide/tasks",
        "guide/jobs",
        "guide/runs",
        "guide/stores",
        "guide/schemas",
        "guide/testing",
    ],
    "How to": [
        "guide/databases",
        "guide/validation",
        "guide/login",
        "guide/oidc",
        "guide/passkeys",
        "guide/jwt",
        "guide/uploads",
        "guide/chat",
        "guide/gateway",
        "guide/glue",
        "guide/logging",
    ],
    "Middleware": [
        "guide/middleware",
        "guide/sessions",
        "guide/signing",
        "guide/idempotency",
        "guide/caching",
        "guide/authentication",
        "guide/cors",
        "guide/browser-safety",
        "guide/compression",
        "guide/rate-limits",
        "guide/more-middleware",
    ],
    "Production": [
        "guide/running",
        "guide/deployment",
        "guide/hosting",
        "guide/scaling",
        "guide/proxies",
        "guide/overload",
        "guide/health",
        "guide/observability",
        "guide/drain",
        "guide/limits",
        "guide/checking",
        "guide/troubleshooting",
        "guide/support",
    ],
    "Understanding spica": [
        "guide/value-path",
        "guide/walk",
        "deviations",
        "figures",
        "growth",
    ],
}
"""The written pages by section, without ``.md``. Reference and decisions are added by themselves."""

UNLISTED = {"figures-fastapi"}
"""Pages that are only included in others."""

INCLUDE = re.compile(r"^<!-- include (?P<file>[\w./-]+) -->$", re.MULTILINE)


class Page(NamedTuple):
    """A page of the documentation, before it is HTML."""

    name: str
    """Where it stands below the output directory, without a suffix: ``guide/routing``."""
    title: str
    text: str


def title_of(text: str) -> str:
    """Return the text of the first heading."""
    for line in text.splitlines():
        if line.startswith("# "):
            return line[2:].strip().replace("`", "")
    raise ValueError("The page has no heading that begins with '# '.")


def read_page(name: str) -> Page:
    """Read a written page, with what it includes."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    return Page(name, title_of(text), INCLUDE.sub(_included, text))


def _included(mark: re.Match[str]) -> str:
    """Return the file that a mark names, without its heading; a sentence where there is none yet."""
    file = DOCS / mark["file"]
    if not file.exists():
        return "*There are no figures here yet.*"
    text = file.read_text(encoding="utf-8")
    return re.sub(r"\A# .*\n+", "", text)


def all_sections(reference: list[Page]) -> dict[str, list[Page]]:
    """Return all pages by section: the written ones, the reference, the decisions."""
    sections = {title: [read_page(name) for name in names] for title, names in SECTIONS.items()}
    sections["Reference"] = reference
    decisions = sorted((DOCS / "decisions").glob("*.md"))
    sections["Decisions"] = [read_page(f"decisions/{file.stem}") for file in decisions]
    return sections
