"""The surroundings of the test clients: the application, its codec, the event loop and the HTTP library.

An ASGI 3 application is one call, ``app(scope, receive, send)``. An ASGI 2 application is two calls,
``app(scope)(receive, send)``.

Only this module imports the HTTP library. The extra ``spica[testclient]`` installs httpx2. If it is missing,
httpx replaces it, with a warning.
"""

import importlib
import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, cast

import anyio

from spica._diagnostics.call_site import package_name, warn_importer
from spica.exceptions import SpicaDeprecationWarning
from spica.jsoncodec import JSONCodec, default_codec
from spica.types import Receive, Scope, Send

__all__ = [
    "ASGI2Adapter",
    "ASGI2App",
    "ASGI3App",
    "ASGIInstance",
    "as_asgi3",
    "check_backend",
    "codec_of",
    "httpx",
]

ASGIInstance = Callable[[Receive, Send], Awaitable[None]]
"""The return value of an ASGI 2 application for one connection."""

ASGI2App = Callable[[Scope], ASGIInstance]
"""An application of the older form."""

ASGI3App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An application of the current form, which spica uses everywhere."""


class ASGI2Adapter:
    """Serve an ASGI 2 application through one call."""

    def __init__(self, app: ASGI2App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Create the instance for `scope` and run it."""
        await self.app(scope)(receive, send)


def as_asgi3(app: Any) -> ASGI3App:
    """Return an ASGI 3 application: `app` itself, or an adapter for an ASGI 2 application.

    Raises:
        TypeError: `app` cannot be called with ``(scope, receive, send)`` nor with ``(scope)``.
    """
    if not callable(app):
        raise TypeError(
            f"TestClient needs an ASGI application, a callable (scope, receive, send), not {app!r}."
        )
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):  # written in C, without a signature
        return cast(ASGI3App, app)
    if _accepts(signature, 3):
        # A class with `__await__` is an application: the call creates an instance, and the server awaits it.
        if type(app) is type and not hasattr(app, "__await__"):
            name = app.__name__
            raise TypeError(
                f"TestClient needs an ASGI application, not the class {name}. Write {name}(...)."
            )
        return cast(ASGI3App, app)
    if _accepts(signature, 1):
        return ASGI2Adapter(app)  # pyright: ignore[reportArgumentType]
    raise TypeError(
        f"TestClient needs an ASGI application, a callable (scope, receive, send), "
        f"not {app!r} with the parameters {signature}."
    )


def check_backend(backend: Any) -> Any:
    """Return the name of an event loop after checking it.

    Raises:
        ValueError: AnyIO does not know it.
    """
    known = anyio.get_all_backends()
    if backend not in known:
        raise ValueError(
            f"TestClient: backend must be {' or '.join(map(repr, known))}, not {backend!r:.80}."
        )
    return backend


def codec_of(app: Any) -> JSONCodec:
    """Return the JSON codec of an application: its ``json_codec``, or the default one."""
    codec: JSONCodec | None = getattr(app, "json_codec", None)
    return default_codec if codec is None else codec


def _accepts(signature: inspect.Signature, count: int) -> bool:
    """Return whether a call with `count` positional arguments fits the signature."""
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


# -- the HTTP library ------------------------------------------------------------------------------


def _import_older_library() -> ModuleType:
    """Import httpx instead of httpx2.

    Raises:
        RuntimeError: httpx is missing too.
    """
    try:
        library = importlib.import_module("httpx")
    except ModuleNotFoundError:
        raise RuntimeError(
            "spica.testclient needs the package httpx2, which is not installed. "
            "Install it with: pip install 'spica[testclient]'"
        ) from None
    text = (
        "Using httpx with spica.testclient is deprecated and will go away in spica 2.0: "
        "install httpx2, with: pip install 'spica[testclient]'"
    )
    if package_name() == "starlette":  # programs filter the warning by this text
        text = "Using `httpx` with `starlette.testclient` is deprecated; install `httpx2` instead."
    warn_importer(text, SpicaDeprecationWarning)
    return library


try:
    import httpx2 as httpx
except ModuleNotFoundError:
    httpx = _import_older_library()
