"""``starlette._utils`` as other packages use it."""

import anyio
import pytest

from spica.compat import _utils

pytestmark = pytest.mark.anyio


async def test_a_task_group_raises_a_single_error_as_it_is():
    with pytest.raises(ValueError, match="alone"):
        async with _utils.create_collapsing_task_group() as group:
            group.start_soon(fail, "alone")


async def test_a_task_group_raises_several_errors_as_a_group():
    with pytest.raises(ExceptionGroup) as caught:
        async with _utils.create_collapsing_task_group() as group:
            group.start_soon(fail, "one")
            group.start_soon(fail, "two")
    assert len(caught.value.exceptions) == 2


async def fail(text):
    try:
        await anyio.lowlevel.checkpoint()
    finally:
        raise ValueError(text)


class Closing:
    is_closed = False

    async def close(self):
        self.is_closed = True


async def make():
    return Closing()


async def test_an_awaitable_is_a_context_manager_too():
    assert not (await _utils.AwaitableOrContextManagerWrapper(make())).is_closed
    async with _utils.AwaitableOrContextManagerWrapper(make()) as closing:
        assert not closing.is_closed
    assert closing.is_closed


@pytest.mark.parametrize(
    ("header", "parsed"),
    [
        ("example.org:8000", ("example.org", "8000")),
        ("example.org", ("example.org", None)),
        ("[::1]:80", ("[::1]", "80")),
        ("exa mple", None),
        ("", None),
        (None, None),
    ],
)
def test_a_host_header_is_taken_apart(header, parsed):
    assert _utils.parse_host_header(header) == parsed
