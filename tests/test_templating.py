"""Templates as answers."""

import subprocess
import sys

import jinja2
import pytest

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.exceptions import SpicaConfigurationWarning
from spica.requests import Request
from spica.responses.base import HTMLResponse
from spica.routing import Route
from spica.templating import Jinja2Templates, _TemplateResponse

pytestmark = pytest.mark.anyio


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "templates"
    directory.mkdir()
    (directory / "hello.html").write_text("<b>{{ name }}</b> {{ request.method }}")
    (directory / "plain.txt").write_text("{{ name }}")
    (directory / "broken.html").write_text("{% include 'nowhere.html' %}")
    return directory


def make_request(**fields):
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    return Request({**scope, **fields})


class Sent(list):
    async def __call__(self, message):
        self.append(message)


async def no_message():
    raise AssertionError("nothing is received")


def test_a_template_is_rendered_at_once(directory):
    templates = Jinja2Templates(directory)
    response = templates.TemplateResponse(make_request(), "hello.html", {"name": "you"})
    assert isinstance(response, HTMLResponse)
    assert response.body == b"<b>you</b> GET"
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-length"] == "14"


def test_the_options_are_those_of_a_response(directory):
    task = BackgroundTask(print)
    response = Jinja2Templates(directory).TemplateResponse(
        make_request(), "plain.txt", {"name": "x"}, 201, {"x-a": "b"}, "text/plain", task
    )
    assert response.status_code == 201
    assert response.headers["x-a"] == "b"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.background is task


def test_template_and_context_can_be_looked_at(directory):
    request = make_request()
    response = Jinja2Templates(directory).TemplateResponse(request, "hello.html", {"name": 1})
    assert response.template.name == "hello.html"
    assert response.context == {"name": 1, "request": request}


def test_the_context_given_is_not_changed(directory):
    context = {"name": 1}
    templates = Jinja2Templates(directory, context_processors=[lambda request: {"more": 2}])
    templates.TemplateResponse(make_request(), "hello.html", context)
    assert context == {"name": 1}


def test_without_context_there_is_the_request(directory):
    response = Jinja2Templates(directory).TemplateResponse(make_request(), "hello.html")
    assert response.body == b"<b></b> GET"


@pytest.mark.parametrize(
    ("name", "body"), [("hello.html", b"<b>&lt;i&gt;</b> GET"), ("plain.txt", b"<i>")]
)
def test_html_is_escaped_and_text_is_not(directory, name, body):
    response = Jinja2Templates(directory).TemplateResponse(make_request(), name, {"name": "<i>"})
    assert response.body == body


@pytest.mark.parametrize(
    "name",
    [
        "page.j2",
        "page.jinja",
        "page.html.j2",
        "page.XML.jinja2",
        "page.svg",
        "page.xhtml",
        "page.tpl",
        "page",
    ]
    + ["txt", ".txt.d/page.rss", "page.unknown"],
)
def test_every_template_that_may_be_html_is_escaped(name):
    templates = Jinja2Templates(".")
    templates.env.loader = jinja2.DictLoader({name: "{{ name }}"})
    response = templates.TemplateResponse(make_request(), name, {"name": "<i>"})
    assert response.body == b"&lt;i&gt;"
    assert response.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("mail.txt", "text/plain; charset=utf-8"),
        ("a.b/mail.TXT.j2", "text/plain; charset=utf-8"),
        ("data.json.jinja2", "application/json"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("list.csv.tpl.j2", "text/csv; charset=utf-8"),
    ],
)
def test_text_is_not_escaped_and_not_answered_as_html(name, media_type):
    templates = Jinja2Templates(".")
    templates.env.loader = jinja2.DictLoader({name: "{{ name }}"})
    response = templates.TemplateResponse(make_request(), name, {"name": "<i>"})
    assert (response.body, response.headers["content-type"]) == (b"<i>", media_type)


