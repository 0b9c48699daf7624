"""Render Jinja2 templates into responses.

Only this module imports Jinja2.

Standards: ASGI extension "Debug" (``http.response.debug``), which shows the template and context to tests.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spica._asgi.scope import CSP_NONCE
from spica._diagnostics.foreign_names import (
    FIXES_OF_TEMPLATES,
    explain_arguments,
    explain_names,
)
from spica.exceptions import warn_configuration
from spica.requests import Request
from spica.responses.base import HTMLResponse
from spica.routing.base import is_stand_in

try:
    import jinja2
except ModuleNotFoundError as exc:
    if exc.name != "jinja2":
        raise
    raise ModuleNotFoundError(
        "spica.templating needs Jinja2: pip install 'spica[templates]'", name="jinja2"
    ) from None

if TYPE_CHECKING:
    from spica.background import BackgroundTask
    from spica.datastructures import URL
    from spica.types import Receive, Scope, Send

ContextProcessor = Callable[[Request[Any]], dict[str, Any]]
"""A `def` function of the request. Its result is added to the context of every template."""

DEBUG = "http.response.debug"


TEXT_TYPES = {
    "txt": "text/plain",
    "text": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "css": "text/css",
    "js": "text/javascript",
    "mjs": "text/javascript",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "toml": "application/toml",
    "ini": "text/plain",
    "cfg": "text/plain",
    "conf": "text/plain",
    "ics": "text/calendar",
    "sh": "text/plain",
    "sql": "text/plain",
    "tex": "text/plain",
}
"""The endings of templates that do not escape, with the media types of their responses.

Escaping is for HTML and XML, and would corrupt these formats. No browser reads one of these types as HTML.
"""

_TEMPLATE_ENDINGS = frozenset({"j2", "jinja", "jinja2", "tmpl", "tpl", "template"})
"""Endings of template files that do not show the format of the result."""

_MARKUP = re.compile(
    r"\s*(?:text/html|(?:application|text)/xml|[\w.-]+/[\w.-]+\+xml)\b", re.IGNORECASE
)
"""Media types in which a browser can run scripts (WHATWG MIME Sniffing s.4.6)."""


def find_text_type(name: Any) -> str | None:
    """Return the media type of a plain-text template by its name, or None if it can be HTML."""
    if not isinstance(name, str):
        return None  # Jinja2 also accepts a template object.
    *stem, ending = name.rpartition("/")[2].lower().split(".")
    while stem and ending in _TEMPLATE_ENDINGS:
        ending = stem.pop()
    return TEXT_TYPES.get(ending) if stem else None


def _escapes(name: str | None) -> bool:
    return name is None or find_text_type(name) is None


def _default_autoescape() -> Callable[[str | None], bool]:
    # Programs for Starlette may rely on templates with other names that do not escape.
    return jinja2.select_autoescape() if is_stand_in() else _escapes


def _is_markup(headers: Mapping[str, str] | None, media_type: str | None) -> bool:
    for name, value in (headers or {}).items():
        if name.lower() == "content-type":
            media_type = value
    return media_type is None or _MARKUP.match(media_type) is not None


class TemplatesError(ValueError, AssertionError):
    """`Jinja2Templates` needs one of ``directory`` and ``env``. An AssertionError too, as in Starlette."""


class _TemplateResponse(HTMLResponse):
    """A response with a rendered template. Tests can read ``template`` and ``context``."""

    _is_value, _receives = True, False

    def __init__(
        self,
        template: Any,
        context: dict[str, Any],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        self.template = template
        self.context = context
        text = template.render(_with_nonce(context))
        super().__init__(text, status_code, headers, media_type, background)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, after the template and context if the server offers the extension."""
        if DEBUG in (scope.get("extensions") or ()):
            info = {"template": self.template, "context": self.context}
            await send({"type": DEBUG, "info": info})
        await super().__call__(scope, receive, send)


