"""Tests of spica/middleware/debug_page.py."""

import dis
import html.parser
import inspect
import json

import pytest

from spica.middleware import debug_page
from spica.middleware.debug_page import (
    format_line,
    generate_frame_html,
    generate_html,
    generate_plain_text,
)


def caught(function, *args):
    try:
        function(*args)
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


def divide(one, other):
    password = "hunter" + "2"
    return one * (one / other) if password else None


def recurse(depth):
    if depth == 0:
        raise ValueError("deep enough")
    recurse(depth - 1)


class Balance(html.parser.HTMLParser):
    """Check that every element is closed, and keep the text."""

    def __init__(self, page):
        super().__init__()
        self.open = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


# The page


def test_the_page_is_well_formed_and_names_the_error():
    page = generate_html(caught(divide, 1, 0))
    text = Balance(page).text
    assert page.startswith("<!DOCTYPE html>")
    assert "<h1>500 Server Error</h1>" in page
    assert "<title>ZeroDivisionError: division by zero</title>" in page
    assert "ZeroDivisionError: division by zero" in text


@pytest.mark.parametrize(
    ("module", "prefix"),
    [("builtins", ""), ("__main__", ""), ("shop.errors", "<small>shop.errors.</small>")],
)
def test_the_page_names_the_module_of_an_error_unless_everybody_knows_it(module, prefix):
    error = type("Lost", (Exception,), {"__module__": module})("x")
    assert f"<h2>{prefix}Lost: x</h2>" in generate_html(error)


def test_the_page_shows_frames_and_their_source():
    text = Balance(generate_html(caught(divide, 1, 0))).text
    assert "divide" in text
    assert f"{__file__}, line {divide.__code__.co_firstlineno + 2}" in text
    assert 'password = "hunter" + "2"' in text


def test_the_page_marks_the_part_that_failed():
    """PEP 657."""
    assert "<mark>one / other</mark>" in generate_html(caught(divide, 1, 0))


def test_the_page_does_not_show_values_of_variables():
    assert "hunter2" not in generate_html(caught(divide, 1, 0))


def test_the_page_needs_no_script():
    assert "<script" not in generate_html(caught(divide, 1, 0))


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "</title><b>", "\"quotes' & more", "</pre><i>"]
)
def test_everything_is_escaped(text):
    error = type(text, (Exception,), {"__module__": text})(text)
    error.add_note(text)
    page = generate_html(error)
    assert text not in page
    assert text in Balance(page).text


def test_source_and_names_are_escaped():
    source = 'def f():\n    "<script>"; raise ValueError("<b>")\nf()\n'
    page = generate_html(caught(exec, compile(source, "<i>file</i>", "exec"), {}))
    assert "<i>file" not in page
    assert "<script>" not in page


def test_an_error_without_text_or_traceback():
    text = Balance(generate_html(ValueError())).text
    assert "ValueError" in text


def test_an_error_whose_text_fails():
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError

    assert "__str__ failed" in Balance(generate_html(Odd())).text


def test_an_error_with_a_lone_surrogate_can_be_encoded():
    page = generate_html(ValueError("\ud800"))
    assert "\\ud800" in page.encode().decode()


def test_a_long_text_is_cut():
    page = generate_html(ValueError("x" * 10_000))
    assert "x" * (debug_page.MAX_MESSAGE_LENGTH - 1) + "…" in page


def test_the_module_of_an_error_is_shown():
    assert "json.decoder.JSONDecodeError" in Balance(generate_html(caught(json.loads, "{"))).text


def test_notes_are_shown():
    error = ValueError("x")
    error.add_note("try it with y")
    assert "try it with y" in Balance(generate_html(error)).text


def test_notes_that_are_none_are_passed_over():
    error = ValueError("x")
    error.__notes__ = [1, "real"]
    assert '<p class="note">real</p>' in generate_html(error)


# Frames


def test_frames_of_libraries_are_collapsed_and_the_last_is_open():
    frames = generate_html(caught(json.loads, "{")).split("<details")[1:]
    names = [frame.split("<b>")[1].split("</b>")[0] for frame in frames if "<b>" in frame]
    opened = [frame.startswith(" open") for frame in frames if "<b>" in frame]
    assert names == ["caught", "loads", "JSONDecoder.decode", "JSONDecoder.raw_decode"]
    assert opened == [True, False, False, True]


def test_a_recursion_is_shown_without_its_middle():
    page = generate_html(caught(recurse, 200))
    assert page.count("<details") == debug_page.MAX_FRAMES + 1
    # caught(), and recurse() 201 times
    assert f"{202 - debug_page.MAX_FRAMES} frames were left out." in page


@pytest.mark.parametrize(("depth", "left_out"), [(58, False), (59, True)])
def test_how_many_frames_are_shown(depth, left_out):
    """A traceback of caught(), and recurse() depth + 1 times."""
    page = generate_html(caught(recurse, depth))
    assert ("frames were left out" in page) is left_out


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_the_number_of_source_lines(limit):
    page = generate_html(caught(divide, 1, 0), limit=limit)
    assert page.count("<span") - page.count('<span class="place"') == 2 * limit


def test_source_that_is_not_there():
    page = generate_html(caught(exec, compile("1/0", "nowhere.py", "exec")))
    assert "The source is not available." in page


