"""Passwords that have to be used again, such as those of mirrors at their upstreams: encrypted with
a key that is no part of the database. Needs no Django.

The key is the text of a secret file (setup/keys.py) of any length.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it takes long, and most commands decrypt nothing
    from cryptography.fernet import Fernet


def encrypt(text: str, key: str) -> str:
    """`text` for the database; another one at each call."""
    return _fernet(key).encrypt(text.encode()).decode()


def decrypt(encrypted: str, key: str) -> str:
    """What `encrypt` got. ValueError for another key, and for anything else."""
    from cryptography.fernet import InvalidToken

    try:
        return _fernet(key).decrypt(encrypted.encode()).decode()
    except (InvalidToken, UnicodeError) as error:
        raise ValueError("encrypted with another key") from error


def _fernet(key: str) -> Fernet:
    from cryptography.fernet import Fernet

    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()))
