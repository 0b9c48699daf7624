"""Keep responses in a store, and answer later requests with them.

Standards: RFC 9111 (caching), RFC 9211 (Cache-Status), RFC 5861 (stale responses).
"""

from __future__ import annotations

import logging
import math
import os
import time
from typing import TYPE_CHECKING, Any

import anyio

from spica._asgi.scope import SENT_BY_HAND
from spica._diagnostics.arguments import check_flag, check_size
from spica._diagnostics.middleware_order import ANSWERS, CACHES
from spica.background import BackgroundTask
from spica.exceptions import HTTPException
from spica.layers import Answer, Layer, as_response
from spica.middleware.cache.entry import Entry, pack_varied, union_of, unpack_varied
from spica.middleware.cache.flights import POLL_SECONDS, Flight, Flights
from spica.middleware.cache.invalidation import current_store
from spica.middleware.cache.recording import (
    EmptyBody,
    Recorder,
    Recording,
    add_tag,
    copy_scope,
    is_personal,
)
from spica.middleware.cache.rules import (
    FAILURES,
    Question,
    Terms,
    changed_uris,
    is_replaced,
    note_status,
    read_terms,
    tags_of,
    vary_of,
)
from spica.responses.base import Response
from spica.responses.errors import error_response
from spica.responses.file.resolved import ResolvedFile
from spica.stores import MemoryStore, StoreUnavailable
from spica.stores.base import check_seconds

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.stores import Store
    from spica.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("spica.cache")

MAX_STORED_SIZE = 1024 * 1024
"""The largest value of a store, in bytes: the body and the headers."""
MAX_DECODED = 512
"""How many decoded entries a process remembers."""
MAX_DECODED_SIZE = 16 * 1024
"""The largest entry that is remembered decoded, in bytes."""
MAX_TAGS = 32
"""The largest number of tags of a response that is stored."""

_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "QUERY", "TRACE"))
_COMPUTED_BY = "spica.response_caches"
"""The scope key of the layers that compute the response."""


