"""The log of a served application: lines for people, or a JSON object a line for programs.

Everything goes to standard error: the records of the server, of spica and of the application. The access log
leaves the query string out, since it often carries tokens and personal data.
"""

from __future__ import annotations

import asyncio
import json
import logging
import logging.config
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from weakref import WeakSet

from spica.cli.options import ServeOptions
from spica.middleware.requestid import request_id

ACCESS_LOGGERS = ("uvicorn.access", "granian.access")


def configure_logs(options: ServeOptions) -> None:
    """Replace the log's configuration in this process."""
    logging.config.dictConfig(log_config(options))


def log_config(options: ServeOptions) -> dict[str, Any]:
    """Return the configuration, in the form that ``logging.config.dictConfig`` and the servers take."""
    level = options.log_level.upper()
    # The servers' own lines about their start repeat those of spica.
    server_level = max(logging.WARNING, logging.getLevelNamesMapping()[level])
    quiet = {"level": server_level, "handlers": [], "propagate": True}
    access = {**quiet, "level": "CRITICAL" if options.access_log is False else "INFO"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"spica": {"()": JSONFormatter if options.log == "json" else TextFormatter}},
        "filters": {
            "stopping": {
                "()": StopFilter,
                "is_dev": options.is_dev,
                "level": server_level,
                "has_access_log": options.access_log is not False,
            }
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "spica",
                "filters": ["stopping"],
            }
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "uvicorn": quiet,
            "uvicorn.error": {"level": "INFO"},  # StopFilter raises it to `server_level`
            "_granian": quiet,
            **dict.fromkeys(ACCESS_LOGGERS, access),
        },
    }


class StopFilter(logging.Filter):
    """Drop the errors that uvicorn logs for refused WebSockets, and for the connections that it ends.

    The access log gets a line for each handshake, which uvicorn logs elsewhere.
    """

    is_stopping = False
    """Whether this process has got a signal to stop. The server sets it on the class."""

    def __init__(
        self, is_dev: bool = False, level: int = logging.WARNING, has_access_log: bool = False
    ) -> None:
        super().__init__()
        self.is_dev = is_dev
        self.has_access_log = has_access_log
        self.level = level
        """The lowest level of uvicorn's own lines that is logged."""
        self._refusing: WeakSet[asyncio.Task[Any]] = WeakSet()

    def _note_refusal(self, record: logging.LogRecord) -> None:
        """Remember the task of a WebSocket that the application refuses with a response.

        uvicorn logs that at INFO. When the application returns, uvicorn also logs an error, which is
        right only for an application that has sent nothing.
        """
        if str(record.msg).startswith("connection rejected") and (task := _current_task()):
            self._refusing.add(task)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a record to drop."""
        if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
            return False
        if record.name != "uvicorn.error":
            # `LoggedApp` has logged the exception with its causes.
            return not str(record.msg).startswith("Application callable raised an exception")
        if str(record.msg).rstrip().endswith("CancelledError"):  # of a lifespan
            return False
        if record.levelno < self.level:
            self._note_refusal(record)
            return self.has_access_log and _make_access(record)
        if "returned without completing handshake" in str(record.msg):
            return _current_task() not in self._refusing
        if self.is_stopping and "returned without completing response" in str(record.msg):
            return False  # a stream that the drain has cancelled
        if "graceful shutdown exceeded" in str(record.msg):
            # Development has no drain, so there is nothing to report.
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.msg, record.args = "The drain is over: open connections are cancelled", ()
            return not self.is_dev
        return True


def _make_access(record: logging.LogRecord) -> bool:
    """Turn uvicorn's line about a handshake into one of the access log, and return whether it was one."""
    arguments: Any = record.args
    if not str(record.msg).startswith('%s - "WebSocket %s" ') or len(arguments) < 2:
        return False
    client, target, *status = arguments
    found = status or [403 if str(record.msg).endswith("403") else 101]
    record.name, record.msg = "uvicorn.access", '%s - "%s %s HTTP/%s" %d'
    record.args = (client, "WEBSOCKET", target, "1.1", *found)
    return True


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None


class TextFormatter(logging.Formatter):
    """Write a record as time, level, logger and message."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname:7} {name}: {message}", "%H:%M:%S", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without its traceback."""
        access = _access_of(record)
        if access is None:
            return super().formatMessage(record)
        # A path may hold any byte: a control character must not forge a line of the log.
        path = access["path"].encode("unicode_escape").decode("ascii")
        return f"{record.asctime} {access['client']} {access['method']} {path} {access['status']}"

    def format(self, record: logging.LogRecord) -> str:
        """Return the whole text of a record."""
        if _access_of(record) is not None:
            record.message = ""
            record.asctime = self.formatTime(record, self.datefmt)
            return self.formatMessage(record)
        return super().format(record)


class JSONFormatter(logging.Formatter):
    """Write a record as a JSON object on one line.

    Its members are ``time`` (RFC 3339, UTC), ``level``, ``logger`` and ``message``; for requests ``client``,
    ``method``, ``path`` and ``status``; ``request_id`` with ``RequestIdMiddleware``; for errors
    ``exception``, the traceback. The records of ``AccessLogMiddleware`` have its members.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as a string."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        access = _access_of(record)
        entry = getattr(record, "access", None)  # of AccessLogMiddleware
        if entry is not None:
            document["message"] = f"{entry['method']} {entry['path']} {entry['status']}"
            document |= entry
        elif access is None:
            document["message"] = record.getMessage()
        else:
            document["message"] = f"{access['method']} {access['path']} {access['status']}"
            document |= access
        identifier = getattr(record, "request_id", None) or request_id.get()
        if identifier != "-":
            document["request_id"] = identifier
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


def _access_of(record: logging.LogRecord) -> dict[str, Any] | None:
    """Return the request of an access record, or None for any other record."""
    arguments: Any = record.args
    if record.name == "uvicorn.access" and isinstance(arguments, tuple) and len(arguments) == 5:
        client, method, target, _, status = arguments
    elif record.name == "granian.access" and isinstance(arguments, Mapping):
        client, method, target, status = (
            arguments.get(key) for key in ("addr", "method", "path", "status")
        )
    else:
        return None
    path = str(target).partition("?")[0]
    return {"client": client or "-", "method": method, "path": path, "status": status}
