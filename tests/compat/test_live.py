"""examples/fastapi_app/live.py: the production kit in a FastAPI application on spica."""

import functools

import pytest

START = """
import json
import spica.compat
spica.compat.install()
from fastapi_app.live import app
from spica.testclient import TestClient

with TestClient(app, base_url="http://shop.example", client=("127.0.0.1", 1)) as client:
    def log_in(client=client, name="ada"):
        return client.post("/login", json={"name": name})

    def bid(amount):
        return client.post("/bids", json={"amount": amount})

    found = []
"""


@pytest.fixture
def run_live(run_example):
    """Run code with a client of the application, and return the list ``found``."""
    return functools.partial(run_example, START)


def test_sessions_are_in_the_store_and_end_everywhere(run_live):
    found = run_live("""
found.append(bid(5).status_code)
found.append(log_in().json())
found.append(len(client.get("/devices").json()))
found.append(client.post("/logout-everywhere").json())
found.append(client.get("/devices").status_code)
""")
    assert found == [401, {"user": "ada"}, 1, {"ended": 1}, 401]


def test_bids_reach_event_streams_and_websockets_and_start_tasks(run_live):
    found = run_live("""
log_in()
with client.stream("GET", "/events", headers={"last-event-id": "0,0,0"}) as response:
    left = bid(5).json()["seconds_left"]
    events = response.events()
    texts = set()
    while len(texts - {"The auction is open."}) < 2:
        event = next(events)
        if event.data:
            texts.add(event.data)
found += [0 < left <= 10, sorted(texts - {"The auction is open."})]
with client.websocket_connect("/live?after=0") as session:
    found.append(session.receive_json()["data"])
""")
    bid = {"user": "ada", "amount": 5}
    assert found == [True, ["ada: 5", '{"user":"ada","amount":5}'], bid]


def test_a_description_is_a_run_that_can_be_read_again(run_live):
    found = run_live("""
log_in()
run = client.post("/lots/7/description").json()["run"]
for after in ("", "second"):
    headers = {"last-event-id": ids[1]} if after else {}
    with client.stream("GET", f"/runs/{run}", headers=headers) as response:
        events = list(response.events())
    ids = [event.id for event in events]
    found.append([event.data for event in events if event.event == "message"])
""")
    words = ["Lot", "7", "is", "a", "lamp", "from", "1920."]
    assert found == [words, words[2:]]


def test_bids_are_limited_by_session(run_live):
    found = run_live("""
log_in()
found += [bid(n).status_code for n in range(1, 7)]
found.append(bid(7).headers["retry-after"])
found.append("ratelimit" in client.get("/history").headers)
""")
    assert found == [201] * 5 + [429, "2", True]


def test_pages_are_protected_and_compressed(run_live):
    found = run_live("""
page = client.get("/")
nonce = page.text.partition('nonce="')[2].partition('"')[0]
found.append(f"'nonce-{nonce}'" in page.headers["content-security-policy"])
found.append(page.headers["x-content-type-options"])
found.append(log_in().status_code)
attack = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
found.append(client.post("/bids", json={"amount": 1}, headers=attack).status_code)
spec = client.get("/openapi.json", headers={"accept-encoding": "gzip"})
found += [spec.headers["content-encoding"], spec.json()["info"]["title"]]
""")
    assert found == [True, "nosniff", 200, 403, "gzip", "Auction"]
