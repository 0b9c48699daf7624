"""Which paths can only lead downwards, which names are shown, and under which an upload is kept."""

import ntpath
import posixpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spica._http.filenames import MAX_NAME_SIZE, are_visible, make_safe_name, split_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", []),
        (".", []),
        ("a", ["a"]),
        ("a/b.txt", ["a", "b.txt"]),
        ("a//./b/", ["a", "b"]),
        ("...", ["..."]),
        ("..a", ["..a"]),
        ("..", None),
        ("a/..", None),
        ("a/../b", None),
        ("/", None),
        ("/a", None),
        ("a\0", None),
        ("con", ["con"]),
        ("a:b", ["a:b"]),
        ("a.", ["a."]),
        ("a\\b", ["a\\b"]),
    ],
)
def test_names_of_a_path(path, names):
    assert split_path(path, is_windows=False) == names


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("a/b.txt", ["a", "b.txt"]),
        ("a\\b.txt", ["a", "b.txt"]),
        ("console.txt", ["console.txt"]),
        ("com", ["com"]),
        ("com10", ["com10"]),
        ("..\\x", None),
        ("a\\..\\..\\x", None),
        ("\\x", None),
        ("/x", None),
        ("\\\\server\\share", None),
        ("C:\\x", None),
        ("C:x", None),
        ("a.txt::$DATA", None),
        ("a.txt:stream", None),
        ("con", None),
        ("NUL.txt", None),
        ("a/aux.tar.gz", None),
        ("com1", None),
        ("COM\u00b9", None),
        ("nul .txt", None),
        ("a.txt.", None),
        ("a.txt ", None),
        ("...", None),
        ("a\0", None),
        # Short names: "GIT~1" is ".git".
        ("GIT~1/config", None),
        ("env~1", None),
        ("HTPASS~1", None),
        ("HT1A2~12.TXT", None),
        ("a/READM~1.md", None),
        ("longname~1", ["longname~1"]),
        ("READM~1.html", ["READM~1.html"]),
        ("a~.txt", ["a~.txt"]),
        ("a~1b.txt", ["a~1b.txt"]),
    ],
)
def test_names_of_a_path_on_windows(path, names):
    assert split_path(path, is_windows=True) == names


def test_a_short_name_is_one_on_windows_alone():
    assert split_path("GIT~1/config", is_windows=False) == ["GIT~1", "config"]


@given(st.text("./\\abC: \0", max_size=12), st.sampled_from([posixpath, ntpath]))
@settings(max_examples=200)
def test_names_joined_to_a_directory_stay_below_it(path, system):
    names = split_path(path, is_windows=system is ntpath)
    if names is None:
        return
    root = "C:\\public" if system is ntpath else "/public"
    joined = system.normpath(system.join(root, *names))
    assert system.commonpath((root, joined)) == root


@pytest.mark.parametrize(
    ("names", "is_shown"),
    [
        ([], True),
        (["a", "b.c"], True),
        ([".well-known", "x"], True),
        (["a", ".well-known"], True),
        ([".env"], False),
        ([".git", "config"], False),
        (["a", "..b"], False),
        ([".well-known", ".x"], False),
        ([".Well-Known"], False),
    ],
)
def test_names_with_a_leading_dot_are_hidden(names, is_shown):
    assert are_visible(names) is is_shown


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("my report (2).tar.gz", "my report (2).tar.gz"),
        ("/etc/passwd", "passwd"),
        ("../../x.txt", "x.txt"),
        ("C:\\Users\\me\\new.txt", "new.txt"),
        ("C:new.txt", "new.txt"),
        ("a.txt:stream", "a.txt_stream"),
        ("..", "file"),
        ("...", "file"),
        ("", "file"),
        ("a/", "file"),
        (" \t.-.htaccess", "htaccess"),
        ("-rf", "rf"),
        ("a.txt. . ", "a.txt"),
        ("a\0b\r\nc\x7f.txt", "abc.txt"),
        ("exe\u202etxt.cod", "exetxt.cod"),
        ("half \ud800 of a character", "half  of a character"),
        ('a<b>c"d|e?f*g', "a_b_c_d_e_f_g"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("lpt\u00b9.x", "_lpt\u00b9.x"),
        ("e\u0301.txt", "\u00e9.txt"),
    ],
    ids=ascii,
)
def test_a_safe_name_is_that_of_one_file(sent, name):
    assert make_safe_name(sent) == name


def test_the_name_where_nothing_is_left_can_be_chosen():
    assert make_safe_name("..", "upload") == "upload"


@pytest.mark.parametrize("size", [MAX_NAME_SIZE - 1, MAX_NAME_SIZE])
def test_a_name_may_be_of_the_limit(size):
    name = "a" * (size - 4) + ".txt"
    assert make_safe_name(name) == name


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a" * 197 + ".txt", "a" * 196 + ".txt"),
        ("\u00e9" * 99 + ".txt", "\u00e9" * 98 + ".txt"),
        ("a." + "b" * 300, "a." + "b" * 198),
        ("a" * 200 + "." + "b" * 19, "a" * 180 + "." + "b" * 19),
        ("a" * 200 + "." + "b" * 20, "a" * 179 + "." + "b" * 20),
        ("a" * 200 + "." + "b" * 21, "a" * 200),
        ("a" * 191 + ". . ." + "b" * 100 + ".txt", "a" * 191 + ".txt"),
    ],
    ids=[
        "one over",
        "in the middle of a character",
        "no extension",
        "extension of 19",
        "extension of 20",
        "extension of 21",
        "blanks at the cut",
    ],
)
def test_a_long_name_is_cut_before_its_extension(sent, name):
    assert make_safe_name(sent) == name


@settings(max_examples=200)
@given(st.one_of(st.text(max_size=20), st.text("./\\:-_ a\u0301", max_size=300)))
def test_a_safe_name_leads_nowhere_and_stays_as_it_is(sent):
    name = make_safe_name(sent)
    for paths in (posixpath, ntpath):
        assert paths.normpath(name) == name == paths.basename(name)
    assert 0 < len(name.encode()) <= MAX_NAME_SIZE
    assert name.isprintable()
    assert make_safe_name(name) == name
