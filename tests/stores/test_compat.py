"""Stores in a FastAPI application, through the switch."""

import subprocess
import sys
from pathlib import Path

import spica

ROOT = Path(spica.__file__).parents[1]

PROGRAM = """
import spica.compat
spica.compat.install()
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient
from spica.stores import Rate, StoreUnavailable, open_store

store = open_store("sqlite:///" + {path!r}, timeout_seconds=60)
app = FastAPI(lifespan=store.lifespan)

def likes(request: Request):
    return store.prefixed("likes")

@app.get("/take")
async def take(likes=Depends(likes)):
    return (await likes.take("a", Rate(2, 3600))).allowed

@app.get("/down")
async def down():
    raise StoreUnavailable("RedisStore", "get", "refused at 10.0.0.7")

with TestClient(app) as client:
    print([client.get("/take").json() for _ in range(3)])
    response = client.get("/down")
    print(response.status_code, response.headers["retry-after"], response.json())
print(store._file.worker)
"""


def test_a_fastapi_application_shares_a_store(tmp_path):
    program = PROGRAM.format(path=str(tmp_path / "state.db"))
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.stdout.splitlines() == [
        "[True, True, False]",
        "503 1 {'detail': 'Service Unavailable'}",
        "None",
    ], result.stderr
