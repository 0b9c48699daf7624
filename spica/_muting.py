"""Whether warnings about the configuration are shown. The switch mutes them (`spica.compat`).

A program that runs through the switch was written for Starlette, and the people who run it can't change its
settings. This module imports nothing, since the switch uses it when an interpreter starts.
"""

_is_muted = False
_is_checking = False


def mute_configuration_warnings(is_muted: bool) -> None:
    """Log each SpicaConfigurationWarning at debug level, instead of showing it; False shows them again."""
    global _is_muted
    _is_muted = is_muted


def check_configuration(is_checking: bool) -> bool:
    """Show the warnings although the switch mutes them, for ``spica check``; return the previous setting."""
    global _is_checking
    before, _is_checking = _is_checking, is_checking
    return before


def is_configuration_muted(text: str) -> bool:
    """Return whether the SpicaConfigurationWarning with this message is muted; log it in that case."""
    if not _is_muted or _is_checking:
        return False
    import logging  # on use: it takes long to import

    logging.getLogger("spica.compat").debug("%s", text)
    return True
