"""Memory stores and channels that several workers would not share."""

import pytest

from spica.applications import Spica
from spica.channels import Channels
from spica.checks.report import examine
from spica.checks.state import workers_of
from spica.middleware import Middleware
from spica.middleware.ratelimit import Limit, RateLimitMiddleware, by_header
from spica.routing import Mount, Route
from spica.stores import MemoryStore, Rate, open_store


def limits(store):
    limit = Limit(Rate(1, 1), key=by_header("x-api-key"))
    return Middleware(RateLimitMiddleware, limit, store=store)


def findings(app):
    return [each.message for each in examine(app) if each.code == "memory-of-one-worker"]


async def index(request):
    return None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("", 1)),
        ({"WEB_CONCURRENCY": "4"}, ("WEB_CONCURRENCY", 4)),
        ({"WEB_CONCURRENCY": "auto", "UVICORN_WORKERS": "2"}, ("UVICORN_WORKERS", 2)),
        ({"GUNICORN_CMD_ARGS": "--bind :80 --workers=3"}, ("GUNICORN_CMD_ARGS", 3)),
        ({"GUNICORN_CMD_ARGS": "-w 5"}, ("GUNICORN_CMD_ARGS", 5)),
        ({"GUNICORN_CMD_ARGS": "--worker-class x"}, ("", 1)),
    ],
)
def test_the_number_of_workers(environment, expected):
    assert workers_of(environment) == expected


@pytest.mark.parametrize("workers", ["", "1", "4"])
def test_a_memory_store_of_a_layer(monkeypatch, workers):
    monkeypatch.setenv("WEB_CONCURRENCY", workers)
    app = Spica(middleware=[limits(MemoryStore().prefixed("shop"))])
    expected = ["RateLimitMiddleware uses MemoryStore, and WEB_CONCURRENCY asks for 4 workers"]
    assert [message.partition(":")[0] for message in findings(app)] == expected * (workers == "4")


def test_those_of_mounts_and_routes(monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    route = Route("/", index, middleware=[limits(MemoryStore())])
    assert len(findings(Spica(routes=[route]))) == 1
    assert (
        len(findings(Spica(routes=[Mount("/a", Spica(middleware=[limits(MemoryStore())]))]))) == 1
    )


def test_channels_in_memory(monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    (message,) = findings(Spica(lifespan=[Channels("memory://").lifespan]))
    assert "uses MemoryBackend" in message


def test_a_periodic_task_with_a_store_in_memory(monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    app = Spica()
    app.tasks.every(60, print, store=MemoryStore())
    assert "app.tasks uses MemoryStore" in findings(app)[0]


def test_a_store_that_workers_share_is_fine(monkeypatch, tmp_path):
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    store = open_store(f"sqlite:///{tmp_path}/state.db")
    assert findings(Spica(middleware=[limits(store)], lifespan=[store.lifespan])) == []
