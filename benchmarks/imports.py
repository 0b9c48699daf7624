"""How long importing the application class takes in a fresh interpreter, in turns."""

import os
import subprocess
import sys
from statistics import median

FRAMEWORKS = ("spica", "starlette")
PROGRAM = """
import time
begin = time.perf_counter()
import {}.applications
print(time.perf_counter() - begin)
"""


def seconds(framework: str) -> float:
    """Return what one import took."""
    command = [sys.executable, "-c", PROGRAM.format(framework)]
    # What is measured is an installed package, whose bytecode is there.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env=env
    )
    return float(result.stdout)


def run(rounds: int) -> int:
    """Print the medians; fail when spica takes longer than Starlette."""
    times: dict[str, list[float]] = {framework: [] for framework in FRAMEWORKS}
    for number in range(rounds + 1):
        for framework in FRAMEWORKS:
            took = seconds(framework)
            if number:  # the first one writes the bytecode
                times[framework].append(took)
    medians = {framework: median(values) * 1000 for framework, values in times.items()}
    ratio = medians["spica"] / medians["starlette"]
    print("| import of | milliseconds |\n| --- | ---: |")
    for framework, value in medians.items():
        print(f"| {framework}.applications | {value:.1f} |")
    print(f"\nspica/Starlette: {ratio:.2f} (at most 1)")
    return int(ratio > 1)
