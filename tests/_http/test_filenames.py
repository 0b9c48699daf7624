"""Which paths can only lead downwards, and which names are shown."""

import ntpath
import posixpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spica._http.filenames import are_visible, split_path


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
    ],
)
def test_names_of_a_path_on_windows(path, names):
    assert split_path(path, is_windows=True) == names


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
