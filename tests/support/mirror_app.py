"""An application that shows each request, for the comparison of the async test client with a server."""

import json
from contextlib import asynccontextmanager

from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from spica.routing import Mount, Route, WebSocketRoute

# What a server and a client negotiate for their connection, or what only a socket has
OF_CONNECTION = {"connection", "transfer-encoding", "accept-encoding"}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


async def mirror(request):
    scope = request.scope
    headers = [
        [name.decode("latin-1"), value.decode("latin-1")]
        for name, value in scope["headers"]
        if name.decode("latin-1") not in OF_CONNECTION
    ]
    body = await request.body()
    shown = {
        "type": scope["type"],
        "method": scope["method"],
        "scheme": scope["scheme"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode("latin-1"),
        "query_string": scope["query_string"].decode("latin-1"),
        "http_version": scope["http_version"],
        "server": list(scope["server"]),
        "headers": sorted(headers),
        "body": body.decode("latin-1"),
        "state": dict(scope["state"]),
    }
    return JSONResponse(shown)


async def status(request):
    return Response(status_code=request.path_params["code"])


async def fail(request):
    raise HTTPException(request.path_params["code"], "failed", headers={"x-reason": "test"})


async def broken(request):
    raise LookupError("lost")


async def move(request):
    return RedirectResponse("/mirror?moved", status_code=request.path_params["code"])


async def cookies(request):
    response = PlainTextResponse(json.dumps(request.cookies, sort_keys=True))
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", path="/cookies")
    return response


async def stream(request):
    return StreamingResponse(chunks(request.path_params["count"]), headers={"x-kind": "stream"})


async def chunks(count):
    for number in range(count):
        yield f"{number},"


async def upper(request):
    return StreamingResponse(chunks_of(request))


async def chunks_of(request):
    async for chunk in request.stream():
        yield chunk.upper()


async def form(request):
    async with request.form() as form:
        fields = []
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields.append([name, value])
            else:
                fields.append([name, value.filename, (await value.read()).decode("latin-1")])
    return JSONResponse(fields)


async def talk(websocket):
    if "refuse" in websocket.query_params:
        await websocket.close(4000)
        return
    if "deny" in websocket.query_params:
        await websocket.send_denial_response(PlainTextResponse("denied", status_code=401))
        return
    await websocket.accept(headers=[(b"x-a", b"b")])
    async for text in websocket.iter_text():
        if text.startswith("close "):
            await websocket.close(int(text.removeprefix("close ")), "asked")
            return
        await websocket.send_text(text.upper())


@asynccontextmanager
async def lifespan(app):
    yield {"started": True}


app = Spica(
    lifespan=lifespan,
    routes=[
        Route("/mirror", mirror, methods=METHODS),
        Route("/mirror/{rest:path}", mirror, methods=METHODS),
        Mount("/mounted", routes=[Route("/{rest:path}", mirror, methods=METHODS)]),
        Route("/status/{code:int}", status),
        Route("/fail/{code:int}", fail),
        Route("/broken", broken),
        Route("/move/{code:int}", move, methods=METHODS),
        Route("/cookies", cookies),
        Route("/stream/{count:int}", stream),
        Route("/upper", upper, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
        WebSocketRoute("/talk", talk),
    ],
)
