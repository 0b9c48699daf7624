"""Classes of ``starlette.middleware.base`` that other packages import, though they are private there."""

from __future__ import annotations

from spica.responses import Response, StreamingResponse

__all__ = ["CallNextResponse"]


class _AnyResponse(type):
    """Counts every response: ``call_next`` returns the endpoint's own, and each has a ``body_iterator``."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Response)


class CallNextResponse(StreamingResponse, metaclass=_AnyResponse):
    """The type that Starlette's ``call_next`` returns, for annotations and ``isinstance``."""
