"""Serve a WSGI application in a worker thread. Deprecated: use a2wsgi, which is maintained.

The middleware receives the whole body into memory or a file before it calls the application, so a slow
upload blocks no thread. It sends each chunk before the application produces the next one. A slow download
blocks one of `wsgi_threads`, with a time limit for each piece.

Standard: PEP 3333 (WSGI 1.0.1), for HTTP only.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from io import BytesIO
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from spica._asgi.body import BodyChannel, ClientDisconnect, channel_of
from spica._asgi.disconnect import run_until_disconnect
from spica._diagnostics.call_site import describe, package_name, warn_importer
from spica._http.fields import encode_field_name, encode_field_value
from spica._originals import is_original, remember
from spica.concurrency import file_threads, wsgi_threads
from spica.exceptions import HTTPException, SpicaDeprecationWarning
from spica.responses.base import PlainTextResponse
from spica.responses.sending import WITHOUT_CONTENT
from spica.routing.lifespan.run import check_seconds
from spica.types import Message, Receive, Scope, Send
from spica.websockets import WebSocketClose

if TYPE_CHECKING:
    import anyio

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Environ = dict[str, Any]
WSGIApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_package = package_name()
_instead = (
    "Please refer to https://github.com/abersheeran/a2wsgi as a replacement."
    if _package == "starlette"  # programs filter the warning by its full text
    else "Use a2wsgi instead: https://github.com/abersheeran/a2wsgi."
)
warn_importer(
    f"{_package}.middleware.wsgi is deprecated and will be removed in a future release. {_instead}",
    SpicaDeprecationWarning,
)

MAX_BODY_IN_MEMORY = 1024 * 1024
"""Maximum size in bytes of a request body in memory. Larger bodies go to a temporary file."""

_WRITE_SIZE = 256 * 1024  # minimum number of bytes per write to the file

MAX_SEND_SECONDS = 60
"""Default for the seconds that a client may take to accept a piece of a response."""

MAX_PIECE_SIZE = 256 * 1024
"""Maximum number of bytes to send at once. The time limit applies to one such piece, not to a whole file."""

_PORTS = {"http": 80, "https": 443}

# Headers that the application does not get. `Proxy` would become HTTP_PROXY, which libraries mistake for a
# setting of the machine (CVE-2016-5385). The other describes the transfer, and the body is complete by now.
_WITHHELD = frozenset({"PROXY", "TRANSFER-ENCODING"})


def build_environ(scope: Scope, body: bytes) -> dict[str, Any]:
    """Return the WSGI environment (PEP 3333, "environ Variables") for an HTTP scope and its body.

    Headers with an underscore in their name are omitted, because they would look like the ones with a hyphen.
    ``wsgi.errors`` is the standard output and the port is a number, as in Starlette. WSGIMiddleware gives an
    application the standard error stream and a string.
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
    environ.update(_make_variables(scope.get("headers", ())))
    if size:
        environ.setdefault("CONTENT_LENGTH", str(size))
    return environ


def _split_path(path: str, root_path: str) -> tuple[str, str]:
    """Return SCRIPT_NAME and PATH_INFO. ``/app`` does not count as a prefix of ``/application``."""
    if path.startswith(root_path):
        rest = path[len(root_path) :]
        if not rest or rest[0] == "/" or root_path.endswith("/"):
            return root_path, rest
    return root_path, path


