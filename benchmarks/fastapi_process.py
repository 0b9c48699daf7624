"""A process in which FastAPI stands on spica, or on Starlette, and that is measured when it is asked.

Run as a module it is that process: it reads a word a line from its standard input, and answers each.
"""

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.cases import Case, Material
from benchmarks.driver import Lifespan
from benchmarks.fastapi_cases import fastapi_cases
from benchmarks.measuring import check, load, quiet_time, rounds_of
from benchmarks.processes import ROOT, stop


class FastAPIProcess:
    """The parent's end: start the process for ``side``, ask it, end it."""

    def __init__(self, side: str) -> None:
        self._command = [sys.executable, "-m", "benchmarks.fastapi_process", side]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stop(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def prepare(self, case: str) -> str:
        """Check the answer of a case; return what is wrong, or nothing."""
        return str(self._ask(case))

    def take_time(self) -> float:
        """Return the seconds of one request in one round of the case that was prepared."""
        return float(self._ask(""))

    def _ask(self, word: str) -> Any:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(word.encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._command} has ended with {process.wait()}.")
        return json.loads(line)


class Bench:
    """The child's end: the apps of one side, and the case that is measured."""

    def __init__(self, side: str, cases: list[Case]) -> None:
        self._cases = {case.name: case for case in cases}
        self._apps = load(f"fastapi_{side}", Material(Path()))
        self._number = 0
        self._case: Case | None = None

    async def answer(self, word: str) -> Any:
        """Prepare the case that the word names; without a word, take the time of the last one."""
        if word:
            self._case = self._cases[word]
            return await self._prepare(self._case)
        assert self._case is not None
        return await quiet_time(self._apps[self._case.name], self._case.call, self._number)

    async def _prepare(self, case: Case) -> str:
        app = self._apps.get(case.name)
        if app is None:
            return "there is no such app"
        await Lifespan(app).start()
        fault = await check(case, app, case.call)
        if fault is None:
            self._number = await rounds_of(app, case.call)
        return fault or ""


async def serve(side: str) -> None:
    """Answer line by line until the input ends."""
    bench = Bench(side, fastapi_cases())
    for line in sys.stdin:
        print(json.dumps(await bench.answer(line.strip())), flush=True)


if __name__ == "__main__":
    logging.disable()
    asyncio.run(serve(sys.argv[1]))
