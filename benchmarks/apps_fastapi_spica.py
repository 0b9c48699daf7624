"""FastAPI on spica: a process that imports this has no Starlette any more."""

import spica.compat

spica.compat.install()

from benchmarks.apps_fastapi import apps  # noqa: E402  # after the switch

__all__ = ["apps"]
