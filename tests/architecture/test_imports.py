"""What importing costs: optional packages and heavy standard modules come on use only."""

import subprocess
import sys

import pytest

OPTIONAL = {
    "backports",
    "brotli",
    "asyncpg",
    "click",
    "httpx",
    "httpx2",
    "itsdangerous",
    "joserfc",
    "msgspec",
    "pydantic",
    "jinja2",
    "multipart",
    "opentelemetry",
    "prometheus_client",
    "python_multipart",
    "redis",
    "starlette",
    "trio",
    "uvicorn",
    "yaml",
}
HEAVY = {
    "anyio.lowlevel",
    "spica.auth",
    "spica.formparsers",
    "spica.health",
    "spica.middleware._observing",
    "spica.shutdown",
    "difflib",
    "email",
    "gzip",
    "html",
    "http.client",
    "http.cookies",
    "importlib.metadata",
    "mimetypes",
    "spica.channels",
    "spica._asgi.disconnect",
    "spica._http.conditional",
    "spica.middleware.debug_page",
    "spica.reading",
    "spica.responses.file",
    "spica.responses.streaming",
    "spica.routing.automaton",
    "spica.routing.socket_apps",
    "spica.stores",
    "spica.tasks",
    "spica.websockets.connection",
    "spica.websockets.outbox",
    "spica.websockets.patience",
    "spica.websockets.session",
    "sqlite3",
    "ssl",
    "tempfile",
    "traceback",
    "unittest",
    "urllib.request",
    "wsgiref",
}
# Beside these, whatever anyio and orjson load by themselves is theirs to answer for.
DEPENDENCIES = "import anyio, anyio.to_thread, orjson"


def loaded_by(statement):
    """The modules that a fresh interpreter has after a statement, beside the dependencies'."""
    program = (
        f"import sys; {DEPENDENCIES}; before = set(sys.modules); {statement}; "
        "print(*sorted(set(sys.modules) - before))"
    )
    # Without -I: the tests may run from a checkout that is not installed.
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.fixture(scope="module")
def loaded_by_applications():
    return loaded_by("import spica.applications")


def belongs_to(names, modules):
    return sorted(m for m in modules if m in names or m.split(".")[0] in names)


def test_the_application_loads_no_optional_package(loaded_by_applications):
    assert belongs_to(OPTIONAL, loaded_by_applications) == []


def test_the_application_loads_no_heavy_module(loaded_by_applications):
    assert belongs_to(HEAVY, loaded_by_applications) == []


def test_a_start_and_a_shutdown_without_tasks_and_streams_load_no_backend_of_anyio():
    program = """
import asyncio
from spica.applications import Spica
from spica.routing import Route
async def users(request): pass
messages = iter(["lifespan.startup", "lifespan.shutdown"])
async def receive(): return {"type": next(messages)}
async def send(message): assert "failed" not in message["type"], message
app = Spica(routes=[Route("/users/{id:int}/{rest:path}", users)])
asyncio.run(app({"type": "lifespan", "state": {}}, receive, send))
"""
    # The event loop loads the same modules for every application.
    loaded = loaded_by(f"import asyncio; exec({program!r})")
    assert (
        belongs_to({"anyio.lowlevel", "anyio._backends", "spica.routing.automaton"}, loaded) == []
    )


def test_sessions_in_cookies_load_no_stores():
    statement = "from spica.middleware.sessions import SessionMiddleware as S; S(None, 'secret')"
    assert (
        belongs_to({"spica.stores", "spica.middleware.sessions.storage"}, loaded_by(statement))
        == []
    )


def test_the_package_itself_loads_nothing():
    assert {m for m in loaded_by("import spica") if m.startswith("spica")} == {"spica"}


@pytest.mark.parametrize(
    "module",
    [
        "spica.auth",
        "spica.authentication",
        "spica.config",
        "spica.endpoints",
        "spica.formparsers",
        "spica.middleware.compression",
        "spica.middleware.cors",
        "spica.middleware.crossorigin",
        "spica.middleware.gzip",
        "spica.middleware.securityheaders",
        "spica.health",
        "spica.middleware.accesslog",
        "spica.middleware.admission",
        "spica.middleware.proxyheaders",
        "spica.middleware.ratelimit",
        "spica.middleware.requestid",
        "spica.middleware.sessions",
        "spica.middleware.timeout",
        "spica.middleware.trustedhost",
        "spica.schemas",
        "spica.staticfiles",
        "spica.channels",
        "spica.stores",
        "spica.tasks",
        "spica.websockets",
    ],
)
def test_modules_load_without_optional_packages(module):
    assert belongs_to(OPTIONAL, loaded_by(f"import {module}")) == []
