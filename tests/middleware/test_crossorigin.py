"""Tests of spica/middleware/crossorigin.py."""

import pytest
from asgi_kit import Exchange, call, websocket_scope

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.crossorigin import CrossOriginMiddleware
from spica.responses import PlainTextResponse
from spica.routing import Mount, Route, WebSocketRoute
from spica.testclient import TestClient

pytestmark = pytest.mark.anyio

TRUSTED = "https://admin.example.org"


async def passed(scope, receive, send):
    if scope["type"] == "http":
        await PlainTextResponse("passed")(scope, receive, send)
    else:
        await send({"type": "passed"})


async def status(method="POST", *, scheme="https", path="/", options=None, **fields):
    """Return the status of a request to https://example.org with these fields."""
    headers = [("host", fields.pop("host", "example.org"))]
    for name, value in fields.items():
        values = [value] if isinstance(value, str) else value
        headers += [(name.replace("_", "-"), each) for each in values]
    app = CrossOriginMiddleware(passed, trusted_origins=[TRUSTED], **(options or {}))
    return (await call(app, method, path, headers=headers, scheme=scheme)).status


# method, Sec-Fetch-Site, Origin, status
TABLE = [
    ("GET", "cross-site", "https://evil.example", 200),
    ("HEAD", "cross-site", "https://evil.example", 200),
    ("OPTIONS", "cross-site", "https://evil.example", 200),
    ("QUERY", "cross-site", "https://evil.example", 200),
    ("POST", "same-origin", None, 200),
    ("POST", "same-origin", "https://example.org", 200),
    ("POST", "same-origin", "null", 200),  # Referrer-Policy: no-referrer hides the own origin
    ("POST", "none", None, 200),
    ("POST", "cross-site", None, 403),
    ("POST", "same-site", None, 403),
    ("POST", "cross-site", "https://example.org", 403),
    ("POST", "Same-Origin", None, 403),
    ("POST", "same-origin, cross-site", None, 403),
    ("POST", ["same-origin", "cross-site"], None, 403),
    ("POST", ["cross-site", "same-origin"], None, 403),
    ("POST", "something-new", None, 403),
    ("POST", "cross-site", TRUSTED, 200),
    ("POST", "same-site", TRUSTED, 200),
    ("POST", "cross-site", [TRUSTED, "https://evil.example"], 403),
    ("POST", None, None, 200),  # not a browser
    ("POST", "", None, 200),
    ("POST", None, "", 200),
    ("POST", None, "https://example.org", 200),
    ("POST", "", "https://example.org", 200),
    ("POST", None, "https://evil.example", 403),
    ("POST", None, "http://example.org", 403),  # another scheme
    ("POST", None, "https://example.org:8443", 403),  # another port
    ("POST", None, "https://example.org.evil.example", 403),
    ("POST", None, "https://www.example.org", 403),
    ("POST", None, "https://example.org/", 403),
    ("POST", None, "null", 403),
    ("POST", None, "example.org", 403),
    ("POST", None, "garbage \xff", 403),
    ("POST", None, ["https://example.org", "https://evil.example"], 403),
    ("POST", None, TRUSTED, 200),
    ("POST", None, TRUSTED + ".evil.example", 403),
    ("PUT", "cross-site", None, 403),
    ("PATCH", "cross-site", None, 403),
    ("DELETE", "cross-site", None, 403),
    ("TRACE", "cross-site", None, 403),
    ("get", "cross-site", None, 403),  # methods are case-sensitive
    ("PROPFIND", "cross-site", None, 403),
]


@pytest.mark.parametrize(("method", "site", "origin", "expected"), TABLE)
async def test_the_table_of_requests(method, site, origin, expected):
    fields = {"sec_fetch_site": site, "origin": origin}
    fields = {name: value for name, value in fields.items() if value is not None}
    assert await status(method, **fields) == expected


@pytest.mark.parametrize(
    ("host", "origin", "scheme", "expected"),
    [
        ("example.org:443", "https://example.org", "https", 200),
        ("example.org:80", "http://example.org", "http", 200),
        ("example.org:80", "https://example.org", "https", 403),
        ("example.org:8000", "http://example.org:8000", "http", 200),
        ("example.org:8000", "http://example.org", "http", 403),
        ("EXAMPLE.org", "https://example.org", "https", 200),
        ("[::1]:8000", "http://[::1]:8000", "http", 200),
        ("a b", "https://example.org", "https", 403),
        ("", "https://", "https", 403),
    ],
)
async def test_the_origin_is_compared_with_scheme_host_and_port(host, origin, scheme, expected):
    assert await status(host=host, origin=origin, scheme=scheme) == expected


async def test_a_request_without_host_is_refused_if_it_has_an_origin():
    exchange = await call(CrossOriginMiddleware(passed), "POST", headers=[("origin", "https://a")])
    assert exchange.status == 403
    assert "its Host is invalid" in exchange.text


