"""Input without an end is cut off early, within the memory that the limits allow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.floods import FLOODS, LIMIT, MEGABYTE

SUPPORT = Path(__file__).resolve().parents[1] / "support"
MAX_GROWTH = (64 if sys.flags.dev_mode else 32) * MEGABYTE
"""What a request may take beside its limit: buffers, the parser, the answer; more in Python's development
mode, whose allocator keeps notes."""
BODIES_AS_VALUES = {"JSON of many small values": 40, "JSON of many keys": 20}
"""Values that take more memory than their text: how many times as much."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """All floods in one process with a cap."""
    temporary = tmp_path_factory.mktemp("temporary")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])]),
        "TMPDIR": str(temporary),
    }
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "fuzz.floods"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {}
    for line in result.stdout.splitlines():
        outcome = json.loads(line)
        found[outcome["name"]] = outcome
    names = [name for name in FLOODS if name not in found]
    assert result.returncode == 0, f"ended at {names[:1]}: {result.stderr[-3000:]}"
    # asyncio tells of slow steps when it is in its debug mode.
    said = [line for line in result.stderr.splitlines() if not line.startswith("Executing <Task")]
    assert said == []
    return found


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_answered_within_the_limits(outcomes, name):
    flood, outcome = FLOODS[name], outcomes[name]
    assert outcome["error"] == ""
    assert outcome["status"] in flood.statuses
    assert outcome["taken"] <= flood.max_taken
    assert outcome["left"] == []
    size = max(LIMIT, min(outcome["taken"], 16 * MEGABYTE))
    assert outcome["grown"] <= MAX_GROWTH + 3 * size + BODIES_AS_VALUES.get(name, 0) * size
