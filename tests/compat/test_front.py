"""The layers in front of a service, in a FastAPI application on spica."""

import json


def test_a_fastapi_application_uses_them(run_python):
    printed = run_python("""
        import json
        import spica.compat
        spica.compat.install()
        from fastapi import FastAPI, WebSocket
        from spica.middleware.proxyheaders import ProxyHeadersMiddleware
        from spica.middleware.ratelimit import Limit, Rate, RateLimitMiddleware
        from spica.stores import MemoryStore
        from spica.testclient import TestClient

        app = FastAPI()
        limit = Limit(Rate(2, 60))
        app.add_middleware(RateLimitMiddleware, limit, store=MemoryStore())
        app.add_middleware(ProxyHeadersMiddleware)

        @app.get("/")
        def index():
            return "passed"

        @app.websocket("/socket")
        async def socket(websocket: WebSocket):
            await websocket.accept()
            await websocket.close()

        client = TestClient(app, client=("127.0.0.1", 1))
        found = []
        for address in ["192.0.2.1"] * 3 + ["192.0.2.2"]:
            response = client.get("/", headers={"X-Forwarded-For": f"192.0.2.9, {address}"})
            found.append([response.status_code, response.headers["ratelimit"]])
        with client.websocket_connect("/socket", headers={"X-Forwarded-For": "192.0.2.3"}):
            pass
        print(json.dumps(found))
    """)
    assert json.loads(printed) == [
        [200, '"default";r=1;t=30'],
        [200, '"default";r=0;t=60'],
        [429, '"default";r=0;t=60'],
        [200, '"default";r=1;t=30'],
    ]


def test_it_limits_its_work_and_its_time(run_python):
    printed = run_python("""
        import json
        import spica.compat
        spica.compat.install()
        import anyio
        from fastapi import FastAPI, Request
        from spica.middleware.admission import AdmissionGauges, AdmissionMiddleware
        from spica.middleware.timeout import TimeoutMiddleware
        from spica.testclient import TestClient

        app = FastAPI()
        gauges = AdmissionGauges()
        app.add_middleware(TimeoutMiddleware, seconds=0.05)
        app.add_middleware(AdmissionMiddleware, max_active=1, gauges=gauges)

        @app.get("/{seconds}")
        async def index(seconds: float, request: Request):
            await anyio.sleep(seconds)
            return [gauges.active, request.deadline.remaining_seconds > 0]

        client = TestClient(app)
        slow = client.get("/60").status_code
        print(json.dumps([slow, client.get("/0").json(), gauges.active]))
    """)
    assert json.loads(printed) == [504, [1, True], 0]
