"""A button that pays once, however often somebody presses it."""

import secrets
from dataclasses import dataclass

import anyio

from live.showcase import SERVICE, Demo
from live.state import channels, store
from spica.middleware import Middleware
from spica.middleware.idempotency import IdempotencyMiddleware
from spica.requests import Request
from spica.responses import EventSourceResponse, JSONResponse, Response
from spica.routing import Route

once = Middleware(IdempotencyMiddleware, store=store, required=True)


@dataclass
class Payment:
    """An order to pay."""

    amount: int

    def __post_init__(self) -> None:
        if not 1 <= self.amount <= 1000:
            raise ValueError("must have an amount from 1 to 1000")


async def pay(request: Request) -> Response:
    """Pay. The layer around it lets each Idempotency-Key come here once, on whichever worker."""
    payment = await request.read(Payment)
    await anyio.sleep(0.3)  # The bank takes its time, so a second press comes too early.
    receipt = secrets.token_hex(4)
    await channels.publish("payments", {"receipt": receipt, "amount": payment.amount})
    return JSONResponse({"receipt": receipt, "amount": payment.amount}, status_code=201)


async def book(request: Request) -> Response:
    """Stream the payments that have really been made."""
    return EventSourceResponse(channels.events("payments"))


page = Demo(
    SERVICE,
    __name__,
    "Pay once",
    "Press five times, pay once: repeated requests get the stored answer, on every worker.",
    ("once", "Payment", "pay"),
    "idempotency",
)

routes = [
    Route("/payments", page.show, name="payments"),
    Route("/payments/pay", pay, methods=["POST"], name="pay", middleware=[once]),
    Route("/payments/book", book, name="book"),
]
