"""A shop: a FastAPI application with keys, a cache, payments that run once, logs, metrics and health checks.

Start it on spica from this folder's parent:

    SHOP_KEY=... python -m spica.compat uvicorn fastapi_app.service:app --workers 2

All workers share one SQLite file. ``SHOP_STORE=redis://localhost:6379/0`` moves the state to Redis.
"""

import os
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.middleware import Middleware
from pydantic import BaseModel, Field

from spica.auth import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    SimpleUser,
    api_key,
    same,
)
from spica.caching import CacheControl, conditional
from spica.health import health_routes
from spica.middleware.accesslog import AccessLogMiddleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.cache import ResponseCacheMiddleware, invalidate
from spica.middleware.compression import CompressionMiddleware
from spica.middleware.conditional import ConditionalMiddleware
from spica.middleware.idempotency import IdempotencyMiddleware
from spica.middleware.metrics import MetricsMiddleware, metrics_response
from spica.middleware.requestid import RequestIdMiddleware
from spica.reading import InvalidInput
from spica.responses import JSONResponse, Response
from spica.stores import open_store

KEY = os.environ.get("SHOP_KEY") or secrets.token_hex(32)
"""The key of the till."""

store = open_store(os.environ.get("SHOP_STORE", "sqlite:///shop.db"))
prices = {"tea": 3, "milk": 1}
paid: list[str] = []
receipts: list[str] = []


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.tasks.every(3600, clean_up, store=store)  # on one worker of all
    async with store.lifespan(app):
        yield


class Keys(AuthenticationBackend):
    async def authenticate(self, conn):
        key = api_key(conn)
        if key is None:
            return None
        if not same(key, KEY):
            raise AuthenticationError("Unknown key")
        return AuthCredentials(["till"]), SimpleUser("till")


app = FastAPI(
    title="Shop",
    lifespan=lifespan,
    middleware=[  # the first one is the outermost
        Middleware(RequestIdMiddleware),
        Middleware(AccessLogMiddleware),
        Middleware(MetricsMiddleware, stores={"main": store}),
        Middleware(CompressionMiddleware),
        Middleware(ConditionalMiddleware),
        Middleware(ResponseCacheMiddleware, store=store),
        Middleware(AuthenticationMiddleware, backend=Keys(), challenge="ApiKey"),
        Middleware(IdempotencyMiddleware, store=store, required=True),
    ],
)
app.default_scopes = ["till"]
app.router.routes.extend(health_routes({"store": store.ping}))


@app.exception_handler(InvalidInput)
async def show_mistakes(request: Request, error: InvalidInput) -> Response:
    return error.to_response()


class Payment(BaseModel):
    item: str
    amount: int = Field(gt=0)


@dataclass
class Filter:
    cheaper_than: int = 1_000_000


@app.get("/prices")
async def list_prices(request: Request) -> Response:
    limit = request.query(Filter).cheaper_than
    found = {item: price for item, price in prices.items() if price < limit}
    response = JSONResponse(found, headers={"cache-tag": "prices"})
    response.cache_control = CacheControl(public=True, max_age=60, stale_while_revalidate=30)
    return response


app.routes[-1].public = True


@app.put("/prices/{item}")
async def set_price(item: str, request: Request) -> Response:
    current = JSONResponse(prices.get(item), headers={"etag": f'"{prices.get(item)}"'})
    answer = conditional(request, current)
    if answer is not current:
        return answer  # another till has changed the price meanwhile
    prices[item] = await request.read(int)
    await invalidate("prices")
    return JSONResponse(prices[item], headers={"etag": f'"{prices[item]}"'})


@app.post("/payments")
async def pay(request: Request) -> Response:
    payment = await request.read(Payment)
    paid.append(payment.item)
    app.tasks.start(print_receipt, payment.item)
    return JSONResponse({"payment": len(paid)}, status_code=201)


async def print_receipt(item: str) -> None:
    """Print a receipt after the customer has left."""
    receipts.append(item)


async def clean_up() -> None:
    """Forget the receipts of the last hour."""
    receipts.clear()


@app.get("/metrics")
async def metrics(request: Request) -> Response:
    return metrics_response(request)
