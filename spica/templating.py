"""Answer with HTML made by Jinja2 templates.

This is the one module that imports Jinja2.

Standards: ASGI extension "Debug" (``http.response.debug``): a test sees template and context.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spica._diagnostics.foreign_names import explain_arguments
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
"""A plain function that adds to the context of every template."""

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
"""Endings of templates that do not escape, with the media types that they are answered as.

Escaping is for HTML and XML, and would change what these say. No browser reads one of these types as HTML.
"""

_TEMPLATE_ENDINGS = frozenset({"j2", "jinja", "jinja2", "tmpl", "tpl", "template"})
"""Endings that say nothing about what a template is for."""

_MARKUP = re.compile(
    r"\s*(?:text/html|(?:application|text)/xml|[\w.-]+/[\w.-]+\+xml)\b", re.IGNORECASE
)
"""Media types in which a browser may run scripts (WHATWG MIME Sniffing s.4.6)."""


def find_text_type(name: Any) -> str | None:
    """Return the media type of a template for text by its name; None: it may be HTML."""
    if not isinstance(name, str):
        return None  # a template itself may be given
    *stem, ending = name.rpartition("/")[2].lower().split(".")
    while stem and ending in _TEMPLATE_ENDINGS:
        ending = stem.pop()
    return TEXT_TYPES.get(ending) if stem else None


def _escapes(name: str | None) -> bool:
    return name is None or find_text_type(name) is None


def _default_autoescape() -> Callable[[str | None], bool]:
    # Programs written for Starlette may put markup into templates of other names: they stay as they are.
    return jinja2.select_autoescape() if is_stand_in() else _escapes


def _is_markup(headers: Mapping[str, str] | None, media_type: str | None) -> bool:
    for name, value in (headers or {}).items():
        if name.lower() == "content-type":
            media_type = value
    return media_type is None or _MARKUP.match(media_type) is not None


class TemplatesError(ValueError, AssertionError):
    """Templates were given twice or not at all; an AssertionError too, as in Starlette."""


class _TemplateResponse(HTMLResponse):
    """Answer with a rendered template; ``template`` and ``context`` stay to be looked at."""

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
        super().__init__(template.render(context), status_code, headers, media_type, background)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; where the server offers it, template and context before it."""
        if DEBUG in (scope.get("extensions") or ()):
            info = {"template": self.template, "context": self.context}
            await send({"type": DEBUG, "info": info})
        await super().__call__(scope, receive, send)


class Jinja2Templates:
    """Render the templates of a directory, or of a Jinja2 environment, into responses.

    Give either ``directory``, one or several, or ``env``. You get a warning if none of the directories
    exists. Templates have ``request`` and the function ``url_for(name, **path_params)``.
    ``context_processors`` are called with the request for each response, in their order; what they return
    is added to the context.

    The templates of a directory escape what is put into them, whatever their names, and so do those from
    strings. Only templates for text do not, and they are not answered as HTML: ``mail.txt``,
    ``data.json.j2``, and the other endings of ``TEXT_TYPES``. An environment keeps its own settings, and
    you get a warning if a template that does not escape is answered as HTML.

    Raises:
        TemplatesError: Both of ``directory`` and ``env`` are given, or neither.
        TypeError: ``directory`` is not a path, or ``context_processors`` not a list of functions.
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
            jinja2.TemplateNotFound: There is none; the message says which there are.
        """
        try:
            return self.env.get_template(name)
        except jinja2.TemplateNotFound as exc:
            if exc.name != name:  # one that it is made of
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
        """Render the template ``name``, now, and return the response with it.

        ``context`` is not changed: the request and what the processors return go into a copy. The
        ``media_type`` is that of the name for the endings of ``TEXT_TYPES``, and else that of HTML.

        Raises:
            TypeError: ``request`` is not one, or a context processor does not return a mapping.
            jinja2.TemplateNotFound: There is no template of that name.
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
        """Warn once of a template that does not escape and is answered as HTML."""
        self._checked.add(name)
        escapes = self.env.autoescape
        if callable(escapes):
            escapes = escapes(getattr(template, "name", None))
        if escapes or is_stand_in() or not _is_markup(headers, media_type):
            return
        text = (
            f"Jinja2Templates: the template {name!r} is answered as HTML, and does not escape what is put "
            "into it. Give the environment autoescape=True, or the response another media_type. If the "
            'template is safe: warnings.filterwarnings("ignore", "Jinja2Templates: the template").'
        )
        warn_configuration(text)

    def _describe_missing(self, name: str) -> str:
        """Say where a template was looked for, and which has a name like it."""
        text = f"Template {name!r} was not found."
        places = getattr(self.env.loader, "searchpath", None)
        if places:
            text += f" Looked in: {', '.join(map(_describe_place, places))}."
        try:
            known = self.env.list_templates()
        except TypeError:  # a loader that can't tell
            return text
        import difflib

        close = difflib.get_close_matches(name, known, 1)
        return f"{text} Did you mean {close[0]!r}?" if close else text


def _warn_of_missing(places: Sequence[str]) -> None:
    """Warn where none of the directories is there. It is no error: a program may make them later."""
    if not any(map(os.path.isdir, places)):
        where = " or ".join(repr(os.path.abspath(place)) for place in places)
        head = "Jinja2Templates: there is no directory"
        text = (
            f"{head} {where:.300}: every template will be missing. Give the path of one that does not depend "
            f'on the working directory. If it is made later: warnings.filterwarnings("ignore", "{head}").'
        )
        warn_configuration(text)


def _describe_place(place: str) -> str:
    return place if os.path.isdir(place) else f"{place} (which is no directory)"


def _run_processor(processor: ContextProcessor, request: Request[Any]) -> Mapping[str, Any]:
    added: Any = processor(request)
    if isinstance(added, Mapping):
        return added
    if hasattr(added, "close") and hasattr(added, "__await__"):
        added.close()  # never awaited, and not to be warned of besides
    raise TypeError(
        f"The context processor {processor!r} returned {type(added).__name__}; it must be a plain "
        "function, not an async one, that returns a dict."
    )


def _check_processors(processors: Any) -> Any:
    """Return the processors, the very list that was given, if they are some."""
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