def test_a_template_from_a_string_is_escaped():
    template = Jinja2Templates(".").env.from_string("{{ name }}")
    assert template.render(name="<") == "&lt;"
    response = Jinja2Templates(".").TemplateResponse(make_request(), template, {"name": "<"})
    assert response.body == b"&lt;"


UNSAFE = "the template 'a.j2' is sent as HTML, but does not escape"


@pytest.mark.parametrize("autoescape", [False, jinja2.select_autoescape()])
@pytest.mark.parametrize(
    "options", [{}, {"media_type": "image/svg+xml"}, {"headers": {"Content-Type": "text/html"}}]
)
def test_an_environment_that_does_not_escape_is_warned_of_once(autoescape, options):
    loader = jinja2.DictLoader({"a.j2": "{{ name }}"})
    templates = Jinja2Templates(env=jinja2.Environment(loader=loader, autoescape=autoescape))
    with pytest.warns(SpicaConfigurationWarning, match=UNSAFE) as caught:
        response = templates.TemplateResponse(make_request(), "a.j2", {"name": "<"}, **options)
    assert (response.body, caught[0].filename) == (b"<", __file__)
    templates.TemplateResponse(make_request(), "a.j2", {"name": "<"}, **options)


@pytest.mark.parametrize(
    "options", [{"media_type": "text/plain"}, {"headers": {"content-type": "application/json"}}]
)
def test_an_environment_for_text_is_not_warned_of(options):
    loader = jinja2.DictLoader({"a.j2": "{{ name }}"})
    templates = Jinja2Templates(env=jinja2.Environment(loader=loader))
    response = templates.TemplateResponse(make_request(), "a.j2", {"name": "<"}, **options)
    assert response.body == b"<"


def test_names_decide_as_in_starlette_where_spica_stands_in_for_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette.routing", sys.modules["spica.routing"])
    templates = Jinja2Templates(".")
    templates.env.loader = jinja2.DictLoader({"a.j2": "{{ name }}", "a.html": "{{ name }}"})
    assert templates.TemplateResponse(make_request(), "a.j2", {"name": "<"}).body == b"<"
    assert templates.TemplateResponse(make_request(), "a.html", {"name": "<"}).body == b"&lt;"


def test_several_directories_are_looked_through_in_order(directory, tmp_path):
    (tmp_path / "hello.html").write_text("first")
    templates = Jinja2Templates([tmp_path, str(directory)])
    assert templates.get_template("hello.html").render() == "first"
    assert templates.get_template("plain.txt").render(name="second") == "second"


def test_an_environment_keeps_its_settings():
    loader = jinja2.DictLoader({"a.html": "{{ name }}"})
    env = jinja2.Environment(loader=loader, autoescape=True)
    env.globals["url_for"] = own = object()
    templates = Jinja2Templates(env=env)
    assert templates.env is env
    assert env.globals["url_for"] is own
    assert templates.TemplateResponse(make_request(), "a.html", {"name": "<"}).body == b"&lt;"


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({}, "neither"),
        ({"directory": ""}, "neither"),
        ({"directory": "x", "env": jinja2.Environment()}, "both"),
    ],
)
@pytest.mark.parametrize("error", [ValueError, AssertionError])
def test_either_directory_or_environment(options, given, error):
    with pytest.raises(error) as caught:
        Jinja2Templates(**options)
    assert str(caught.value) == (
        f"Jinja2Templates: either 'directory' or 'env' arguments must be passed, not {given}."
    )


# context processors


def test_context_processors_add_in_their_order(directory):
    def first(request):
        return {"name": "first", "kept": request.method}

    def second(request):
        return {"name": "second"}

    templates = Jinja2Templates(directory, context_processors=[first, second])
    response = templates.TemplateResponse(make_request(), "plain.txt", {"name": "given"})
    assert response.body == b"second"
    assert response.context["kept"] == "GET"


