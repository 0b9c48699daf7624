"""Colour Python source, without a package for it."""

import io
import keyword
import tokenize

from markupsafe import Markup, escape

KINDS = {"COMMENT": "comment", "STRING": "string", "NUMBER": "number"}
# Python 3.12 and later split an f-string into tokens.
KINDS |= dict.fromkeys(("FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END"), "string")


def highlight(source: str) -> Markup:
    """Return the source as HTML, with a class for each comment, string, number and keyword."""
    lines = source.splitlines(keepends=True)
    parts: list[str] = []
    row, column = 1, 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = KINDS.get(tokenize.tok_name[token.type])
        if token.type == tokenize.NAME and keyword.iskeyword(token.string):
            kind = "keyword"
        # The spaces between two tokens are not a token.
        parts.append(escape(_between(lines, (row, column), token.start)))
        text = escape(_between(lines, max((row, column), token.start), token.end))
        parts.append(f'<span class="{kind}">{text}</span>' if kind and text else text)
        row, column = token.end
    return Markup("".join(parts).rstrip())


def _between(lines: list[str], begin: tuple[int, int], end: tuple[int, int]) -> str:
    """Return the text from one position to another, both (line, column)."""
    if begin >= end:
        return ""
    text = "".join(lines[begin[0] - 1 : end[0]])
    tail = len(lines[end[0] - 1]) - end[1] if end[0] <= len(lines) else 0
    return text[begin[1] : len(text) - tail]
