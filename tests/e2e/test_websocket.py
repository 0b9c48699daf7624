"""The example's chat, by a WebSocket client that is not ours."""

import contextlib
import json
import socket
import struct

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


@pytest.fixture
def enter(server):
    """Return a function that lets a guest come in."""
    with contextlib.ExitStack() as guests:

        def enter(name):
            url = f"ws://127.0.0.1:{server.port}/chat/live?name={name}"
            return guests.enter_context(connect(url, open_timeout=60))

        yield enter


def hear(guest):
    """The next thing that is said."""
    message = json.loads(guest.recv(timeout=60))
    return f"{message['name']}: {message['text']}"


def hear_until(guest, text):
    """Listen until something is said; what comes before it is of no matter."""
    heard = hear(guest)
    while heard != text:
        heard = hear(guest)


def test_a_guest_is_announced(enter):
    ada = enter("Ada")
    hear_until(ada, ": Ada has come in.")


def test_guests_hear_each_other(enter):
    ada, bob = enter("Ada"), enter("Bob")
    hear_until(ada, ": Bob has come in.")
    bob.send("Hello")
    assert hear(ada) == "Bob: Hello"


def test_text_survives_as_it_was(enter):
    ada = enter("Ada")
    hear_until(ada, ": Ada has come in.")
    ada.send("grüße \U0001f600")
    assert hear(ada) == "Ada: grüße \U0001f600"


def test_many_messages_keep_their_order(enter):
    ada = enter("Ada")
    hear_until(ada, ": Ada has come in.")
    for number in range(50):
        ada.send(str(number))
    assert [hear(ada) for _ in range(50)] == [f"Ada: {number}" for number in range(50)]


def test_leaving_is_told_to_the_others(enter):
    ada, bob = enter("Ada"), enter("Bob")
    hear_until(ada, ": Bob has come in.")
    bob.close()
    assert hear(ada) == ": Bob has left."


def test_a_guest_whose_line_breaks_has_left(enter):
    ada, bob = enter("Ada"), enter("Bob")
    hear_until(ada, ": Bob has come in.")
    # RFC 6455 s.7.1.7: no closing handshake. The connection is reset.
    bob.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    bob.socket.shutdown(socket.SHUT_RDWR)
    hear_until(ada, ": Bob has left.")


def test_bytes_where_text_is_expected_end_the_connection_as_the_clients_fault(server, enter):
    ada = enter("Ada")
    hear_until(ada, ": Ada has come in.")
    ada.send(b"\x00\xff")
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            ada.recv(timeout=60)
    # RFC 6455 s.7.4.1: 1003, data of a type that cannot be accepted. RSGI sends no code: 1005.
    expected = 1003 if server.sends_close_codes else 1005
    assert caught.value.rcvd.code == expected


@pytest.mark.parametrize("path", ["/nowhere", "/", "/static/style.css"])
def test_a_handshake_where_there_is_no_websocket_is_refused(server, path):
    url = f"ws://127.0.0.1:{server.port}{path}"
    with pytest.raises(InvalidStatus) as caught, connect(url, open_timeout=60):
        pass
    assert caught.value.response.status_code in (403, 404)


def test_nothing_is_left_over(server, enter):
    for name in ("Ada", "Bob", "Eve"):
        enter(name).close()
    server.settle()
    assert "Traceback" not in server.log_text()