async def test_the_refusal_names_its_reason():
    headers = [("host", "example.org"), ("origin", "https://evil.example")]
    exchange = await call(CrossOriginMiddleware(passed), "POST", headers=headers)
    assert exchange.text == ("Cross-origin request refused: its Origin is not http://example.org.")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/hook", 200), ("/hook/", 403), ("/hook/a", 403), ("/Hook", 403), ("//hook", 403)],
)
async def test_exempt_paths_are_exact(path, expected):
    options = {"exempt": ["/hook"]}
    assert await status(path=path, sec_fetch_site="cross-site", options=options) == expected


def test_an_exempt_path_is_relative_to_the_mount_that_has_the_layer():
    async def hook(request):
        return PlainTextResponse("ok")

    layer = Middleware(CrossOriginMiddleware, exempt=["/hook"])
    routes = [Route("/hook", hook, methods=["POST"]), Route("/other", hook, methods=["POST"])]
    client = TestClient(Spica(routes=[Mount("/pay", routes=routes, middleware=[layer])]))
    fields = {"sec-fetch-site": "cross-site"}
    assert client.post("/pay/hook", headers=fields).status_code == 200
    assert client.post("/pay/other", headers=fields).status_code == 403


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ([("sec-fetch-site", "cross-site")], True),
        ([("sec-fetch-site", "same-origin")], False),
        ([("origin", "https://evil.example")], True),
        ([("origin", "null")], True),
        ([("origin", "http://example.org")], False),
        ([("origin", "ws://example.org")], True),
        ([("origin", TRUSTED), ("sec-fetch-site", "cross-site")], False),
        ([], False),
    ],
)
async def test_the_origin_of_a_websocket_is_checked(fields, refused):
    scope = websocket_scope(
        headers=[("host", "example.org"), *fields], extensions={"websocket.http.response": {}}
    )
    app = CrossOriginMiddleware(passed, trusted_origins=[TRUSTED])
    exchange = await Exchange(scope, [{"type": "websocket.connect"}]).run(app)
    first = exchange.sent[0]
    assert first == (
        {**first, "type": "websocket.http.response.start", "status": 403}
        if refused
        else {"type": "passed"}
    )


async def test_the_check_of_websockets_can_be_turned_off():
    scope = websocket_scope(headers=[("host", "example.org"), ("origin", "null")])
    app = CrossOriginMiddleware(passed, websockets=False)
    exchange = await Exchange(scope, [{"type": "websocket.connect"}]).run(app)
    assert exchange.types == ["passed"]


def test_a_page_of_another_origin_opens_no_websocket():
    async def chat(websocket):
        await websocket.accept()
        await websocket.close()

    app = Spica(
        routes=[WebSocketRoute("/chat", chat)], middleware=[Middleware(CrossOriginMiddleware)]
    )
    client = TestClient(app)
    with client.websocket_connect("/chat", headers={"origin": "http://testserver"}):
        pass
    with pytest.raises(Exception) as refused:
        client.websocket_connect("/chat", headers={"origin": "http://evil.example"}).__enter__()
    assert getattr(refused.value, "status_code", None) == 403


@pytest.mark.parametrize(
    ("origin", "sent"),
    [
        ("https://EXAMPLE.com", "https://example.com"),
        ("https://example.com:443", "https://example.com"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_trusted_origins_are_written_as_browsers_do(origin, sent):
    assert CrossOriginMiddleware(passed, trusted_origins=[origin]).trusted_origins == (sent,)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"trusted_origins": "https://a.example"}, TypeError, "must be a list of strings"),
        ({"trusted_origins": [1]}, TypeError, "must be strings, not 1"),
        ({"trusted_origins": "*"}, ValueError, "would trust pages of strangers"),
        ({"trusted_origins": ["*"]}, ValueError, "would trust pages of strangers"),
        ({"trusted_origins": ["https://*.example"]}, ValueError, "pages of strangers"),
        ({"trusted_origins": ["null"]}, ValueError, "would trust pages of strangers"),
        ({"trusted_origins": ["a.example"]}, ValueError, "write 'https://a.example'"),
        ({"trusted_origins": ["https://a.example/"]}, ValueError, "has a trailing slash"),
        ({"trusted_origins": ["https://a.example/b"]}, ValueError, "has a path"),
        ({"trusted_origins": [""]}, ValueError, "has no scheme"),
        ({"exempt": "/hook"}, TypeError, "must be a list of strings"),
        ({"exempt": ["hook"]}, ValueError, "Write '/hook'"),
        ({"exempt": ["/hook/*"]}, ValueError, "must be an exact path"),
        ({"exempt": ["/hook/{name}"]}, ValueError, "must be an exact path"),
        ({"websockets": "no"}, TypeError, "websockets must be True or False"),
    ],
)
def test_wrong_settings_are_errors_at_construction(options, error, message):
    with pytest.raises(error, match=message.replace("*", r"\*")):
        CrossOriginMiddleware(passed, **options)
