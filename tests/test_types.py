"""The type names: they are what others build annotations from, so they must subscript and resolve."""

import typing

from spica import types


def test_a_lifespan_can_be_named_for_an_application_class() -> None:
    class App: ...

    assert types.Lifespan[App] is not None


def test_the_names_of_the_asgi_interface_are_there() -> None:
    def app(scope: types.Scope, receive: types.Receive, send: types.Send) -> None: ...

    hints = typing.get_type_hints(app)

    assert hints["scope"] == types.Scope
    assert hints["receive"] == types.Receive
    assert hints["send"] == types.Send
