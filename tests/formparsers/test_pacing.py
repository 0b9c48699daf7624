import anyio
import pytest

from spica.formparsers.pacing import Pacer


def test_rest_is_due_when_enough_bytes_were_counted():
    pacer = Pacer(quantum=1000)
    assert not pacer.is_due(700)
    assert pacer.is_due(100)


def test_a_tiny_chunk_is_work_too():
    pacer = Pacer(quantum=1000)
    assert [pacer.is_due(1) for _ in range(4)] == [False, False, False, True]


@pytest.mark.anyio
async def test_rest_lets_other_tasks_run():
    other_ran = anyio.Event()

    async def other():
        other_ran.set()

    pacer = Pacer(quantum=1000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        with anyio.fail_after(5):
            while not other_ran.is_set():
                await pacer.rest()


@pytest.mark.anyio
async def test_after_a_rest_counting_begins_anew():
    pacer = Pacer(quantum=1000)
    assert pacer.is_due(900)
    await pacer.rest()
    assert not pacer.is_due(700)
