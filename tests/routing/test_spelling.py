"""Mistakes in the spelling of a pattern are errors where the route is made."""

import re
import sys
import warnings
from typing import Any

import pytest

import spica.routing
from spica.applications import Spica
from spica.exceptions import MisuseError, SpicaConfigurationWarning
from spica.routing import Host, Mount, Route, Router, WebSocketRoute
from spica.routing.spelling import check_spelling


async def endpoint(conn: Any) -> None: ...
async def app(scope: Any, receive: Any, send: Any) -> None: ...


REGISTER = "register_url_convertor, and write "


@pytest.mark.parametrize(
    ("path", "text", "position", "advice"),
    [
        ("/x/{a:[a-z]+}", "{a:[a-z]+}", 3, REGISTER + "'{a:its_name}'"),
        (r"/{a:\d{2}}/b", r"{a:\d{2}}", 1, REGISTER + "'{a:its_name}'"),
        ("/{a:(b|c)}", "{a:(b|c)}", 1, REGISTER + "'{a:its_name}'"),
        ("/{a:}", "{a:}", 1, "A name has ASCII letters"),
        ("/{id!int}", "{id!int}", 1, "Write '{id:int}'."),
        ("/{id|int}", "{id|int}", 1, "Write '{id:int}'."),
        ("/{id : int}", "{id : int}", 1, "Write '{id:int}'."),
        ("/{id: int}", "{id: int}", 1, "Write '{id:int}'."),
        ("/{int : id}", "{int : id}", 1, "The name comes first: write '{id:int}'."),
        ("/{ id }", "{ id }", 1, "Write '{id}'."),
        ("/{}", "{}", 1, "A parameter needs a name"),
        ("/{ }", "{ }", 1, "A parameter needs a name"),
        ("/{{id}}", "{{id}}", 1, "Write single braces: '{id}'."),
        ("/{*rest}", "{*rest}", 1, "Write '{rest:path}'."),
        ("/{rest...}", "{rest...}", 1, "Write '{rest:path}'."),
        ("/{rest:*}", "{rest:*}", 1, "Write '{rest:path}'."),
        ("/{id?}", "{id?}", 1, "never optional: add a second route"),
        ("/{user-id}", "{user-id}", 1, "A name has ASCII letters"),
        ("/{1a}", "{1a}", 1, "does not begin with a digit"),
        ("/{é}", "{é}", 1, "A name has ASCII letters"),
        ("/a/<id>", "<id>", 3, "Write '{id}'."),
        ("/{a}/<int:id>", "<int:id>", 5, "Write '{id:int}'."),
        ("/<string:id>", "<string:id>", 1, "Write '{id:str}'."),
        ("/<any(a, b):id>", "<any(a, b):id>", 1, "Write '{id:str}'."),
        ("/<regex:id>", "<regex:id>", 1, "Write '{id}'."),
    ],
)
def test_what_is_not_a_parameter(path: str, text: str, position: int, advice: str) -> None:
    with pytest.raises(MisuseError) as info:
        Route(path, endpoint)
    message = str(info.value)
    assert message.startswith(
        f"Route({path!r}): {text!r} at position {position} is not a parameter. "
    )
    assert advice in message


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/{id", "'{' at position 1 is not closed"),
        ("/{a}/{id", "'{' at position 5 is not closed"),
        ("/a/id}", "'}' at position 5 was not opened"),
        ("/{id}}", "'}' at position 5 was not opened"),
        ("/}{", "'}' at position 1 was not opened"),
    ],
)
def test_a_brace_without_its_partner(path: str, words: str) -> None:
    with pytest.raises(MisuseError) as info:
        Route(path, endpoint)
    assert words in str(info.value)


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/{a:unknown}", "path, str, uuid. Add one with spica.convertors.register_url"),
        ("/{a:integer}", "Did you mean '{a:int}'?"),
        ("/{a:string}", "Did you mean '{a:str}'?"),
        ("/{int:id}", "The name comes first: write '{id:int}'."),
    ],
)
def test_an_unknown_convertor(path: str, advice: str) -> None:
    with pytest.raises(MisuseError, match="Unknown path convertor '") as info:
        Route(path, endpoint)
    assert "at position 1" in str(info.value)
    assert advice in str(info.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda text: WebSocketRoute("/" + text, endpoint),
        lambda text: Mount("/" + text, app),
        lambda text: Host(text + ".example.org", app),
        lambda text: Router().add_route("/" + text, endpoint),
        lambda text: Router().add_websocket_route("/" + text, endpoint),
        lambda text: Router().mount("/" + text, app),
        lambda text: Spica().host(text + ".example.org", app),
    ],
)
@pytest.mark.parametrize("text", ["{a:[a-z]+}", "{ a }", "<a>", "{a", "{a:unknown}"])
def test_every_route_refuses_them(make: Any, text: str) -> None:
    with pytest.raises(MisuseError, match=r"at position [01]"):
        make(text)


@pytest.mark.parametrize("host", ["*.example.org", "*"])
def test_a_host_has_no_wildcard(host: str) -> None:
    with pytest.raises(MisuseError, match=r"'[*]' at position 0 is not a wildcard. Write '{subdo"):
        Host(host, app)


@pytest.mark.parametrize("path", ["/", "/{a}", "/{a:int}-{b}.html", "/a<b", "/<>", "/a:b", "/@{a}"])
def test_what_is_right_passes(path: str) -> None:
    check_spelling(path, "place")


def test_literal_braces_stay_where_spica_stands_in_for_starlette(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "starlette.routing", spica.routing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpicaConfigurationWarning)
        assert Route("/{a:[a-z]+}", endpoint).path == "/{a:[a-z]+}"


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("münchen.example", "Write 'xn--mnchen-3ya.example'."),
        ("{sub}.münchen.example:8000", "Write '{sub}.xn--mnchen-3ya.example:8000'."),
        ("faß.de", "Write the form that has 'xn--' in it."),
        ("{name}ü.example", "Write the form that has 'xn--' in it."),
    ],
)
def test_a_host_is_written_as_clients_send_it(host: str, advice: str) -> None:
    """RFC 5890 s.2.3.2.1. Such a route has never matched."""
    with pytest.raises(MisuseError, match=re.escape(f"in ASCII. {advice}")):
        Host(host, app)
