"""A test client: call an ASGI application from a test as if over the network.

Needs the extra ``spica[testclient]`` (httpx2; httpx is accepted and warned of).
"""

from spica.testclient.client import TestClient
from spica.testclient.interface import ASGI2App, ASGI3App, ASGIInstance
from spica.testclient.websocket import WebSocketDenialResponse, WebSocketTestSession

__all__ = [
    "ASGI2App",
    "ASGI3App",
    "ASGIInstance",
    "TestClient",
    "WebSocketDenialResponse",
    "WebSocketTestSession",
]
