"""Responses that are sent by hand, and errors after a response, on real servers and kept connections."""

import http.client
from collections.abc import Iterator

import pytest


@pytest.fixture
def connection(server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    yield connection
    connection.close()


def get(connection, path):
    connection.request("GET", path)
    response = connection.getresponse()
    return response, response.read()


@pytest.mark.parametrize("end", ["nothing", "returns"])
def test_a_response_by_hand_passes_the_layers_and_leaves_the_connection(connection, end):
    for _ in range(3):
        response, body = get(connection, f"/observed/by-hand/{end}")
        assert (response.status, body) == (200, b"whole")
        assert response.getheader("x-name") == "observed"
        assert response.getheader("x-sent") == "by hand"


def test_a_truncated_response_by_hand_stays_truncated(connection):
    connection.request("GET", "/observed/by-hand/truncated")
    with pytest.raises((http.client.IncompleteRead, ConnectionError, http.client.BadStatusLine)):
        connection.getresponse().read()


def test_an_error_after_a_response_by_hand_is_logged_once(server, connection):
    before = server.log_text().count("Traceback")
    response, body = get(connection, "/observed/by-hand/raises")
    assert (response.status, body) == (200, b"whole")
    server.wait_for("the log", lambda: server.log_text().count("already started") > 0)
    log = server.log_text()
    # One chain: the error, and the error of the handler that came too late.
    assert log.count("Caught handled exception, but response already started.") == 1
    assert log.count("Traceback") <= before + 2
    assert "ExceptionGroup" not in log


def test_an_error_page_announces_that_the_connection_closes(connection):
    """RFC 9112 s.9.6: the next request on a kept connection must not be lost."""
    for _ in range(3):
        response, _ = get(connection, "/observed/fails")
        assert response.status == 500
        assert response.getheader("connection") == "close"
        assert response.will_close
    assert get(connection, "/observed/by-hand/nothing")[0].status == 200
