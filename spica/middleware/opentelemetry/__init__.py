"""Traces and metrics with OpenTelemetry."""

from spica.middleware.opentelemetry.layer import OBSERVED, OpenTelemetryMiddleware

__all__ = ["OBSERVED", "OpenTelemetryMiddleware"]
