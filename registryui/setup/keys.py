"""The secrets that the parts of one instance share; people never see them.

Each is made once, 0600 in SECRETS_DIR, and kept: a new Django key would end every session.
"""

import secrets

from django.conf import settings

from .data import write_file

NAMES = (
    "django-key",  # signs sessions
    "hook-token",  # the registry says it with each notification
    "registry-key",  # the registry signs the state of unfinished uploads with it
)


def make() -> None:
    """Makes the secrets that are missing."""
    for name in NAMES:
        path = settings.SECRETS_DIR / name
        if not path.exists() or not path.read_text().strip():
            write_file(path, secrets.token_urlsafe(48).encode() + b"\n")


def read(name: str) -> str:
    """The secret of that name; FileNotFoundError before the first `up`."""
    return str((settings.SECRETS_DIR / name).read_text().strip())
