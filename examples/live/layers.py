"""The layers around all pages, and a page that shows what each of them does."""

from live.attack import Witness
from live.showcase import FRONT, Demo
from live.state import HTTPS, SECRET, store
from spica.middleware import Middleware
from spica.middleware.accesslog import AccessLogMiddleware
from spica.middleware.admission import AdmissionMiddleware
from spica.middleware.compression import CompressionMiddleware
from spica.middleware.crossorigin import CrossOriginMiddleware
from spica.middleware.metrics import MetricsMiddleware
from spica.middleware.proxyheaders import ProxyHeadersMiddleware
from spica.middleware.requestid import RequestIdMiddleware, request_id
from spica.middleware.securityheaders import SecurityHeadersMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.middleware.timeout import TimeoutMiddleware
from spica.requests import Request
from spica.responses import JSONResponse, Response
from spica.routing import Route


def make_layers() -> list[Middleware]:
    """Return the layers, the outermost first. A request passes them from the top to the bottom."""
    return [
        Middleware(ProxyHeadersMiddleware),
        Middleware(RequestIdMiddleware),
        Middleware(AccessLogMiddleware, skip=["/livez", "/readyz", "/worker", "/load/work"]),
        Middleware(MetricsMiddleware, skip=["/livez", "/readyz"], stores={"main": store}),
        Middleware(CompressionMiddleware),
        Middleware(SecurityHeadersMiddleware, hsts_seconds=31_536_000),
        Middleware(Witness),  # for the page about an attack
        # A browser sends the report about a frame for the page that has tried, so from another site.
        Middleware(CrossOriginMiddleware, exempt=["/attack/reports"]),
        Middleware(AdmissionMiddleware, max_active=200, max_waiting=100, streams=False),
        Middleware(TimeoutMiddleware, seconds=10),
        Middleware(SessionMiddleware, secret_key=SECRET, store=store, https_only=HTTPS),
    ]


async def facts(request: Request) -> Response:
    """Report what the endpoint sees of the layers."""
    deadline = request.deadline
    return JSONResponse(
        {
            "client": request.client.host if request.client else None,
            "request_id": request_id.get(),
            "seconds_left": round(deadline.remaining_seconds, 3) if deadline else None,
            "padding": "compressible " * 100,
        }
    )


page = Demo(
    FRONT,
    __name__,
    "The layers",
    "Proxies, request ids, compression, security headers, admission and timeouts, on every response.",
    ("make_layers", "facts"),
    "middleware",
)

routes = [
    Route("/layers", page.show, name="layers"),
    Route("/layers/facts", facts, name="facts"),
]
