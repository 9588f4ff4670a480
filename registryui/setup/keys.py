"""The secrets that the parts of one instance share; they are never shown.

Each is created once, 0600 in SECRETS_DIR, and kept: a new Django key would end every session.
"""

import re
import secrets
from pathlib import Path

from django.conf import settings

from registryui import files

from .data import put_aside

NAMES = (
    "django-key",  # signs sessions
    "hook-token",  # the registry sends it with each notification
    "metrics-token",  # Prometheus sends it with each scrape
    "mirror-key",  # encrypts the passwords of mirrors at their upstreams
    "proxy-token",  # nginx sends it to the portal, which trusts nobody else
    "registry-key",  # the registry signs the state of unfinished uploads with it
)


def make() -> list[str]:
    """Creates the secrets that are missing or damaged; a sentence for each that was replaced.

    Raises OSError for one that this user may not read.
    """
    said = []
    for name in NAMES:
        path = settings.SECRETS_DIR / name
        if _is_sound(path):
            continue
        if path.exists() and (path.is_dir() or path.stat().st_size):
            aside = put_aside(path)
            said.append(f"Made a new {path}: what was there is no secret, and is kept as {aside}.")
        files.write(path, secrets.token_urlsafe(48) + "\n")
    return said


def _is_sound(path: Path) -> bool:
    """Whether it can be used in a header and a configuration. A short one is accepted."""
    try:
        text = path.read_bytes().strip()
    except (FileNotFoundError, IsADirectoryError):
        return False
    if path.name == "proxy-token":  # nginx.conf cannot escape a dollar sign
        return bool(re.fullmatch(rb"[\w-]+", text))
    return bool(text) and text.isascii() and text.decode().isprintable()


def read(name: str) -> str:
    """The secret of that name; FileNotFoundError before the first `up`."""
    return str((settings.SECRETS_DIR / name).read_text().strip())
