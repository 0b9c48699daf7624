"""Write receipts in jobs of procrastinate, which survive the web server and the worker.

Set ``DATABASE_URL`` and start, from this folder's parent:

    python -m jobs.receipts                                     once, to create the tables
    uvicorn jobs.receipts:app                                   the web server
    procrastinate --app jobs.receipts.engine worker             one or more workers
"""

import asyncio
import logging
import os
from functools import partial
from pathlib import Path

from procrastinate import App, PsycopgConnector

from spica import JSONResponse, Middleware, Spica
from spica.health import health_routes
from spica.jobs import carry, lifespan_of, queue_check, resume, sweep
from spica.middleware.requestid import RequestIdMiddleware, request_id

STALLED_SECONDS = float(os.environ.get("STALLED_SECONDS", "30"))
RECEIPTS = Path(os.environ.get("RECEIPTS", "receipts"))

engine = App(
    connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"]),
    worker_defaults={"update_heartbeat_interval": STALLED_SECONDS / 3},
)


def write(name: str, content: str) -> None:
    RECEIPTS.mkdir(exist_ok=True)
    (RECEIPTS / name).write_text(content)


@engine.task(name="write_receipt")
async def write_receipt(order: int, context: dict[str, str], seconds: float = 0.0) -> None:
    """Write a receipt. A second run writes the same file again, so it does no harm."""
    with resume(context):
        write(f"{order}.started", "")
        await asyncio.sleep(seconds)
        write(f"{order}.txt", f"Receipt {order} of request {request_id.get()}\n")
        logging.getLogger(__name__).info("wrote receipt %d", order)


app = Spica(
    routes=health_routes({"queue": queue_check(engine)}),
    middleware=[Middleware(RequestIdMiddleware)],
    lifespan=[lifespan_of(engine)],
)
# Several workers of the web server may sweep at once: only one of them finds a job stalled.
app.tasks.every(STALLED_SECONDS / 3, partial(sweep, engine, stalled_seconds=STALLED_SECONDS))


@app.post("/orders/{order:int}")
async def order(request):
    number = request.path_params["order"]
    await write_receipt.defer_async(
        order=number, context=carry(), seconds=float(request.query_params.get("seconds", "0"))
    )
    return JSONResponse({"order": number}, 202)


async def create_tables() -> None:
    async with engine.open_async():
        await engine.schema_manager.apply_schema_async()


if __name__ == "__main__":
    asyncio.run(create_tables())
