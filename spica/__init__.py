"""spica: an ASGI toolkit in pure Python with the public API of Starlette 1.10.

The package itself imports nothing: import what you use from its modules, for example
``from spica.applications import Spica``.
"""

__version__ = "0.2.0"
