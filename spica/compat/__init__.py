"""The switch: FastAPI, and whatever else imports ``starlette``, runs on spica unchanged.

Before anything that uses Starlette is imported::

    import spica.compat

    spica.compat.install()

For programs that can't be edited there is ``python -m spica.compat MODULE ...``, which is like
``python -m MODULE ...``, and SPICA_COMPAT=1 in the environment. ``python -m spica.compat doctor`` tells what
is switched.
"""

from spica.compat.switch import CompatError, Installed, install, is_installed, uninstall

__all__ = ["CompatError", "Installed", "install", "is_installed", "uninstall"]
