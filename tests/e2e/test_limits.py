"""The limits of headers and of time hold on every server, and the connection is closed."""

import socket

import pytest


def read_to_end(client: socket.socket) -> bytes:
    received = b""
    while chunk := client.recv(65536):
        received += chunk
    return received


def test_too_many_header_lines(server):
    with server.connect() as client:
        lines = b"X: y\r\n" * 257
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"Connection: close\r\n\r\n")
        assert read_to_end(client).startswith(b"HTTP/1.1 431 ")


REASON = b"No part of the request body arrived for 0.5 seconds."


@pytest.mark.parametrize("sent", [b"", b"abc"])
def test_a_body_that_stops_is_answered_and_the_connection_closed(server, sent):
    head = b"POST /observed/size/soon HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
    with server.connect() as client:
        client.sendall(head + sent)
        if server.name.startswith("granian"):
            # It closes the connection when Python frees the future that waited for the body.
            answer = b""
            while not answer.endswith(REASON):
                answer += client.recv(65536)
        else:
            answer = read_to_end(client)  # a connection kept open would time out
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(REASON)
    assert b"\r\nconnection: close\r\n" in answer.lower()
    server.settle()


def test_a_body_with_pauses_arrives(server):
    head = (
        b"POST /observed/size HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nConnection: close\r\n\r\n"
    )
    with server.connect() as client:
        for piece in (head, b"abc", b"def"):
            client.sendall(piece)
        assert read_to_end(client).endswith(b"6")
