"""Stored responses in a FastAPI application on spica."""

import json


def test_a_fastapi_endpoint_is_computed_once(run_python):
    printed = run_python("""
        import json
        import spica.compat
        spica.compat.install()
        from fastapi import FastAPI, Response
        from spica.middleware.cache import ResponseCacheMiddleware, invalidate
        from spica.stores import MemoryStore
        from spica.testclient import TestClient

        app = FastAPI()
        app.add_middleware(ResponseCacheMiddleware, store=MemoryStore())
        runs = []

        @app.get("/report")
        def report(response: Response):
            runs.append(1)
            response.headers["cache-control"] = "public, max-age=60"
            response.headers["cache-tag"] = "report"
            return {"run": len(runs)}

        @app.post("/report/new")
        async def change():
            await invalidate("report")

        client = TestClient(app)
        found = [client.get("/report").json()["run"] for _ in range(2)]
        client.post("/report/new")
        print(json.dumps(found + [client.get("/report").json()["run"]]))
    """)
    assert json.loads(printed) == [1, 1, 2]
