"""Load the application to serve, and describe it."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from spica.applications import Spica
from spica.checks.finding import Severity
from spica.checks.loading import (
    Found,
    LoadError,
    find_inner,
    load_object,
    uses_starlette,
    walk_layers,
)
from spica.checks.middleware import findings_of_warnings
from spica.checks.report import examine, format_routes, format_text, has_colours
from spica.cli.options import ServeOptions
from spica.responses import PlainTextResponse
from spica.types import Receive, Scope, Send

logger = logging.getLogger("spica.run")

_WSGI_MODULES = ("flask", "django", "bottle", "wsgiref")


class BrokenApplication:
    """Answer every request with an error of the program, until the file is saved again."""

    def __init__(self, message: str) -> None:
        self.message = message

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a 500 with the error as its body."""
        if scope["type"] == "http":
            await PlainTextResponse(self.message, 500)(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1011})
        else:
            await _run_no_lifespan(receive, send)


async def _run_no_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def load_served(options: ServeOptions) -> Found:
    """Return the ASGI app to serve.

    Raises:
        LoadError: there is none; the message is one line.
    """
    found = load_object(
        options.target,
        app_dir=options.app_dir,
        is_factory=options.is_factory,
        compat=options.compat,
    )
    reason = explain_no_app(found.app)
    if reason:
        raise LoadError(f"{found.target} is not an ASGI application: {reason}")
    foreign = explain_starlette(found)
    if foreign and not options.is_dev:  # `spica dev` prints it with the routes
        logger.warning(foreign)
    return found


def explain_starlette(found: Found) -> str:
    """Return a hint if the application runs on Starlette itself, for example FastAPI, or ""."""
    if not uses_starlette(found.app) or find_inner(found.app) is not None:
        return ""
    return f"{found.target} runs on Starlette, not on spica. Add --compat to run it on spica."


def settle(app: Any, options: ServeOptions) -> ServeOptions:
    """Make the command line and the settings of the application agree, and return the options with both.

    A drain that the command line names goes to the application. Otherwise that of the application counts. The
    access log of the server is off if the application has its own, unless the command line asks for it.
    """
    if options.access_log is None:
        options = replace(options, access_log=not logs_requests(app))
    application = find_inner(app)
    if not isinstance(application, Spica):
        return options
    if options.is_dev:
        application.readiness_delay_seconds = 0.0
    if options.drain_seconds is not None:
        application.drain_seconds = options.drain_seconds
    return replace(
        options,
        drain_seconds=application.drain_seconds,
        delay_seconds=application.readiness_delay_seconds,
    )


def logs_requests(app: Any) -> bool:
    """Return whether an ``AccessLogMiddleware`` logs every request of the application."""
    module = sys.modules.get("spica.middleware.accesslog")
    if module is None:
        return False
    application = find_inner(app)
    classes = [recipe.cls for recipe in getattr(application, "user_middleware", ())]
    for layer in walk_layers(app):
        classes.append(type(layer))
    return any(
        isinstance(cls, type) and issubclass(cls, module.AccessLogMiddleware) for cls in classes
    )


def explain_no_app(app: Any) -> str:
    """Return why an object can't be served, or "" if it looks like an ASGI app."""
    if inspect.isclass(app):
        return f"it is the class {app.__qualname__}. Make an instance of it."
    if not callable(app):
        return f"it is {app!r:.100}."
    try:
        parameters = inspect.signature(app)
    except (TypeError, ValueError):  # a callable of C, which does not say
        return ""
    if _takes(parameters, 3):
        return ""
    if _takes(parameters, 0):
        return "it is a function without parameters. With --factory it is called to make one."
    if type(app).__module__.partition(".")[0] in _WSGI_MODULES or _takes(parameters, 2):
        return (
            "it looks like a WSGI application. Wrap it: spica.middleware.wsgi.WSGIMiddleware(app)."
        )
    hint = " It may be an endpoint." if _takes(parameters, 1) else ""
    return f"it can't be called with (scope, receive, send): {app!r:.100}.{hint}"


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def describe(found: Found) -> Iterator[str]:
    """Yield the routes of an application of spica, and the errors and warnings of ``spica check``."""
    application = find_inner(found.app)
    if application is None:
        if hint := explain_starlette(found):
            yield f"  {hint}"
        return
    yield _indent(format_routes(application))
    try:
        findings = examine(application, findings_of_warnings(found.warnings))
    except Exception as error:  # an application that can't be examined may still be served
        yield f"spica check failed: {type(error).__name__}: {error}"
        return
    grave = [finding for finding in findings if finding.severity <= Severity.WARNING]
    grave = [finding for finding in grave if finding.code != "debug"]
    if grave:
        yield format_text(grave, found.target, colours=has_colours(sys.stdout, os.environ))


def enable_debug(found: Found) -> None:
    """Turn on the debug pages of the application, if it has them."""
    application = find_inner(found.app) or found.app
    if hasattr(application, "debug"):
        application.debug = True


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
