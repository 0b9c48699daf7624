"""The limits on the page are those in the code: each row of its tables is looked up."""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from spica import concurrency
from spica._asgi import body, deadline, scope
from spica._http import closecodes, conditional, fields, filenames, host, origins
from spica._layers import header_limits
from spica.applications import Spica
from spica.convertors import FloatConvertor
from spica.formparsers import (
    MAX_TOTAL_SIZE,
    MultiPartParser,
    charsets,
    decoder,
    limits,
    reading,
    scanner,
    streamed,
)
from spica.formparsers import upload_storage as spool
from spica.jsoncodec import decode, encode
from spica.middleware import debug_page, gzip
from spica.middleware.cors import CORSMiddleware
from spica.middleware.sessions import cookie as _sessioncookie
from spica.responses import FileResponse
from spica.routing import Mount, Route, Router
from spica.staticfiles import StaticMemory

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "limits.md"
HEAD = "| limit | default | why this | where it is set | beyond it |"

KIB, MIB, GIB = 1024, 1024**2, 1024**3


def default(function: Any, name: str) -> Any:
    return inspect.signature(function).parameters[name].default


def form(name: str) -> Any:
    """A default of the parser, which is in force where nothing is set."""
    return default(MultiPartParser, name)


LIMITS: dict[str, tuple[float, str]] = {
    "body that `body()` keeps in memory": (body.DEFAULT_MAX_BODY_SIZE / MIB, "MiB"),
    "body that `json()` decodes": (body.DEFAULT_MAX_JSON_SIZE / MIB, "MiB"),
    "body read ahead while waiting for a disconnect": (body.READ_AHEAD_SIZE / MIB, "MiB"),
    "digits of a Content-Length": (scope.MAX_LENGTH_DIGITS, ""),
    "digits of an integer in JSON": (sys.int_info.default_max_str_digits, ""),
    "files of a form": (form("max_files"), ""),
    "fields of a form": (form("max_fields"), ""),
    "size of a field": (form("max_part_size") / MIB, "MiB"),
    "memory of a form, fields and small files together": (
        form("max_memory_size") / MIB,
        "MiB",
    ),
    "a whole form with its files": (MAX_TOTAL_SIZE / GIB, "GiB"),
    "headers of one part of a form": (form("max_headers"), ""),
    "size of a header line of a part": (form("max_header_size") / KIB, "KiB"),
    "length of a boundary": (decoder.MAX_BOUNDARY_SIZE, "bytes"),
    "size of a part that `Part.read()` returns": (streamed.DEFAULT_READ_LIMIT / MIB, "MiB"),
    "an uploaded file in memory, before it moves to disk": (
        MultiPartParser.spool_max_size / MIB,
        "MiB",
    ),
    "bytes of a safe file name": (filenames.MAX_NAME_SIZE, ""),
    "temporary files of a form": (spool.MAX_OPEN_FILES + 1, ""),
    "blanks behind a boundary": (scanner.MAX_PADDING, "bytes"),
    "length of the name of a charset": (charsets.MAX_NAME_SIZE, ""),
    "time without a byte of a body that is being read": (
        deadline.DEFAULT_BODY_IDLE_SECONDS,
        "seconds",
    ),
    "rate at which a body arrives, on average": (
        deadline.DEFAULT_MIN_BODY_RATE,
        "bytes per second",
    ),
    "waiting before that rate counts": (deadline.BODY_GRACE_SECONDS, "seconds"),
    "header lines": (header_limits.DEFAULT_MAX_HEADERS, "lines"),
    "names and values of all headers": (header_limits.DEFAULT_MAX_HEADER_SIZE / KIB, "KiB"),
    "length of a Host": (host.MAX_HOST_SIZE, "bytes"),
    "length of an origin a pattern is tried on": (origins.MAX_ORIGIN_SIZE, ""),
    "members of a list in a header": (fields.MAX_LIST_ITEMS, ""),
    "parameters of a value in a header": (fields.MAX_PARAMETERS, ""),
    "length of a date in a header": (conditional._MAX_DATE_LENGTH, ""),
    "ranges of a request for a file": (FileResponse.max_ranges, ""),
    "digits of `{number:int}` in a path": (sys.int_info.default_max_str_digits, ""),
    "`def` endpoints and `run_in_threadpool` at once": (concurrency.endpoint_threads.total, ""),
    "visits to files at once": (concurrency.file_threads.total, ""),
    "WSGI applications at once": (concurrency.wsgi_threads.total, ""),
    "compressions in threads at once": (gzip.gzip_threads.total, ""),
    "`def` background tasks at once": (concurrency.background_threads.total, ""),
    "startup of one lifespan": (default(Router, "max_startup_seconds"), "seconds"),
    "shutdown of one lifespan": (default(Router, "max_shutdown_seconds"), "seconds"),
    "a session's cookie, name and value": (_sessioncookie.MAX_COOKIE_SIZE, "bytes"),
    "reason of a WebSocket close": (closecodes.MAX_CLOSE_REASON_SIZE, "bytes"),
    "a body message of a file": (FileResponse.chunk_size / KIB, "KiB"),
    "a static file that is kept in memory": (StaticMemory().max_file_size / KIB, "KiB"),
    "static files in memory together": (StaticMemory().max_size / MIB, "MiB"),
    "age of a static file in memory": (2 * StaticMemory().fresh_seconds, "seconds"),
    "bytes below which nothing is compressed": (default(gzip.GZipMiddleware, "minimum_size"), ""),
    "seconds that a preflight is kept": (default(CORSMiddleware, "max_age"), ""),
    "frames on the debug page": (debug_page.MAX_FRAMES, ""),
}

