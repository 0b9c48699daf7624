"""Limit the time that an application takes to answer, and tell it how much is left.

The layer lives in ``spica._layers``, below the routes.
"""

from spica._asgi.deadline import Deadline, current_deadline
from spica._layers.timeout import TimeoutMiddleware

__all__ = ["Deadline", "TimeoutMiddleware", "current_deadline"]
