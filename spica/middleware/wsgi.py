"""Serve a WSGI application, in a worker thread. Deprecated: a2wsgi does it better, and is kept up.

The request's body is received before the application is called, in memory or in a file, so that a slow
client holds no thread. What the application yields is sent chunk by chunk, each before the next is made.

Standard: PEP 3333 (WSGI 1.0.1). It knows HTTP only.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

from spica._asgi.body import BodyChannel, ClientDisconnect, channel_of
from spica._asgi.disconnect import run_until_disconnect
from spica._http.fields import encode_field_name, encode_field_value
from spica._layers.answers import describe
from spica.concurrency import endpoint_threads, file_threads
from spica.exceptions import HTTPException, SpicaDeprecationWarning
from spica.responses.base import PlainTextResponse
from spica.responses.chunks import WITHOUT_CONTENT
from spica.websockets import WebSocketClose

if TYPE_CHECKING:
    from types import TracebackType

    from spica.types import Message, Receive, Scope, Send

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
    Environ = dict[str, Any]
    WSGIApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

# Under the switch for Starlette's name, programs filter this warning by the name they know.
_package = "starlette" if sys.modules.get("starlette") is sys.modules["spica"] else "spica"

warnings.warn(
    f"{_package}.middleware.wsgi is deprecated and will be removed in a future release, spica 2. "
    "Use a2wsgi instead: https://github.com/abersheeran/a2wsgi.",
    SpicaDeprecationWarning,
    stacklevel=2,
)

MAX_BODY_IN_MEMORY = 1024 * 1024
"""Bytes of a request body that are kept in memory; what is larger goes to a temporary file."""

_WRITE_SIZE = 256 * 1024  # bytes written to the file at once, at least

_PORTS = {"http": 80, "https": 443}

# Not passed on. `Proxy` would become HTTP_PROXY, which libraries take for a setting of the machine
# (CVE-2016-5385). The body is whole by now, and has a length.
_WITHHELD = frozenset({"proxy", "transfer-encoding"})


def build_environ(scope: Scope, body: bytes) -> dict[str, Any]:
    """Return the WSGI environment (PEP 3333, "environ Variables") for an HTTP scope and its body.

    A header with an underscore in its name is left out: it would pass for the one with a hyphen. Errors
    go to the standard output, and the port is a number, as callers of this function know it; an
    application that is run here gets the standard error stream, and a text.
    """
    return _make_environ(scope, BytesIO(body), len(body))


def _make_environ(scope: Scope, body: IO[bytes], size: int) -> dict[str, Any]:
    script_name, path_info = _split_path(scope["path"], scope.get("root_path", ""))
    scheme = scope.get("scheme", "http")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": _to_native(script_name),
        "PATH_INFO": _to_native(path_info),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": body,
        "wsgi.errors": sys.stdout,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    name, port = scope.get("server") or ("localhost", None)
    environ["SERVER_NAME"] = "localhost" if name.startswith("/") else name  # a UNIX socket
    environ["SERVER_PORT"] = _PORTS.get(scheme, 80) if port is None else port
    if scope.get("client"):
        environ["REMOTE_ADDR"] = scope["client"][0]
    _add_headers(environ, scope.get("headers", ()))
    if size:
        environ.setdefault("CONTENT_LENGTH", str(size))
    return environ


def _split_path(path: str, root_path: str) -> tuple[str, str]:
    """Return SCRIPT_NAME and PATH_INFO: ``/app`` is no prefix of ``/application``."""
    if path.startswith(root_path):
        rest = path[len(root_path) :]
        if not rest or rest[0] == "/" or root_path.endswith("/"):
            return root_path, rest
    return root_path, path


def _to_native(text: str) -> str:
    """Return text as PEP 3333 has it, "Unicode Issues": each of its bytes as one character."""
    # PEP 383: a byte that the server could not decode is a surrogate.
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _add_headers(environ: dict[str, Any], headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Add the header lines to ``environ``; those of one name become one value."""
    values: dict[str, list[str]] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1")
        if name in _WITHHELD or "_" in name:
            continue
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        values.setdefault(key, []).append(raw_value.decode("latin-1"))
    for key, lines in values.items():
        # RFC 9110 s.5.3: lines of one name make a list; RFC 9113 s.8.2.3: those of Cookie do not.
        environ[key] = ("; " if key == "HTTP_COOKIE" else ",").join(lines)


