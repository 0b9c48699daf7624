"""What can be wrong with a frame that a WebSocket peer has sent.

Both errors close the connection when nobody handles them (RFC 6455 s.7.4.1), and both are also the
error that the plain look-up or decoding would raise, so that code written for that one goes on.
"""

from json import JSONDecodeError

from spica.exceptions import WebSocketException


class UnexpectedFrame(WebSocketException, KeyError):
    """Tell that the peer sent a binary frame where a text frame was expected, or a text frame where
    a binary frame was.

    Unhandled, it closes the connection with code 1003.
    """

    def __init__(self, expected: str, received: str) -> None:
        # RFC 6455 s.7.4.1: 1003, "a type of data it cannot accept".
        super().__init__(1003, f"Expected a {expected} frame, received a {received} frame.")
        self.expected = expected
        self.received = received


class MalformedJSON(WebSocketException, JSONDecodeError):
    """Tell that the peer sent a frame that is not JSON.

    Unhandled, it closes the connection with code 1007. It has the fields of
    `json.JSONDecodeError`: `msg`, `doc`, `pos`, `lineno` and `colno`.
    """

    def __init__(self, msg: str, doc: str = "", pos: int = 0) -> None:
        JSONDecodeError.__init__(self, msg, doc, pos)
        # RFC 6455 s.7.4.1: 1007, "data within a message that was not consistent with the type".
        self.code = 1007
        self.reason = "The message is not JSON."

    def __str__(self) -> str:
        place = f"line {self.lineno} column {self.colno} (char {self.pos})"
        return f"{self.code}: {self.reason} {self.msg}: {place}"
