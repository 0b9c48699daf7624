import functools
import subprocess
import sys
from typing import Any

import pytest

from spica.applications import Spica
from spica.testclient import TestClient
from spica.testclient.interface import ASGI2Adapter, as_asgi3


async def app3(scope: Any, receive: Any, send: Any) -> None: ...


class CallableApp3:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class AwaitableApp3:
    """An application as a class, whose instances are awaited: an endpoint."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def __await__(self) -> Any: ...


async def app3_with_more(name: str, scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(app3, id="function"),
        pytest.param(CallableApp3(), id="instance"),
        pytest.param(AwaitableApp3, id="class"),
        pytest.param(functools.partial(app3_with_more, "x"), id="partial"),
        pytest.param(lambda scope, receive, send: app3(scope, receive, send), id="lambda"),
        pytest.param(lambda *args: app3(*args), id="any arguments"),
    ],
)
def test_an_asgi3_application_stays_itself(app: Any) -> None:
    assert as_asgi3(app) is app


class App2:
    def __init__(self, scope: Any) -> None:
        self.scope = scope

    async def __call__(self, receive: Any, send: Any) -> None:
        await send({"seen": self.scope["type"]})


@pytest.mark.anyio
@pytest.mark.parametrize("app", [App2, lambda scope: App2(scope)], ids=["class", "function"])
async def test_an_asgi2_application_is_called_twice(app: Any) -> None:
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    adapted = as_asgi3(app)
    assert isinstance(adapted, ASGI2Adapter)
    await adapted({"type": "http"}, None, send)  # type: ignore[arg-type]
    assert sent == [{"seen": "http"}]


@pytest.mark.parametrize(
    ("app", "text"),
    [
        pytest.param(None, "not None", id="None"),
        pytest.param("module:app", "not 'module:app'", id="text"),
        pytest.param(Spica, "not the class Spica. Write Spica(...).", id="class"),
        pytest.param(lambda: None, "with the parameters ()", id="no parameters"),
        pytest.param(lambda a, b: None, "with the parameters (a, b)", id="two parameters"),
    ],
)
def test_anything_else_is_refused(app: Any, text: str) -> None:
    with pytest.raises(TypeError, match=r"TestClient needs an ASGI application") as caught:
        as_asgi3(app)
    assert text in str(caught.value)


@pytest.mark.parametrize("backend", ["x", "", None, ["asyncio"]])
def test_a_backend_that_is_none(backend: Any) -> None:
    with pytest.raises(ValueError, match=r"^TestClient: backend must be ") as caught:
        TestClient(app3, backend=backend)
    assert str(caught.value) == (
        f"TestClient: backend must be 'asyncio' or 'trio', not {backend!r}."
    )


# Each in a process of its own: the library is chosen when spica.testclient is imported.
SCRIPT = """
import sys, warnings
for name in sys.argv[1:]:
    sys.modules[name] = None
warnings.simplefilter("always")
from spica.testclient import TestClient
print(TestClient.__mro__[1].__module__.split(".")[0])

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})

print(TestClient(app).get("/").text)
"""


def run(*missing: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *missing], capture_output=True, text=True, check=False
    )


def test_httpx2_is_what_it_uses() -> None:
    done = run()
    assert (done.stdout.split(), done.stderr) == (["httpx2", "ok"], "")


def test_httpx_is_accepted_and_warned_of() -> None:
    pytest.importorskip("httpx")
    done = run("httpx2")
    assert done.stdout.split() == ["httpx", "ok"]
    assert "SpicaDeprecationWarning: Using httpx with spica.testclient is deprecated" in done.stderr


def test_without_either_the_extra_is_named() -> None:
    done = run("httpx2", "httpx")
    assert done.returncode == 1
    assert "RuntimeError: spica.testclient needs the package httpx2" in done.stderr
    assert "pip install 'spica[testclient]'" in done.stderr
