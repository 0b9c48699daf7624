"""Run Starlette's tests on spica, and hold the outcome against the lists.

Prints counts for each file, what the lists know, and at the end what they don't.
"""

import faulthandler
import platform
import sys
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from conformance import alias, lists, recorder
from conformance.lists import MAX_DEVIATIONS, Verdict
from conformance.recorder import Results
from conformance.release import Release, ReleaseMissing, fetch

RELEASE = Release(
    "starlette",
    "1.10.0",
    # The tests and their settings. The package itself stays in its archive.
    wanted=("tests", "pyproject.toml"),
    has_our_backend=True,
)
NOT_RUN = 3
MAX_SECONDS = 900
"""After this time something hangs: the run is ended, and says where every thread stood."""


def run(cache: Path, names: Collection[str], is_verbose: bool) -> int:
    """Run the tests whose ids contain one of `names`, or all; return the exit status."""
    try:
        directory = fetch(cache, RELEASE)
    except ReleaseMissing as error:
        print(error, file=sys.stderr)
        print(f"NOT RUN: the source release of Starlette {RELEASE.version} could not be fetched.")
        return NOT_RUN
    faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
    alias.install()
    begin = time.monotonic()
    results = recorder.run(directory, names)
    seconds = time.monotonic() - begin
    faulthandler.cancel_dump_traceback_later()
    if not results.all:
        print("No test was found" + (", under these names." if names else "."))
        return 1
    is_whole = not results.unwanted and not results.skipped
    verdict = lists.judge(lists.load(), results.passed, results.failed, is_whole)
    _print_files(results, verdict)
    _print_verdict(results, verdict, is_verbose)
    print(_summarize(results, verdict, seconds))
    return 0 if verdict.is_good else 1


def _print_files(results: Results, verdict: Verdict) -> None:
    def count(tests: Collection[str]) -> Counter[str]:
        return Counter(test.partition("::")[0] for test in tests)

    total, passed, failed = count(results.all), count(results.passed), count(results.failed)
    known = count(verdict.known)
    width = max(map(len, total))
    print(f"{'file':{width}}  passed  failed  of them listed  total")
    for name in sorted(total):
        print(
            f"{name:{width}}  {passed[name]:6}  {failed[name] or '-':>6}"
            f"  {known[name] or '-':>14}  {total[name]:5}"
        )


def _print_verdict(results: Results, verdict: Verdict, is_verbose: bool) -> None:
    for test in verdict.unexpected:
        print(f"\nFAILED, and not listed: {test}\n{_shorten(results.failed[test], is_verbose)}")
    for test in verdict.stale:
        what = "passes" if test in results.passed else "is no test"
        print(f"\nLISTED, but {what}: {test}")
    if verdict.deviations > MAX_DEVIATIONS:
        print(f"\n{verdict.deviations} tests contradicted on purpose: {MAX_DEVIATIONS} at most.")


def _shorten(text: str, is_verbose: bool) -> str:
    """Keep what pytest says is wrong, and where, of a traceback."""
    lines = text.splitlines()
    wrong = [line for line in lines if line.startswith("E ")]
    return text if is_verbose else "\n".join([*wrong[:8], *lines[-1:]])


def _summarize(results: Results, verdict: Verdict, seconds: float) -> str:
    kinds = Counter(verdict.known.values())
    listed = ", ".join(f"{kind} {kinds[kind]}" for kind in lists.KINDS)
    skipped = f", {len(results.skipped)} skipped" if results.skipped else ""
    return (
        f"\nStarlette {RELEASE.version}'s tests on spica, Python {platform.python_version()}: "
        f"{len(results.passed)} passed, {len(results.failed)} failed{skipped}, "
        f"{len(results.all)} in all, {seconds:.0f} s\n"
        f"Failed as listed: {listed}. Not listed: {len(verdict.unexpected)}. "
        f"Listed and wrong: {len(verdict.stale)}."
    )
