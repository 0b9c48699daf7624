"""What installed programs do with Starlette: their users can change neither the code nor the settings."""

import logging
import pickle
import warnings

import pytest

from spica.exceptions import SpicaConfigurationWarning
from spica.testclient import TestClient

SWITCH = "import spica.compat\nspica.compat.install()\n"


# -- warnings about the configuration: marimo warned at every start ------------------------------------


def order_of_middleware():
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware

    recipe = Middleware(CORSMiddleware, allow_origins=["https://a.example"])
    Starlette(middleware=[recipe, recipe]).build_middleware_stack()


def unreachable_route():
    from starlette.applications import Starlette
    from starlette.routing import Route

    def endpoint(request):
        raise NotImplementedError

    routes = [Route("/{a}", endpoint), Route("/{b}", endpoint)]
    with TestClient(Starlette(debug=True, routes=routes)):
        pass


def path_with_a_question_mark():
    from starlette.routing import Route

    Route("/a?b", print)


def no_hosts():
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    TrustedHostMiddleware(print, allowed_hosts=[])


def wide_origins():
    from starlette.middleware.cors import CORSMiddleware

    CORSMiddleware(print, allow_origin_regex="https://.*example.co.uk")


def ignored_cookie():
    from starlette.responses import Response

    Response().set_cookie("__Host-a", "b", domain="a.example")


def no_templates():
    from starlette.templating import Jinja2Templates

    Jinja2Templates("/no/such/directory")


MISTAKES = [
    order_of_middleware,
    unreachable_route,
    path_with_a_question_mark,
    no_hosts,
    wide_origins,
    ignored_cookie,
    no_templates,
]


