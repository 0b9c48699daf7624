"""Request ids, the access log, metrics and health checks, in a FastAPI application on spica."""

import json


def test_a_fastapi_application_uses_them(run_python):
    printed = run_python("""
        import json, logging
        import spica.compat
        spica.compat.install()
        from fastapi import APIRouter, FastAPI, Request
        from spica.health import health_routes
        from spica.middleware.accesslog import AccessLogMiddleware
        from spica.middleware.metrics import MetricsMiddleware, metrics_response
        from spica.middleware.requestid import RequestIdMiddleware, request_id
        from spica.testclient import TestClient

        app = FastAPI()
        app.add_middleware(MetricsMiddleware)
        app.add_middleware(AccessLogMiddleware)
        app.add_middleware(RequestIdMiddleware)
        app.router.routes.extend(health_routes())
        router = APIRouter(prefix="/shops/{shop}")

        @router.get("/items/{item}")
        def item(shop: int, item: int):
            return request_id.get()

        @app.get("/metrics")
        async def metrics(request: Request):
            return metrics_response(request)

        app.include_router(router)
        found = []

        class Collected(logging.Handler):
            def emit(self, record):
                found.append([record.access[key] for key in ("route", "status", "request_id")])

        log = logging.getLogger("spica.access")
        log.setLevel("INFO")
        log.addHandler(Collected())
        client = TestClient(app, client=("127.0.0.1", 1))
        response = client.get("/shops/1/items/2", headers={"x-request-id": "r-1"})
        client.get("/shops/1/items/x", headers={"x-request-id": "r-2"})
        samples = [
            line for line in client.get("/metrics").text.splitlines() if "seconds_count{" in line
        ]
        print(json.dumps([response.json(), found[:2], samples, client.get("/readyz").text]))
    """)
    route = "/shops/{shop}/items/{item}"
    sample = 'http_server_request_duration_seconds_count{method="GET",route="%s",status="%d"} 1.0'
    assert json.loads(printed) == [
        "r-1",
        [[route, 200, "r-1"], [route, 422, "r-2"]],
        [sample % (route, 200), sample % (route, 422)],
        "ready",
    ]
