"""The socket of a server, and the messages when there is none."""

import socket

import pytest

from spica.cli.options import ListenError, open_socket, url_of


def test_a_free_port() -> None:
    with open_socket("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert url_of(sock) == f"http://127.0.0.1:{port}/"
        socket.create_connection(("127.0.0.1", port)).close()


def test_every_interface_is_shown_as_this_machine() -> None:
    with open_socket("0.0.0.0", 0) as sock:
        assert url_of(sock).startswith("http://127.0.0.1:")


def test_an_address_of_version_6() -> None:
    try:
        sock = open_socket("::1", 0)
    except ListenError:
        pytest.skip("this machine has no IPv6")
    with sock:
        assert url_of(sock) == f"http://[::1]:{sock.getsockname()[1]}/"


def test_a_port_in_use() -> None:
    with open_socket("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            open_socket("127.0.0.1", port)
    assert str(caught.value) == (
        f"Can't listen on 127.0.0.1, port {port}: the port is in use."
        " Stop the other program, or choose another with --port."
    )


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.1", "this machine does not have the address. Choose another with --host."),
        ("a" * 64 + ".invalid", "has no address: "),
    ],
)
def test_an_address_that_can_not_be_used(host: str, message: str) -> None:
    with pytest.raises(ListenError, match=message):
        open_socket(host, 0)
