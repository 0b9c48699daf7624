"""Serve the files of a directory, or of Python packages.

The path of the request names the file. ``spica.responses.file.opening`` opens it from its directory down
without following links, and reads it through the same descriptor that it has checked. ``FileResponse`` sends
it. One call in a worker thread finds, opens and reads a small file.

Standards: RFC 9110 section 13 (preconditions), section 15.4.5 (304).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from spica._asgi.scope import get_route_path
from spica._diagnostics.foreign_names import explain_arguments
from spica._http.conditional import Outcome, evaluate, is_not_modified, select_fields
from spica._http.filenames import are_visible, split_path
from spica._http.urls import encode_leading_slashes, encode_path, encode_query
from spica._layers.answers import resolve_answer
from spica._layers.layer import BaseLayer
from spica._originals import is_original, remember
from spica.concurrency import file_threads
from spica.datastructures import Headers
from spica.exceptions import HTTPException
from spica.responses.base import RedirectResponse, Response
from spica.responses.file import FileResponse
from spica.responses.file.delivery import (
    Delivery,
    ServedPath,
    Siblings,
    check_delivery,
    check_directory,
    check_fallback,
    check_flags,
    key_of,
    parse_key,
)
from spica.responses.file.finding import MAX_TRIES, Finding, Found
from spica.responses.file.manifest import Manifest
from spica.responses.file.memory import FileMemory, Kept, StaticMemory
from spica.responses.file.opening import Opened, open_below, open_path
from spica.responses.file.reader import FIRST_BLOCK_SIZE
from spica.responses.file.resolved import PATHSEND
from spica.websockets import WebSocketClose

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send

PathLike = str | os.PathLike[str]
"""A path in the file system."""

_NOT_FOUND: tuple[str, os.stat_result | None] = ("", None)

# The errors of the system for a path without a file.
_NO_SUCH_FILE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP))

_DEFAULT_MEMORY = StaticMemory()

_VARY_ACCEPT = {"Vary": "Accept"}

_COPY_FIELDS = frozenset((b"if-none-match", b"if-modified-since"))


class NotModifiedResponse(Response):
    """A 304 response: the copy of the client is still valid.

    Args:
        headers: The headers of the full response. Only those that a 304 may have are kept.
    """

    # RFC 9110 s.15.4.5
    NOT_MODIFIED_HEADERS = (
        "cache-control",
        "content-location",
        "date",
        "etag",
        "expires",
        "vary",
    )

    def __init__(self, headers: Headers) -> None:
        kept = {name: value for name, value in headers.items() if name in self.NOT_MODIFIED_HEADERS}
        super().__init__(status_code=304, headers=kept)


class StaticFiles(BaseLayer):
    """An ASGI app that serves files. Mount it. ::

        Mount("/static", StaticFiles(directory="static"), name="static")

    Args:
        directory: The directory with the files.
        packages: Names of Python packages whose folder ``statics`` is also served, or pairs of a package and
            a folder in it. ``directory`` takes precedence.
        html: Serve ``index.html`` for a directory, and ``404.html`` for a missing file.
        check_dir: Check the directory now instead of at the first request.
        follow_symlink: Follow links that lead out of a directory.
        dotfiles: Serve names that begin with a dot. Off by default, unlike in Starlette, because files such
            as ``.env``, ``.git`` and ``.htpasswd`` are usually secret. ``.well-known`` is always served
            (RFC 8615).
        cache_control: The Cache-Control of all files, or a function that returns it (or None) for the path of
            a file, such as ``"css/site.css"``. By default, there is none without a manifest.
        precompressed: Encodings whose siblings are served to clients that accept them: ``br`` for
            ``app.js.br``, ``zstd`` for ``app.js.zst``, ``gzip`` for ``app.js.gz``. A sibling that is older
            than the file is not used.
        fallback: The file for paths without one, such as ``index.html`` for an application that routes in
            the browser. It is for clients that accept HTML, and paths whose last segment has no dot.
        manifest: The manifest of a build, here or in ``directory``: of ``spica static build``, or of Vite.
            With it, ``url_for`` returns the hashed name of a file. Browsers cache hashed names for a year,
            and revalidate other files (``no-cache``) unless ``cache_control`` has a value for them.
        etag: ``"content"`` makes the ETag from the content, so that several machines send the same one.
            ``"stat"``, the default, makes it from size and modification time, without reading the file.
        memory: The limits of the memory for small files. By default, a changed file is served within 2
            seconds. With None, every request reads from the disk. So does every request in debug mode, and in
            a subclass that overrides ``lookup_path``.

    A failed precondition gets a 412, a client with a current copy a 304, and a range a 206.

    Raises:
        RuntimeError: A directory, a package, the manifest or the fallback does not exist.
        TypeError: ``directory`` is not a path, ``packages`` is not a list, or another setting has a wrong
            type.
        ValueError: Both ``directory`` and ``packages`` are missing, ``manifest`` is not a manifest, or
            another setting has an unknown value.
    """

    # Defaults for subclasses that do not call our `__init__`.
    config_checked = False
    dotfiles = False
    follow_symlink = False
    memory: StaticMemory | None = None
    _memory: FileMemory | None = None
    _delivery: Delivery | None = None

    @explain_arguments({"path": "Write directory='...'."}, "Write StaticFiles(directory='...').")
    def __init__(
        self,
        *,
        directory: PathLike | None = None,
        packages: list[str | tuple[str, str]] | None = None,
        html: bool = False,
        check_dir: bool = True,
        follow_symlink: bool = False,
        dotfiles: bool = False,
        cache_control: str | Callable[[str], str | None] | None = None,
        precompressed: Sequence[str] = (),
        fallback: str | None = None,
        manifest: PathLike | None = None,
        etag: Literal["stat", "content"] = "stat",
        memory: StaticMemory | None = _DEFAULT_MEMORY,
    ) -> None:
        _check_settings(directory, packages, memory)
        check_flags(
            html=html, check_dir=check_dir, follow_symlink=follow_symlink, dotfiles=dotfiles
        )
        is_production = check_delivery(
            cache_control, precompressed, fallback, manifest, etag, dotfiles=dotfiles
        )
        if check_dir and directory is not None:
            check_directory(directory, is_built=manifest is not None)
        self.follow_symlink, self.dotfiles, self.html = follow_symlink, dotfiles, html
        self.packages, self.directory = packages, directory
        self.all_directories = self.get_directories(directory, packages)
        self.config_checked = False
        if is_production:
            self._delivery = Delivery(
                cache_control=cache_control,
                precompressed=precompressed,
                fallback=fallback,
                manifest=None if manifest is None else Manifest(manifest, directory),
                etag=etag,
            )
            if check_dir and fallback is not None:
                check_fallback(fallback, self.all_directories)
        self.memory = memory
        self._memory = None if memory is None else FileMemory(memory, self._look_again)
        if not self.all_directories and type(self) is StaticFiles:
            raise ValueError(
                "StaticFiles has nothing to serve: pass directory='...', packages=[...], or both."
            )

    def get_directories(
        self,
        directory: PathLike | None = None,
        packages: list[str | tuple[str, str]] | None = None,
    ) -> list[PathLike]:
        """Return the directories in the order of the search: ``directory``, then the packages."""
        directories: list[PathLike] = [] if directory is None else [directory]
        directories.extend(_package_directory(package) for package in packages or ())
        return directories

    async def check_config(self) -> None:
        """Check ``directory`` before the first response.

        Raises:
            RuntimeError: It does not exist, or is not a directory.
        """
        if self.directory is None:
            return
        try:
            status = await file_threads.run(os.stat, self.directory)
        except FileNotFoundError:
            raise RuntimeError(
                f"StaticFiles directory '{self.directory}' does not exist."
            ) from None
        if not stat.S_ISDIR(status.st_mode):
            raise RuntimeError(f"StaticFiles path '{self.directory}' is not a directory.")

    # -- answering ---------------------------------------------------------------------------------

    async def _layer_respond(self, request: Request[Any]) -> ASGIApp:
        """Return the response to ``request``, with its status and headers."""
        if not self.config_checked:
            await self.check_config()
            self.config_checked = True
        response = await self.get_response(self.get_path(request.scope), request.scope)
        if isinstance(response, Response) and response._is_value:
            return response  # nearly always; the call would cost another coroutine
        return await resolve_answer(response, request, self.get_response)

    async def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a WebSocket.

        Raises:
            RuntimeError: The scope is neither HTTP nor a WebSocket.
        """
        if scope["type"] != "websocket":
            raise RuntimeError(f"StaticFiles serves HTTP, not a scope of type {scope['type']!r}.")
        await WebSocketClose()(scope, receive, send)

    def get_path(self, scope: Scope) -> str:
        """Return the requested path relative to a directory, in the notation of the system."""
        route_path = get_route_path(scope)
        if "\0" in route_path:
            return route_path  # Normalised, some versions of Python would cut it at the NUL.
        return os.path.normpath(route_path.strip("/"))

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the response for the file at ``path``, relative to a directory.

        Raises:
            HTTPException: 404: the file does not exist. 405: the method is neither GET nor HEAD. 401:
                the permissions of the file forbid reading. 412: a precondition failed.
        """
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(status_code=405, headers={"Allow": "GET, HEAD"})
        memory = self._memory_for(scope)
        siblings = () if self._delivery is None else self._siblings_for(scope)
        key = key_of(path, siblings) if siblings else path
        kept = None if memory is None else memory.get(key)
        if kept is not None:
            recalled = self._recall(kept, path, scope)
            if recalled is not None:
                return recalled
        found = await self._find(path, scope, siblings, memory)
        try:
            response = self._answer_with(found, scope)
        except BaseException:
            found.close()
            raise
        if getattr(response, "_reader", None) is not found.reader:
            found.close()
        return response

    def _siblings_for(self, scope: Scope) -> Siblings:
        delivery = self._delivery
        return () if delivery is None else delivery.siblings_for(scope.get("headers", ()))

    async def _find(
        self, path: str, scope: Scope, siblings: Siblings, memory: FileMemory | None
    ) -> Found:
        started_at = 0.0 if memory is None else memory.clock()
        finding = Finding(
            self._open,
            path,
            is_html=self.html,
            wants_directory=self._wants_directory(path, scope),
            max_size=self._max_content_size(scope, memory),
            siblings=siblings,
            delivery=self._delivery,
        )
        await file_threads.run(finding.run)
        found = finding.found
        if found is None or found.status_code == 404:
            found = await self._find_fallback(found, scope, siblings)
        elif memory is not None:
            memory.put(key_of(path, siblings), found, started_at)
        if found is None:
            # RFC 9110 s.12.5.5: the client may get the fallback if it accepts HTML. Caches keep a 404, too.
            has_fallback = self._delivery is not None and self._delivery.fallback
            raise HTTPException(404, headers=_VARY_ACCEPT if has_fallback else None)
        return found

    async def _find_fallback(
        self, found: Found | None, scope: Scope, siblings: Siblings
    ) -> Found | None:
        """Return the fallback for a missing file if the request wants it, or the 404 page that was found."""
        delivery = self._delivery
        headers = scope.get("headers", ())
        if delivery is None or not delivery.wants_fallback(scope["path"], headers):
            return found
        finding = Finding(
            self._open,
            delivery.fallback or "",
            max_size=self._max_content_size(scope, None),
            siblings=siblings,
            delivery=delivery,
        )
        await file_threads.run(finding.run)
        if finding.found is None:
            return found
        if found is not None:
            found.close()
        assert isinstance(finding.found.path, ServedPath)
        finding.found.path.is_fallback = True
        return finding.found

    def _answer_with(self, found: Found, scope: Scope) -> Response:
        if found.is_index and not scope["path"].endswith("/"):
            # Without the slash, the relative links in the page would point to another directory.
            return RedirectResponse(_with_slash(scope))
        response = self.file_response(found.path, found.status, scope, found.status_code)
        # A subclass may return a response for another file.
        if (
            isinstance(response, FileResponse)
            and response.stat_result is found.status
            and response.path == found.path
        ):
            response._content = found.content
            if not self._sends_path(scope, found.status):
                response._reader = found.reader
        return response

    def _wants_directory(self, path: str, scope: Scope) -> bool:
        """Return whether the path of the request ends in a slash, so only a directory can match.

        RFC 3986 s.3.3: "/a.txt/" and "/a.txt" are different resources. A subclass may serve one file for many
        paths. Then ``path`` differs from the path of the request.
        """
        has_slash = scope.get("path", "").endswith(("/", "/."))
        return has_slash and path != "." and path == self.get_path(scope)

    def _sends_path(self, scope: Scope, status: os.stat_result) -> bool:
        """Return whether the server opens the file by its path (ASGI extension "Path Send").

        The server follows every link in the path, including a link that was created after our check.
        """
        if not self.follow_symlink or PATHSEND not in (scope.get("extensions") or ()):
            return False
        memory = self._memory_for(scope)
        return memory is None or status.st_size > memory.max_file_size

    def _max_content_size(self, scope: Scope, memory: FileMemory | None) -> int | None:
        """Return the largest size in bytes of a file to read at once, or None if it need not be open.

        The result is -1 if the client has a copy and probably gets a 304. A file that fits into memory is
        always read.
        """
        least = None if memory is None else memory.max_file_size
        if scope["method"] == "HEAD":
            return least
        if self.follow_symlink and PATHSEND in (scope.get("extensions") or ()):
            return least
        if _COPY_FIELDS.isdisjoint([name for name, _ in scope.get("headers", ())]):
            return FIRST_BLOCK_SIZE
        return -1 if least is None else least

    # -- from memory -------------------------------------------------------------------------------

    def _memory_for(self, scope: Scope) -> FileMemory | None:
        """Return the files in memory, or None if this request must read from the disk."""
        memory = self._memory
        if (
            memory is None
            or type(self).lookup_path is not _LOOKUP_PATH
            or "lookup_path" in self.__dict__
        ):
            return None
        return None if getattr(scope.get("app"), "debug", False) else memory

    def _recall(self, kept: Kept, path: str, scope: Scope) -> Response | None:
        """Return the response for a file in memory, or None to look at the disk."""
        found = kept.found
        if found.is_index:
            if not scope["path"].endswith("/"):
                return self._answer_with(found, scope)
        elif self._wants_directory(path, scope):
            return None
        cls = type(self)
        if (
            cls.file_response is not _FILE_RESPONSE
            or cls.is_not_modified is not _IS_NOT_MODIFIED
            or not _OWN_ANSWERS.isdisjoint(self.__dict__)
        ):
            # A subclass creates its own response for each request.
            return self._answer_with(found, scope)
        if not kept.has_responses:
            response = self._new_response(found.path, found.status)
            not_modified = NotModifiedResponse(response.headers)
            not_modified._whole_headers = response.raw_headers
            kept.set_responses(response, not_modified)
        answer = kept.answer(scope["method"], scope.get("headers", []))
        return self._answer_with(found, scope) if answer is None else answer

    def _look_again(self, key: str) -> Found | None:
        """Look a file in memory up on the disk again, without reading it."""
        path, siblings = parse_key(key)
        finding = Finding(
            self._open, path, is_html=self.html, siblings=siblings, delivery=self._delivery
        )
        finding.run()
        return finding.found

    def file_response(
        self,
        full_path: PathLike,
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return the response for a file that was found.

        Raises:
            HTTPException: 412: a precondition failed.
        """
        response = self._new_response(full_path, stat_result, status_code)
        if status_code != 200:
            return response  # RFC 9110 s.13.2.1: ignore preconditions unless the status is 200.
        request_headers = scope.get("headers", [])
        preconditions = select_fields(request_headers)
        headers = response.headers
        if preconditions:
            etag, last_modified = headers.get("etag"), headers.get("last-modified")
            if evaluate(scope["method"], preconditions, etag, last_modified) is Outcome.FAILED:
                raise HTTPException(status_code=412)
        if self.is_not_modified(headers, Headers(raw=request_headers)):
            not_modified = NotModifiedResponse(headers)
            not_modified._whole_headers = (
                [] if self._sends_path(scope, stat_result) else headers.raw
            )
            return not_modified
        return response

    def _new_response(
        self, path: PathLike, status: os.stat_result, status_code: int = 200
    ) -> FileResponse:
        if self._delivery is not None and isinstance(path, ServedPath):
            return self._delivery.respond(path, status, status_code)
        return FileResponse(path, status_code=status_code, stat_result=status)

    def asset_path(self, path: str) -> str | None:
        """Return the path under which clients get the file ``path``: its hashed name, if there is a manifest.

        ``url_for`` calls it. The result is None for a file that the manifest does not have.
        """
        manifest = None if self._delivery is None else self._delivery.manifest
        return path if manifest is None else manifest.find(path)

    def is_not_modified(self, response_headers: Headers, request_headers: Headers) -> bool:
        """Return whether If-None-Match or If-Modified-Since show that the client has the file."""
        conditions = {
            name: ", ".join(values)
            for name in ("if-none-match", "if-modified-since")
            if (values := request_headers.getlist(name))
        }
        if not conditions:
            return False
        return is_not_modified(
            conditions, response_headers.get("etag"), response_headers.get("last-modified")
        )

    # -- finding: in a worker thread ---------------------------------------------------------------

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Return the full path and the status of the file at ``path``; ``("", None)`` without one.

        It runs in a worker thread. ``path`` is relative to each of the directories, and the first directory
        that contains it wins. The result can be a directory.

        If you override it, ``StaticFiles`` opens the returned path, and sends the file only if it still has
        the returned status.

        Raises:
            OSError: The lookup failed, for example for lack of permissions.
        """
        opened = self._open_original(path, reads=False)
        return _NOT_FOUND if opened is None else (opened.path, opened.status)

    def _open(self, path: str) -> Opened | None:
        """Open the file at ``path``. Return None for errors that a client can cause.

        Raises:
            HTTPException: 401: the permissions of the file forbid reading.
        """
        try:
            if is_original(self, "lookup_path"):
                return self._open_original(path)
            return self._open_looked_up(path)
        except PermissionError:
            raise HTTPException(status_code=401) from None
        except ValueError:  # a name that the file system can't encode
            return None
        except OSError as exc:
            if exc.errno in _NO_SUCH_FILE:
                return None
            raise

    def _open_original(self, path: str, *, reads: bool = True) -> Opened | None:
        names = split_path(path, is_windows=os.name == "nt")
        if names is None or not (self.dotfiles or are_visible(names)):
            return None
        for directory in self.all_directories:
            root = os.path.abspath(directory)
            try:
                if self.follow_symlink:
                    opened: Opened | None = open_path(os.path.join(root, *names), reads=reads)
                else:
                    opened = open_below(root, names, reads=reads)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if opened is not None:
                return opened if len(self.all_directories) == 1 else opened._replace(directory=root)
        return None

    def _open_looked_up(self, path: str) -> Opened | None:
        """Open the file that a subclass has found, if its status is still the same."""
        for _ in range(MAX_TRIES):
            full_path, status = self.lookup_path(path)
            if status is None:
                return None
            if not stat.S_ISREG(status.st_mode):
                return Opened(full_path, status)
            opened = open_path(full_path)
            # A status without an inode does not come from the system.
            if not status.st_ino or os.path.samestat(status, opened.status):
                return opened
            opened.close()
        return None


remember(StaticFiles, "lookup_path")
# `is_original` with all three would take a fifth of the time of a response from memory.
_LOOKUP_PATH = StaticFiles.lookup_path
_FILE_RESPONSE = StaticFiles.file_response
_IS_NOT_MODIFIED = StaticFiles.is_not_modified
_OWN_ANSWERS = frozenset(("file_response", "is_not_modified"))


def _check_settings(directory: Any, packages: Any, memory: Any) -> None:
    """Raise a TypeError for settings of the wrong type, which would otherwise fail at a request."""
    if memory is not None and not isinstance(memory, StaticMemory):
        raise TypeError(
            f"StaticFiles(memory={memory!r:.80}): pass StaticMemory(...), or None to read every file from "
            "the disk."
        )
    if directory is not None and not isinstance(directory, (str, os.PathLike)):
        raise TypeError(
            f"StaticFiles(directory={directory!r}): a path is a str or os.PathLike, "
            f"not {type(directory).__name__}."
        )
    if isinstance(packages, str) or not isinstance(packages or (), Iterable):
        raise TypeError(
            f"StaticFiles(packages={packages!r}): give a list of package names, or of pairs of a "
            f"package name and a folder in it, for example packages=[{str(packages)!r}]."
        )


def _package_directory(package: str | tuple[str, str]) -> str:
    """Return the folder of a package to serve."""
    import importlib.util

    name, folder = (package, "statics") if isinstance(package, str) else package
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # The parent package is missing.
        spec = None
    places = spec and (spec.submodule_search_locations or [os.path.dirname(spec.origin or "")])
    if not places or not places[0]:
        raise RuntimeError(f"Package {name!r} could not be found.")
    directory = os.path.normpath(os.path.join(places[0], folder))
    if not os.path.isdir(directory):
        raise RuntimeError(f"Directory '{folder!r}' in package {name!r} could not be found.")
    return directory


def _with_slash(scope: Scope) -> str:
    """Return the URL of a request with a slash at the end of the path, without scheme and host."""
    url = encode_leading_slashes(encode_path(scope["path"])) + "/"
    query = scope.get("query_string", b"")
    return f"{url}?{encode_query(query)}" if query else url
