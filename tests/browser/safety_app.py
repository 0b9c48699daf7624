"""A shop with protection and one without, and a page of an attacker, for ``test_browser_safety.py``."""

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.crossorigin import CrossOriginMiddleware
from spica.middleware.securityheaders import SecurityHeadersMiddleware
from spica.responses import HTMLResponse, JSONResponse, PlainTextResponse
from spica.routing import Route, WebSocketRoute

seen: list[str] = []

HOME = """<!doctype html><title>shop</title>
<form id="form" method="post" action="/pay"><input name="how" value="own form"></form>
<script nonce="%s">document.title = "nonce ran"</script>
<script>document.title = "injected ran"</script>
<p onclick="document.title = 'handler ran'">text</p>"""


async def home(request):
    return HTMLResponse(HOME % request.csp_nonce)


async def pay(request):
    form = await request.form()
    seen.append(form.get("how") or request.query_params.get("how") or "?")
    return PlainTextResponse("paid")


async def chat(websocket):
    await websocket.accept()
    seen.append(websocket.query_params["how"])
    await websocket.send_text("hello")
    await websocket.close()


async def report(request):
    return JSONResponse(seen)


ATTACK = """<!doctype html><title>waiting</title><iframe name="target"></iframe>
<form method="post" target="target"><input name="how" value="foreign form"></form>
<script>
async function attack(shop) {
  document.forms[0].action = shop + "/pay";
  document.forms[0].submit();
  const options = {method: "POST", mode: "no-cors", credentials: "include"};
  await fetch(shop + "/pay?how=fetch", options).catch(String);
  const socket = new WebSocket(shop.replace("http", "ws") + "/chat?how=socket");
  const answer = await new Promise(resolve => {
    socket.onmessage = () => resolve("open");
    socket.onerror = () => resolve("refused");
  });
  document.title = answer;
}
</script>"""


async def attack(request):
    return HTMLResponse(ATTACK)


routes = [
    Route("/", home),
    Route("/pay", pay, methods=["POST"]),
    Route("/report", report),
    WebSocketRoute("/chat", chat),
]
protected = Spica(
    routes=routes,
    middleware=[Middleware(SecurityHeadersMiddleware), Middleware(CrossOriginMiddleware)],
)
open_shop = Spica(routes=routes)
attacker = Spica(routes=[Route("/", attack)])
