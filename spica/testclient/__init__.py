"""Test clients: call an ASGI application from a test as if over the network.

They need the extra ``spica[testclient]`` (httpx2; httpx works too, with a warning).
"""

from spica.testclient.async_websocket import AsyncWebSocketSession
from spica.testclient.asynchronous import AsyncTestClient, cluster
from spica.testclient.checks import Checks
from spica.testclient.client import TestClient
from spica.testclient.events import ReceivedEvent
from spica.testclient.interface import ASGI2App, ASGI3App, ASGIInstance
from spica.testclient.responses import AsyncReceivedResponse, ReceivedResponse
from spica.testclient.websocket import WebSocketDenialResponse, WebSocketTestSession

__all__ = [
    "ASGI2App",
    "ASGI3App",
    "ASGIInstance",
    "AsyncReceivedResponse",
    "AsyncTestClient",
    "AsyncWebSocketSession",
    "Checks",
    "ReceivedEvent",
    "ReceivedResponse",
    "TestClient",
    "WebSocketDenialResponse",
    "WebSocketTestSession",
    "cluster",
]
