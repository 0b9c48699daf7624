"""Measure spica beside Starlette, its peers and bare ASGI: ``scripts/bench --help``."""