def test_a_context_processor_that_returns_nothing_is_named(directory):
    def forgetful(request):
        pass

    templates = Jinja2Templates(directory, context_processors=[forgetful])
    with pytest.raises(TypeError) as caught:
        templates.TemplateResponse(make_request(), "hello.html")
    assert "forgetful" in str(caught.value)
    assert str(caught.value).endswith(
        "returned NoneType; it must be a plain function, not an async one, that returns a dict."
    )


def test_an_async_context_processor_is_named(directory):
    async def asynchronous(request):
        return {}

    templates = Jinja2Templates(directory, context_processors=[asynchronous])
    with pytest.raises(TypeError, match=r"asynchronous.* returned coroutine; it must be a plain"):
        templates.TemplateResponse(make_request(), "hello.html")


# url_for


def make_app():
    async def user(request):
        raise AssertionError("only its address is needed")

    return Spica(routes=[Route("/users/{name}", user, name="user")])


def test_templates_make_urls():
    loader = jinja2.DictLoader({"a": "{{ url_for('user', name='an na') }}"})
    templates = Jinja2Templates(env=jinja2.Environment(loader=loader, autoescape=True))
    request = make_request(app=make_app(), server=("example.org", 80), scheme="http")
    response = templates.TemplateResponse(request, "a")
    assert response.body == b"http://example.org/users/an%20na"


def test_templates_make_urls_with_query_and_fragment():
    text = (
        "{{ url_for('user', name='a', _query={'page': 2, 'tag': ['x', 'y&z']}, _fragment='end') }} "
        "{{ url_for('inner:user', name='b', _query='raw=1') }}"
    )
    app = make_app()
    app.mount("/inner", make_app(), name="inner")
    templates = Jinja2Templates(env=jinja2.Environment(loader=jinja2.DictLoader({"a": text})))
    request = make_request(app=app, server=("example.org", 80), scheme="http")
    response = templates.TemplateResponse(request, "a", media_type="text/plain")
    first, second = response.body.decode().split()
    assert first == "http://example.org/users/a?page=2&tag=x&tag=y%26z#end"
    assert second == "http://example.org/inner/users/b?raw=1"


def test_a_url_in_html_is_escaped():
    loader = jinja2.DictLoader({"a": "{{ url_for('user', name='a', _query={'x': 1, 'y': '<'}) }}"})
    templates = Jinja2Templates(env=jinja2.Environment(loader=loader, autoescape=True))
    request = make_request(app=make_app(), server=("example.org", 80), scheme="http")
    body = templates.TemplateResponse(request, "a").body
    assert body == b"http://example.org/users/a?x=1&amp;y=%3C"


def test_a_url_without_request_says_what_is_missing():
    loader = jinja2.DictLoader({"a": "{{ url_for('user') }}"})
    template = Jinja2Templates(env=jinja2.Environment(loader=loader)).get_template("a")
    with pytest.raises(RuntimeError) as caught:
        template.render()
    assert str(caught.value) == (
        "url_for('user') needs the request in the template's context; "
        "render with TemplateResponse(request, ...)."
    )


# what is missing


def test_a_missing_template_says_where_it_was_looked_for_and_what_is_like_it(directory):
    with pytest.raises(jinja2.TemplateNotFound) as caught:
        Jinja2Templates(directory).get_template("helo.html")
    assert caught.value.name == "helo.html"
    assert str(caught.value) == (
        f"Template 'helo.html' was not found. Looked in: {directory}. Did you mean 'hello.html'?"
    )


@pytest.mark.filterwarnings("ignore:Jinja2Templates. there is no directory")
def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(jinja2.TemplateNotFound) as caught:
        Jinja2Templates(tmp_path / "none").get_template("a.html")
    assert str(caught.value) == (
        f"Template 'a.html' was not found. Looked in: {tmp_path / 'none'} (not a directory)."
    )


def test_a_loader_that_can_not_list_gives_no_hint():
    env = jinja2.Environment(loader=jinja2.FunctionLoader(lambda name: None))
    with pytest.raises(jinja2.TemplateNotFound) as caught:
        Jinja2Templates(env=env).get_template("a.html")
    assert str(caught.value) == "Template 'a.html' was not found."


