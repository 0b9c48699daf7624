"""Answer with HTML made by Jinja2 templates.

This is the one module that imports Jinja2.

Standards: ASGI extension "Debug" (``http.response.debug``): a test sees template and context.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spica._asgi.places import place_of_caller, warn_at
from spica.exceptions import SpicaConfigurationWarning
from spica.requests import Request
from spica.responses.base import HTMLResponse

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


class TemplatesError(ValueError, AssertionError):
    """Templates were given twice or not at all; an AssertionError too, as in Starlette."""


class _TemplateResponse(HTMLResponse):
    """Answer with a rendered template; ``template`` and ``context`` stay to be looked at."""

    _is_plain, _receives = True, False

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

    Give either ``directory``, one or several, or ``env``. Of a directory, templates whose names end
    with .html, .htm or .xml are escaped by themselves, others are not; a directory that is not there
    is warned of. An environment keeps its own settings. Templates have ``request`` and the function
    ``url_for(name, **path_params)``. ``context_processors`` are called with the request for each
    response, in their order; what they return is added to the context.

    Raises:
        TemplatesError: Both of ``directory`` and ``env`` are given, or neither.
        TypeError: ``directory`` is no path, or ``context_processors`` no list of functions.
    """

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
            env = jinja2.Environment(loader=loader, autoescape=jinja2.select_autoescape())
        self.context_processors = _check_processors(context_processors)
        self.env = env
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

        ``context`` is not changed: the request and what the processors return go into a copy.

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
        return _TemplateResponse(template, context, status_code, headers, media_type, background)

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
        warn_at(place_of_caller(), text, SpicaConfigurationWarning)


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
