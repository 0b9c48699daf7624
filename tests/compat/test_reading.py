"""Typed reading in a FastAPI application on spica."""

import json


def test_a_fastapi_endpoint_reads_a_model(run_python):
    printed = run_python("""
        import json
        import spica.compat
        spica.compat.install()
        from dataclasses import dataclass
        from fastapi import FastAPI, Request
        from spica.reading import InvalidInput
        from spica.testclient import TestClient

        @dataclass
        class Star:
            name: str

        app = FastAPI()

        @app.exception_handler(InvalidInput)
        async def invalid(request, error):
            return error.to_response()

        @app.post("/")
        async def add(request: Request):
            return (await request.read(Star)).name

        client = TestClient(app)
        found = [client.post("/", json={"name": "Vega"}).json()]
        found.append(client.post("/", json={}).json()["errors"])
        print(json.dumps(found))
    """)
    assert json.loads(printed) == ["Vega", [{"pointer": "/name", "detail": "is required"}]]
