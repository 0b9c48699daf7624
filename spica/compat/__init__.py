"""The switch: FastAPI and all other packages that import ``starlette`` run on spica unchanged.

Call `install` before the first import of a package that uses Starlette::

    import spica.compat

    spica.compat.install()

If you can't edit a program, start it with ``python -m spica.compat MODULE ...`` in place of
``python -m MODULE ...``, or set SPICA_COMPAT=1 in its environment. ``python -m spica.compat doctor`` reports
the state of the switch.
"""

from spica.compat.switch import CompatError, Installed, install, is_installed, uninstall

__all__ = ["CompatError", "Installed", "install", "is_installed", "uninstall"]
