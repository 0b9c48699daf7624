"""Where the time of a case goes: the profiler's view of many requests."""

import asyncio
import cProfile
import logging
import pstats
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Material, all_cases
from benchmarks.driver import Lifespan, take_time
from benchmarks.measuring import load, with_session


async def profile_case(case: Case, app: Any, number: int) -> cProfile.Profile:
    """Watch one case at work."""
    lifespan = Lifespan(app)
    await lifespan.start()
    call = await with_session(app, case.call) if case.login else case.call
    await take_time(app, call, number // 10 + 1)
    profiler = cProfile.Profile()
    profiler.enable()
    await take_time(app, call, number)
    profiler.disable()
    await lifespan.stop()
    return profiler


def profile(names: list[str], framework: str, number: int) -> int:
    """Print where the time of each case goes, the dearest functions first."""
    logging.disable()
    with tempfile.TemporaryDirectory() as directory:
        material = Material(Path(directory))
        material.write()
        apps = load(framework, material)
        for case in all_cases():
            if case.name in names and case.name in apps:
                print(f"== {case.title}: {number} requests")
                profiler = asyncio.run(profile_case(case, apps[case.name], number))
                pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(25)
    return 0
