"""Serve the files of a directory, or of Python packages.

The path of the request decides which file is served. Each file is opened from its directory down, without
following links, and is read through the descriptor that was checked (``spica.responses.file.opening``).
``FileResponse`` sends it. A small file is found, opened and read in one visit to a worker thread.

Standards: RFC 9110 section 13 (preconditions), section 15.4.5 (304).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

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
from spica.responses.file.finding import MAX_TRIES, Finding, Found
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

# The system's errors for a path at which there is no file.
_NO_SUCH_FILE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP))


_DEFAULT_MEMORY = StaticMemory()

_COPY_FIELDS = frozenset((b"if-none-match", b"if-modified-since"))


class NotModifiedResponse(Response):
    """Tell the client that its copy is still good: 304, with the headers that belong there."""

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
    """Serve files, as an ASGI app to be mounted.

    Args:
        directory: Where the files are.
        packages: Names of Python packages whose folder ``statics`` is served too, or pairs of a package and
            a folder in it. ``directory`` comes first.
        html: Answer for a directory with its ``index.html``, and for what is missing with ``404.html``.
        check_dir: Look for the directory at once, and not at the first request.
        follow_symlink: Follow links that lead out of a directory.
        dotfiles: Serve names that begin with a dot. Off by default, unlike in Starlette, because ``.env``,
            ``.git`` and ``.htpasswd`` are hardly ever there to be shown. ``.well-known`` is always served
            (RFC 8615).
        memory: How much of the small files is kept in memory; a changed file is served within 2 seconds by
            default. None: every request reads from the disk. That is also so while ``debug`` is on, and in a
            subclass with a ``lookup_path`` of its own.

    A precondition that fails gets a 412, a client that has the file a 304, and a range a 206.

    Raises:
        RuntimeError: A directory or package is not there.
        TypeError: ``directory`` is not a path, ``packages`` is not a list, or ``memory`` is of another type.
        ValueError: Neither ``directory`` nor ``packages`` is given.
    """

    # Defaults for subclasses that do not call our `__init__`.
    config_checked = False
    dotfiles = False
    follow_symlink = False
    memory: StaticMemory | None = None
    _memory: FileMemory | None = None

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
        memory: StaticMemory | None = _DEFAULT_MEMORY,
    ) -> None:
        _check_settings(directory, packages, memory)
        if check_dir and directory is not None and not os.path.isdir(directory):
            raise RuntimeError(
                f"Directory '{os.fspath(directory)}' does not exist: there is no directory at "
                f"{os.path.abspath(directory)!r}, which StaticFiles(directory=...) names. Pass "
                "check_dir=False if it is made later."
            )
        self.follow_symlink, self.dotfiles, self.html = follow_symlink, dotfiles, html
        self.packages, self.directory = packages, directory
        self.all_directories = self.get_directories(directory, packages)
        self.config_checked = False
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
        """Return the directories to look in, in their order: ``directory``, then the packages'."""
        directories: list[PathLike] = [] if directory is None else [directory]
        directories.extend(_package_directory(package) for package in packages or ())
        return directories

    async def check_config(self) -> None:
        """Look whether ``directory`` is there; called before the first request is answered.

        Raises:
            RuntimeError: It is not there, or not a directory.
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
        return await resolve_answer(response, request, self.get_response)

    async def _layer_connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a WebSocket.

        Raises:
            RuntimeError: The scope is one that no file can answer.
        """
        if scope["type"] != "websocket":
            raise RuntimeError(f"StaticFiles serves HTTP, not a scope of type {scope['type']!r}.")
        await WebSocketClose()(scope, receive, send)

    def get_path(self, scope: Scope) -> str:
        """Return the requested path, relative to a directory, as the system spells it."""
        route_path = get_route_path(scope)
        if "\0" in route_path:
            return route_path  # not normalised: some versions of Python cut it off there
        return os.path.normpath(route_path.strip("/"))

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the response for the file at ``path``, relative to a directory.

        Raises:
            HTTPException: 404: there is no such file. 405: the method is neither GET nor HEAD. 401:
                the system does not let us read it. 412: a precondition failed.
        """
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(status_code=405, headers={"Allow": "GET, HEAD"})
        memory = self._memory_for(scope)
        kept = None if memory is None else memory.get(path)
        if kept is not None:
            recalled = self._recall(kept, path, scope)
            if recalled is not None:
                return recalled
        found = await self._find(path, scope, memory)
        try:
            response = self._answer_with(found, scope)
        except BaseException:
            found.close()
            raise
        if getattr(response, "_reader", None) is not found.reader:
            found.close()
        return response

    async def _find(self, path: str, scope: Scope, memory: FileMemory | None) -> Found:
        started_at = 0.0 if memory is None else memory.clock()
        finding = Finding(
            self._open,
            path,
            is_html=self.html,
            wants_directory=self._wants_directory(path, scope),
            max_size=self._max_content_size(scope, memory),
        )
        await file_threads.run(finding.run)
        found = finding.found
        if found is None:
            raise HTTPException(status_code=404)
        if memory is not None and found.status_code == 200:
            memory.put(path, found, started_at)
        return found

    def _answer_with(self, found: Found, scope: Scope) -> Response:
        if found.is_index and not scope["path"].endswith("/"):
            # Otherwise the relative links in it would lead elsewhere.
            return RedirectResponse(_with_slash(scope))
        response = self.file_response(found.path, found.status, scope, found.status_code)
        # A subclass may have put another file in its place.
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
        """Return whether the request names a directory, so that no file can answer it.

        RFC 3986 s.3.3: "/a.txt/" is another resource than "/a.txt". A subclass may serve one file for many
        paths; then ``path`` is not that of the request.
        """
        has_slash = scope.get("path", "").endswith(("/", "/."))
        return has_slash and path != "." and path == self.get_path(scope)

    def _sends_path(self, scope: Scope, status: os.stat_result) -> bool:
        """Return whether the server opens the file, by its path.

        It follows every link on the way, also one that was swapped in since we looked.
        """
        if not self.follow_symlink or PATHSEND not in (scope.get("extensions") or ()):
            return False
        memory = self._memory_for(scope)
        return memory is None or status.st_size > memory.max_file_size

    def _max_content_size(self, scope: Scope, memory: FileMemory | None) -> int | None:
        """Return the size up to which a file is read at once, in bytes; None if it need not even be open.

        It is -1 if the client has a copy and most likely gets a 304. A file that memory may keep is read in
        any case.
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
        if memory is None or not is_original(self, "lookup_path"):
            return None
        return None if getattr(scope.get("app"), "debug", False) else memory

    def _recall(self, kept: Kept, path: str, scope: Scope) -> Response | None:
        """Return the response for a file in memory; None if the disk has to tell."""
        found = kept.found
        if found.is_index:
            if not scope["path"].endswith("/"):
                return self._answer_with(found, scope)
        elif self._wants_directory(path, scope):
            return None
        # Subclasses make responses of their own, for each request.
        if not is_original(self, "file_response", "is_not_modified"):
            return self._answer_with(found, scope)
        if not kept.has_responses:
            response = FileResponse(found.path, stat_result=found.status)
            not_modified = NotModifiedResponse(response.headers)
            not_modified._whole_headers = response.raw_headers
            kept.set_responses(response, not_modified)
        answer = kept.answer(scope["method"], scope.get("headers", []))
        return self._answer_with(found, scope) if answer is None else answer

    def _look_again(self, path: str) -> Found | None:
        """Look a path up on the disk again, without reading the file."""
        finding = Finding(self._open, path, is_html=self.html)
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
        response = FileResponse(full_path, status_code=status_code, stat_result=stat_result)
        if status_code != 200:
            return response  # RFC 9110 s.13.2.1: preconditions count where the answer is a 200
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

        Called in a worker thread. ``path`` is relative to each of the directories; the first that
        has it counts. The result may be a directory.

        If you override it, the file is opened by the path that you return, and sent only if it is the one
        whose status you return.

        Raises:
            OSError: The system does not tell, for example for a lack of permissions.
        """
        opened = self._open_original(path, reads=False)
        return _NOT_FOUND if opened is None else (opened.path, opened.status)

    def _open(self, path: str) -> Opened | None:
        """Open the file at ``path``, and turn the errors that a client can cause into responses.

        Raises:
            HTTPException: 401: the system does not let us read it.
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
                    return open_path(os.path.join(root, *names), reads=reads)
                opened = open_below(root, names, reads=reads)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if opened is not None:
                return opened
        return None

    def _open_looked_up(self, path: str) -> Opened | None:
        """Open the file that a subclass finds, if it still has the status that was returned."""
        for _ in range(MAX_TRIES):
            full_path, status = self.lookup_path(path)
            if status is None:
                return None
            if not stat.S_ISREG(status.st_mode):
                return Opened(full_path, status)
            opened = open_path(full_path)
            # A status without an inode was made by hand.
            if not status.st_ino or os.path.samestat(status, opened.status):
                return opened
            opened.close()
        return None


remember(StaticFiles, "lookup_path", "file_response", "is_not_modified")


def _check_settings(directory: Any, packages: Any, memory: Any) -> None:
    """Refuse settings of wrong types, which only a request would find otherwise."""
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
    """Return the folder of a package that is to be served."""
    import importlib.util

    name, folder = (package, "statics") if isinstance(package, str) else package
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # a parent of it
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
