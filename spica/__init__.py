"""spica: an ASGI toolkit in pure Python with the public API of Starlette 1.10.

You can import the classes that applications use from here or from their modules:

    from spica import JSONResponse, Request, Route, Spica

``import spica`` itself loads no other module. Each name loads its module when you first use it.
"""

# Type checkers treat this name as true. Importing it from typing would load 20 modules.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from spica.applications import Spica as Spica
    from spica.background import BackgroundTask as BackgroundTask
    from spica.background import BackgroundTasks as BackgroundTasks
    from spica.config import Config as Config
    from spica.datastructures import URL as URL
    from spica.datastructures import FormData as FormData
    from spica.datastructures import Headers as Headers
    from spica.datastructures import MutableHeaders as MutableHeaders
    from spica.datastructures import QueryParams as QueryParams
    from spica.datastructures import Secret as Secret
    from spica.datastructures import State as State
    from spica.datastructures import UploadFile as UploadFile
    from spica.endpoints import HTTPEndpoint as HTTPEndpoint
    from spica.endpoints import WebSocketEndpoint as WebSocketEndpoint
    from spica.exceptions import HTTPException as HTTPException
    from spica.exceptions import WebSocketException as WebSocketException
    from spica.middleware import Middleware as Middleware
    from spica.requests import ClientDisconnect as ClientDisconnect
    from spica.requests import HTTPConnection as HTTPConnection
    from spica.requests import Request as Request
    from spica.responses import FileResponse as FileResponse
    from spica.responses import HTMLResponse as HTMLResponse
    from spica.responses import JSONResponse as JSONResponse
    from spica.responses import PlainTextResponse as PlainTextResponse
    from spica.responses import ProblemDetailsResponse as ProblemDetailsResponse
    from spica.responses import RedirectResponse as RedirectResponse
    from spica.responses import Response as Response
    from spica.responses import StreamingResponse as StreamingResponse
    from spica.routing import Host as Host
    from spica.routing import Mount as Mount
    from spica.routing import NoMatchFound as NoMatchFound
    from spica.routing import Route as Route
    from spica.routing import Router as Router
    from spica.routing import WebSocketRoute as WebSocketRoute
    from spica.staticfiles import StaticFiles as StaticFiles
    from spica.templating import Jinja2Templates as Jinja2Templates
    from spica.testclient import TestClient as TestClient
    from spica.websockets import WebSocket as WebSocket
    from spica.websockets import WebSocketDisconnect as WebSocketDisconnect

__version__ = "0.2.0"

_HOMES = {
    "applications": "Spica",
    "background": "BackgroundTask BackgroundTasks",
    "config": "Config",
    "datastructures": "FormData Headers MutableHeaders QueryParams Secret State URL UploadFile",
    "endpoints": "HTTPEndpoint WebSocketEndpoint",
    "exceptions": "HTTPException WebSocketException",
    "middleware": "Middleware",
    "requests": "ClientDisconnect HTTPConnection Request",
    "responses": "FileResponse HTMLResponse JSONResponse PlainTextResponse ProblemDetailsResponse "
    "RedirectResponse Response StreamingResponse",
    "routing": "Host Mount NoMatchFound Route Router WebSocketRoute",
    "staticfiles": "StaticFiles",
    "templating": "Jinja2Templates",
    "testclient": "TestClient",
    "websockets": "WebSocket WebSocketDisconnect",
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

_MIDDLEWARE_OF = {
    "AuthenticationMiddleware": "authentication",
    "BaseHTTPMiddleware": "base",
    "CORSMiddleware": "cors",
    "GZipMiddleware": "gzip",
    "HTTPSRedirectMiddleware": "httpsredirect",
    "SessionMiddleware": "sessions",
    "TrustedHostMiddleware": "trustedhost",
    "WSGIMiddleware": "wsgi",
}
_OF_OTHERS = {
    "APIRouter": "Use spica.Router, and add it with app.mount('/prefix', router).",
    "Blueprint": "Use spica.Router, and add it with app.mount('/prefix', router).",
    "Depends": "spica has no dependency injection. Call the function in the endpoint, or read what the "
    "lifespan yielded from request.state.",
    "FastAPI": "The application class is spica.Spica.",
    "Flask": "The application class is spica.Spica.",
    "Litestar": "The application class is spica.Spica.",
    "Quart": "The application class is spica.Spica.",
    "Sanic": "The application class is spica.Spica.",
    "Starlette": "The application class is spica.Spica.",
    "abort": "Write raise spica.HTTPException(404).",
    "jsonify": "Return spica.JSONResponse(value).",
    "make_response": "Return spica.Response(content, status_code).",
    "redirect": "Return spica.RedirectResponse(url).",
    "render_template": "Use spica.Jinja2Templates(...).TemplateResponse(request, name, context).",
    "request": "Each endpoint gets the request as its argument. The class is spica.Request.",
    "send_file": "Return spica.FileResponse(path).",
    "session": "The session of a request is request.session.",
    "url_for": "Call request.url_for(name, ...).",
}
"""Names that newcomers import by habit from another framework, and the spica way to write each."""

# Without Jinja2Templates and TestClient, which need an extra: a star import must work in every installation.
__all__ = [
    "URL",
    "BackgroundTask",
    "BackgroundTasks",
    "ClientDisconnect",
    "Config",
    "FileResponse",
    "FormData",
    "HTMLResponse",
    "HTTPConnection",
    "HTTPEndpoint",
    "HTTPException",
    "Headers",
    "Host",
    "JSONResponse",
    "Middleware",
    "Mount",
    "MutableHeaders",
    "NoMatchFound",
    "PlainTextResponse",
    "ProblemDetailsResponse",
    "QueryParams",
    "RedirectResponse",
    "Request",
    "Response",
    "Route",
    "Router",
    "Secret",
    "Spica",
    "State",
    "StaticFiles",
    "StreamingResponse",
    "UploadFile",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketEndpoint",
    "WebSocketException",
    "WebSocketRoute",
]


def __getattr__(name: str) -> object:
    """Load the module of a public name, and keep the name here so that this happens once.

    Raises:
        AttributeError: spica has no such name.
        ImportError: the name belongs to another framework, or to a module of ``spica.middleware``.
    """
    module = _MODULE_OF.get(name)
    if module is None:
        raise _missing(name)
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"spica.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})


def _missing(name: str) -> Exception:
    # `from spica import name` hides the message of an AttributeError, so known mistakes raise ImportError.
    # Unknown names must not: the import system and hasattr() rely on the AttributeError.
    if name in _MIDDLEWARE_OF:
        home = f"spica.middleware.{_MIDDLEWARE_OF[name]}"
        return ImportError(f"spica has no {name!r}. Write from {home} import {name}.")
    if name in _OF_OTHERS:
        return ImportError(f"spica has no {name!r}. {_OF_OTHERS[name]}")
    hint = ""
    if not name.startswith("_"):
        from difflib import get_close_matches

        by_lower = {known.lower(): known for known in _MODULE_OF}
        close = get_close_matches(name.lower(), by_lower, n=1)
        hint = f" Did you mean {by_lower[close[0]]!r}?" if close else ""
    return AttributeError(f"module 'spica' has no attribute {name!r}.{hint}")
