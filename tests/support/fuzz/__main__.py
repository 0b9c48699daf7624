"""Send rubbish to the parsers and to a rich application, as long as there is time.

Each round gives every target a batch of inputs, made from the seed of the round. What fails is printed as
the smallest input that fails, with the command that runs the same batch again. Exit status 1: a target
has failed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import warnings
from collections import Counter

from fuzz.campaign import BATCH_SIZE, rounds, run_batch
from fuzz.targets import Target, load


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    targets = load()
    options = _parse(arguments, targets)
    if options.list:
        for target in targets.values():
            print(f"{target.name:18}{target.summary}")
        return 0
    warnings.simplefilter("error")
    chosen = [targets[name] for name in options.target or targets]
    first = random.randrange(1 << 30) if options.seed is None else options.seed
    # One seed that is asked for is one batch, unless there is a time too.
    seconds = options.seconds if options.seconds is not None else (0 if options.seed else 60)
    return _run(chosen, seconds, first, options.batch)


def _run(targets: list[Target], seconds: float, first: int, size: int) -> int:
    begin = time.monotonic()
    inputs: Counter[str] = Counter()
    failed: set[str] = set()
    shown = begin
    for target, number in rounds(targets, seconds, first):
        if target.name in failed:
            continue
        outcome = run_batch(target, number, size)
        inputs[target.name] += outcome.inputs
        if outcome.finding:
            failed.add(target.name)
            print(f"\n== {target.name} has failed: {target.summary}\n{outcome.finding}")
            print(f"Again: scripts/fuzz --target {target.name} --seed {number} --batch {size}\n")
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(f"{shown - begin:5.0f} s, seed {number}: {inputs.total()} inputs", flush=True)
        if len(failed) == len(targets):
            break
    print(f"seeds from {first}, {time.monotonic() - begin:.0f} s")
    for target in targets:
        verdict = "FAILED" if target.name in failed else "ok"
        print(f"{target.name:18}{inputs[target.name]:>8} inputs  {verdict}")
    return 1 if failed else 0


def _parse(arguments: list[str] | None, targets: dict[str, Target]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=float, metavar="N", help="how long (default: 60)")
    add("--target", action="append", choices=list(targets), metavar="NAME", help="only this one")
    add("--seed", type=int, metavar="S", help="that of the first round; alone: one batch of it")
    add("--batch", type=int, default=BATCH_SIZE, metavar="N", help="inputs of a batch")
    add("--list", action="store_true", help="show the targets, and do nothing else")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
