"""Render an exception as an HTML page for developers, and as plain text.

Pure functions from an exception to a string. `spica.middleware.errors` decides when to show it. The page
needs no script. It shows source code and never the values of variables, because these may include passwords,
and pages end up in screenshots and tickets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import inspect

__all__ = ["format_line", "generate_frame_html", "generate_html", "generate_plain_text"]

MAX_FRAMES = 60
"""Maximum number of frames per traceback. A longer one, such as a recursion, loses its middle."""

MAX_EXCEPTIONS = 20
"""Maximum number of exceptions on a page, including causes, contexts and members of groups."""

MAX_MESSAGE_LENGTH = 4000
"""Maximum number of characters of an exception's message."""

MAX_LINE_LENGTH = 400
"""Maximum number of characters of a source line."""

_SPICA = os.path.dirname(os.path.dirname(__file__)) + os.sep
_PYTHON = os.path.dirname(os.__file__) + os.sep

FrameRenderer = Callable[["inspect.FrameInfo", bool], str]

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2330; --quiet: #667085;
  --line: #d8dde6; --code: #f5f7fa; --hot: #fde8e8; --mark: #f4a9a9; --accent: #b42318; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181e; --ink: #e4e7ec; --quiet: #98a2b3;
  --line: #2f3541; --code: #1c2028; --hot: #3a2023; --mark: #7c2d2d; --accent: #f97066; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 64rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1rem; font-weight: 500; color: var(--quiet); }
h2 { margin: .3rem 0 1rem; font-size: 1.35rem; color: var(--accent); overflow-wrap: anywhere;
  white-space: pre-wrap; }
h2 small { font-size: .6em; color: var(--quiet); font-weight: 400; }
section section { margin-left: .6rem; padding-left: .9rem; border-left: 2px solid var(--line); }
.relation, .left-out { color: var(--quiet); margin: 1.6rem 0 0; }
.note { margin: 0 0 1rem; white-space: pre-wrap; }
details { margin: .4rem 0; border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }
summary { padding: .4rem .8rem; cursor: pointer; overflow-wrap: anywhere; }
.place { color: var(--quiet); font-size: .9em; }
pre { margin: 0; padding: .5rem 0; overflow-x: auto; background: var(--code);
  font: 13px/1.55 ui-monospace, monospace; }
pre span { display: block; padding: 0 .8rem; min-width: max-content; }
pre .failing { background: var(--hot); }
pre i { display: inline-block; min-width: 3.2em; margin-right: 1em; text-align: right;
  color: var(--quiet); font-style: normal; user-select: none; }
mark { background: var(--mark); color: inherit; border-radius: 2px; }
.text { padding: .8rem; }
"""


def generate_plain_text(exc: BaseException) -> str:
    """Return the traceback in Python's format, with causes, notes and groups."""
    import traceback

    return _sendable("".join(traceback.format_exception(exc)))


def generate_html(
    exc: BaseException, limit: int = 7, frame_html: FrameRenderer | None = None
) -> str:
    """Return a page about `exc`, its causes and the members of a group.

    Args:
        exc: the exception.
        limit: the number of source lines per frame.
        frame_html: renders a frame instead of `generate_frame_html`. It gets an `inspect.FrameInfo`, and
            whether the frame should be collapsed.
    """
    page = _Page(limit, frame_html or generate_frame_html)
    sections = page.section(exc)
    heading = _escape(_shorten(f"{_name(exc)}: {_message(exc)}", 200))
    return _sendable(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>500 Server Error</h1>\n{sections}\n"
        "<details><summary>Traceback as text</summary>"
        f'<pre class="text">{_escape(generate_plain_text(exc))}</pre></details>\n'
        "</body>\n</html>\n"
    )


def generate_frame_html(frame: inspect.FrameInfo, is_collapsed: bool) -> str:
    """Return one frame: its location, and its source lines, which the reader can expand and collapse."""
    lines = frame.code_context or []
    failing = frame.index or 0
    rendered = [
        format_line(
            index, line, frame.lineno, failing, _columns(frame, line) if index == failing else None
        )
        for index, line in enumerate(lines)
    ]
    source = "".join(rendered) or "<span>The source is not available.</span>"
    return (
        f"<details{'' if is_collapsed else ' open'}><summary><b>{_escape(frame.function)}</b> "
        f'<span class="place">{_escape(frame.filename)}, line {frame.lineno}</span></summary>'
        f"<pre>{source}</pre></details>\n"
    )


def format_line(
    index: int,
    line: str,
    frame_lineno: int,
    frame_index: int,
    columns: tuple[int, int] | None = None,
) -> str:
    """Return one line of source.

    `index` is its position among the lines of the frame, and `frame_index` the position of the failing line
    with the number `frame_lineno`. `columns` has the first character to mark and the end of the mark.
    """
    line = line.rstrip("\r\n")
    text = _escape(_shorten(line, MAX_LINE_LENGTH))
    if columns is not None and columns[1] <= MAX_LINE_LENGTH:
        start, end = columns
        marked = f"<mark>{_escape(line[start:end])}</mark>"
        text = _escape(line[:start]) + marked + _escape(_shorten(line[end:], MAX_LINE_LENGTH))
    kind = ' class="failing"' if index == frame_index else ""
    return f"<span{kind}><i>{frame_lineno - frame_index + index}</i>{text}</span>"


