"""The example application, through the test client."""

import importlib

import pytest

from spica.testclient import TestClient


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A client of the example with a database of its own."""
    application = importlib.import_module("notes.app")
    monkeypatch.setattr(application, "DIRECTORY", tmp_path)
    with TestClient(application.app) as client:
        yield client


def add_note(client, title="Milk", text="Two bottles."):
    return client.post("/api/notes", json={"title": title, "text": text}).json()["id"]


# Pages


def test_the_first_page_says_that_there_is_nothing_yet(client):
    response = client.get("/")
    assert response.status_code == 200
    assert "No notes yet." in response.text


def test_a_note_that_was_sent_by_the_form_is_shown(client):
    response = client.post("/notes", data={"title": "Milk", "text": "Two bottles."})
    assert response.status_code == 200
    assert "<h1>Milk</h1>" in response.text


def test_the_form_redirects_with_303_so_that_reloading_does_not_send_it_again(client):
    data = {"title": "Milk", "text": "Two bottles."}
    response = client.post("/notes", data=data, follow_redirects=False)
    assert response.status_code == 303
    assert response.headers["location"] == "http://testserver/notes/1"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param({"title": "", "text": "a"}, "A note needs a title.", id="no title"),
        pytest.param({"title": "a", "text": " "}, "A note needs some text.", id="no text"),
        pytest.param({}, "A note needs a title.", id="nothing"),
        pytest.param(
            {"title": "a" * 101, "text": "a"},
            "A title has at most 100 characters, this one has 101.",
            id="long title",
        ),
    ],
)
def test_the_form_says_what_is_wrong(client, data, problem):
    response = client.post("/notes", data=data)
    assert response.status_code == 422
    assert problem in response.text


def test_what_was_filled_in_wrongly_is_still_there(client):
    response = client.post("/notes", data={"title": "Milk", "text": ""})
    assert 'value="Milk"' in response.text


def test_text_is_escaped(client):
    note_id = add_note(client, text="<script>alert(1)</script>")
    assert "<script>alert" not in client.get(f"/notes/{note_id}").text


def test_a_search_finds_only_what_contains_the_words(client):
    add_note(client, title="Milk")
    add_note(client, title="Bread")
    response = client.get("/", params={"q": "brea"})
    assert "Bread" in response.text
    assert "Milk" not in response.text


def test_the_list_has_pages(client):
    for number in range(11):
        add_note(client, title=f"Note {number:02}")
    first, second = client.get("/").text, client.get("/", params={"page": "2"}).text
    assert "Note 10" in first
    assert "Note 00" not in first
    assert "Note 00" in second
    assert 'href="http://testserver/?page=2"' in first


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "9" * 5000])
def test_a_page_that_makes_no_sense_is_the_first_or_empty(client, page):
    assert client.get("/", params={"page": page}).status_code == 200


def test_a_deleted_note_is_gone(client):
    note_id = add_note(client)
    assert client.post(f"/notes/{note_id}/delete").status_code == 200
    assert client.get(f"/notes/{note_id}").status_code == 404


# Attachments


def attach(client, name="list.txt", content=b"milk\nbread\n"):
    data = {"title": "Milk", "text": "Two bottles."}
    return client.post("/notes", data=data, files={"attachment": (name, content)})


def test_an_attachment_comes_back_as_it_was(client):
    attach(client)
    response = client.get("/notes/1/attachment")
    assert response.content == b"milk\nbread\n"
    assert response.headers["content-disposition"] == 'attachment; filename="list.txt"'
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_digest_of_an_attachment_is_computed_in_the_background(client):
    attach(client, content=b"")
    assert "SHA-256 e3b0c44298fc1c14" in client.get("/notes/1").text


def test_a_hostile_name_of_an_attachment_is_only_a_name(client, tmp_path):
    attach(client, name="../../evil.txt")
    assert [path.name for path in (tmp_path / "attachments").iterdir()] == ["1"]
    disposition = client.get("/notes/1/attachment").headers["content-disposition"]
    assert disposition == 'attachment; filename="evil.txt"'


def test_a_note_without_attachment_says_so(client):
    note_id = add_note(client)
    response = client.get(f"/notes/{note_id}/attachment")
    assert response.status_code == 404
    assert "This note has no attachment." in response.text


def test_an_attachment_that_is_too_large_is_refused(client):
    assert attach(client, content=bytes(5 * 1024 * 1024)).status_code == 413


# The JSON API


def test_a_note_that_was_sent_as_json_is_answered_with_its_place(client):
    response = client.post("/api/notes", json={"title": "Milk", "text": "Two bottles."})
    assert response.status_code == 201
    assert response.headers["location"] == "http://testserver/api/notes/1"
    assert client.get("/api/notes/1").json()["title"] == "Milk"


@pytest.mark.parametrize(
    "note",
    [
        pytest.param([], id="a list"),
        pytest.param({}, id="nothing"),
        pytest.param({"title": 1, "text": "a"}, id="a number for a title"),
        pytest.param({"title": "a", "text": ""}, id="no text"),
    ],
)
def test_json_that_is_no_note_is_refused(client, note):
    response = client.post("/api/notes", json=note)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert list(response.json()) == ["type", "title", "status", "detail"]


def test_half_a_character_is_refused(client):
    content = b'{"title": "\\ud800", "text": "a"}'
    assert client.post("/api/notes", content=content).status_code in (400, 422)


def test_a_body_that_is_no_json_is_answered_with_400(client):
    response = client.post("/api/notes", content=b"{")
    assert response.status_code == 400


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "9" * 5000])
def test_a_limit_out_of_range_is_refused(client, limit):
    assert client.get("/api/notes", params={"limit": limit}).status_code == 422


def test_deleting_a_note_answers_with_nothing(client):
    note_id = add_note(client)
    response = client.delete(f"/api/notes/{note_id}")
    assert response.status_code == 204
    assert response.content == b""


@pytest.mark.parametrize("note_id", ["1", "9" * 19, "9" * 100])
def test_a_note_that_is_not_there_is_a_404_in_json(client, note_id):
    response = client.get(f"/api/notes/{note_id}")
    assert response.status_code == 404
    assert response.json()["detail"] == f"There is no note {note_id}."


def test_another_method_is_answered_with_those_that_work(client):
    response = client.put("/api/notes/1")
    assert response.status_code == 405
    assert {"GET", "DELETE"} <= set(response.headers["allow"].split(", "))


# Export, static files, errors, middleware


def test_the_export_has_all_notes(client):
    for number in range(120):
        add_note(client, title=f"Note {number}", text='with "quotes", and commas')
    lines = client.get("/notes.csv").text.splitlines()
    assert len(lines) == 121
    assert lines[1].endswith(',Note 0,"with ""quotes"", and commas"')


def test_the_style_is_served(client):
    response = client.get("/static/style.css")
    assert response.headers["content-type"] == "text/css; charset=utf-8"


def test_a_page_that_is_not_there_is_told_in_html(client):
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert "<h1>Not here</h1>" in response.text


def test_every_answer_has_a_label(client):
    labels = {client.get(path).headers["x-request-id"] for path in ("/", "/nowhere", "/static/x")}
    assert len(labels) == 3


def test_a_page_shows_the_label_of_its_answer(client):
    response = client.get("/")
    assert f"Request {response.headers['x-request-id']}" in response.text


# The chat


def test_guests_hear_each_other(client):
    with client.websocket_connect("/chat/live?name=Ada") as ada:
        assert ada.receive_json() == {"name": "", "text": "Ada has come in."}
        with client.websocket_connect("/chat/live") as guest:
            assert guest.receive_json() == {"name": "", "text": "guest has come in."}
            assert ada.receive_json() == {"name": "", "text": "guest has come in."}
            guest.send_text("Hello")
            assert ada.receive_json() == {"name": "guest", "text": "Hello"}
        assert ada.receive_json() == {"name": "", "text": "guest has left."}


def test_what_is_said_has_a_length(client):
    with client.websocket_connect("/chat/live?name=Ada") as ada:
        ada.receive_json()
        ada.send_text("x" * 600)
        assert ada.receive_json() == {"name": "Ada", "text": "x" * 500}
