"""The session of a cookie has no id, so it refuses the methods of a session on the server."""

from __future__ import annotations

import pickle

import pytest

from spica.datastructures.session import USUAL_KEYS, Session

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", ["user_id", "id_hash", "created_at", "last_used_at"])
def test_attributes_of_the_server_are_refused(name: str) -> None:
    with pytest.raises(RuntimeError, match=rf"session\.{name} needs a session on the server"):
        getattr(Session(), name)


async def test_methods_of_the_server_are_refused() -> None:
    session = Session()
    with pytest.raises(RuntimeError, match=r"session\.regenerate\(\) needs"):
        session.regenerate()
    with pytest.raises(RuntimeError, match=r"session\.bind\(\) needs"):
        session.bind("7")
    with pytest.raises(RuntimeError, match=r"session\.save\(\) needs"):
        await session.save()


def test_a_copy_of_a_session_is_a_session_of_its_own() -> None:
    copy = pickle.loads(pickle.dumps(Session(a=1)))
    assert type(copy) is Session
    assert copy == {"a": 1}


@pytest.mark.parametrize("name", USUAL_KEYS.split())
def test_a_usual_key_is_not_set_as_an_attribute(name: str) -> None:
    session = Session()
    with pytest.raises(AttributeError, match=rf"Write request\.session\['{name}'\] = "):
        setattr(session, name, "value")


def test_an_unknown_attribute_names_the_item() -> None:
    with pytest.raises(
        AttributeError, match=r"Its values are items: request\.session\['basket'\]\."
    ):
        Session().basket  # type: ignore[attr-defined]  # noqa: B018
