"""Channels: publish events from any worker to any number of subscribers, with history and presence."""

from spica.channels.backend import ChannelBackend
from spica.channels.channels import Channels
from spica.channels.memory import MemoryBackend
from spica.channels.messages import (
    ChannelsUnavailable,
    EventTooLarge,
    Gap,
    History,
    InvalidChannel,
    Message,
)
from spica.channels.presence import Presence, PresenceEvent
from spica.channels.runs import Run, Runs, RunsFull
from spica.channels.subscription import Subscription

__all__ = [
    "ChannelBackend",
    "Channels",
    "ChannelsUnavailable",
    "EventTooLarge",
    "Gap",
    "History",
    "InvalidChannel",
    "MemoryBackend",
    "Message",
    "Presence",
    "PresenceEvent",
    "Run",
    "Runs",
    "RunsFull",
    "Subscription",
]
