"""Wait for a condition of a page.

``page.wait_for_function`` evaluates a string inside the page, which its Content-Security-Policy may forbid.
"""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 60.0
"""How long to wait at most. A busy machine may take long."""


def wait_until(page: Any, condition: Callable[[], object]) -> None:
    """Wait until ``condition()`` is true, while the page goes on."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{page.url}: the condition was not met in {PATIENCE_SECONDS} s")
        page.wait_for_timeout(50)
