"""A crowd of clients for a few seconds: scripts/soak runs the same for minutes."""

import sys

import pytest
from soak.__main__ import find_errors, find_growth, main
from soak.clients import KINDS, Site

REST = {
    "tasks": 2,
    "descriptors": 20,
    "threads": 5,
    "temporary": 0,
    "streams": 0,
    "kilobytes": 50_000,
    "promised": 9,
    "kept": 9,
    "sessions": 0,
}


@pytest.mark.skipif(sys.platform != "linux", reason="the report reads /proc")
def test_nothing_has_grown_after_a_crowd(capsys):
    status = main(["--minutes", "0.05", "--clients", str(2 * len(KINDS))])
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("tasks", 3, "tasks have grown from 2 to 3"),
        ("descriptors", 21, "descriptors have grown from 20 to 21"),
        ("kilobytes", 90_000, "memory has grown from 50000 to 90000 KB"),
        ("kept", 8, "1 background tasks are missing"),
        ("sessions", 1, "1 writes of sessions, 0 were asked for"),
    ],
)
def test_what_has_grown_is_named(name, value, text):
    assert find_growth(REST, {**REST, name: value}, Site(1)) == [text]


def test_errors_in_the_log_are_found():
    trace = 'Traceback (most recent call last):\n  File "/x/{}/y.py", line 1\nValueError: {}\n'
    ours = "ERROR:    Exception\n" + trace.format("spica", "ours")
    theirs = "ERROR:    Exception\n" + trace.format("uvicorn", "theirs")
    broken = "ERROR:    Exception\n" + trace.format("spica", "x, after sending 'websocket.close'.")
    assert find_errors("INFO:     up\n" + theirs + ours + broken + "INFO:     down\n") == [ours]
