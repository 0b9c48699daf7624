"""Which aftermath a request has."""

from asgi_kit import http_scope

from spica._asgi.aftermath import aftermath_of
from spica._layers.aftermath import own_aftermath
from spica.requests import Request


def test_it_is_made_once() -> None:
    request = Request(http_scope())
    assert aftermath_of(request) is aftermath_of(request)


def test_a_request_over_the_same_scope_has_the_same() -> None:
    request = Request(http_scope())
    aftermath = aftermath_of(request)
    assert aftermath_of(Request(request.scope)) is aftermath


def test_also_one_over_a_copy_of_the_scope() -> None:
    request = Request(http_scope())
    aftermath = aftermath_of(request)
    assert aftermath_of(Request({**request.scope, "path": "/x"})) is aftermath


def test_the_layer_that_sends_has_one_of_its_own() -> None:
    outer = Request(http_scope())
    aftermath = aftermath_of(outer)
    inner = Request(outer.scope)
    assert own_aftermath(inner) is not aftermath
    assert own_aftermath(inner) is own_aftermath(inner)