def test_a_frame_can_be_rendered_by_another_function():
    seen = []

    def render(frame, is_collapsed):
        seen.append((frame.function, is_collapsed))
        return "<p>mine</p>"

    page = generate_html(caught(divide, 1, 0), frame_html=render)
    assert seen == [("caught", False), ("divide", False)]
    assert page.count("<p>mine</p>") == 2


def test_a_frame_as_inspect_gives_it():
    frame = inspect.getinnerframes(caught(divide, 1, 0).__traceback__, 3)[-1]
    page = generate_frame_html(frame, is_collapsed=True)
    assert page.startswith("<details><summary><b>divide</b>")
    assert "<mark>one / other</mark>" in page


def test_columns_count_characters_and_not_bytes():
    source = 'ä = "ööö" + (1 / 0)'
    frame = debug_page._frame_info(compile_and_fail(source), 1)
    start = source.index("1 / 0")
    assert debug_page._columns(frame, source) == (start, start + 5)


@pytest.mark.parametrize(("line", "columns"), [(6, None), (7, (1, 2))])
def test_columns_of_another_line_say_nothing_of_this_one(line, columns):
    positions = dis.Positions(line, line, 1, 2)
    frame = inspect.FrameInfo(None, "x", 7, "f", ["abc"], 0, positions=positions)
    assert debug_page._columns(frame, "abc") == columns


def compile_and_fail(source):
    return caught(exec, compile(source, "x", "exec")).__traceback__.tb_next


@pytest.mark.parametrize(
    ("filename", "is_library"),
    [
        ("/usr/lib/python3/dist-packages/a.py", True),
        ("/home/me/.venv/lib/python3.13/site-packages/a.py", True),
        ("<frozen runpy>", True),
        (debug_page.__file__, True),
        (json.__file__, True),
        ("/home/me/shop/a.py", False),
    ],
)
def test_whose_a_file_is(filename, is_library):
    assert debug_page._is_library(filename) is is_library


# Lines


def test_a_line_has_its_number():
    assert format_line(2, "  a<b\n", 10, 3) == "<span><i>9</i>  a&lt;b</span>"


def test_the_failing_line_is_told_apart():
    assert format_line(3, "x", 10, 3) == '<span class="failing"><i>10</i>x</span>'


def test_columns_are_marked():
    line = format_line(0, "a = b / c", 1, 0, (4, 9))
    assert line == '<span class="failing"><i>1</i>a = <mark>b / c</mark></span>'


@pytest.mark.parametrize(("length", "is_cut"), [(399, False), (400, False), (401, True)])
def test_long_lines_are_cut(length, is_cut):
    assert ("…" in format_line(0, "x" * length, 1, 1)) is is_cut


# Causes, contexts, groups


def raise_from(cause):
    raise RuntimeError("outer") from cause


def test_a_cause_follows():
    text = Balance(generate_html(caught(raise_from, KeyError("inner")))).text
    parts = ["RuntimeError: outer", "It was directly caused by:", "KeyError: 'inner'"]
    assert [part for part in parts if part not in text] == []
    assert text.index(parts[0]) < text.index(parts[1]) < text.index(parts[2])


def test_a_context_follows():
    error = RuntimeError("outer")
    error.__context__ = KeyError("inner")
    text = Balance(generate_html(error)).text
    assert "It was raised while this was being handled:" in text
    assert "KeyError: 'inner'" in text


def test_a_suppressed_context_does_not_follow():
    error = caught(raise_from, None)
    error.__context__ = KeyError("inner")
    assert "inner" not in generate_html(error)


def test_a_circular_chain_ends():
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    assert Balance(generate_html(one)).text.count("ValueError: other") == 2  # page and text


def test_a_long_chain_is_cut():
    error = ValueError("0")
    for number in range(1, 100):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following
    page = generate_html(error)
    assert page.count("<section>") == debug_page.MAX_EXCEPTIONS
    assert "More exceptions were left out." in page


def test_the_members_of_a_group_are_shown():
    group = ExceptionGroup("several", [caught(divide, 1, 0), KeyError("b")])
    text = Balance(generate_html(group)).text
    assert "several (2 sub-exceptions)" in text
    assert "Member 1 of 2:" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "KeyError: 'b'" in text


def test_a_large_group_is_cut():
    page = generate_html(ExceptionGroup("many", [ValueError(str(n)) for n in range(100)]))
    assert page.count("<section>") == debug_page.MAX_EXCEPTIONS
    assert page.count("ValueError, left out.") == 100 - debug_page.MAX_EXCEPTIONS + 1


# Plain text


def test_plain_text_is_pythons_traceback():
    text = generate_plain_text(caught(divide, 1, 0))
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("\nZeroDivisionError: division by zero\n")


def test_plain_text_can_be_encoded():
    assert "\\ud800" in generate_plain_text(ValueError("\ud800")).encode().decode()


def test_a_syntax_error_shows_its_place():
    error = caught(compile, "a b", "<code>", "exec")
    assert "&lt;code&gt;" in generate_html(error)
    assert 'File "<code>", line 1' in generate_plain_text(error)


def test_modules_for_pages_are_imported_on_use():
    assert {"html", "inspect", "traceback", "linecache"}.isdisjoint(vars(debug_page))
