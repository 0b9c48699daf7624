"""What the log of a served application has in it."""

import asyncio
import json
import logging
import sys
from typing import Any

import pytest

from spica.cli.logs import JSONFormatter, StopFilter, TextFormatter, log_config
from spica.cli.options import ServeOptions
from spica.middleware.requestid import request_id

UVICORN = ("uvicorn.access", "%s", ("127.0.0.1:5", "GET", "/a?token=secret", "1.1", 200))
GRANIAN = (
    "granian.access",
    "%(path)s",
    {"addr": "127.0.0.1:5", "method": "GET", "path": "/a", "query_string": "x", "status": 200},
)


def record(name: str, message: str, arguments: object = (), exc_info=None) -> logging.LogRecord:
    if isinstance(arguments, dict):
        arguments = (arguments,)  # logging unpacks a dict that is the only argument
    return logging.LogRecord(name, logging.ERROR, "file", 1, message, arguments, exc_info)


@pytest.mark.parametrize("access", [UVICORN, GRANIAN], ids=["uvicorn", "granian"])
def test_a_request_as_text(access: tuple) -> None:
    line = TextFormatter().format(record(*access))
    assert line.partition(" ")[2] == "127.0.0.1:5 GET /a 200"


@pytest.mark.parametrize("access", [UVICORN, GRANIAN], ids=["uvicorn", "granian"])
def test_a_request_as_json(access: tuple) -> None:
    document = json.loads(JSONFormatter().format(record(*access)))
    assert document["time"].endswith("Z")
    assert {**document, "time": ""} == {
        "time": "",
        "level": "error",
        "logger": access[0],
        "message": "GET /a 200",
        "client": "127.0.0.1:5",
        "method": "GET",
        "path": "/a",
        "status": 200,
    }


def test_a_path_can_not_forge_a_line() -> None:
    arguments = {**GRANIAN[2], "path": "/\n12:00:00 forged"}
    line = TextFormatter().format(record("granian.access", "", arguments))
    assert "\n" not in line
    assert "/\\n12:00:00 forged" in line


def test_a_record_of_the_application() -> None:
    line = TextFormatter().format(record("shop", "%d left", (3,)))
    assert line.partition(" ")[2] == "ERROR   shop: 3 left"


def error_record(error: BaseException) -> logging.LogRecord:
    try:
        raise error
    except BaseException:
        return record("uvicorn.error", "Exception in ASGI application", (), sys.exc_info())


def test_an_error_as_json_is_one_line() -> None:
    text = JSONFormatter().format(error_record(KeyError("a")))
    assert "\n" not in text
    assert json.loads(text)["exception"].endswith("KeyError: 'a'")


@pytest.mark.parametrize(
    ("error", "is_kept"), [(asyncio.CancelledError(), False), (KeyError("a"), True)]
)
def test_cancelled_requests_are_no_errors(error: BaseException, is_kept: bool) -> None:
    assert StopFilter().filter(error_record(error)) is is_kept


def test_granian_logs_no_exception_again() -> None:
    words = "Application callable raised an exception"
    assert StopFilter().filter(record("_granian.utils", words)) is False
    assert StopFilter().filter(record("_granian.utils", "Worker-1 has died")) is True


@pytest.mark.parametrize("is_stopping", [False, True])
def test_a_stream_that_the_drain_has_cut_is_not_an_error(
    is_stopping: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StopFilter, "is_stopping", is_stopping)
    cut = record("uvicorn.error", "ASGI callable returned without completing response.")
    assert StopFilter().filter(cut) is not is_stopping


@pytest.mark.parametrize("has_refused", [True, False])
def test_a_refused_handshake_is_not_an_error(has_refused: bool) -> None:
    asyncio.run(log_the_end_of_a_handshake(has_refused))


async def log_the_end_of_a_handshake(has_refused: bool) -> None:
    stop_filter = StopFilter()
    if has_refused:
        note = record("uvicorn.error", "connection rejected (403 Forbidden)")
        note.levelno = logging.INFO
        assert stop_filter.filter(note) is False
    error = record("uvicorn.error", "ASGI callable returned without completing handshake.")
    assert stop_filter.filter(error) is not has_refused


def handshake(words: str, *more: Any) -> logging.LogRecord:
    made = record("uvicorn.error", f'%s - "WebSocket %s" {words}', ("127.0.0.1:5", "/a?b=c", *more))
    made.levelno = logging.INFO
    return made


@pytest.mark.parametrize(
    ("made", "status"),
    [(handshake("[accepted]"), 101), (handshake("403"), 403), (handshake("%d", 401), 401)],
    ids=["accepted", "refused", "denied"],
)
def test_a_handshake_has_a_line_of_the_access_log(made: logging.LogRecord, status: int) -> None:
    assert StopFilter(has_access_log=True).filter(made) is True
    assert TextFormatter().format(made).endswith(f" 127.0.0.1:5 WEBSOCKET /a {status}")


def test_a_handshake_has_no_line_without_the_access_log() -> None:
    assert StopFilter(has_access_log=False).filter(handshake("403")) is False


@pytest.mark.parametrize(("is_dev", "is_kept"), [(False, True), (True, False)])
def test_the_end_of_the_drain_is_a_warning(is_dev: bool, is_kept: bool) -> None:
    told = record("uvicorn.error", "Cancel %s running task(s), timeout graceful shutdown exceeded")
    assert StopFilter(is_dev).filter(told) is is_kept
    assert (told.levelname, told.getMessage()) == (
        "WARNING",
        "The drain is over: open connections are cancelled",
    )


@pytest.mark.parametrize(("has_log", "level"), [(True, "INFO"), (False, "CRITICAL")])
def test_the_access_log_can_be_turned_off(has_log: bool, level: str) -> None:
    loggers = log_config(ServeOptions("main", access_log=has_log))["loggers"]
    assert {loggers[name]["level"] for name in ("uvicorn.access", "granian.access")} == {level}


def test_a_line_has_the_id_of_its_request() -> None:
    token = request_id.set("r-17")
    try:
        text = JSONFormatter().format(record("shop", "sold"))
    finally:
        request_id.reset(token)

    assert json.loads(text)["request_id"] == "r-17"
    assert "request_id" not in json.loads(JSONFormatter().format(record("shop", "sold")))


def test_a_line_of_the_access_layer_has_its_members() -> None:
    made = record("spica.access", "a line")
    made.access = {"method": "GET", "path": "/a", "status": 200, "outcome": "client_left"}
    document = json.loads(JSONFormatter().format(made))

    assert document["message"] == "GET /a 200"
    assert document["outcome"] == "client_left"
