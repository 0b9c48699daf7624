"""FastAPI on Starlette itself."""

from benchmarks.apps_fastapi import apps

__all__ = ["apps"]
