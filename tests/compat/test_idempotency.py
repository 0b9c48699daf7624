"""Idempotency keys in a FastAPI application on spica."""

import json


def test_a_fastapi_endpoint_runs_once(run_python):
    printed = run_python("""
        import json
        import spica.compat
        spica.compat.install()
        from fastapi import FastAPI
        from pydantic import BaseModel
        from spica.middleware.idempotency import IdempotencyMiddleware
        from spica.stores import MemoryStore
        from spica.testclient import TestClient

        class Payment(BaseModel):
            amount: int

        app = FastAPI()
        app.add_middleware(IdempotencyMiddleware, store=MemoryStore())
        runs = []

        @app.post("/", status_code=201)
        def pay(payment: Payment):
            runs.append(payment.amount)
            return {"run": len(runs)}

        client = TestClient(app)
        headers = {"idempotency-key": "k"}
        found = [client.post("/", json={"amount": n}, headers=headers) for n in (5, 5, 7)]
        print(json.dumps([[r.status_code, r.headers.get("idempotent-replayed")] for r in found] + [runs]))
    """)
    assert json.loads(printed) == [[201, None], [201, "true"], [422, None], [5]]
