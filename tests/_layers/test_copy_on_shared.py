"""Whether a response belongs to the request at hand. What follows from it: test_editor.py."""

from typing import Any

from spica._layers import editing as ownership
from spica._layers.editing import own
from spica.responses import PlainTextResponse


def test_what_only_the_caller_holds_is_its_own() -> None:
    response = PlainTextResponse("a")
    identity = id(response)
    assert id(own(response)) == identity


def test_what_a_list_holds_too_is_copied() -> None:
    response = PlainTextResponse("a")
    held = [response]
    copy = own(response)
    assert copy is not response
    assert copy.body == b"a"
    copy.headers["x-a"] = "1"
    assert "x-a" not in held[0].headers


def test_what_a_closure_holds_too_is_copied() -> None:
    response = PlainTextResponse("a")

    def holder() -> Any:
        return response

    assert own(holder()) is not response


def test_a_view_of_the_headers_does_not_leak_into_the_copy() -> None:
    response = PlainTextResponse("a")
    view = response.headers
    held = [response]
    own(response).headers["x-a"] = "1"
    assert "x-a" not in view
    assert held


def test_without_counts_everything_is_copied() -> None:
    assert ownership._no_count(object()) > 10**6
