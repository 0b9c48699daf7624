"""Make the cache forget responses by their tags.

A tag is a counter in the store. An entry has the numbers of its tags, and is valid while they are the same.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spica.stores import Store

_TAG = re.compile(r"[!-+\--~\x80-\xff]([ -+\--~\x80-\xff]*[!-+\--~\x80-\xff])?")
"""A tag: characters of a field value (RFC 9110 s.5.5) without commas."""

current_store: ContextVar[Store] = ContextVar("spica_response_cache")
"""The store of the cache around this request."""


async def invalidate(*tags: str, store: Store | None = None) -> None:
    """Make the cache forget all responses with one of these tags, in all workers.

    A response names its tags in its ``Cache-Tag`` field: ``Cache-Tag: items, item-7``. Responses that are
    being computed now are not stored.

    Args:
        tags: the tags.
        store: the store of the cache. In a request, the default is that of its ResponseCacheMiddleware.

    Raises:
        RuntimeError: There is no ``store``, and no request with a ResponseCacheMiddleware.
        StoreUnavailable: The store is down, so the old responses stay.
        TypeError, ValueError: There is no tag, or one that a field can't have.
    """
    _check_tags(tags)
    if store is None:
        store = current_store.get(None)
        if store is None:
            raise RuntimeError(
                "Outside of a request, invalidate() needs the store of the cache: "
                "invalidate('tag', store=store)."
            )
    entries = store.prefixed("cache")
    # First: a response that is being computed has read this number, and is not stored.
    await entries.generation("all", bump=True)
    for tag in tags:
        await entries.generation(f"tag {tag}", bump=True)


def _check_tags(tags: tuple[Any, ...]) -> None:
    """Refuse tags that no response can have: the call would do nothing."""
    if not tags:
        raise TypeError('invalidate() needs at least one tag, such as invalidate("items").')
    for tag in tags:
        if not isinstance(tag, str):
            raise TypeError(f"invalidate(): a tag must be a string, not {tag!r:.80}.")
        if not _TAG.fullmatch(tag):
            raise ValueError(
                f"invalidate(): no response can have the tag {tag!r:.80}. A tag must not contain commas "
                "or control characters, or begin or end with a space. Pass several tags as several arguments."
            )
