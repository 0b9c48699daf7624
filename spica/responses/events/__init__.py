"""Server-sent events: a stream of events that browsers read with ``EventSource``. This package re-exports.

Non-goals: history and several subscribers, which are in ``spica.channels``.

Standard: WHATWG HTML s.9.2, "Server-sent events".
"""

from spica.responses.events.event import ConvertsToEvent, EventLike, ServerSentEvent
from spica.responses.events.response import EventSourceResponse, last_event_id

__all__ = [
    "ConvertsToEvent",
    "EventLike",
    "EventSourceResponse",
    "ServerSentEvent",
    "last_event_id",
]
