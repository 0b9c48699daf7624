"""Browser safety, compression and StaticFiles under FastAPI through the switch."""

from pathlib import Path

PROGRAM = """
import gzip, json, pathlib, sys
from spica.compat import install
install()
import warnings
from typing import Annotated
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from fastapi.testclient import TestClient
from pydantic import BaseModel
from spica.middleware.compression import CompressionMiddleware, DecompressionMiddleware
from spica.middleware.crossorigin import CrossOriginMiddleware
from spica.middleware.securityheaders import SecurityHeadersMiddleware

class Item(BaseModel):
    name: str

app = FastAPI()
app.add_middleware(DecompressionMiddleware)
app.add_middleware(CompressionMiddleware)
app.add_middleware(CrossOriginMiddleware)
app.add_middleware(SecurityHeadersMiddleware)

def nonce(request: Request) -> str:
    return request.csp_nonce

@app.get("/", response_class=HTMLResponse)
def home(nonce: Annotated[str, Depends(nonce)]):
    return nonce + "x" * 1000

@app.post("/items")
async def create(item: Item):
    return item

@app.get("/fail")
def fail():
    raise LookupError("broken")

@app.websocket("/live")
async def live(websocket: WebSocket):
    await websocket.accept()
    await websocket.close()

folder = pathlib.Path("static")
folder.mkdir()
(folder / "app.123.js").write_text("1")
(folder / "manifest.json").write_text(json.dumps({"app.js": "app.123.js"}))
files = StaticFiles(directory=folder, manifest="manifest.json")
app.mount("/static", files, name="static")

client = TestClient(app, raise_server_exceptions=False)
home = client.get("/", headers={"accept-encoding": "gzip"})
body = gzip.compress(json.dumps({"name": "tea"}).encode())
packed = {"content-encoding": "gzip", "content-type": "application/json"}
print(home.headers["content-encoding"], home.text[:22] in home.headers["content-security-policy"])
print(client.post("/items", content=body, headers=packed).json())
print(client.post("/items", json={}).status_code)
print(client.post("/items", json={"name": "a"}, headers={"sec-fetch-site": "cross-site"}).status_code)
fail = client.get("/fail")
print(fail.status_code, fail.headers["x-frame-options"])
with client.websocket_connect("/live", headers={"origin": "http://testserver"}):
    print("open")
try:
    client.websocket_connect("/live", headers={"origin": "https://evil.example"}).__enter__()
except Exception as exc:
    print(getattr(exc, "status_code", exc))
url = app.url_path_for("static", path="app.js")
print(url, client.get(str(url)).headers["cache-control"])
"""


def test_the_front_of_a_service_works_under_fastapi(run_python, tmp_path):
    checkout = str(Path(__file__).resolve().parents[2])
    assert run_python(PROGRAM, cwd=tmp_path, PYTHONPATH=checkout).splitlines() == [
        "gzip True",
        "{'name': 'tea'}",
        "422",
        "403",
        "500 DENY",
        "open",
        "403",
        "/static/app.123.js public, max-age=31536000, immutable",
    ]
