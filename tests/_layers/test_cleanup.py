"""Which cleanup a request has."""

from asgi_kit import http_scope

from spica._asgi.cleanup import cleanup_of
from spica._layers.cleanup import own_cleanup
from spica.requests import Request


def test_it_is_made_once() -> None:
    request = Request(http_scope())
    assert cleanup_of(request) is cleanup_of(request)


def test_a_request_over_the_same_scope_has_the_same() -> None:
    request = Request(http_scope())
    cleanup = cleanup_of(request)
    assert cleanup_of(Request(request.scope)) is cleanup


def test_also_one_over_a_copy_of_the_scope() -> None:
    request = Request(http_scope())
    cleanup = cleanup_of(request)
    assert cleanup_of(Request({**request.scope, "path": "/x"})) is cleanup


def test_the_layer_that_sends_has_one_of_its_own() -> None:
    outer = Request(http_scope())
    cleanup = cleanup_of(outer)
    inner = Request(outer.scope)
    assert own_cleanup(inner) is not cleanup
    assert own_cleanup(inner) is own_cleanup(inner)
