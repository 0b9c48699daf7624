"""examples/fastapi_app/service.py: keys, a cache, payments and metrics in a FastAPI application on spica."""

import functools

import pytest

START = """
import json, logging
import spica.compat
spica.compat.install()
from fastapi_app import service
from spica.testclient import TestClient

with TestClient(service.app, client=("127.0.0.1", 1)) as client:
    till = {"x-api-key": service.KEY}
    found = []
"""


@pytest.fixture
def run_service(run_example):
    """Run code with a client of the application, and return the list ``found``."""
    return functools.partial(run_example, START)


def test_prices_are_public_and_cached_until_one_changes_and_measured(run_service):
    found = run_service("""
for headers in ({}, {}, till):
    response = client.get("/prices", headers=headers)
    found.append([response.json()["tea"], response.headers["cache-status"].partition(";ttl")[0]])
found.append(client.put("/prices/tea", json=4, headers=till | {"if-match": '"3"'}).status_code)
found.append(client.put("/prices/tea", json=5, headers=till | {"if-match": '"3"'}).status_code)
found.append(client.get("/prices?cheaper_than=2").json())
found.append(client.get("/prices").json()["tea"])
found.append(client.get("/readyz").text)
found.append(client.get("/metrics").status_code)
text = client.get("/metrics", headers=till).text
found.append([line for line in text.splitlines() if "seconds_count{" in line and "GET" in line])
""")
    hit = [3, "spica;hit"]
    prices = [[3, "spica;fwd=uri-miss"], hit, hit, 200, 412, {"milk": 1}, 4]
    count = "http_server_request_duration_seconds_count"
    line = f'{count}{{method="GET",route="/prices",status="200"}} 5.0'
    assert found == [*prices, "ready", 401, [line]]


def test_a_payment_runs_once_and_needs_a_key(run_service):
    found = run_service("""
once = {"idempotency-key": "k"}
found.append(client.post("/payments", json={"item": "tea", "amount": 3}, headers=once).status_code)
for item in ("tea", "tea", "milk"):
    body = {"item": item, "amount": 3}
    found.append(client.post("/payments", json=body, headers=till | once).status_code)
found.append(client.post("/payments", json={"item": "tea", "amount": 3}, headers=till).status_code)
wrong = client.post("/payments", json={"amount": 0}, headers=till | {"idempotency-key": "w"})
found.append([error["pointer"] for error in wrong.json()["errors"]])
found += [service.paid, service.receipts]
""")
    assert found == [401, 201, 201, 422, 400, ["/item", "/amount"], ["tea"], ["tea"]]
