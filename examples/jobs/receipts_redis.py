"""Write receipts in jobs of streaq, which survive the web server and the worker.

Set ``REDIS_URL`` (Redis 7, or Valkey) and start, from this folder's parent:

    uvicorn jobs.receipts_redis:app                     the web server
    streaq run jobs.receipts_redis:worker               one or more workers
"""

import asyncio
import json
import logging
import os
from functools import partial
from pathlib import Path

import anyio
from coredis.exceptions import RedisError
from streaq import Worker

from spica import HTTPException, JSONResponse, Middleware, Spica
from spica.health import health_routes
from spica.jobs import carry, lifespan_of, queue_check, resume
from spica.middleware.requestid import RequestIdMiddleware, request_id

STALLED_SECONDS = float(os.environ.get("STALLED_SECONDS", "60"))
GRACE_SECONDS = int(os.environ.get("GRACE_SECONDS", "30"))
RECEIPTS = Path(os.environ.get("RECEIPTS", "receipts"))

worker = Worker(
    redis_url=os.environ["REDIS_URL"],
    # By default, streaq stores pickles: anyone who can write to Redis could run code in the worker.
    serializer=partial(json.dumps, default=str),
    deserializer=json.loads,
    idle_timeout=STALLED_SECONDS,  # the jobs of a killed worker run again after once to twice this time
    grace_period=GRACE_SECONDS,  # how long running jobs may take after SIGTERM; the default is 0
)


def write(name: str, content: str) -> None:
    RECEIPTS.mkdir(exist_ok=True)
    (RECEIPTS / name).write_text(content)


# Each start counts as a try, also one that a crash or a deploy has ended. The default is 3.
@worker.task(max_tries=10)
async def write_receipt(order: int, context: dict[str, str], seconds: float = 0.0) -> None:
    """Write a receipt. A second run writes the same file again, so it does no harm."""
    with resume(context):
        write(f"{order}.started", "")
        await asyncio.sleep(seconds)
        write(f"{order}.txt", f"Receipt {order} of request {request_id.get()}\n")
        logging.getLogger(__name__).info("wrote receipt %d", order)


app = Spica(
    routes=health_routes({"queue": queue_check(worker)}),
    middleware=[Middleware(RequestIdMiddleware)],
    lifespan=[lifespan_of(worker)],
)


@app.post("/orders/{order:int}")
async def order(request):
    number = request.path_params["order"]
    seconds = float(request.query_params.get("seconds", "0"))
    try:
        with anyio.fail_after(2):  # a Redis that hangs must not hang the request
            await write_receipt.enqueue(number, carry(), seconds)
    except (RedisError, TimeoutError):
        raise HTTPException(503, "The order was not taken.", {"Retry-After": "5"}) from None
    return JSONResponse({"order": number}, 202)
