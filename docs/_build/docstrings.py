"""Docstrings as Markdown: their sections become lists, what is indented after ``::`` becomes code."""

from __future__ import annotations

import inspect
import re
import textwrap

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):\s*$")
_TITLES = {"Args": "Parameters", "Attributes": "Attributes", "Raises": "Raises"}
_TERM = re.compile(r"(\*{0,2}[\w.`]+(?:, [\w.]+)*): (.*)")


def to_markdown(docstring: str | None) -> str:
    """Return a docstring as Markdown; an empty text for none."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    output: list[str] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        section = _SECTION.match(line)
        position += 1
        if section is None:
            output.append(line[:-1] if line.endswith("::") else line)
            continue
        body = []
        while position < len(lines) and (not lines[position] or lines[position][0] == " "):
            body.append(lines[position])
            position += 1
        output += ["", f"**{_TITLES.get(section[1], section[1])}**", "", *_entries(body), ""]
    return "\n".join(output).strip()


def _entries(body: list[str]) -> list[str]:
    """Return the entries of a section as a list; deeper lines go on with the entry before."""
    entries: list[str] = []
    for line in textwrap.dedent("\n".join(body)).splitlines():
        if not line:
            continue
        if line[0] != " " or not entries:
            entries.append(line)
        else:
            entries[-1] += " " + line.strip()
    return [f"- {_mark_term(entry)}" for entry in entries]


def _mark_term(entry: str) -> str:
    found = _TERM.match(entry)
    if found is None:
        return entry
    names = ", ".join(f"`{name.strip('`')}`" for name in found[1].split(", "))
    return f"{names}: {found[2]}"