def _to_native(text: str) -> str:
    """Return a native string (PEP 3333, "Unicode Issues"): one character for each byte of ``text``."""
    # PEP 383: a byte that the server could not decode is a surrogate.
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _make_variables(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    """Yield the variables for the header lines, in linear time (RFC 3875 s.4.1.18)."""
    values: dict[str, list[str]] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").upper()
        # A name with an underscore would look like the one with a hyphen.
        if name not in _WITHHELD and "_" not in name:
            values.setdefault(name, []).append(raw_value.decode("latin-1"))
    for name, lines in values.items():
        key = name.replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        # RFC 9110 s.5.3: join lines of one name by commas. RFC 9113 s.8.2.3: join Cookie by semicolons.
        yield key, ("; " if name == "COOKIE" else ",").join(lines)


class WSGIMiddleware:
    """Serve a WSGI application as an ASGI app.

    Each request takes one of `spica.concurrency.wsgi_threads` until its response is sent. A WebSocket is
    closed, because WSGI serves only HTTP.

    Args:
        app: the WSGI application.
        max_send_seconds: the time that a client may take to accept a piece of the response of at most
            256 KiB. After it, the response is cut off and its thread becomes free. The default is 60 seconds.
            None sets no limit.

    Raises:
        TypeError: ``app`` is not callable, or ``max_send_seconds`` is neither a number nor None.
        ValueError: ``max_send_seconds`` is not greater than 0.
    """

    def __init__(self, app: WSGIApp, *, max_send_seconds: float | None = MAX_SEND_SECONDS) -> None:
        if not callable(app):
            raise TypeError(f"WSGIMiddleware: app must be a WSGI application, not {app!r:.80}.")
        self.app = app
        self.max_send_seconds = check_seconds(max_send_seconds, "WSGIMiddleware: max_send_seconds")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection.

        Raises:
            RuntimeError: the scope is a lifespan, or the application breaks a rule of WSGI.
        """
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"WSGIMiddleware serves HTTP only, not a {scope['type']!r} scope.")
        responder = WSGIResponder(self.app, scope)
        responder.max_send_seconds = self.max_send_seconds
        try:
            await responder(receive, send)
        except HTTPException as exc:
            if responder.has_sent or "app" in scope:
                raise  # to the application's exception handlers
            refusal = PlainTextResponse(exc.detail, exc.status_code, exc.headers)
            await refusal(scope, receive, send)


class WSGIResponder:
    """Answer one request with a WSGI application: ``await WSGIResponder(app, scope)(receive, send)``.

    A subclass can run the application in another way. `wsgi` then puts the messages of the response into the
    stream `stream_send`, and `sender` sends them::

        async with anyio.create_task_group() as group:
            group.start_soon(self.sender, send)
            async with self.stream_send:
                await anyio.to_thread.run_sync(self.wsgi, environ, self.start_response)

    Attributes:
        status: the status from ``start_response``, such as "200 OK". None before the call.
        response_headers: the headers from ``start_response``.
        response_started: whether the application has called ``start_response``.
        has_sent: whether the start of the response was sent. Status and headers are final then.
        exc_info: the error that the application passed to ``start_response``, or None.
        max_send_seconds: the time that a client may take to accept a piece. None sets no limit.
    """

    status: str | None = None
    response_headers: list[tuple[str, str]] | None = None
    response_started = False
    has_sent = False
    exc_info: ExcInfo | None = None
    max_send_seconds: float | None = MAX_SEND_SECONDS

    _send: Send
    _start: Message | None = None
    _is_cut_off = False  # the client accepts no more data
    _taken: Any = None  # an Event, set when `sender` has sent a message. None: it does not run

    def __init__(self, app: WSGIApp, scope: Scope) -> None:
        self.app = app
        self.scope = scope

    def __getattr__(self, name: str) -> Any:
        """Create the stream of messages on first use, because most responses need none."""
        if name not in ("stream_send", "stream_receive"):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
            )
        import anyio

        self.stream_send, self.stream_receive = anyio.create_memory_object_stream[Any](math.inf)
        return self.__dict__[name]

    async def __call__(self, receive: Receive, send: Send) -> None:
        """Receive the body, run the application in a thread, and send the chunks that it yields.

        Raises:
            ClientDisconnect: the client has left (``send`` raised OSError, ASGI spec version 2.4), or did
                not accept a piece in time.
            BaseException: the error that the application passed to ``start_response`` as ``exc_info``. It is
                raised after the response was sent, so that the server logs it.
        """
        channel = channel_of(receive, self.scope)
        try:
            body, size = await _receive_body(channel)
        except ClientDisconnect:
            return  # the client has left
        try:
            environ = _make_environ(self.scope, body, size)
            # PEP 3333, "environ Variables": all CGI variables are strings.
            environ["SERVER_PORT"] = str(environ["SERVER_PORT"])
            environ["wsgi.errors"] = sys.stderr
            await run_until_disconnect(_Running(self, environ), send, channel)
        finally:
            body.close()
        if self.exc_info is not None:
            raise self.exc_info[1].with_traceback(self.exc_info[2])

    async def sender(self, send: Send) -> None:
        """Send the messages of the stream until it is closed."""
        import anyio

        taken = self._taken = anyio.Event()
        try:
            async with self.stream_receive as messages:
                async for message in messages:
                    await self._pass_on(message, send)
                    taken.set()
                    taken = self._taken = anyio.Event()
        finally:
            self._taken = None
            taken.set()

    # -- in the thread ---------------------------------------------------------------------------------

    def wsgi(self, environ: Environ, start_response: Callable[..., Any]) -> None:
        """Run the application and send the chunks that it yields.

        Raises:
            TypeError: the application returned or yielded an object of a wrong type.
            RuntimeError: the application did not call ``start_response``.
        """
        chunks = self.app(environ, start_response)
        try:
            if not isinstance(chunks, Iterable):
                raise TypeError(
                    f"The WSGI application {describe(self.app)} returned {chunks!r:.80}, "
                    "but must return an iterable of bytes."
                )
            # PEP 3333, "Handling the Content-Length Header": a single chunk has a known length.
            is_one = isinstance(chunks, (list, tuple)) and len(chunks) == 1
            for chunk in chunks:
                if chunk and not is_one:
                    self.write(chunk)
                    if self._is_bodiless():
                        break  # discard the rest, which may be infinite
            self._send_chunk(next(iter(chunks)) if is_one else b"", more_body=False)
        finally:
            # PEP 3333, "Specification Details": call close() in every case.
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def start_response(
        self, status: str, response_headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """Store status and headers from the application, and return ``write`` (PEP 3333).

        Raises:
            RuntimeError: this is a second call without ``exc_info``.
            ValueError: the status does not begin with three digits, or a header is not allowed.
            BaseException: the error in ``exc_info``, if the response has already started.
        """
        if exc_info is not None:
            if self.has_sent:
                raise exc_info[1].with_traceback(exc_info[2])
            self.exc_info = exc_info
        elif self._start is not None:
            raise RuntimeError(
                f"The WSGI application {describe(self.app)} called start_response() a second time, "
                "which is allowed only with exc_info, to replace the response by an error response."
            )
        code, _, _ = status.partition(" ")
        if len(code) != 3 or not (code.isascii() and code.isdigit() and code >= "100"):
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
        self.status, self.response_headers = status, response_headers
        self.response_started = True
        if type(self).wsgi is not WSGIResponder.wsgi:
            self._send_start(self._start)  # an overridden method may put chunks into the stream
        return self.write

    def write(self, data: bytes) -> None:
        """Send one chunk of the body and wait until it is sent."""
        self._send_chunk(data, more_body=True)

    def _send_chunk(self, chunk: bytes, *, more_body: bool) -> None:
        if not isinstance(chunk, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"The WSGI application {describe(self.app)} sent {chunk!r:.80} as its body, "
                "but must send bytes."
            )
        start = self._start
        if start is None and not self.response_started:
            raise RuntimeError(
                f"The WSGI application {describe(self.app)} did not call start_response()."
            )
        if start is not None and not self.has_sent:
            if not more_body:
                self._add_length(start, len(chunk))
            self._send_start(start)
        if self._is_bodiless():
            if not more_body:
                self._send_body(b"", more_body=False)
            return
        data = bytes(chunk)
        while len(data) > MAX_PIECE_SIZE:
            self._send_body(data[:MAX_PIECE_SIZE], more_body=True)
            data = data[MAX_PIECE_SIZE:]
        self._send_body(data, more_body=more_body)

    def _is_bodiless(self) -> bool:
        """Return whether the response must not have a body (RFC 9110 s.6.4.1)."""
        start = self._start
        return self.scope["method"] == "HEAD" or (
            start is not None and start["status"] in WITHOUT_CONTENT
        )

    def _add_length(self, start: Message, size: int) -> None:
        has_length = any(name == b"content-length" for name, _ in start["headers"])
        if not has_length and not self._is_bodiless():
            start["headers"].append((b"content-length", b"%d" % size))

    def _send_start(self, start: Message) -> None:
        if not self.has_sent:
            self.has_sent = True
            self._send_message(start)

    def _send_body(self, body: bytes, *, more_body: bool) -> None:
        self._send_message({"type": "http.response.body", "body": body, "more_body": more_body})

    def _send_message(self, message: Message) -> None:
        from anyio import from_thread

        try:
            if "stream_send" in self.__dict__:
                from_thread.run(self._hand_over, message)
            else:
                from_thread.run(self._pass_on, message, self._send)
        except BaseException:
            self._is_cut_off = True
            raise

    # -- in the event loop -----------------------------------------------------------------------------

    async def _pass_on(self, message: Message, send: Send) -> None:
        import anyio

        with anyio.move_on_after(self.max_send_seconds) as limit:
            await send(message)
            return
        if limit.cancelled_caught:
            self._is_cut_off = True
            raise ClientDisconnect(
                f"The client did not accept a piece of the response within {self.max_send_seconds} seconds."
            )

    async def _hand_over(self, message: Message) -> None:
        """Put a message into the stream, and wait until `sender` has sent the messages before it."""
        await self.stream_send.send(message)
        while self._taken is not None and self.stream_send.statistics().current_buffer_used:
            await self._taken.wait()


remember(WSGIResponder, "sender", "wsgi", "start_response")


class _Running:
    """The application while it runs in its thread."""

    __slots__ = ("_environ", "_responder")

    def __init__(self, responder: WSGIResponder, environ: Environ) -> None:
        self._responder = responder
        self._environ = environ

    async def __call__(self, send: Send) -> None:
        responder = self._responder
        responder._send = send
        try:
            if is_original(type(responder), "sender", "wsgi", "start_response"):
                await self._run()
            else:
                await self._run_with_stream(send)
        except OSError as exc:
            if responder._is_cut_off:
                raise ClientDisconnect from exc
            raise
        except CancelledError:
            if not responder._is_cut_off:
                raise

    async def _run(self) -> None:
        responder = self._responder
        await wsgi_threads.run(responder.wsgi, self._environ, responder.start_response)

    async def _run_with_stream(self, send: Send) -> None:
        """Serve a responder with an overridden method, which may use the stream."""
        import anyio

        error: Exception | None = None
        failures: list[Exception] = []
        stream = self._responder.stream_send
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_sender, send, group.cancel_scope, failures)
            try:
                async with stream:
                    await self._run()
            except Exception as exc:
                error = exc  # raised outside the group, which would wrap it in an ExceptionGroup
        for failure in [*failures, error]:
            if failure is not None:
                raise failure

    async def _run_sender(
        self, send: Send, scope: anyio.CancelScope, failures: list[Exception]
    ) -> None:
        try:
            await self._responder.sender(send)
        except Exception as exc:
            self._responder._is_cut_off = True
            failures.append(exc)
            scope.cancel()


async def _receive_body(channel: BodyChannel) -> tuple[IO[bytes], int]:
    """Return the whole body as a file at its beginning, and its size in bytes.

    Raises:
        ClientDisconnect: the client left before its end.
        HTTPException: 413, the body is larger than its limit.
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
    import tempfile  # on use, because few bodies are that large

    return tempfile.TemporaryFile(prefix="spica-wsgi-")
