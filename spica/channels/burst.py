"""Pass several events of a topic to all its subscriptions at once.

A publisher often publishes some events before the readers have a turn, and a backend reads several at once.
The first event of such a burst goes to each subscription and wakes its reader. The following ones wait here
until somebody needs them, so that each subscription takes them in one step.

No reader can see the difference. Each of these flushes the burst before: a reader whose queue is empty, an
event of another topic, a gap, a join, and an end. An event that would not fit into one of the queues does not
wait either.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Protocol

from spica.channels.messages import Message


class Member(Protocol):
    """The part of a subscription that a burst needs."""

    def put(self, message: Message) -> None:
        """Add a message, and wake the reader."""

    def extend(self, messages: list[Message], size: int) -> None:
        """Add messages for which there is room. The reader does not wait."""

    def room(self) -> tuple[float, float]:
        """Return the number of messages that fit into the queue, and their size in bytes."""
        ...


class Burst:
    """The newest events of one topic, which its members do not have yet. The topics of a process share it."""

    __slots__ = ("_events_left", "_members", "_messages", "_size", "_size_left")

    def __init__(self) -> None:
        self._members: Collection[Member] | None = None
        """The members of the topic that has published last, if nobody has read since."""
        self._messages: list[Message] = []
        self._size = 0
        self._events_left = self._size_left = 0.0

    def add(self, members: Collection[Member], message: Message) -> None:
        """Pass a message to the members of a topic, now or with the next `flush`."""
        if not members:
            return
        if members is not self._members:
            self.flush()
            self._put(members, message)
            self._members = members
            return
        if not self._messages:
            self._measure(members)
        size = self._size + message.size
        if len(self._messages) < self._events_left and size <= self._size_left:
            self._messages.append(message)
            self._size = size
        else:
            self.flush()
            self._put(members, message)

    def flush(self) -> None:
        """Pass the messages that wait to the members."""
        members = self._members
        if members is None:
            return
        self._members = None
        if self._messages:
            messages, self._messages = self._messages, []
            size, self._size = self._size, 0
            for member in members:
                member.extend(messages, size)

    def _put(self, members: Collection[Member], message: Message) -> None:
        # A copy, because a slow subscription leaves during the loop.
        for member in list(members):
            member.put(message)

    def _measure(self, members: Collection[Member]) -> None:
        """Find the room in the fullest queue. It only grows until the next `flush`."""
        self._events_left = self._size_left = math.inf
        for member in members:
            events, size = member.room()
            if events < self._events_left:
                self._events_left = events
            if size < self._size_left:
                self._size_left = size