@pytest.mark.usefixtures("switched")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_configuration_warning_is_shown(mistake, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with caplog.at_level(logging.DEBUG, "spica.compat"):
            mistake()
    assert [record.levelname for record in caplog.records if record.name == "spica.compat"]


@pytest.mark.usefixtures("unswitched")
def test_it_is_shown_again_without_the_switch():
    from spica.compat import install
    from spica.middleware.trustedhost import TrustedHostMiddleware

    with install():
        TrustedHostMiddleware(print, allowed_hosts=[])
    with pytest.warns(SpicaConfigurationWarning, match="allowed_hosts is empty"):
        TrustedHostMiddleware(print, allowed_hosts=[])


@pytest.mark.usefixtures("switched")
def test_a_file_that_is_missing_is_still_told():
    """Starlette warns of it as well."""
    from starlette.config import Config

    with pytest.warns(UserWarning, match=r"Config file '/no/such/file' not found\."):
        Config("/no/such/file")


# -- the warning of starlette.middleware.wsgi ----------------------------------------------------------

IMPORTS = {
    "import": "import starlette.middleware.wsgi",
    "from": "from starlette.middleware.wsgi import WSGIResponder, build_environ",
    "from the package": "from starlette.middleware import wsgi",
    "by its name here": "import spica.middleware.wsgi",
    "importlib": "importlib.import_module('starlette.middleware.wsgi')",
}


@pytest.mark.parametrize("statement", IMPORTS.values(), ids=list(IMPORTS))
def test_the_deprecation_of_wsgi_points_at_the_import(statement, run_python, tmp_path):
    (tmp_path / "program.py").write_text(f"import importlib\n\n{statement}\n")
    out = run_python(
        SWITCH
        + """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import program
(warning,) = caught
print(warning.message, warning.filename, warning.lineno, warning.category.__name__, sep="\\n")
""",
        cwd=tmp_path,
    )
    assert out.splitlines() == [
        "starlette.middleware.wsgi is deprecated and will be removed in a future release. "
        "Please refer to https://github.com/abersheeran/a2wsgi as a replacement.",
        str(tmp_path / "program.py"),
        "3",
        "SpicaDeprecationWarning",
    ]


# -- MLflow: a subclass of the WSGI responder ----------------------------------------------------------


@pytest.mark.usefixtures("switched")
@pytest.mark.filterwarnings("ignore::spica.exceptions.SpicaDeprecationWarning")
def test_a_subclass_of_the_wsgi_responder_serves_pages():
    import anyio
    from starlette.applications import Starlette
    from starlette.middleware.wsgi import WSGIResponder, build_environ
    from starlette.routing import Mount

    class BaseLayer(WSGIResponder):
        async def __call__(self, receive, send):
            chunks, more_body = [], True
            while more_body:
                message = await receive()
                chunks.append(message.get("body", b""))
                more_body = message.get("more_body", False)
            environ = build_environ(self.scope, b"".join(chunks))
            async with anyio.create_task_group() as group:
                group.start_soon(self.sender, send)
                async with self.stream_send:
                    await anyio.to_thread.run_sync(self.wsgi, environ, self.start_response)
            assert self.response_started

    def page(environ, start_response):
        start_response("200 OK", [("content-type", "text/plain")])
        return [environ["wsgi.input"].read(), b"!"]

    async def app(scope, receive, send):
        await BaseLayer(page, scope)(receive, send)

    client = TestClient(Starlette(routes=[Mount("/", app=app)]))
    response = client.post("/page", content=b"body")
    assert (response.status_code, response.text) == (200, "body!")


# -- Reflex: a private function ------------------------------------------------------------------------


@pytest.mark.usefixtures("switched")
@pytest.mark.parametrize(
    ("source", "codec", "text"),
    [
        (b"\xc3\xa9", "utf-8", "é"),
        (b"\xe9", "utf-8", "é"),
        (b"\xe9", "no-such-charset", "é"),
        (bytearray(b"a"), "utf-8", "a"),
    ],
)
def test_names_of_parts_are_decoded_in_any_case(source, codec, text):
    from starlette.formparsers import _user_safe_decode

    assert _user_safe_decode(source, codec) == text


# -- Ray Serve: modules, classes and functions in pickles ----------------------------------------------

WHERE_IT_IS_READ = {
    "the switch is on": SWITCH,
    "spica alone": "import spica.applications\n",
    "nothing is imported": "",
}

DUMP = """
import pickle, sys
import starlette.applications, starlette.routing, starlette._utils, starlette.middleware
from starlette.responses import JSONResponse
from starlette.exceptions import HTTPException
print(pickle.dumps([
    starlette.routing, starlette.middleware, starlette._utils, starlette.applications.Starlette,
    starlette.routing.request_response, JSONResponse, HTTPException(404),
]).hex())
"""


@pytest.mark.parametrize("start", WHERE_IT_IS_READ.values(), ids=list(WHERE_IT_IS_READ))
def test_a_pickle_can_be_read_in_another_process(start, run_python):
    dumped = run_python(SWITCH + DUMP).strip()
    out = run_python(
        start
        + f"""
import pickle
for value in pickle.loads(bytes.fromhex({dumped!r})):
    print(getattr(value, "__name__", repr(value)))
"""
    )
    assert out.splitlines() == [
        "spica.routing",
        "spica.middleware",
        "spica.compat._utils",
        "Spica",
        "request_response",
        "JSONResponse",
        "HTTPException(status_code=404, detail='Not Found')",
    ]


@pytest.mark.parametrize("start", WHERE_IT_IS_READ.values(), ids=list(WHERE_IT_IS_READ))
def test_the_package_itself_comes_back_as_spica(start, run_python):
    dumped = run_python(SWITCH + "import pickle, starlette; print(pickle.dumps(starlette).hex())")
    out = run_python(
        start
        + f"""
import pickle
package = pickle.loads(bytes.fromhex({dumped.strip()!r}))
print(package.__name__, package.routing.__name__)
"""
    )
    assert out == "starlette spica.routing\n"


def test_the_package_is_not_mixed_with_starlette_itself(run_python):
    dumped = run_python(SWITCH + "import pickle, starlette; print(pickle.dumps(starlette).hex())")
    out = run_python(f"""
import pickle, starlette.requests, spica.compat
try:
    pickle.loads(bytes.fromhex({dumped.strip()!r}))
except spica.compat.CompatError as error:
    print(error)
""")
    assert "Starlette itself was already imported" in out


@pytest.mark.usefixtures("switched")
def test_a_module_stays_itself_in_this_process():
    import starlette
    import starlette.routing

    assert pickle.loads(pickle.dumps(starlette.routing)) is starlette.routing
    assert pickle.loads(pickle.dumps(starlette)) is starlette


# -- private names that test suites and plugins import -------------------------------------------------


@pytest.mark.usefixtures("switched")
def test_the_default_lifespan_is_told_from_others():
    """tortoise-orm looks whether a lifespan was set, and puts its own around it."""
    from starlette.routing import Router, _DefaultLifespan

    async def lifespan(app):
        yield

    router = Router()
    assert isinstance(router.lifespan_context, _DefaultLifespan)
    router.lifespan_context = _DefaultLifespan(router)
    assert not isinstance(Router(lifespan=[]).lifespan_context, Router)
    with pytest.warns(UserWarning, match="async generator function lifespans are deprecated"):
        router = Router(lifespan=lifespan)
    assert not isinstance(router.lifespan_context, _DefaultLifespan)


@pytest.mark.usefixtures("switched")
def test_a_generator_becomes_a_lifespan():
    from starlette.applications import Starlette
    from starlette.routing import _wrap_gen_lifespan_context

    calls = []

    def lifespan(app):
        calls.append("start")
        yield
        calls.append("end")

    with TestClient(Starlette(lifespan=_wrap_gen_lifespan_context(lifespan))):
        assert calls == ["start"]
    assert calls == ["start", "end"]


@pytest.mark.usefixtures("switched")
def test_what_call_next_returns_counts_as_its_private_class():
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware, _CachedRequest, _StreamingResponse
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    seen = []

    async def dispatch(request, call_next):
        response = await call_next(request)
        seen.append((isinstance(request, _CachedRequest), isinstance(response, _StreamingResponse)))
        return response

    app = Starlette(
        routes=[Route("/", lambda request: PlainTextResponse("a"))],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
    )
    assert TestClient(app).get("/").text == "a"
    assert seen == [(True, True)]
    assert issubclass(_CachedRequest, Request)
    assert not isinstance("text", _StreamingResponse)


@pytest.mark.usefixtures("switched")
def test_handlers_are_looked_up_by_class():
    from starlette._exception_handler import _lookup_exception_handler

    handlers = {Exception: "any", LookupError: "lookup"}
    assert _lookup_exception_handler(handlers, KeyError()) == "lookup"
    assert _lookup_exception_handler(handlers, ValueError()) == "any"
    assert _lookup_exception_handler({}, ValueError()) is None


@pytest.mark.usefixtures("switched")
def test_iterators_are_read_in_threads_by_private_functions():
    from starlette.concurrency import _next, _StopIteration

    iterator = iter("a")
    assert _next(iterator) == "a"
    with pytest.raises(_StopIteration):
        _next(iterator)


@pytest.mark.usefixtures("switched")
def test_private_names_of_the_test_client():
    from starlette.testclient import _is_asgi3, _TestClientTransport, _WrapASGI2

    async def asgi3(scope, receive, send):
        pass

    def asgi2(scope):
        pass

    assert (_is_asgi3(asgi3), _is_asgi3(asgi2)) == (True, False)
    assert callable(_WrapASGI2(asgi2))
    assert callable(_TestClientTransport.handle_request)


@pytest.mark.usefixtures("switched")
def test_a_message_of_a_websocket_raises_on_a_disconnect():
    from starlette.websockets import WebSocket, WebSocketDisconnect

    websocket = WebSocket({"type": "websocket"}, print, print)
    assert websocket._raise_on_disconnect({"type": "websocket.receive", "text": "a"}) is None
    with pytest.raises(WebSocketDisconnect) as caught:
        websocket._raise_on_disconnect({"type": "websocket.disconnect", "code": 1001})
    assert (caught.value.code, caught.value.reason) == (1001, "")
