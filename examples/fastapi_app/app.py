"""A small shop, as a FastAPI application.

Start it on spica from this folder's parent, unchanged, by either of

    python -m spica.compat uvicorn fastapi_app.app:app
    python -m spica.compat enable       (once in this environment)
    SPICA_COMPAT=1 uvicorn fastapi_app.app:app
"""

import time
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    File,
    Form,
    HTTPException,
    Request,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field

TOKEN = "let-me-in"


class Item(BaseModel):
    """What is for sale."""

    name: str = Field(min_length=1, max_length=40)
    price: float = Field(gt=0)


class Shop:
    """Everything that is kept, in memory."""

    def __init__(self) -> None:
        self.items: dict[int, Item] = {1: Item(name="Tea", price=3.5)}
        self.letters: list[str] = []

    def add(self, item: Item) -> int:
        number = max(self.items, default=0) + 1
        self.items[number] = item
        return number


class OutOfStock(Exception):
    """Nothing of it is left."""


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.shop = Shop()
    yield {"opened": time.time()}


app = FastAPI(title="Shop", lifespan=lifespan)
app.add_middleware(GZipMiddleware, minimum_size=500)
app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"])


@app.middleware("http")
async def measure(request: Request, call_next):
    begin = time.perf_counter()
    response = await call_next(request)
    response.headers["Server-Timing"] = f"app;dur={(time.perf_counter() - begin) * 1000:.3f}"
    return response


@app.exception_handler(OutOfStock)
async def tell_out_of_stock(request: Request, exc: OutOfStock):
    return JSONResponse({"detail": "out of stock"}, status_code=409)


def get_shop(request: Request) -> Shop:
    return request.app.state.shop


async def get_till(shop: Annotated[Shop, Depends(get_shop)]):
    """A dependency that is open while the request is served."""
    shop.letters.append("till opened")
    try:
        yield shop
    finally:
        shop.letters.append("till closed")


def check_token(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> str:
    if credentials.credentials != TOKEN:
        raise HTTPException(status_code=403, detail="not yours")
    return "keeper"


ShopNow = Annotated[Shop, Depends(get_shop)]
Keeper = Annotated[str, Depends(check_token)]


@app.get("/")
async def index(request: Request):
    return {"items": str(request.url_for("list_items")), "open": request.state.opened > 0}


@app.get("/items")
def list_items(shop: ShopNow, dearer_than: float = 0) -> list[Item]:
    return [item for item in shop.items.values() if item.price > dearer_than]


@app.get("/items/{number}")
async def show_item(number: int, shop: ShopNow) -> Item:
    if number not in shop.items:
        raise HTTPException(status_code=404, detail=f"no item {number}")
    return shop.items[number]


@app.post("/items", status_code=201)
async def add_item(item: Item, shop: ShopNow, keeper: Keeper, tasks: BackgroundTasks):
    number = shop.add(item)
    tasks.add_task(shop.letters.append, f"{keeper} added {item.name}")
    return {"number": number}


@app.post("/items/{number}/order")
async def order(number: int, till: Annotated[Shop, Depends(get_till)]):
    if number not in till.items:
        raise OutOfStock
    return {"ordered": till.items[number].name}


@app.post("/catalogue")
async def upload_catalogue(
    title: Annotated[str, Form()], pages: Annotated[list[UploadFile], File()]
):
    return {
        "title": title,
        "pages": {PurePosixPath(page.filename).name: len(await page.read()) for page in pages},
    }


@app.get("/letters")
async def letters(shop: ShopNow) -> list[str]:
    return shop.letters


@app.get("/stream")
async def stream():
    async def lines():
        for number in range(100):
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


@app.websocket("/orders")
async def orders(websocket: WebSocket, customer: str = "somebody"):
    await websocket.accept()
    try:
        async for text in websocket.iter_text():
            await websocket.send_json({"customer": customer, "ordered": text})
    except WebSocketDisconnect:
        pass


@app.get("/fail")
async def fail():
    raise RuntimeError("the shop burns")
