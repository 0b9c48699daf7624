"""The value path and the message path give the same, whatever the stack (DESIGN.md section 3)."""

from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from stacks import STACKS, Stack, hide_behind_foreign, hide_by_subclass, observe

HIDDEN = {"behind a foreign layer": hide_behind_foreign, "by a subclass": hide_by_subclass}

SECONDS = 10  # a stack that is slower has stopped for good


async def compare(stack: Stack, hide: Any) -> None:
    with anyio.fail_after(SECONDS):
        by_value = await observe(stack)
    with anyio.fail_after(SECONDS):
        by_message = await observe(stack, hide)
    assert by_value == by_message


@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN.keys())
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stack=STACKS)
def test_opaque_layers_change_nothing(backend: str, hide: Any, stack: Stack) -> None:
    anyio.run(compare, stack, hide, backend=backend)
