"""Cancel the making of a response when the client leaves."""

from spica._layers.disconnect import CancelOnDisconnectMiddleware

__all__ = ["CancelOnDisconnectMiddleware"]
