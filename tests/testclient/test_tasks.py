import anyio
import pytest

from spica.testclient.tasks import MARK, current_task, names_of_marked

pytestmark = pytest.mark.anyio


async def wait_under(mark: object) -> None:
    MARK.set(mark)
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever, name="child")


async def test_descendants_of_a_marked_task_are_found() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(wait_under, "here", name="parent")
        group.start_soon(wait_under, "elsewhere", name="other")
        await anyio.wait_all_tasks_blocked()
        names = names_of_marked(lambda mark: mark == "here")
        group.cancel_scope.cancel()
    assert [name.split()[0] for name in names] == ["child", "parent"]


async def test_one_task_can_be_left_out() -> None:
    token = MARK.set("mine")
    try:
        assert len(names_of_marked(lambda mark: mark == "mine")) == 1
        assert names_of_marked(lambda mark: mark == "mine", but=current_task()) == []
    finally:
        MARK.reset(token)
