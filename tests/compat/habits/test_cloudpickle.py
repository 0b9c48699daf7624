"""cloudpickle writes programs of the switch: Ray Serve sends applications to its workers with it."""

import pytest

SWITCH = "import spica.compat\nspica.compat.install()\n"

DUMP = """
import cloudpickle
import starlette.responses
import starlette
from starlette import routing
from starlette.applications import Starlette

def page(request):
    return starlette.responses.PlainTextResponse(routing.__name__)

class Service:
    page = staticmethod(page)

app = Starlette(routes=[routing.Route("/", page)])
print(cloudpickle.dumps([app, Service, page, routing, starlette]).hex())
"""

LOAD = """
import pickle, sys
app, Service, page, routing, starlette = pickle.loads(bytes.fromhex({!r}))
from spica.testclient import TestClient
print(TestClient(app).get("/").text, Service.page(None).body.decode(), routing.__name__)
print(starlette.routing is routing, type(app).__name__)
"""


@pytest.mark.parametrize(
    "start", [SWITCH, "import spica.applications\n"], ids=["with the switch", "with spica alone"]
)
def test_a_program_is_sent_to_another_process(start, run_python):
    dumped = run_python(SWITCH + DUMP).strip()
    out = run_python(start + LOAD.format(dumped))
    assert out == "spica.routing spica.routing spica.routing\nTrue Spica\n"


def test_a_fastapi_application_that_has_served_is_sent_too(run_python):
    dumped = run_python(
        SWITCH
        + """
import cloudpickle
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request

app = FastAPI()
app.add_middleware(CORSMiddleware, allow_origins=["*"])

@app.get("/{item}")
def read(request: Request, item: int):
    return item

assert TestClient(app).get("/1").json() == 1
print(cloudpickle.dumps(app).hex())
"""
    ).strip()
    out = run_python(
        SWITCH
        + f"""
import pickle
from fastapi.testclient import TestClient
response = TestClient(pickle.loads(bytes.fromhex({dumped!r}))).get("/2", headers={{"origin": "a"}})
print(response.text, response.headers["access-control-allow-origin"])
"""
    )
    assert out == "2 *\n"
