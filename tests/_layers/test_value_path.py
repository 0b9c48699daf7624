"""The value path and the message path give the same, whatever the stack (DESIGN.md section 3)."""

from typing import Any

import anyio
import pytest
from asgi_kit import Exchange, http_scope
from hypothesis import HealthCheck, given, settings
from stacks import (
    ESCAPED_STACKS,
    STACKS,
    Log,
    Stack,
    hide_behind_foreign,
    hide_by_subclass,
    observe,
)

HIDDEN = {"behind a foreign layer": hide_behind_foreign, "by a subclass": hide_by_subclass}

SECONDS = 10  # a stack that is slower has stopped for good


async def compare(stack: Stack, hide: Any) -> None:
    with anyio.fail_after(SECONDS):
        by_value = await observe(stack)
    with anyio.fail_after(SECONDS):
        by_message = await observe(stack, hide)
    assert by_value == by_message
    assert by_value["left open"] == 0


@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN.keys())
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stack=STACKS)
def test_opaque_layers_change_nothing(backend: str, hide: Any, stack: Stack) -> None:
    anyio.run(compare, stack, hide, backend=backend)


async def send_past_the_layers(stack: Stack) -> None:
    log = Log()
    app = stack.build(log)
    for _ in range(2):
        with anyio.fail_after(SECONDS):
            exchange = await Exchange(http_scope("POST", "/mount/there")).run(app)
        # `Exchange.send` refuses a second start, as servers do.
        assert "second response start" not in repr(exchange.error)
        assert len(exchange.starts) == 1
        was_reached = (b"x-all", b"by hand") in exchange.raw_headers
        if was_reached and stack.endpoint[1].endswith(":response"):
            assert log.tasks.count("of the endpoint") == 1
        log.tasks.clear()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stack=ESCAPED_STACKS)
def test_an_endpoint_that_sends_by_surprise_causes_no_second_start(
    backend: str, stack: Stack
) -> None:
    anyio.run(send_past_the_layers, stack, backend=backend)