class _Page:
    """Render the sections of a page, and count the exceptions to limit its size."""

    __slots__ = ("frame_html", "limit", "seen")

    def __init__(self, limit: int, frame_html: FrameRenderer) -> None:
        self.limit = limit
        self.frame_html = frame_html
        self.seen: set[int] = set()

    def section(self, exc: BaseException) -> str:
        """Return an exception, its causes and its group members, newest first. A chain may be circular."""
        parts: list[str] = []
        while True:
            self.seen.add(id(exc))
            parts += ["<section>", self.heading(exc), *self.frames(exc.__traceback__)]
            if isinstance(exc, BaseExceptionGroup):
                for number, member in enumerate(exc.exceptions, 1):
                    place = f"Member {number} of {len(exc.exceptions)}:"
                    parts += [f'<p class="relation">{place}</p>\n', self.member(member)]
            parts.append("</section>\n")
            relation, origin = _origin(exc)
            if origin is None or id(origin) in self.seen:
                break
            if len(self.seen) >= MAX_EXCEPTIONS:
                parts.append('<p class="left-out">More exceptions were left out.</p>')
                break
            parts.append(f'<p class="relation">{relation}</p>\n')
            exc = origin
        return "".join(parts)

    def heading(self, exc: BaseException) -> str:
        """Return the class, the message and the notes of an exception."""
        module = type(exc).__module__
        prefix = "" if module in ("builtins", "__main__") else f"<small>{_escape(module)}.</small>"
        message = _message(exc)
        text = f": {_escape(message)}" if message else ""
        heading = f"<h2>{prefix}{_escape(_name(exc))}{text}</h2>\n"
        return heading + "".join(f'<p class="note">{_escape(note)}</p>\n' for note in _notes(exc))

    def frames(self, traceback: TracebackType | None) -> Iterator[str]:
        """Yield the frames with the failing one last, and without the middle of a recursion."""
        entries = list(_walk(traceback))
        left_out = len(entries) - MAX_FRAMES
        for number, entry in enumerate(entries):
            if left_out > 0 and MAX_FRAMES // 2 <= number < MAX_FRAMES // 2 + left_out:
                if number == MAX_FRAMES // 2:
                    yield f'<p class="left-out">{left_out} frames were left out.</p>\n'
                continue
            frame = _frame_info(entry, self.limit)
            is_last = number == len(entries) - 1
            yield self.frame_html(frame, not is_last and _is_library(frame.filename))

    def member(self, exc: BaseException) -> str:
        """Return a member of an exception group."""
        if len(self.seen) >= MAX_EXCEPTIONS or id(exc) in self.seen:
            return f'<p class="left-out">{_escape(_name(exc))}, left out.</p>\n'
        return self.section(exc)


def _origin(exc: BaseException) -> tuple[str, BaseException | None]:
    if exc.__cause__ is not None:
        return "It was directly caused by:", exc.__cause__
    if exc.__suppress_context__:
        return "", None
    return "It was raised while this was being handled:", exc.__context__


def _walk(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _frame_info(entry: TracebackType, limit: int) -> inspect.FrameInfo:
    import inspect
    import itertools
    import linecache
    from dis import Positions

    code = entry.tb_frame.f_code
    # Without a file, for example in a zip archive, linecache uses the module's loader.
    lines = linecache.getlines(code.co_filename, entry.tb_frame.f_globals)
    failing = entry.tb_lineno - 1
    start = max(0, min(failing - limit // 2, len(lines) - limit))
    is_known = 0 <= failing < len(lines)
    positions = next(itertools.islice(code.co_positions(), entry.tb_lasti // 2, None), None)
    return inspect.FrameInfo(
        entry.tb_frame,
        code.co_filename,
        entry.tb_lineno,
        code.co_qualname,
        lines[start : start + limit] if is_known else None,
        failing - start if is_known else None,
        positions=None if positions is None else Positions(*positions),
    )


def _columns(frame: inspect.FrameInfo, line: str) -> tuple[int, int] | None:
    """Return the columns of the failing expression, or None if unknown or if it is the whole line."""
    positions = getattr(frame, "positions", None)
    if positions is None or positions.lineno != frame.lineno or positions.col_offset is None:
        return None
    raw = line.encode("utf-8", "replace")
    # PEP 657: offsets count bytes of UTF-8.
    start = len(raw[: positions.col_offset].decode("utf-8", "replace"))
    end = len(line.rstrip())
    if positions.end_lineno == positions.lineno:
        end = len(raw[: positions.end_col_offset].decode("utf-8", "replace"))
    return None if line[start:end].strip() in ("", line.strip()) else (start, end)


def _is_library(filename: str) -> bool:
    """Return whether a file belongs to an installed package, to Python or to spica."""
    if "site-packages" in filename or "dist-packages" in filename or filename.startswith("<"):
        return True
    return filename.startswith((_SPICA, _PYTHON))


def _name(exc: BaseException) -> str:
    return type(exc).__qualname__


def _message(exc: BaseException) -> str:
    try:
        return _shorten(str(exc), MAX_MESSAGE_LENGTH)
    except Exception:
        return "<its text cannot be shown: __str__ failed>"


def _notes(exc: BaseException) -> list[str]:
    notes = getattr(exc, "__notes__", None)
    if not isinstance(notes, (list, tuple)):
        return []
    return [_shorten(note, MAX_MESSAGE_LENGTH) for note in notes if isinstance(note, str)]


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _escape(text: str) -> str:
    import html

    return html.escape(text)


def _sendable(text: str) -> str:
    """Return `text` without lone surrogates, which UTF-8 can't encode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
