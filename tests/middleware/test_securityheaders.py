"""Tests of spica/middleware/securityheaders.py."""

import re
from dataclasses import replace

import jinja2
import pytest
from asgi_kit import Exchange, call, http_scope

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.securityheaders import CSP, SecurityHeadersMiddleware, has_nonce
from spica.requests import Request
from spica.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from spica.routing import Mount, Route
from spica.templating import Jinja2Templates

pytestmark = pytest.mark.anyio

CSP_NAME = "content-security-policy"
NONCES = re.compile(r"'nonce-([\w-]+)'")


async def hello(request):
    return PlainTextResponse("hello")


async def nonce(request):
    return PlainTextResponse(request.csp_nonce)


async def foreign(scope, receive, send):
    await PlainTextResponse("foreign", headers={"x-frame-options": "SAMEORIGIN"})(
        scope, receive, send
    )


async def fail(request):
    raise LookupError("broken")


async def stream(request):
    async def chunks():
        yield request.csp_nonce

    return StreamingResponse(chunks())


def app_with(*middleware, routes=(), **options):
    layer = Middleware(SecurityHeadersMiddleware, **options)
    routes = [
        *routes,
        Route("/", hello),
        Route("/nonce", nonce),
        Route("/fail", fail),
        Route("/stream", stream),
        Mount("/foreign", foreign),
    ]
    return Spica(routes=routes, middleware=[layer, *middleware])


async def headers_of(path="/", scheme="https", **options):
    exchange = await Exchange(http_scope(path=path, scheme=scheme)).run(app_with(**options))
    return exchange.headers


