"""The showcase, through the test client: its pages, and what their endpoints answer."""

import gzip
import html
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from spica.testclient import TestClient, WebSocketDenialResponse

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ORIGIN = "https://live.example"
PAGES = [
    *("chat", "dashboard", "writer", "devices", "limits"),
    *("layers", "attack", "load", "whoami", "files"),
    *("report", "payments", "editing", "tasks", "api", "operations"),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def live(directory):
    """Return a function that imports a module of the example, with state of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIVE_DIRECTORY", str(directory))
        patch.setenv("LIVE_CONTROLS", "1")
        patch.delenv("LIVE_STORE", raising=False)
        # The global registry would keep the series of these requests for other tests of the process.
        patch.setattr("spica.middleware.metrics.REGISTRY", CollectorRegistry())
        importlib.import_module("live.app")
        yield lambda name: importlib.import_module(f"live.{name}")


@pytest.fixture(scope="module")
def client(live):
    app = live("app").app
    with TestClient(app, base_url=ORIGIN, client=("127.0.0.1", 50000)) as client:
        yield client


# The pages


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_its_demo_and_its_code(client, live, name):
    response = client.get(f"/{name}")
    page = live(name).page
    assert response.status_code == 200
    assert f"<h1>{page.title}</h1>" in response.text
    assert page.source in response.text
    assert 'aria-current="page"' in response.text
    assert (EXAMPLES.parent / "docs" / "guide" / f"{page.guide}.md").exists()


def test_the_front_page_lists_all_demos(client):
    text = client.get("/").text
    assert re.findall(r'<h3><a href="https://live.example/(\w+)">', text) == PAGES


@pytest.mark.parametrize("name", PAGES)
def test_the_shown_code_is_that_of_the_file(live, name):
    page = live(name).page
    shown = html.unescape(re.sub("<[^>]+>", "", page.source))
    for part in shown.split("\n\n\n"):
        assert part in page.file.read_text("utf-8")


def test_the_example_has_no_finding():
    command = ["spica", "check", "--app-dir", str(EXAMPLES), "--workers", "2", "live.app:app"]
    result = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    assert result.stdout == "live.app:app: 0 errors, 0 warnings, 0 infos.\n"


def test_all_workers_have_one_secret(live, tmp_path):
    secret = live("state").read_secret(tmp_path / "secret")
    assert len(secret) == 64
    assert live("state").read_secret(tmp_path / "secret") == secret
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


# An attack


def test_a_forged_form_is_refused_with_a_reason(client):
    response = client.post("/attack/transfer", headers={"origin": "https://evil.example"})
    assert response.status_code == 403
    assert "Cross-origin request refused" in response.text


def test_a_websocket_of_another_origin_is_refused(client):
    with pytest.raises(WebSocketDenialResponse) as denial:
        with client.websocket_connect("/attack/feed", headers={"origin": "https://evil.example"}):
            pass
    assert denial.value.status_code == 403


def test_a_browser_may_report_from_another_origin(client):
    headers = {"origin": "https://evil.example", "content-type": "application/csp-report"}
    content = b'{"csp-report": {"effective-directive": "frame-ancestors"}}'
    assert client.post("/attack/reports", content=content, headers=headers).status_code == 204


@pytest.mark.parametrize("content", [b"[1]", b'{"csp-report": 1}', b"{}"])
def test_a_report_that_is_not_one_is_refused(client, content):
    assert client.post("/attack/reports", content=content).status_code == 422


# Who are you to me


def play(client, peer="10.0.0.1", **fields):
    names = {name.replace("_", "-"): value for name, value in fields.items()}
    return client.post("/whoami/play", json={"peer": peer, "fields": names}).json()


def test_the_fields_of_a_proxy_are_used(client):
    answer = play(client, x_forwarded_for="6.6.6.6, 203.0.113.9", x_forwarded_proto="https")
    assert answer["without"]["client"] == "10.0.0.1"
    assert (answer["trusted"]["client"], answer["trusted"]["scheme"]) == ("203.0.113.9", "https")
    assert answer["fields"]["x-forwarded-for"].startswith("Used: 203.0.113.9, which your proxy")


@pytest.mark.parametrize(
    ("name", "value", "fact", "seen"),
    [
        ("x_forwarded_proto", "wss", "scheme", "https"),
        ("x_forwarded_proto", "http", "scheme", "http"),
        ("x_forwarded_host", "Shop.example:8443", "host", "Shop.example:8443"),
        ("x_forwarded_prefix", "/shop", "prefix", "/shop"),
    ],
)
def test_a_field_with_effect_is_shown_as_used(client, name, value, fact, seen):
    answer = play(client, **{name: value})
    assert answer["trusted"][fact] == seen
    assert answer["fields"] == {name.replace("_", "-"): "Used."}


def test_the_fields_of_a_stranger_are_ignored(client):
    answer = play(client, "198.51.100.7", x_forwarded_for="6.6.6.6")
    assert answer["trusted"] == answer["without"]
    assert "198.51.100.7 is not one of your proxies" in answer["fields"]["x-forwarded-for"]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("x_forwarded_for", "unknown", "the last entry is not an address"),
        ("x_forwarded_proto", "gopher", "the scheme must be"),
        ("x_forwarded_host", "a b", "it is not a valid host"),
        ("x_forwarded_prefix", "/../admin", "a prefix is a clean path"),
        ("forwarded", "for=6.6.6.6", "believes one kind only"),
    ],
)
def test_a_field_without_effect_has_a_reason(client, name, value, reason):
    answer = play(client, **{name: value})
    assert answer["trusted"] == answer["without"]
    assert reason in answer["fields"][name.replace("_", "-")]


def test_an_unknown_peer_is_refused(client):
    response = client.post("/whoami/play", json={"peer": "192.0.2.1"})
    assert response.status_code == 422


# Files


def test_a_compressed_upload_is_read_as_it_was(client):
    content = b" ".join(b"%d" % (number * 7919) for number in range(20_000))
    body = gzip.compress(content)
    response = client.post("/files/upload", content=body, headers={"content-encoding": "gzip"})
    assert response.json() == {"size": len(content)}


def test_a_zip_bomb_is_refused(client):
    body = gzip.compress(bytes(20_000_000))
    response = client.post("/files/upload", content=body, headers={"content-encoding": "gzip"})
    assert response.status_code == 413


def test_a_build_gives_hashed_names(live, tmp_path, monkeypatch):
    files = live("files")
    command = ["spica", "static", "build", str(EXAMPLES / "live" / "static"), str(tmp_path)]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    monkeypatch.setattr(files, "BUILT", tmp_path)
    monkeypatch.setattr(files, "MANIFEST", tmp_path / "manifest.json")
    response = TestClient(files.make_static()).get("/style.css")
    assert response.headers["cache-control"] == "no-cache"
    assert files.sizes_of("style.css") == {"source": len(response.content)}


# The service


def test_a_report_is_computed_once(client, live, monkeypatch):
    monkeypatch.setattr(live("report"), "SECONDS", 0)
    first, second = (client.get("/report/numbers") for _ in range(2))
    assert "age" not in first.headers
    assert (second.json(), second.headers["age"]) == (first.json(), "0")
    assert client.post("/report/forget").status_code == 204
    assert "age" not in client.get("/report/numbers").headers


def test_a_repeated_payment_gets_the_first_receipt(client):
    key = {"idempotency-key": "order-1"}
    first, second = (
        client.post("/payments/pay", json={"amount": 5}, headers=key) for _ in range(2)
    )
    assert first.status_code == 201
    assert second.json() == first.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert client.post("/payments/pay", json={"amount": 500}, headers=key).status_code == 422


def test_a_payment_needs_a_key_and_an_amount(client):
    assert client.post("/payments/pay", json={"amount": 5}).status_code == 400
    response = client.post(
        "/payments/pay", json={"amount": 0}, headers={"idempotency-key": "order-2"}
    )
    assert response.status_code == 422
    assert response.json()["errors"][0]["detail"] == "must have an amount from 1 to 1000"


def test_an_edit_of_an_old_version_is_refused(client):
    tag = client.get("/editing/article").headers["etag"]
    assert client.get("/editing/article", headers={"if-none-match": tag}).status_code == 304
    saved = client.put("/editing/article", json={"text": "new"}, headers={"if-match": tag})
    assert (saved.status_code, saved.json()["text"]) == (200, "new")
    again = client.put("/editing/article", json={"text": "other"}, headers={"if-match": tag})
    assert again.status_code == 412
    assert client.put("/editing/article", json={"text": "other"}).status_code == 428
    assert client.get("/editing/article").json()["text"] == "new"


def test_a_task_is_started_and_answered_at_once(client):
    response = client.post("/tasks/start")
    assert response.status_code == 202
    assert response.headers["x-request-id"].startswith(response.json()["task"])


def token(client, scope):
    return client.post("/api/tokens", json={"scope": scope}).json()["token"]


@pytest.mark.parametrize(
    ("scope", "star", "status"),
    [
        pytest.param(None, {}, 401, id="no token"),
        pytest.param("stars:read", {}, 403, id="no scope"),
        pytest.param("stars:read stars:write", {"name": "Spica"}, 422, id="no magnitude"),
        pytest.param(
            "stars:read stars:write", {"name": "Spica", "magnitude": 0.97}, 201, id="added"
        ),
    ],
)
def test_the_api_wants_a_token_with_a_scope_and_a_star(client, scope, star, status):
    headers = {"authorization": f"Bearer {token(client, scope)}"} if scope else {}
    response = client.post("/api/stars", json=star, headers=headers)
    assert response.status_code == status


def test_the_metrics_have_the_routes_as_labels(client):
    client.get("/files")
    assert 'route="/files",status="200"' in client.get("/metrics").text


def test_the_last_lines_of_the_access_log_have_the_request_id(client, caplog):
    with caplog.at_level("INFO", "spica.access"):
        request_id = client.get("/tasks").headers["x-request-id"]
        lines = client.get("/operations/log").json()["lines"]
    assert lines[0].endswith(f"route=/tasks request_id={request_id}")


@pytest.mark.parametrize("path", ["/operations/log", "/metrics"])
def test_a_public_site_shows_no_log_and_no_metrics(client, live, monkeypatch, path):
    monkeypatch.setattr(live("workers"), "CONTROLS", False)
    assert client.get(path).status_code == 403


async def send_nothing(url):
    """Take the place of the burst, which needs a server."""


def test_the_button_of_a_burst_is_limited(client, live, monkeypatch):
    monkeypatch.setattr(live("load"), "burst", send_nothing)
    statuses = [client.post("/load/start").status_code for _ in range(11)]
    assert statuses == [*[202] * 10, 429]


def test_health_is_checked(client):
    assert client.get("/livez").text == "live"
    assert client.get("/readyz").text == "ready"