class WSGIMiddleware:
    """Make an ASGI app of the WSGI application ``app``.

    Each request takes one of the threads of endpoints until its response is sent. Only HTTP is served:
    a WebSocket is closed.

    Raises:
        TypeError: ``app`` can't be called.
    """

    def __init__(self, app: WSGIApp) -> None:
        if not callable(app):
            raise TypeError(f"WSGIMiddleware: app must be a WSGI application, not {app!r:.80}.")
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection.

        Raises:
            RuntimeError: the scope is that of a lifespan, or the application breaks a rule of WSGI.
        """
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"WSGIMiddleware serves HTTP only, not a {scope['type']!r} scope.")
        responder = WSGIResponder(self.app, scope)
        try:
            await responder(receive, send)
        except HTTPException as exc:
            if responder.has_sent or "app" in scope:
                raise  # to the application's exception handlers
            refusal = PlainTextResponse(exc.detail, exc.status_code, exc.headers)
            await refusal(scope, receive, send)


class WSGIResponder:
    """Answer one request with a WSGI application: ``await WSGIResponder(app, scope)(receive, send)``."""

    has_sent = False
    """Whether the response has started, after which its status and headers stay."""
    exc_info: ExcInfo | None = None
    """The error that the response answers, if the application said so."""

    _send: Send
    _start: Message | None = None
    _is_cut_off = False  # the client takes nothing any more

    def __init__(self, app: WSGIApp, scope: Scope) -> None:
        self.app = app
        self.scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        """Receive the body, run the application in a thread, and send what it yields.

        Raises:
            ClientDisconnect: ``send`` told that the client has left (ASGI spec version 2.4).
            BaseException: what the application passed to ``start_response`` as ``exc_info``, once its
                response is sent: it was answered, and is still to be reported.
        """
        channel = channel_of(receive, self.scope)
        try:
            body, size = await _receive_body(channel)
        except ClientDisconnect:
            return  # nobody waits for the answer
        try:
            environ = _make_environ(self.scope, body, size)
            # PEP 3333, "environ Variables": all CGI variables are texts.
            environ["SERVER_PORT"] = str(environ["SERVER_PORT"])
            environ["wsgi.errors"] = sys.stderr
            await run_until_disconnect(_Running(self, environ), send, channel)
        finally:
            body.close()
        if self.exc_info is not None:
            raise self.exc_info[1].with_traceback(self.exc_info[2])

    # -- in the thread ---------------------------------------------------------------------------------

    def wsgi(self, environ: Environ, start_response: Callable[..., Any]) -> None:
        """Run the application and send what it yields.

        Raises:
            TypeError: it returned, or yielded, something of a wrong type.
            RuntimeError: it never called ``start_response``.
        """
        chunks = self.app(environ, start_response)
        try:
            if not isinstance(chunks, Iterable):
                raise TypeError(
                    f"The WSGI application {describe(self.app)} returned {chunks!r:.80}, "
                    "but must return an iterable of bytes."
                )
            # PEP 3333, "Handling the Content-Length Header": of one chunk the length is known.
            is_one = isinstance(chunks, (list, tuple)) and len(chunks) == 1
            for chunk in chunks:
                if chunk and not is_one:
                    self.write(chunk)
            self._send_chunk(next(iter(chunks)) if is_one else b"", more_body=False)
        finally:
            # PEP 3333, "Specification Details": in every case.
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def start_response(
        self, status: str, response_headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """Take status and headers from the application; return ``write`` (PEP 3333).

        Raises:
            RuntimeError: it was called before, and ``exc_info`` is not given.
            ValueError: the status does not begin with three digits, or a header may not be sent.
            BaseException: that of ``exc_info``, if the response has already started.
        """
        if exc_info is not None:
            if self.has_sent:
                raise exc_info[1].with_traceback(exc_info[2])
            self.exc_info = exc_info
        elif self._start is not None:
            raise RuntimeError(
                f"The WSGI application {describe(self.app)} called start_response() a second time; "
                "that is allowed only with exc_info, to replace the response by one for an error."
            )
        code, _, _ = status.partition(" ")
        if len(code) != 3 or not (code.isascii() and code.isdigit()):
            raise ValueError(
                f"The status of a WSGI response must be like '200 OK', not {status!r:.80}."
            )
        self._start = {
            "type": "http.response.start",
            "status": int(code),
            "headers": [
                (encode_field_name(name), encode_field_value(value))
                for name, value in response_headers
            ],
        }
        return self.write

    def write(self, data: bytes) -> None:
        """Send one chunk of the body, and wait until it is sent."""
        self._send_chunk(data, more_body=True)

    def _send_chunk(self, chunk: bytes, *, more_body: bool) -> None:
        if not isinstance(chunk, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"The WSGI application {describe(self.app)} sent {chunk!r:.80} as its body, "
                "but must send bytes."
            )
        start = self._start
        if start is None:
            raise RuntimeError(
                f"The WSGI application {describe(self.app)} did not call start_response()."
            )
        if not self.has_sent:
            if not more_body:
                self._add_length(start, len(chunk))
            self.has_sent = True
            self._send_message(start)
        message = {"type": "http.response.body", "body": bytes(chunk), "more_body": more_body}
        self._send_message(message)

    def _add_length(self, start: Message, size: int) -> None:
        has_length = any(name == b"content-length" for name, _ in start["headers"])
        is_bodiless = start["status"] in WITHOUT_CONTENT or self.scope["method"] == "HEAD"
        if not has_length and not is_bodiless:
            start["headers"].append((b"content-length", b"%d" % size))

    def _send_message(self, message: Message) -> None:
        from anyio import from_thread

        try:
            from_thread.run(self._pass_on, message)
        except BaseException:
            self._is_cut_off = True
            raise

    async def _pass_on(self, message: Message) -> None:
        await self._send(message)


class _Running:
    """The application at work in its thread."""

    __slots__ = ("_environ", "_responder")

    def __init__(self, responder: WSGIResponder, environ: Environ) -> None:
        self._responder = responder
        self._environ = environ

    async def __call__(self, send: Send) -> None:
        responder = self._responder
        responder._send = send
        try:
            await endpoint_threads.run(responder.wsgi, self._environ, responder.start_response)
        except OSError as exc:
            if responder._is_cut_off:
                raise ClientDisconnect from exc
            raise
        except CancelledError:
            if not responder._is_cut_off:
                raise


async def _receive_body(channel: BodyChannel) -> tuple[IO[bytes], int]:
    """Return the whole body as a file at its beginning, and its size in bytes.

    Raises:
        ClientDisconnect: the client left before its end.
        HTTPException: 413, it is larger than its limit.
    """
    received = bytearray()
    file: IO[bytes] | None = None
    size, more_body = 0, True
    try:
        while more_body:
            message = await channel()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            more_body = message.get("more_body", False)
            received += chunk
            size += len(chunk)
            if len(received) > (MAX_BODY_IN_MEMORY if file is None else _WRITE_SIZE):
                file = await file_threads.run(_append, file, received)
                received = bytearray()
        if file is None:
            return BytesIO(received), size
        await file_threads.run(_append, file, received)
        file.seek(0)
    except BaseException:
        if file is not None:
            file.close()
        raise
    return file, size


def _append(file: IO[bytes] | None, data: bytearray) -> IO[bytes]:
    if file is None:
        file = _open_file()
    file.write(data)
    return file


def _open_file() -> IO[bytes]:
    import tempfile  # on use: few bodies are that large

    return tempfile.TemporaryFile(prefix="spica-wsgi-")