class _LazyNonce:
    """The value of ``csp_nonce`` in a template. The nonce is made if the template writes it."""

    __slots__ = ("_request",)

    def __init__(self, request: Request[Any]) -> None:
        self._request = request

    def __str__(self) -> str:
        return self._request.csp_nonce

    __html__ = __str__  # a nonce has no characters to escape


def _with_nonce(context: dict[str, Any]) -> dict[str, Any]:
    """Return the values for a template: ``context``, and ``csp_nonce`` below SecurityHeadersMiddleware."""
    request: Any = context.get("request")
    if CSP_NONCE not in getattr(request, "scope", ()) or "csp_nonce" in context:
        return context
    return {**context, "csp_nonce": _LazyNonce(request)}


class Jinja2Templates:
    """Render the templates of a directory, or of a Jinja2 environment, into responses.

    Templates can use ``request``, the function ``url_for(name, **path_params)``, and ``csp_nonce`` if the
    application has ``SecurityHeadersMiddleware``. ::

        templates = Jinja2Templates("templates")

        async def home(request):
            return templates.TemplateResponse(request, "home.html", {"name": "Ada"})

    Args:
        directory: One directory or several. You get a warning if none of them exists.
        context_processors: Functions of the request. Each response calls them in their order and adds the
            dicts that they return to the context.
        env: An environment, instead of ``directory``. It keeps its own settings, and you get a warning if a
            template that does not escape is sent as HTML.

    Templates of a directory and templates from strings escape all values. Only text templates do not, and
    their responses are not HTML: ``mail.txt``, ``data.json.j2``, and the other endings of ``TEXT_TYPES``.

    Raises:
        TemplatesError: Both or neither of ``directory`` and ``env`` are set.
        TypeError: ``directory`` is not a path, or ``context_processors`` is not a list of functions.
    """

    @explain_arguments(
        dict.fromkeys(("folder", "path", "template_folder"), "Write directory='...'.")
    )
    def __init__(
        self,
        directory: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        *,
        context_processors: list[ContextProcessor] | None = None,
        env: jinja2.Environment | None = None,
    ) -> None:
        if bool(directory) == (env is not None):
            raise TemplatesError(
                "Jinja2Templates: either 'directory' or 'env' arguments must be passed, "
                f"not {'both' if directory else 'neither'}."
            )
        if env is None:
            try:
                loader = jinja2.FileSystemLoader(directory or ())
            except TypeError as error:
                raise TypeError(
                    f"Jinja2Templates(directory={directory!r:.200}): {error}."
                ) from None
            _warn_of_missing(loader.searchpath)
            env = jinja2.Environment(loader=loader, autoescape=_default_autoescape())
        self.context_processors = _check_processors(context_processors)
        self.env = env
        self._checked: set[str | None] = set()
        env.globals.setdefault("url_for", _url_for)

    def get_template(self, name: str) -> jinja2.Template:
        """Return the template ``name``.

        Raises:
            jinja2.TemplateNotFound: It does not exist. The message lists the directories and a similar name.
        """
        try:
            return self.env.get_template(name)
        except jinja2.TemplateNotFound as exc:
            if exc.name != name:  # a template that it extends or includes
                raise
            raise jinja2.TemplateNotFound(name, self._describe_missing(name)) from None

    def TemplateResponse(
        self,
        request: Request[Any],
        name: str,
        context: dict[str, Any] | None = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
    ) -> _TemplateResponse:
        """Render the template ``name`` now, and return a response with the result.

        Args:
            request: The request, which the template can use.
            name: The name of the template in its directory.
            context: The values for the template. The request and the results of the processors are added
                to a copy, so your dict does not change.
            status_code: The status, 200 by default.
            headers: Headers of the response.
            media_type: The media type. By default, the endings of ``TEXT_TYPES`` decide, and all other
                templates are HTML.
            background: A task to run after the response.

        Raises:
            TypeError: ``request`` is not a request, or a context processor does not return a mapping.
            jinja2.TemplateNotFound: The template does not exist.
        """
        if isinstance(request, str):
            raise TypeError(
                f"TemplateResponse({request!r}, ...): the request comes first, then the name: "
                f"TemplateResponse(request, {request!r}, context)."
            )
        context = dict(context or ())
        context.setdefault("request", request)
        for processor in self.context_processors:
            context.update(_run_processor(processor, request))
        template = self.get_template(name)
        if media_type is None:
            media_type = find_text_type(name)
        if name not in self._checked:
            self._check_escaping(name, template, headers, media_type)
        return _TemplateResponse(template, context, status_code, headers, media_type, background)

    def _check_escaping(
        self, name: Any, template: Any, headers: Mapping[str, str] | None, media_type: str | None
    ) -> None:
        """Warn once about a template that does not escape and is sent as HTML."""
        self._checked.add(name)
        escapes = self.env.autoescape
        if callable(escapes):
            escapes = escapes(getattr(template, "name", None))
        if escapes or is_stand_in() or not _is_markup(headers, media_type):
            return
        text = (
            f"Jinja2Templates: the template {name!r} is sent as HTML, but does not escape its values. "
            "Give the environment autoescape=True, or the response another media_type. If the "
            'template is safe: warnings.filterwarnings("ignore", "Jinja2Templates: the template").'
        )
        warn_configuration(text)

    def _describe_missing(self, name: str) -> str:
        """Return a message with the directories that were searched and a similar name."""
        text = f"Template {name!r} was not found."
        places = getattr(self.env.loader, "searchpath", None)
        if places:
            text += f" Looked in: {', '.join(map(_describe_place, places))}."
        try:
            known = self.env.list_templates()
        except TypeError:  # The loader can't list its templates.
            return text
        import difflib

        close = difflib.get_close_matches(name, known, 1)
        return f"{text} Did you mean {close[0]!r}?" if close else text


