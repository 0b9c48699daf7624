"""Take times: all frameworks in one process, in small rounds that take turns.

What disturbs a machine for a moment then disturbs them all alike, and the best round of each is
compared. The garbage collector waits during a round.
"""

import dataclasses
import gc
import importlib
import math
import sys
from typing import Any

from benchmarks.cases import Apps, Case, Material
from benchmarks.driver import Call, Lifespan, ask, take_time
from benchmarks.table import Row

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
    await take_time(app, call, 1)  # what is made once, is made now
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
            row.rounds[framework].append(await quiet_time(app, call, number))
    return row


async def quiet_time(app: Any, call: Call, number: int) -> float:
    """Return the seconds of one request, while the garbage collector waits."""
    gc.collect()
    gc.disable()
    try:
        return await take_time(app, call, number)
    finally:
        gc.enable()


Runs = dict[Any, tuple[Any, Call]]
"""Apps and what they are asked, by any key."""


async def best_times(runs: Runs, rounds: int) -> dict[Any, float]:
    """Return the seconds of a request in the best round of each run; all take turns."""
    lifespans = [Lifespan(app) for app in unique(app for app, _ in runs.values())]
    for lifespan in lifespans:
        await lifespan.start()
    try:
        numbers = {key: await rounds_of(app, call) for key, (app, call) in runs.items()}
        best = dict.fromkeys(runs, math.inf)
        for _ in range(rounds):
            for key, (app, call) in runs.items():
                best[key] = min(best[key], await quiet_time(app, call, numbers[key]))
    finally:
        for lifespan in lifespans:
            await lifespan.stop()
    return best


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


def unique(values: Any) -> list[Any]:
    return list({id(value): value for value in values}.values())