async def test_the_default_headers():
    headers = await headers_of()
    del headers["content-length"], headers["content-type"]
    assert headers == {
        CSP_NAME: replace(CSP.default(), frame_ancestors=[CSP.NONE]).serialize(),
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "strict-origin-when-cross-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }


async def test_all_headers_but_one_can_be_left_out():
    headers = await headers_of(csp=None, frame=None, referrer=None, opener=None, resource=None)
    del headers["content-length"], headers["content-type"]
    assert headers == {"x-content-type-options": "nosniff"}


async def test_frame_is_part_of_the_policy():
    headers = await headers_of(frame="sameorigin", csp=CSP(default_src=[CSP.SELF]))
    assert headers[CSP_NAME] == "default-src 'self'; frame-ancestors 'self'"
    assert headers["x-frame-options"] == "SAMEORIGIN"


async def test_a_policy_with_its_own_frame_ancestors_keeps_them():
    policy = CSP(frame_ancestors=["https://a.example"])
    headers = await headers_of(csp=policy, csp_report_only=policy)
    assert headers[CSP_NAME] == "frame-ancestors https://a.example"
    assert headers[CSP_NAME + "-report-only"] == "frame-ancestors https://a.example"


@pytest.mark.parametrize(
    ("scheme", "options", "expected"),
    [
        ("https", {}, None),
        ("http", {"hsts_seconds": 60}, None),
        ("https", {"hsts_seconds": 60}, "max-age=60"),
        (
            "https",
            {"hsts_seconds": 60, "hsts_subdomains": True},
            "max-age=60; includeSubDomains",
        ),
    ],
)
async def test_hsts_is_sent_over_tls_if_it_is_asked_for(scheme, options, expected):
    # RFC 6797 s.7.2
    headers = await headers_of(scheme=scheme, **options)
    assert headers.get("strict-transport-security") == expected


async def test_permissions_are_a_structured_dictionary():
    permissions = {"camera": [], "geolocation": ["self", "https://maps.example"], "usb": ["*"]}
    headers = await headers_of(permissions=permissions)
    assert headers["permissions-policy"] == (
        'camera=(), geolocation=(self "https://maps.example"), usb=(*)'
    )


@pytest.mark.parametrize("path", ["/fail", "/missing", "/foreign/"])
async def test_error_pages_and_foreign_apps_have_the_headers(path):
    headers = await headers_of(path)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers[CSP_NAME].startswith("default-src 'self'")


async def test_the_headers_of_an_endpoint_win():
    async def own(request):
        headers = {"Content-Security-Policy": "sandbox", "Referrer-Policy": "no-referrer"}
        return PlainTextResponse("own", headers=headers)

    headers = await headers_of("/own", routes=[Route("/own", own)])
    assert headers[CSP_NAME] == "sandbox"
    assert headers["referrer-policy"] == "no-referrer"
    assert (await headers_of("/foreign/"))["x-frame-options"] == "SAMEORIGIN"


async def test_a_header_of_a_foreign_app_wins_in_any_case():
    async def titles(scope, receive, send):
        headers = [(b"X-Frame-Options", b"SAMEORIGIN")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    exchange = await call(SecurityHeadersMiddleware(titles))
    names = [name.lower() for name, _ in exchange.sent[0]["headers"]]
    assert names.count(b"x-frame-options") == 1


async def test_no_cache_headers_are_added():
    headers = await headers_of("/nonce")
    assert headers.keys().isdisjoint({"cache-control", "pragma", "expires"})


# -- nonces ----------------------------------------------------------------------------------------------


async def test_the_header_has_the_nonce_only_if_it_was_read():
    app = app_with()
    first, second = await call(app, path="/nonce"), await call(app, path="/nonce")
    assert NONCES.findall(first.headers[CSP_NAME]) == [first.text] * 2
    assert len(first.text) == 22  # 16 bytes in base64
    assert first.text != second.text
    assert "nonce" not in (await call(app)).headers[CSP_NAME]


async def test_all_requests_of_a_scope_share_the_nonce():
    async def both(request):
        return PlainTextResponse(f"{request.csp_nonce} {Request(request.scope).csp_nonce}")

    app = app_with(routes=[Mount("/m", routes=[Route("/both", both)])])
    exchange = await call(app, path="/m/both")
    assert NONCES.findall(exchange.headers[CSP_NAME]) == exchange.text.split()


async def test_an_inner_policy_has_the_nonce_of_the_outer_layer():
    inner = Middleware(SecurityHeadersMiddleware, csp=CSP(script_src=[CSP.NONCE]))
    routes = [Mount("/m", routes=[Route("/nonce", nonce)], middleware=[inner])]
    exchange = await call(app_with(routes=routes), path="/m/nonce")
    assert exchange.headers[CSP_NAME] == (
        f"frame-ancestors 'none'; script-src 'nonce-{exchange.text}'"
    )


async def test_a_dispatch_middleware_and_its_endpoint_share_the_nonce():
    class Reads(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            response = await call_next(request)
            response.headers["x-nonce"] = request.csp_nonce
            return response

    exchange = await call(app_with(Middleware(Reads)), path="/nonce")
    assert exchange.headers["x-nonce"] == exchange.text
    assert exchange.text in exchange.headers[CSP_NAME]


@pytest.mark.parametrize("uses_nonce", [False, True])
async def test_a_304_does_not_replace_the_policy_of_a_page_with_a_nonce(uses_nonce):
    """RFC 9111 s.4.3.4: the browser updates the stored fields, and its stored page has its own nonce."""

    async def page(request):
        if uses_nonce:
            assert request.csp_nonce
        return Response(status_code=304, headers={"etag": '"1"'})

    app = app_with(routes=[Route("/page", page)], csp_report_only=CSP(img_src=[CSP.SELF]))
    exchange = await call(app, path="/page")
    assert CSP_NAME not in exchange.headers
    assert "content-security-policy-report-only" in exchange.headers  # it has no nonce
    assert exchange.headers["x-frame-options"] == "DENY"


async def test_a_nonce_that_comes_too_late_is_an_error():
    exchange = await Exchange(http_scope(path="/stream")).run(app_with())
    assert "first read after the headers of the response were sent" in str(exchange.error)


async def test_the_nonce_needs_the_layer():
    with pytest.raises(AssertionError, match=r"must be installed to access request\.csp_nonce"):
        _ = Request(http_scope()).csp_nonce


async def test_a_cache_can_see_whether_a_response_has_a_nonce():
    seen = {}

    async def observed(scope, receive, send):
        await app(scope, receive, send)
        seen[scope["path"]] = has_nonce(scope)

    app = app_with()
    await call(observed, path="/nonce")
    await call(observed, path="/")
    assert seen == {"/nonce": True, "/": False}


async def test_templates_write_the_nonce_once_they_use_it():
    pages = {"a": "<script nonce='{{ csp_nonce }}'>", "b": "none", "c": "{{ csp_nonce }}"}
    templates = Jinja2Templates(
        env=jinja2.Environment(loader=jinja2.DictLoader(pages), autoescape=True)
    )

    async def page(request):
        name = request.path_params["name"]
        context = {"csp_nonce": "mine"} if name == "c" else None
        return templates.TemplateResponse(request, name, context)

    app = app_with(routes=[Route("/page/{name}", page)])
    used, unused = await call(app, path="/page/a"), await call(app, path="/page/b")
    assert NONCES.findall(used.headers[CSP_NAME]) == [used.text[15:-2]] * 2
    assert "nonce" not in unused.headers[CSP_NAME]
    assert (await call(app, path="/page/c")).text == "mine"


async def test_the_debug_page_keeps_its_style():
    app = Spica(
        routes=[Route("/fail", fail)],
        middleware=[Middleware(SecurityHeadersMiddleware)],
        debug=True,
    )
    exchange = await Exchange(http_scope(path="/fail", headers=[("accept", "text/html")])).run(app)
    assert exchange.headers[CSP_NAME] == "default-src 'none'; style-src 'unsafe-inline'"


# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"csp": "default-src 'self'"}, TypeError, "csp must be a CSP or None"),
        ({"hsts_seconds": "60"}, TypeError, "must be a number of whole seconds, not '60'"),
        ({"hsts_seconds": True}, TypeError, "must be a number of whole seconds"),
        ({"hsts_seconds": -1}, ValueError, "must not be negative, but is -1"),
        ({"hsts_subdomains": True}, ValueError, "has no effect without hsts_seconds"),
        ({"frame": "none"}, ValueError, "frame must be one of 'deny', 'sameorigin' or None"),
        ({"referrer": "no-referer"}, ValueError, "referrer must be one of"),
        ({"opener": "yes"}, ValueError, "opener must be one of"),
        ({"resource": "same-origin\r\nx: y"}, ValueError, "resource must be one of"),
        ({"permissions": ["camera"]}, TypeError, "must be a mapping"),
        ({"permissions": {"camera": "self"}}, TypeError, "camera must be a list"),
        ({"permissions": {"camera": None}}, TypeError, "camera must be a list of strings"),
        ({"permissions": {"a b": []}}, ValueError, "not the name of a feature"),
        ({"permissions": {"camera": ['https://a" *']}}, ValueError, "write 'self'"),
        ({"permissions": {"camera": ["a.example"]}}, ValueError, "write 'self'"),
        ({"permissions": {"camera": ["https://a\\"]}}, ValueError, "write 'self'"),
        ({"permissions": {"camera": ["https://a/b"]}}, ValueError, "write 'self'"),
        ({"permissions": {"!camera": []}}, ValueError, "not the name of a feature"),
        ({"csp_report_only": "sandbox"}, TypeError, "csp_report_only must be a CSP"),
    ],
)
def test_wrong_settings_are_errors_at_construction(options, error, message):
    with pytest.raises(error, match=message):
        SecurityHeadersMiddleware(hello, **options)


async def test_a_response_that_is_returned_again_gets_the_headers_once():
    shared = HTMLResponse("shared")

    async def same(request):
        return shared

    app = app_with(routes=[Route("/same", same)])
    await call(app, path="/same")
    exchange = await call(app, path="/same")
    assert len(exchange.raw_headers) == len(dict(exchange.raw_headers))
    assert len(shared.raw_headers) == 2
