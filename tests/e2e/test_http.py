"""What a browser and a program do with the example, over HTTP."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest


@pytest.fixture
def client(server):
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


def attach(client, content):
    data = {"title": "Milk", "text": "Two bottles."}
    return client.post("/notes", data=data, files={"attachment": ("list ü.bin", content)})


def test_a_page_is_served(client):
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert len(response.headers["x-request-id"]) == 8
    assert response.text.rstrip().endswith("</html>")


def test_head_answers_with_the_headers_alone(client):
    response = client.head("/chat")
    assert response.status_code == 200
    assert int(response.headers["content-length"]) > 100
    assert response.content == b""


def test_a_connection_is_used_again(client):
    assert [client.get("/chat").status_code for _ in range(20)] == [200] * 20


def test_many_clients_are_served_at_once(client):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.get("/api/notes").status_code, range(80)))
    assert answers == [200] * 80


def test_links_lead_to_the_host_that_was_asked(client, server):
    assert f'href="{server.url}/chat"' in client.get("/").text


def test_a_large_page_is_compressed(client):
    for number in range(10):
        client.post("/api/notes", json={"title": f"Note {number}", "text": "words " * 50})
    response = client.get("/", headers={"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert "Note 9" in response.text


def test_a_large_page_is_not_compressed_for_those_who_refuse(client):
    response = client.get("/", headers={"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 3 * 1024 * 1024])
def test_an_attachment_comes_back_as_it_was(client, size):
    content = bytes(number % 251 for number in range(size))
    created = attach(client, content)
    assert created.status_code == 303
    url = created.headers["location"]
    assert client.get(f"{url}/attachment").content == content


def test_the_background_does_its_work_after_the_answer(client, server):
    url = attach(client, b"Two bottles.").headers["location"]
    digest = hashlib.sha256(b"Two bottles.").hexdigest()[:16]
    server.wait_for("the digest", lambda: f"SHA-256 {digest}" in client.get(url).text)


def test_the_name_of_an_attachment_survives(client):
    url = attach(client, b"x").headers["location"]
    disposition = client.get(f"{url}/attachment").headers["content-disposition"]
    assert "filename*=utf-8''list%20%C3%BC.bin" in disposition.replace("UTF-8", "utf-8")


def test_a_part_of_a_file_is_served(client):
    url = attach(client, b"0123456789").headers["location"]
    response = client.get(f"{url}/attachment", headers={"range": "bytes=2-4"})
    assert response.status_code == 206
    assert response.content == b"234"
    assert response.headers["content-range"] == "bytes 2-4/10"


def test_a_static_file_that_the_client_has_is_not_sent_again(client):
    first = client.get("/static/style.css")
    again = client.get("/static/style.css", headers={"if-none-match": first.headers["etag"]})
    assert first.status_code == 200
    assert again.status_code == 304
    assert again.content == b""


def test_a_note_is_made_read_and_deleted_as_json(client):
    made = client.post("/api/notes", json={"title": "Milch", "text": "zwölf Flaschen"})
    assert made.status_code == 201
    url = made.headers["location"]
    assert client.get(url).json() == made.json()
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404


def test_a_body_sent_in_chunks_is_read(client):
    chunks = iter([b'{"title": "a"', b', "text"', b': "b"}'])
    headers = {"content-type": "application/json"}
    assert client.post("/api/notes", content=chunks, headers=headers).status_code == 201


def test_a_stream_is_sent_whole(client):
    for number in range(150):
        client.post("/api/notes", json={"title": f"Row {number}", "text": "x" * 100})
    lines = client.get("/notes.csv").text.splitlines()
    assert sum("Row" in line for line in lines) == 150


def test_another_method_is_refused_with_those_that_work(client):
    response = client.request("PUT", "/api/notes/1")
    assert response.status_code == 405
    assert {"GET", "DELETE"} <= set(response.headers["allow"].split(", "))


def test_nothing_is_left_over(server, client):
    attach(client, bytes(3 * 1024 * 1024))
    client.close()
    server.settle()
