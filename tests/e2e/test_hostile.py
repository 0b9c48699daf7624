"""What nobody should send, and clients that leave: never a 500, and never anything left over."""

import json
import re
import socket
import struct

import pytest

JSON = b"Content-Type: application/json\r\n"
FORM = b"Content-Type: multipart/form-data; boundary=b\r\n"


def request(line, headers=b"", body=b"", host=b"Host: localhost\r\n"):
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return line + b" HTTP/1.1\r\n" + host + headers + length + b"Connection: close\r\n\r\n" + body


def in_chunks(size, number):
    """A chunked body that is cut off when the server has had enough."""
    head = b"POST /api/notes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + (b"%x\r\n" % size + b" " * size + b"\r\n") * number + b"0\r\n\r\n"


PART = b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nMilk\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="attachment"; filename="f"\r\n\r\n'
ALLOWED = {
    "host with a path": (request(b"GET /", host=b"Host: a/b\r\n"), {200, 400}),
    "host with a user": (request(b"GET /", host=b"Host: user@a:b\r\n"), {200, 400}),
    "host with a bad port": (request(b"GET /", host=b"Host: localhost:99999999\r\n"), {200, 400}),
    "host with a half IPv6 address": (request(b"GET /", host=b"Host: [::1\r\n"), {200, 400}),
    "host of bytes": (request(b"GET /", host=b"Host: \xff\xfe\r\n"), {200, 400}),
    "empty host": (request(b"GET /", host=b"Host: \r\n"), {200, 400}),
    "two hosts": (request(b"GET /", host=b"Host: a\r\nHost: b\r\n"), {200, 400}),
    "path that is not UTF-8": (request(b"GET /%ff%fe"), {400, 404}),
    "path with NUL": (request(b"GET /static/%00"), {400, 404}),
    "path with a line end": (request(b"GET /notes/1%0a"), {400, 404}),
    "path that climbs": (request(b"GET /static/..%2f..%2fapp.py"), {400, 404}),
    "path that climbs backwards": (request(b"GET /static/..%5c..%5capp.py"), {400, 404}),
    "very long name of a file": (request(b"GET /static/" + b"a" * 5000), {400, 404, 414}),
    "very large number": (request(b"GET /notes/" + b"9" * 5000), {400, 404, 414}),
    "query that is not UTF-8": (request(b"GET /?q=%ff&page=%ff"), {200, 400}),
    "query of separators": (request(b"GET /?" + b"&" * 5000), {200, 400, 414}),
    "cookies of rubbish": (request(b"GET /", b'Cookie: ;;=;"; a=\xff; =b\r\n'), {200, 400}),
    "Accept-Encoding of rubbish": (request(b"GET /", b"Accept-Encoding: ;q=x,,\xff\r\n"), {200}),
    "range of rubbish": (
        request(b"GET /static/icon.svg", b"Range: bytes=9-1,x\r\n"),
        {200, 400, 416},
    ),
    "range of many": (
        request(b"GET /static/icon.svg", b"Range: bytes=" + b"0-1," * 900 + b"0-1\r\n"),
        {200, 206, 400, 416},
    ),
    "date of rubbish": (
        request(b"GET /static/icon.svg", b"If-Modified-Since: \xff\r\n"),
        {200, 400},
    ),
    "tags of rubbish": (
        request(b"GET /static/icon.svg", b'If-None-Match: W/",\xff\r\n'),
        {200, 400},
    ),
    "unknown method": (request(b"BREW /"), {400, 405, 501}),
    "no JSON": (request(b"POST /api/notes", JSON, b"{"), {400}),
    "JSON that is not UTF-8": (request(b"POST /api/notes", JSON, b'{"title": "\xff"}'), {400}),
    "JSON of halves of characters": (
        request(b"POST /api/notes", JSON, b'{"title": "\\ud800", "text": "\\udfff"}'),
        {400, 422},
    ),
    "JSON that is deep": (request(b"POST /api/notes", JSON, b"[" * 50_000), {400}),
    "JSON that is deep and closed": (
        request(b"POST /api/notes", JSON, b"[" * 30_000 + b"]" * 30_000),
        {400, 422},
    ),
    "JSON with a huge number": (
        request(b"POST /api/notes", JSON, b'{"title": ' + b"9" * 9999 + b"}"),
        {400, 422},
    ),
    "no body where JSON is expected": (request(b"POST /api/notes", JSON), {400}),
    "body over the limit": (request(b"POST /api/notes", JSON, b" " * 70_000), {413}),
    "chunked body over the limit": (in_chunks(8192, 10), {413}),
    "form over the limit": (request(b"POST /notes", FORM, bytes(4 * 1024 * 1024 + 1)), {413}),
    "form cut before its end": (request(b"POST /notes", FORM, PART + FILE + b"x" * 1000), {400}),
    "form cut in a header": (request(b"POST /notes", FORM, PART + FILE[:40]), {400}),
    "form without boundary": (
        request(b"POST /notes", b"Content-Type: multipart/form-data\r\n", PART),
        {400},
    ),
    "form of rubbish": (request(b"POST /notes", FORM, b"\xff" * 1000), {400}),
    "form with too many fields": (request(b"POST /notes", FORM, PART * 20 + b"--b--"), {400, 413}),
    "form with an unknown charset": (
        request(b"POST /notes", FORM[:-2] + b"; charset=rot13\r\n", PART + b"--b--\r\n"),
        {400, 415, 422},
    ),
    "form of another kind": (
        request(b"POST /notes", b"Content-Type: application/x-www-form-urlencoded\r\n", b"%ff=%&&"),
        {400, 422},
    ),
    "handshake without a key": (
        request(b"GET /chat/live", b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        {400, 404, 426},
    ),
}
"""What is sent, and the statuses that are right answers to it (a server may refuse it by itself)."""


def send(server, data):
    """Send bytes as they are and return the status of the answer, None when there is none."""
    with server.connect() as connection:
        try:
            connection.sendall(data)
        except OSError:  # the server has had enough
            pass
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
                if b"\r\n\r\n" in answer:
                    break
        except OSError:
            pass
    status = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return int(status[1]) if status else None


@pytest.mark.parametrize("name", list(ALLOWED))
def test_hostile_requests_are_refused_as_the_clients_fault(server, name):
    data, statuses = ALLOWED[name]
    status = send(server, data)
    # A server may also hang up on what is no HTTP.
    assert status is None or status in statuses
    assert server.report()["streams"] == 0


def test_what_was_hostile_has_left_no_trace(server):
    for data, _ in ALLOWED.values():
        send(server, data)
    server.settle()
    assert "Traceback" not in server.log_text()


def hang_up(connection):
    """Leave without a word: the connection is reset, not closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("leave", [socket.socket.close, hang_up], ids=["close", "reset"])
class TestClientsThatLeave:
    """Whatever a client was in the middle of, the server is done with it soon."""

    def test_while_uploading_a_file(self, server, leave):
        connection = server.connect()
        head = b"Content-Length: 3000000\r\n"
        connection.sendall(request(b"POST /notes", FORM + head) + PART + FILE + bytes(2_000_000))
        leave(connection)
        server.settle()

    def test_while_sending_json(self, server, leave):
        connection = server.connect()
        head = b"Content-Length: 1000\r\n"
        connection.sendall(request(b"POST /api/notes", JSON + head) + b'{"title": ')
        leave(connection)
        server.settle()

    def test_while_a_stream_is_sent(self, server, leave):
        connection = server.connect()
        connection.sendall(request(b"GET /observed/endless"))
        assert connection.recv(10_000).startswith(b"HTTP/1.1 200")
        leave(connection)
        server.settle()

    def test_while_a_stream_waits_for_it(self, server, leave):
        connection = server.connect()
        connection.sendall(request(b"GET /observed/endless"))
        server.wait_for("a stream", lambda: server.report()["streams"] == 1)
        leave(connection)
        server.settle()

    def test_before_the_answer(self, server, leave):
        for _ in range(20):
            connection = server.connect()
            connection.sendall(request(b"GET /"))
            leave(connection)
        server.settle()

    def test_before_the_request(self, server, leave):
        for _ in range(20):
            leave(server.connect())
        server.settle()

    def test_and_the_log_has_no_traceback(self, server, leave):
        assert "Traceback" not in server.log_text()


def test_the_server_still_answers(server):
    with server.connect() as connection:
        body = json.dumps({"title": "Still", "text": "here"}).encode()
        connection.sendall(request(b"POST /api/notes", JSON, body))
        assert connection.recv(65536).startswith(b"HTTP/1.1 201")
