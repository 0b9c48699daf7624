"""Set the limits of forms. The layer lives in ``spica._layers.limits``, below the routes."""

from spica._layers.limits import FormLimitMiddleware
from spica.formparsers import FormLimits

__all__ = ["FormLimitMiddleware", "FormLimits"]
