"""Cancel the making of a response when the client leaves."""

from spica._layers.cancellation import CancelOnDisconnectMiddleware

__all__ = ["CancelOnDisconnectMiddleware"]
