"""Random operations on a store, with their times: one of several processes. See tests/stores/test_linear.py.

Usage: python store_worker.py URL SEED COUNT; prints the history as JSON.
"""

import asyncio
import json
import random
import sys
import time

from linearizable import UNKNOWN

from spica.stores import Rate, StoreUnavailable, open_store

FAR = 5_000_000_000
RATE = Rate(1, 86400, 20)


def choose(kind, me, chance):
    """Return a random operation as a list, and how to call it."""
    text = str(chance.randrange(1000))
    if kind == "value":
        only_if = chance.choice([None, "absent", "present"])
        return chance.choice([["get"], ["delete"], ["set", text, only_if], ["set", text, only_if]])
    if kind == "rate":
        return ["take", RATE.burst, chance.choice([1, 1, 1, 2])]
    if kind == "lease":
        return [chance.choice(["acquire", "release"]), me]
    field = {chance.choice("abc"): chance.choice([text, text, None])}
    whole = {chance.choice("abc"): text}
    record = [["create", whole], ["delete"], ["members"], ["read"]] + [["merge", field]] * 4
    return chance.choice(record)


def encoded(fields):
    return {name: None if value is None else value.encode() for name, value in fields.items()}


async def call(store, kind, operation):
    name, *args = operation
    match name:
        case "get":
            value = await store.get(kind)
            return None if value is None else value.decode()
        case "set":
            return await store.set(kind, args[0].encode(), only_if=args[1])
        case "take":
            return list(await store.take(kind, RATE, cost=args[1]))[:2]
        case "acquire":
            return await store.acquire(kind, args[0], seconds=600)
        case "release":
            return await store.release(kind, args[0])
        case "create":
            fields = encoded(args[0])
            return await store.create(kind, fields, idle_seconds=600, ends_at=FAR, group="group")
        case "read":
            record = await store.read(kind)
            fields = {} if record is None else record.fields
            return record and sorted([name, value.decode()] for name, value in fields.items())
        case "merge":
            return await store.merge(kind, encoded(args[0]), idle_seconds=600)
        case "members":
            return await store.members("group")
        case "delete":
            return await store.delete(kind)


async def run(store, seed, count):
    """Return the history of random operations: [kind, start, end, operation, result]."""
    chance, history = random.Random(seed), []
    for _ in range(count):
        for kind in ("value", "rate", "lease", "record"):
            operation = choose(kind, str(seed), chance)
            start = time.monotonic_ns()
            try:
                result = await call(store, kind, operation)
            except StoreUnavailable:
                result = UNKNOWN
                await asyncio.sleep(0.02)
            history.append([kind, start, time.monotonic_ns(), operation, result])
    return history


async def main(url, seed, count, timeout_seconds):
    async with open_store(url, timeout_seconds=timeout_seconds) as store:
        json.dump(await run(store, seed, count), sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
