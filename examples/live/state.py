"""The settings, and the state that all workers share.

``LIVE_STORE`` is the only line to change for many machines: ``redis://...`` or ``postgresql://...``.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from spica.channels import Channels
from spica.channels.runs import Runs
from spica.config import Config
from spica.middleware.sessions import Sessions
from spica.stores import open_store

HERE = Path(__file__).parent
config = Config()
DIRECTORY = config("LIVE_DIRECTORY", cast=Path, default=HERE / "data")
DEBUG = config("LIVE_DEBUG", cast=bool, default=False)
HTTPS = config("LIVE_HTTPS", cast=bool, default=True)
"""Whether browsers come over HTTPS. ``scripts/run`` switches it off, because it serves this machine only."""
CONTROLS = config("LIVE_CONTROLS", cast=bool, default=False)
"""Whether the page may kill and replace workers. ``scripts/run`` sets it; a public site must not."""

DIRECTORY.mkdir(parents=True, exist_ok=True)
STORE = config("LIVE_STORE", default=f"sqlite:///{DIRECTORY / 'live.db'}")


def read_secret(path: Path) -> str:
    """Return the secret of all workers. The first worker makes it."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(0o600)
        draft.write_text(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(draft, path)  # at once, so that no other worker reads an empty file
        draft.unlink()
    return path.read_text()


SECRET = config("LIVE_SECRET", default="") or read_secret(DIRECTORY / "secret")

store = open_store(STORE)
channels = Channels(STORE)
runs = Runs(channels, store)
sessions = Sessions(store)
