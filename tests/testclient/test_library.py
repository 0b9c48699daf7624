import subprocess
import sys

import pytest

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
