"""Measure the cases: all frameworks in one process, in small rounds that take turns.

What disturbs a machine for a moment then disturbs them all alike, and the best round of each is
compared. The garbage collector waits during a round.
"""

import asyncio
import cProfile
import dataclasses
import gc
import importlib
import json
import logging
import pstats
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.cases import Apps, Case, Material, all_cases
from benchmarks.driver import Call, Lifespan, ask, take_time
from benchmarks.table import Row, markdown

FRAMEWORKS = ("spica", "starlette", "blacksheep", "falcon", "litestar", "bare")
PEERS = ("starlette", "blacksheep", "falcon", "litestar")
ROUND_SECONDS = 0.02
"""How long a round lasts at least: enough for the clock, and turns are taken often."""


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def load(framework: str, material: Material) -> Apps:
    """Return a framework's apps, or none when it is not there."""
    try:
        module = importlib.import_module(f"benchmarks.apps_{framework}")
        apps: Apps = module.apps(material)
    except (ImportError, AttributeError) as error:
        note(f"{framework} is left out: {type(error).__name__}: {error}")
        return {}
    return apps


async def with_session(app: Any, call: Call) -> Call:
    """The same call by a client that has logged in."""
    answer = await ask(app, Call("/login"))
    cookie = next(value for name, value in answer.headers if name.lower() == b"set-cookie")
    headers = [*call.headers, (b"cookie", cookie.partition(b";")[0])]
    return dataclasses.replace(call, headers=headers)


async def check(case: Case, app: Any, call: Call) -> str | None:
    """Return what is wrong with an app's answer, or None."""
    try:
        answer = await ask(app, call)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if case.is_answered_by(answer):
        return None
    return f"answered {answer.status} {answer.body[:200]!r} {answer.frames[:3]}"


async def rounds_of(app: Any, call: Call) -> int:
    """How many requests make a round."""
    number = 1
    while True:
        seconds = await take_time(app, call, number) * number
        if seconds >= ROUND_SECONDS:
            return number
        number = max(number * 2, int(number * ROUND_SECONDS / max(seconds, 1e-6)))


async def measure(case: Case, apps: dict[str, Apps], rounds: int) -> Row:
    """Let every framework that knows the case take its turns."""
    row = Row(case.name, case.title, case.target)
    runs: dict[str, tuple[Any, Call, int]] = {}
    for framework, cases in apps.items():
        app = cases.get(case.name)
        if app is None:
            continue
        call = await with_session(app, case.call) if case.login else case.call
        fault = await check(case, app, call)
        if fault is not None:
            row.faults[framework] = fault
            note(f"{case.name}: {framework} {fault}")
            continue
        runs[framework] = (app, call, await rounds_of(app, call))
        row.rounds[framework] = []
    for _ in range(rounds):
        for framework, (app, call, number) in runs.items():
            gc.collect()
            gc.disable()
            try:
                row.rounds[framework].append(await take_time(app, call, number))
            finally:
                gc.enable()
    return row


async def measure_all(cases: list[Case], apps: dict[str, Apps], rounds: int) -> list[Row]:
    lifespans = [Lifespan(app) for a in apps.values() for app in unique(a.values())]
    for lifespan in lifespans:
        await lifespan.start()
    gc.collect()
    gc.freeze()
    rows = []
    try:
        for case in cases:
            rows.append(await measure(case, apps, rounds))
            note(f"{case.name}: done")
    finally:
        for lifespan in lifespans:
            await lifespan.stop()
    return rows


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


def unique(values: Any) -> list[Any]:
    return list({id(value): value for value in values}.values())


def run(names: list[str], frameworks: list[str], rounds: int, json_path: str | None) -> int:
    """Measure, print the table, and return 1 when an answer was wrong."""
    logging.disable()
    cases = [case for case in all_cases() if not names or case.name in names]
    with tempfile.TemporaryDirectory() as directory:
        material = Material(Path(directory))
        material.write()
        apps = {name: load(name, material) for name in frameworks}
        apps = {name: cases_ for name, cases_ in apps.items() if cases_}
        rows = asyncio.run(measure_all(cases, apps, rounds))
    print(markdown(rows, list(apps), PEERS))
    compared = [row for row in rows if row.ratio() is not None]
    missed = [row.name for row in compared if row.is_missed]
    print(f"\n{len(compared) - len(missed)} of {len(compared)} targets are met.", end=" ")
    print(f"Missed: {', '.join(missed)}." if missed else "")
    if json_path:
        result = {"python": sys.version, "rounds": rounds, "rows": [r.as_dict() for r in rows]}
        Path(json_path).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(any(row.faults for row in rows))