def test_a_missing_part_is_named_and_not_the_whole(directory):
    with pytest.raises(jinja2.TemplateNotFound) as caught:
        Jinja2Templates(directory).TemplateResponse(make_request(), "broken.html")
    assert caught.value.name == "nowhere.html"


def test_the_old_order_of_arguments_is_an_error(directory):
    with pytest.raises(TypeError) as caught:
        Jinja2Templates(directory).TemplateResponse("hello.html", {"request": make_request()})
    assert str(caught.value) == (
        "TemplateResponse('hello.html', ...): the request comes first, then the name: "
        "TemplateResponse(request, 'hello.html', context)."
    )


def test_without_jinja2_the_import_names_the_remedy():
    program = (
        "import sys; sys.modules['jinja2'] = None\n"
        "try: import spica.templating\n"
        "except ModuleNotFoundError as exc: print(exc.name, exc)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "jinja2 spica.templating needs Jinja2: pip install 'spica[templates]'\n"


# sending


async def test_the_debug_message_goes_first_where_it_is_offered(directory):
    response = Jinja2Templates(directory).TemplateResponse(make_request(), "hello.html")
    sent = Sent()
    scope = {"type": "http", "extensions": {"http.response.debug": {}}}
    await response(scope, no_message, sent)
    assert [message["type"] for message in sent] == [
        "http.response.debug",
        "http.response.start",
        "http.response.body",
    ]
    assert sent[0]["info"] == {"template": response.template, "context": response.context}


@pytest.mark.parametrize("extensions", [{}, {"extensions": None}, {"extensions": {}}])
async def test_no_debug_message_where_it_is_not_offered(directory, extensions):
    response = Jinja2Templates(directory).TemplateResponse(make_request(), "hello.html")
    sent = Sent()
    await response({"type": "http", **extensions}, no_message, sent)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


def test_a_template_response_is_a_value_to_the_layers_outside():
    assert _TemplateResponse._is_value


def test_a_template_can_be_given_directly():
    response = _TemplateResponse(jinja2.Template("{{ a }}"), {"a": 1}, status_code=418)
    assert (response.status_code, response.body) == (418, b"1")


@pytest.mark.parametrize("wrong", [len, [len, "name"], "name", 3], ids=repr)
def test_context_processors_are_a_list_of_functions(directory, wrong):
    with pytest.raises(TypeError, match="context_processors must be a list of functions"):
        Jinja2Templates(directory, context_processors=wrong)


def test_a_directory_is_a_path():
    with pytest.raises(TypeError, match=r"^Jinja2Templates\(directory=5\): "):
        Jinja2Templates(5)


def test_a_directory_that_is_not_there_is_warned_of_at_the_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(SpicaConfigurationWarning) as caught:
        Jinja2Templates("none")
    assert str(caught[0].message) == (
        f"Jinja2Templates: there is no directory {str(tmp_path / 'none')!r}: every template will be missing. "
        "Give the path of one that does not depend on the working directory. If it is made later: "
        'warnings.filterwarnings("ignore", "Jinja2Templates: there is no directory").'
    )
    assert caught[0].filename == __file__


def test_one_directory_of_several_that_is_there_is_enough(directory, tmp_path):
    assert Jinja2Templates([tmp_path / "none", directory]).get_template("plain.txt")


def test_several_that_are_not_there_are_all_named(tmp_path):
    with pytest.warns(SpicaConfigurationWarning, match=r"there is no directory '.*a' or '.*b': "):
        Jinja2Templates([tmp_path / "a", tmp_path / "b"])


def test_a_directory_may_be_made_later(tmp_path):
    with pytest.warns(SpicaConfigurationWarning):
        templates = Jinja2Templates(tmp_path / "later")
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "a.txt").write_text("there")
    assert templates.get_template("a.txt").render() == "there"
