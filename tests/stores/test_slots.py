"""The limit on the connections in use."""

import asyncio

import pytest
from virtual_time import run_in_virtual_time

from spica.stores.slots import WAIT_PART, Busy, Slots


def test_no_more_than_the_given_number_run_at_once():
    running, most = 0, 0

    async def work(slots):
        nonlocal running, most
        async with slots:
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

    async def main():
        slots = Slots(3, 10)
        await asyncio.gather(*(work(slots) for _ in range(20)))

    run_in_virtual_time("asyncio", main)
    assert most == 3


def test_a_wait_that_is_too_long_ends_before_the_operation_does():
    async def main():
        slots = Slots(1, 1.0)
        async with slots:
            begin = asyncio.get_running_loop().time()
            with pytest.raises(Busy, match=r"no connection was free for 0\.8 s"):
                async with slots:
                    pass
            waited = asyncio.get_running_loop().time() - begin
        async with slots:
            return waited

    assert run_in_virtual_time("asyncio", main) == pytest.approx(WAIT_PART, abs=0.01)
