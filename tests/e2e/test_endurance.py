"""Live clients while workers and the store fail: scripts/soak --live runs the same for longer."""

import pytest
from endurance.__main__ import main
from endurance.readers import EventReader, Reader, Site
from endurance.visitors import Visitor

SHORT = ["--workers", "2", "--clients", "5", "--visitors", "2", "--kill-seconds", "1.5"]


@pytest.mark.parametrize("store", ["sqlite", "redis-volatile"])
def test_guarantees_hold_while_workers_and_the_store_fail(store, capsys):
    status = main(["--store", store, "--seconds", "4", *SHORT])
    assert status == 0, capsys.readouterr().out


def wrong_after(*items, keeps_state=False, restarts=0):
    """Return the complaints about the items that a client gets."""
    site = Site(1, keeps_state)
    site.restarts = restarts
    reader = Reader(site, "r", "c")
    for item in items:
        reader.take(*item)
    return site.wrong


def test_events_in_order_and_explained_gaps_are_right():
    gap = ("bbbbbb-4", None, "restarted")
    events = [("aaaaaa-1", "x"), ("aaaaaa-1", None), ("aaaaaa-2", "y"), gap, ("bbbbbb-5", "z")]
    assert wrong_after(*events, restarts=1) == []


@pytest.mark.parametrize(
    ("items", "options", "text"),
    [
        ([("a-1", "x"), ("a-3", "y")], {}, "a hole"),
        ([("a-1", "x"), ("a-1", "x")], {}, "a duplicate"),
        ([("a-2", "x")], {}, "a hole"),
        ([("a-1", "x"), ("a-2", None)], {}, "skips events"),
        ([("a-1", "x"), ("b-1", "y")], {"restarts": 1}, "another epoch without a gap"),
        ([("a-1", "x"), ("b-1", None, "restarted")], {}, "gap 1 after 0 restarts"),
        ([("a-1", "x"), ("a-1", None, "restarted")], {"restarts": 1}, "in the same epoch"),
        ([("a-1", "x"), ("a-1", None, "slow")], {"restarts": 1}, "is a gap: slow"),
        ([("b-1", None, "restarted")], {"keeps_state": True, "restarts": 1}, "keeps everything"),
    ],
)
def test_broken_guarantees_are_named(items, options, text):
    (wrong,) = wrong_after(*items, **options)
    assert text in wrong


def test_clients_must_agree_on_an_event():
    site = Site(1, True)
    Reader(site, "first", "c").take("a-1", "x")
    Reader(site, "second", "c").take("a-1", "y")
    assert site.wrong == ["second at 0: a-1 has other data than another client's"]


def test_events_gaps_and_pings_of_a_stream_are_read():
    reader = EventReader(Site(1, False), "r", "c")
    reader.site.restarts = 1
    reader.take_event("id: a-1\ndata: x")
    reader.take_event(": ping")
    reader.take_event('event: gap\nid: 0\ndata: {"channel":"c","reason":"restarted"}')
    assert (reader.id, reader.gaps, reader.site.wrong) == ("0", 1, [])


@pytest.mark.anyio
async def test_a_lost_session_is_named():
    class Forgetful(Site):
        async def request(self, path, body=None, **headers):
            return 401, {}, None

    visitor = Visitor(Forgetful(1, True), "ada")
    assert await visitor.check() is False
    assert visitor.site.wrong == ["ada: the session is lost"]