def _warn_of_missing(places: Sequence[str]) -> None:
    """Warn if none of the directories exists. This is not an error, as a program can create them later."""
    if not any(map(os.path.isdir, places)):
        where = " or ".join(repr(os.path.abspath(place)) for place in places)
        head = "Jinja2Templates: there is no directory"
        text = (
            f"{head} {where:.300}: every template will be missing. Give the path of one that does not depend "
            f'on the working directory. If it is made later: warnings.filterwarnings("ignore", "{head}").'
        )
        warn_configuration(text)


def _describe_place(place: str) -> str:
    return place if os.path.isdir(place) else f"{place} (not a directory)"


def _run_processor(processor: ContextProcessor, request: Request[Any]) -> Mapping[str, Any]:
    added: Any = processor(request)
    if isinstance(added, Mapping):
        return added
    if hasattr(added, "close") and hasattr(added, "__await__"):
        added.close()  # Close the coroutine, or Python warns that it was never awaited.
    raise TypeError(
        f"The context processor {processor!r} returned {type(added).__name__}; it must be a plain "
        "function, not an async one, that returns a dict."
    )


def _check_processors(processors: Any) -> Any:
    """Return the same list of processors after checking it."""
    if processors is None:
        return []
    if not isinstance(processors, Sequence) or not all(map(callable, processors)):
        raise TypeError(
            "Jinja2Templates: context_processors must be a list of functions of the request, not "
            f"{processors!r:.200}. Write [...] around a single one."
        )
    return processors


@jinja2.pass_context
def _url_for(context: Mapping[str, Any], name: str, /, **path_params: Any) -> URL:
    """Return the absolute URL of the route ``name``."""
    request = context.get("request")
    if request is None:
        raise RuntimeError(
            f"url_for({name!r}) needs the request in the template's context; "
            "render with TemplateResponse(request, ...)."
        )
    url: URL = request.url_for(name, **path_params)
    return url


explain_names(Jinja2Templates, FIXES_OF_TEMPLATES)
