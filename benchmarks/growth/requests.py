"""What grows with the routes and the middlewares of an application."""

from benchmarks.driver import Call, Lifespan, ask
from benchmarks.growth.apps import maker
from benchmarks.growth.series import Series
from benchmarks.measuring import Runs, best_times

FRAMEWORKS = ("spica", "starlette", "blacksheep")
ROUTES = (1, 10, 100, 1000, 5000)
MIDDLEWARES = (0, 1, 2, 5, 10, 20)
FLAT = 1.25
"""The longest time may be so many times that of one route."""
MICROSECONDS_A_MIDDLEWARE = 1.0


async def measure_routes(rounds: int) -> list[Series]:
    """Measure the last of many routes, and a path that none has."""
    runs: Runs = {}
    for framework in FRAMEWORKS:
        for number in ROUTES:
            app = maker(framework).with_routes(number)
            runs["hit", framework, number] = app, Call(f"/group{number - 1}/items/x")
            runs["miss", framework, number] = app, Call("/nowhere/at/all")
    await check(runs)
    times = await best_times(runs, rounds)
    hit = Series("routes", "The last of many routes", "routes", "µs a request")
    miss = Series("routes-404", "A path that no route has", "routes", "µs a request")
    for (kind, framework, number), seconds in times.items():
        (hit if kind == "hit" else miss).add(framework, number, seconds * 1e6)
    for series in (hit, miss):
        spica = series.values["spica"]
        longest = max(spica.values())
        if longest > spica[1] * FLAT:
            series.fault = f"{spica[1]:.1f} to {longest:.1f} µs is not flat"
    return [hit, miss]


async def check(runs: Runs) -> None:
    """Refuse to measure what is not answered as it should be."""
    for key, (app, call) in runs.items():
        lifespan = Lifespan(app)
        await lifespan.start()
        answer = await ask(app, call)
        await lifespan.stop()
        if answer.status != (404 if "miss" in key else 200):
            raise RuntimeError(f"{key}: answered {answer.status} {answer.body[:200]!r}")


async def measure_middlewares(rounds: int) -> list[Series]:
    """Measure a plain answer behind ``dispatch`` middlewares."""
    runs: Runs = {
        (framework, number): (maker(framework).with_middlewares(number), Call())
        for framework in FRAMEWORKS
        for number in MIDDLEWARES
    }
    await check(runs)
    series = Series(
        "middlewares",
        "Behind dispatch middlewares",
        "middlewares",
        "µs a request",
        x_log=False,
    )
    for (framework, number), seconds in (await best_times(runs, rounds)).items():
        series.add(framework, number, seconds * 1e6)
    spica = series.values["spica"]
    each = (spica[MIDDLEWARES[-1]] - spica[0]) / MIDDLEWARES[-1]
    if each > MICROSECONDS_A_MIDDLEWARE:
        series.fault = f"a middleware takes {each:.2f} µs, not {MICROSECONDS_A_MIDDLEWARE}"
    return [series]