ELSEWHERE = {
    "body of any kind, also streams and mounted apps": "none",
    "nesting of JSON, read": "1024 levels",
    "nesting of JSON, written": "1024 levels",
    "value of another number in JSON": "that of the largest float, 1.8e308",
    "body of a request for WSGI in memory": "1 MiB",
    "time for a client to accept 256 KiB of a WSGI response": "60 seconds",
    "wait for one of these threads": "30 seconds",
    "value of `{number:float}` in a path": "that of the largest float, 1.8e308",
}
"""Rows that a test of their own looks at."""


def read_rows() -> dict[str, str]:
    """Return the default of each limit on the page."""
    rows = {}
    for table in PAGE.read_text("utf-8").split(HEAD)[1:]:
        for line in table.strip().splitlines()[1:]:
            if not line.startswith("|"):
                break
            name, value, why, *_ = (cell.strip() for cell in line.strip("|").split("|"))
            assert why, f"{name}: it says no reason"
            rows[name] = value
    return rows


def test_every_row_is_looked_at() -> None:
    assert read_rows().keys() == LIMITS.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("name", LIMITS)
def test_the_default_on_the_page_is_that_in_the_code(name: str) -> None:
    number, unit = LIMITS[name]
    assert number == int(number)
    assert read_rows()[name] == f"{int(number)} {unit}".strip()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_stands_elsewhere(name: str) -> None:
    assert read_rows()[name] == ELSEWHERE[name]


def test_the_nesting_of_json() -> None:
    decode(b"[" * 1024 + b"]" * 1024)
    with pytest.raises(ValueError, match=r"(?i)recursion|nest|depth|deep"):
        decode(b"[" * 1025 + b"]" * 1025)
    assert len(encode(decode(b"[" * 1024 + b"]" * 1024))) == 2048


def test_the_largest_number_in_json() -> None:
    assert decode(b"1.7976931348623157e308") == sys.float_info.max
    with pytest.raises(ValueError, match="infinity"):
        decode(b"1e309")


def test_the_body_for_wsgi() -> None:
    source = Path(inspect.getfile(debug_page)).with_name("wsgi.py").read_text("utf-8")
    assert re.search(r"^MAX_BODY_IN_MEMORY = 1024 \* 1024$", source, re.MULTILINE)
    assert re.search(r"^MAX_SEND_SECONDS = 60$", source, re.MULTILINE)
    assert re.search(r"^MAX_PIECE_SIZE = 256 \* 1024$", source, re.MULTILINE)


def test_the_largest_float_in_a_path() -> None:
    convertor = FloatConvertor()
    assert convertor.convert("1" + "0" * 308) == 1e308
    with pytest.raises(ValueError, match="float"):
        convertor.convert("1" + "0" * 309)


def test_all_bounded_waits_are_alike() -> None:
    groups = (concurrency.endpoint_threads, concurrency.file_threads, concurrency.wsgi_threads)
    assert [group.max_wait_seconds for group in (*groups, gzip.gzip_threads)] == [30, 30, 30, 30]
    assert concurrency.background_threads.max_wait_seconds is None
    assert concurrency.RETRY_AFTER_SECONDS == 5


@pytest.mark.parametrize(
    "maker", [Spica, Router, Mount, Route], ids=["application", "router", "mount", "route"]
)
def test_limits_of_bodies_are_set_where_the_page_says(maker: Any) -> None:
    names = {"max_body_size", "body_idle_seconds", "min_body_rate", "form_limits"}
    assert names <= inspect.signature(maker).parameters.keys()


def test_limits_of_headers_are_set_where_the_page_says() -> None:
    assert {"max_headers", "max_header_size"} <= inspect.signature(Spica).parameters.keys()


def test_settings_of_forms_are_named_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in limits.FormLimits.__slots__ if f"| `{name}` |" not in text] == []
    assert reading.NONE_GIVEN == (None,) * 5