class ResponseCacheMiddleware(Layer):
    """Answer GET and HEAD from stored responses: a shared cache as defined by RFC 9111.

    Only responses that permit it are stored: those with ``s-maxage``, and those with ``public`` and
    ``max-age``. Responses with Set-Cookie, ``private``, ``no-store``, ``no-cache``, ``Vary: *`` or a used
    nonce of the content security policy never are. The fields in Vary belong to the key.

    While a response is computed, other requests for it wait, in this process and in the others. While the
    store is down, every request is computed. Put it outside SessionMiddleware, and inside a compression.

    Args:
        app: the inner app.
        store: where responses are kept. Share it between workers.
        default_seconds: how long a response is fresh that does not say so. It applies only to requests
            without Authorization, cookies and a known user. The default stores no such responses.
        max_body_size: the largest body that is stored, in bytes. A store takes 1 MiB with the headers.
        single_flight: whether requests wait for a response that is being computed.
        wait_seconds: how long they wait at most. Then they compute it themselves.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a number is not positive.
    """

    middleware_traits = (ANSWERS, CACHES)

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store,
        default_seconds: float | None = None,
        max_body_size: int = 1024 * 1024,
        single_flight: bool = True,
        wait_seconds: float = 5.0,
    ) -> None:
        super().__init__(app)
        if not hasattr(store, "prefixed"):
            raise TypeError(
                "ResponseCacheMiddleware: store must be a store such as open_store(...), "
                f"not {store!r:.80}."
            )
        for name, value in (
            ("default_seconds", 1 if default_seconds is None else default_seconds),
            ("wait_seconds", wait_seconds),
        ):
            check_seconds(f"ResponseCacheMiddleware: {name}", value)
        check_size(max_body_size, "ResponseCacheMiddleware: max_body_size", least=1)
        check_flag(single_flight, "ResponseCacheMiddleware: single_flight")
        self.store = store
        self.default_seconds = default_seconds
        self.max_body_size = max_body_size
        self.single_flight = single_flight
        self.wait_seconds = wait_seconds
        self._entries = store.prefixed("cache")
        self._flights = Flights(self._entries, wait_seconds)
        self._decoded: dict[str, tuple[bytes, Entry | None]] = {}
        self._clock = time.time

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket. Its endpoint may call ``invalidate``."""
        current_store.set(self.store)
        await self.inner.connect(scope, receive, send)

    async def respond(self, request: Request[Any]) -> Answer:
        """Return a stored response, or that of the app inside."""
        scope = request.scope
        method = scope["method"]
        if method != "GET" and method != "HEAD":
            return await self._respond_to_change(request)
        if _COMPUTED_BY in scope and self._is_inside_itself(scope[_COMPUTED_BY]):
            return await self.inner.respond(request)
        question = Question(scope)
        if question.has_body:
            # RFC 9110 s.9.3.1: it has no meaning, but an endpoint may read it all the same.
            return await self._pass_on(request, "bypass")
        try:
            entry = await self._find(question)
        except StoreUnavailable:
            return await self._pass_on(request, "bypass")
        if entry is not None:
            now = self._clock()
            if entry.is_fresh(question, now):
                return entry.answer(request, question, now, "")
            seconds = entry.terms.while_revalidating
            if seconds and entry.allows_stale(question, now, seconds):
                scope = copy_scope(scope)
                stale = entry.answer(request, question, now, "")
                stale.background = BackgroundTask(self._refresh, scope, question)
                return stale
        return await self._respond_to_miss(request, question, entry)

    async def _respond_to_miss(
        self, request: Request[Any], question: Question, stale: Entry | None
    ) -> Answer:
        """Compute a response, unless the request forbids that."""
        scope = request.scope
        if "only-if-cached" in question.directives:
            response = error_response(scope, 504, "The cache has no such response.")
            note_status(response.raw_headers, "fwd=request")
            return response
        current_store.set(self.store)
        scope[_COMPUTED_BY] = [*scope.get(_COMPUTED_BY, ()), self]
        return await _Miss(self, request, question, stale).respond()

    def _is_inside_itself(self, outside: list[ResponseCacheMiddleware]) -> bool:
        """Return whether a layer outside has the same entries. They would wait for each other."""
        return any(
            each.store is self.store or each._flights.shares_with(self._flights) for each in outside
        )

    async def _respond_to_change(self, request: Request[Any]) -> Answer:
        """Answer a request that may change something, and forget what it changes (RFC 9111 s.4.4).

        These are the entries of its own URI and of the URIs in Location and Content-Location.
        """
        current_store.set(self.store)
        answer = await self.inner.respond(request)
        if request.method in _SAFE:
            return answer
        if not isinstance(answer, Response):
            answer = await as_response(answer, request)
        if 200 <= answer.status_code < 400:
            try:
                for question in changed_uris(request.scope, answer.raw_headers):
                    await self._entries.generation(question.bucket, bump=True)
                    await self._entries.delete(question.key)
            except StoreUnavailable as error:
                logger.warning("A changed response stays in the cache: %s", error)
        return answer

    async def _pass_on(self, request: Request[Any], reason: str) -> Response:
        """Return the response of the app inside, and store nothing."""
        current_store.set(self.store)
        response = await as_response(await self.inner.respond(request), request)
        if SENT_BY_HAND not in request.scope:
            note_status(response.raw_headers, f"fwd={reason}")
        return response

    # -- the store -----------------------------------------------------------------------------------

    async def _find(self, question: Question) -> Entry | None:
        """Return the entry for a request, fresh or stale."""
        value = await self._entries.get(question.key)
        if value is None:
            return None
        entry = self._decode(question.key, value)
        if entry is None:
            varied = unpack_varied(value)
            if varied is None:
                return None
            question.vary_by(varied[1], varied[0])
            value = await self._entries.get(question.name)
            entry = None if value is None else self._decode(question.name, value)
        if entry is None or not entry.is_for(question):
            return None
        for tag, number in entry.tags.items():
            if await self._entries.generation(f"tag {tag}") != number:
                return None
        return entry

    def _decode(self, name: str, value: bytes) -> Entry | None:
        """Return the entry in a value. A store in memory returns the same object, which is decoded once."""
        known = self._decoded.get(name)
        if known is not None and known[0] is value:
            return known[1]
        entry = Entry.unpack(value)
        if entry is not None:
            self._note_decoded(name, value, entry)
        return entry

    def _note_decoded(self, name: str, value: bytes, entry: Entry) -> None:
        if len(value) <= MAX_DECODED_SIZE:
            if len(self._decoded) >= MAX_DECODED:
                self._decoded.clear()
            self._decoded[name] = (value, entry)

    async def has_changed(
        self, question: Question, before: tuple[int, int], has_tags: bool
    ) -> bool:
        """Return whether the response was invalidated since these numbers were read."""
        entries = self._entries
        if type(entries) is MemoryStore:
            now = entries.read_generations("all", question.bucket)
            return now[1] != before[1] or (has_tags and now[0] != before[0])
        if has_tags and await entries.generation("all") != before[0]:
            return True
        return await entries.generation(question.bucket) != before[1]

    async def changes(self, question: Question) -> tuple[int, int]:
        """Return numbers that are different after an invalidation of this response."""
        entries = self._entries
        if type(entries) is MemoryStore:
            return entries.read_generations("all", question.bucket)
        return await entries.generation("all"), await entries.generation(question.bucket)

    async def write(
        self, question: Question, start: Any, body: bytes, terms: Terms, before: tuple[int, int]
    ) -> Entry | None:
        """Store a response. Return its entry, or None if it could not be stored or is outdated already."""
        entries = self._entries
        tags = tags_of(start.raw_headers)
        add_tag(start, body)
        try:
            numbers = {tag: await entries.generation(f"tag {tag}") for tag in tags[:MAX_TAGS]}
            entry = Entry.of(start, body, self._clock(), terms, numbers)
            value = entry.pack()
            if len(value) > MAX_STORED_SIZE or len(tags) > MAX_TAGS:
                logger.warning(
                    "The response to %r is too large for the cache: %d bytes with its headers, and %d tags. "
                    "Allowed are %d bytes and %d tags.",
                    question.path,
                    len(value),
                    len(tags),
                    MAX_STORED_SIZE,
                    MAX_TAGS,
                )
                return None
            # Check before the response is in the store, where others read it. A tag that changes later has
            # another number than the entry.
            if await self.has_changed(question, before, bool(tags)):
                return None
            names = union_of(question, start.raw_headers)
            if names:
                await self._write_varied(question, names, entry)
            await entries.set(question.name, value, seconds=entry.keep_seconds)
            self._note_decoded(question.name, value, entry)
            # A change of the URI changes its number, then deletes. So either it deletes this entry, or its
            # number shows here, in whatever order two workers act.
            if await self.has_changed(question, before, False):
                # With the varied fields, whose old id would bring other entries back.
                await entries.delete(question.name, question.key)
                return None
        except StoreUnavailable as error:
            logger.warning("A response could not be stored: %s", error)
            return None
        return entry

    async def forget_replaced(self, question: Question, start: Any) -> None:
        """Delete a stale entry if a new response, which is not stored, makes it invalid."""
        if not is_replaced(start.status_code, start.raw_headers, question):
            return
        try:
            await self._entries.delete(question.name)
        except StoreUnavailable as error:
            logger.warning("A replaced response stays in the cache: %s", error)

    async def _write_varied(self, question: Question, names: list[str], entry: Entry) -> None:
        """Store the fields that the responses of the URI vary by, as long as the longest entry."""
        value = await self._entries.get(question.key)
        present = None if value is None else unpack_varied(value)
        # After a change of the URI, a new id leaves the old entries behind.
        is_same = present is not None and present[1] == names
        variant_id = present[0] if present is not None and is_same else os.urandom(16).hex()
        question.vary_by(names, variant_id)
        seconds = max(entry.keep_seconds, 86400)
        await self._entries.set(question.key, pack_varied(variant_id, names), seconds=seconds)

    # -- in the background ---------------------------------------------------------------------------

    async def _refresh(self, scope: Scope, question: Question) -> None:
        """Compute a stale response again, after it has been sent."""
        flight = None if self._flights.get(question) else self._flights.begin(question)
        if flight is None:
            return
        entry: Entry | None = None
        try:
            if not await flight.acquire():
                return
            known = await self._find(question)
            if known is not None and known.is_fresh(question, self._clock()):
                return
            before = await self.changes(question)
            recorder, session = Recorder(self.max_body_size), scope.get("session")
            scope[_COMPUTED_BY] = [self]
            await self.app(scope, EmptyBody(), recorder)
            terms = None
            if recorder.is_whole and not is_personal(scope, session):
                fields = recorder.raw_headers
                terms = read_terms(
                    recorder.status_code, fields, question, self.default_seconds, self._clock()
                )
            if terms is not None:
                entry = await self.write(question, recorder, bytes(recorder.body), terms, before)
            elif recorder.is_complete:
                await self.forget_replaced(question, recorder)
        except Exception as error:
            logger.error("A stale response could not be computed again.", exc_info=error)
        finally:
            await flight.finish(entry, was_cut=entry is None)


def _status_of(error: Exception) -> int:
    return error.status_code if isinstance(error, HTTPException) else 500


class _Miss:
    """A request that no fresh entry answers."""

    __slots__ = ("before", "cache", "kind", "question", "reason", "request", "session", "stale")

    before: tuple[int, int]

    def __init__(
        self,
        cache: ResponseCacheMiddleware,
        request: Request[Any],
        question: Question,
        stale: Entry | None,
    ) -> None:
        self.cache = cache
        self.request = request
        self.question = question
        self.stale = stale
        self.session = request.scope.get("session")  # that of a layer outside
        self.kind = question.key, question.has_credentials  # before a layer inside finds a user
        if stale is None:
            self.reason = "vary-miss" if question.is_varied else "uri-miss"
        else:
            self.reason = "stale"
            if stale.age_at(cache._clock()) < stale.terms.lifetime:
                self.reason = "request"

    async def respond(self) -> Answer:
        """Wait for the computation of another request, or compute the response."""
        cache, question = self.cache, self.question
        if not self._may_wait():
            return await self._compute_checked(None)
        deadline = math.inf
        has_seen_failure = False
        while True:
            flight = cache._flights.get(question)
            if flight is None:
                if question.has_conditions:
                    return await self._compute_checked(None)  # its response may be a 304
                return await self._lead(cache._flights.begin(question), deadline)
            deadline = min(deadline, anyio.current_time() + cache.wait_seconds)
            await flight.wait(deadline)
            answer = await self._answer_from(flight)
            if answer is not None:
                return answer
            if flight.failure:
                # One of those who wait tries again, so that a failing service does not get them all at once.
                may_retry, has_seen_failure = not has_seen_failure, True
            else:
                may_retry = flight.was_cut or question.name != flight.name
            if not may_retry or anyio.current_time() >= deadline:
                return await self._compute_checked(None)

    async def _answer_from(self, flight: Flight) -> Response | None:
        """Return the answer that the computation of another request allows, or None."""
        entry = flight.entry
        if entry is None:
            return self._replace_failure(flight.failure)
        if not self._is_answered_by(flight, entry):
            # It is for other values of the varied fields. Their names are known now, and with them ours.
            entry = await self._find_fresh()
        return None if entry is None else self._answer(entry, f"fwd={self.reason};collapsed")

    def _may_wait(self) -> bool:
        """Return whether the response of another request is likely to be of use."""
        cache, question = self.cache, self.question
        if not cache.single_flight or self.request.method == "HEAD" or question.directives:
            return False
        return not question.has_authorization and not cache._flights.is_passed(self.kind)

    def _is_answered_by(self, flight: Flight, entry: Entry) -> bool:
        """Return whether the fields that the response varies by are the same in this request."""
        names = vary_of(entry.headers)
        question = self.question
        is_same = not names or question.values_of(names) == flight.question.values_of(names)
        return is_same and entry.is_for(question)

    def _answer(self, entry: Entry, status: str) -> Response:
        return entry.answer(self.request, self.question, self.cache._clock(), status)

    async def _lead(self, flight: Flight | None, deadline: float) -> Answer:
        """Compute the response for all who wait, unless another worker does."""
        if flight is None:
            return await self.respond()  # another thread has just begun
        try:
            if flight.flights.has_leases:
                answer = await self._wait_for_lease(flight, deadline)
                if answer is not None:
                    return answer
            return await self._compute_checked(flight)
        except Exception as error:
            await flight.finish(failure=_status_of(error))
            raise
        except BaseException:
            await flight.finish(was_cut=True)
            raise

    async def _wait_for_lease(self, flight: Flight, deadline: float) -> Response | None:
        """Wait until no other worker computes the response. Return it if one has stored it meanwhile."""
        deadline = min(deadline, anyio.current_time() + self.cache.wait_seconds)
        status = ""
        while True:
            has_lease = await flight.acquire()
            entry = await self._find_fresh()
            if entry is not None:
                await flight.finish(entry)
                return self._answer(entry, status)
            if has_lease or anyio.current_time() >= deadline:
                return None
            await anyio.sleep(POLL_SECONDS)
            status = f"fwd={self.reason};collapsed"

    async def _find_fresh(self) -> Entry | None:
        try:
            entry = await self.cache._find(self.question)
        except StoreUnavailable:
            return None
        now = self.cache._clock()
        return entry if entry is not None and entry.is_fresh(self.question, now) else None

    async def _compute_checked(self, flight: Flight | None) -> Answer:
        """Return the response of the app inside, or a stale one if that fails (RFC 5861 s.4)."""
        try:
            response = await self._compute()
        except Exception as error:
            status_code = _status_of(error)
            replacement = self._replace_failure(status_code)
            if replacement is None:
                raise
            logger.error("A stale response replaces an error.", exc_info=error)
        else:
            status_code = response.status_code
            replacement = self._replace_failure(status_code)
            if replacement is None:
                return await self._keep(response, flight)
        if flight is not None:
            await flight.finish(failure=status_code)
        return replacement

    def _replace_failure(self, status_code: int) -> Response | None:
        """Return the stale response if stale-if-error permits it."""
        stale = self.stale
        if stale is None or status_code not in FAILURES or not stale.terms.if_failing:
            return None
        if not stale.allows_stale(self.question, self.cache._clock(), stale.terms.if_failing):
            return None
        return self._answer(stale, "")

    async def _compute(self) -> Response:
        try:
            self.before = await self.cache.changes(self.question)
        except StoreUnavailable:
            self.before = (-1, -1)
        # In one expression: a variable would hold the response, which would then be copied.
        return await as_response(await self.cache.inner.respond(self.request), self.request)

    async def _keep(self, response: Response, flight: Flight | None) -> Response:
        """Store the response if that is permitted: at once, or while its body is sent."""
        terms = self._terms_of(response)
        entry = None
        if terms is None:
            if self.stale is not None and not self.question.has_conditions:
                await self.cache.forget_replaced(self.question, response)
        else:
            body = getattr(response, "body", None)
            if response._replaced_body is not None or not isinstance(body, bytes):
                response.body_iterator = Recording(self, response, terms, flight)
                self._note(response, "")
                return response
            if len(body) <= self.cache.max_body_size:
                entry = await self.cache.write(self.question, response, body, terms, self.before)
        self._note(response, "" if entry is None else "stored")
        if flight is not None:
            has_failed = entry is None and response.status_code in FAILURES
            await flight.finish(entry, failure=response.status_code if has_failed else 0)
        return response

    @property
    def has_read_body(self) -> bool:
        """Whether the request has a body that no field announced, as HTTP/2 permits (RFC 9113 s.8.1.1)."""
        return getattr(self.request._receive, "received", 0) > 0

    def _terms_of(self, response: Response) -> Terms | None:
        cache, question, scope = self.cache, self.question, self.request.scope
        if scope["method"] != "GET":
            return None
        status_code, fields = response.status_code, response.raw_headers
        terms = read_terms(status_code, fields, question, cache.default_seconds, cache._clock())
        if (
            is_personal(scope, self.session)
            or SENT_BY_HAND in scope
            or isinstance(response, ResolvedFile)  # it is on the disk already
            or self.has_read_body
        ):
            terms = None
        says_nothing = status_code in (206, 304, 412) or status_code >= 500
        if terms is not None or not (says_nothing or "no-store" in question.directives):
            cache._flights.remember(self.kind, is_stored=terms is not None)
        return terms

    def _note(self, response: Response, more: str) -> None:
        if SENT_BY_HAND in self.request.scope:
            return
        status = f"fwd={self.reason}"
        note_status(response.raw_headers, f"{status};{more}" if more else status)
