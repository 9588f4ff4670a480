"""Sessions of operators, stored so that they cannot be used by reading the database.

The cookie has the session's key. Its row has a hash of it, and the session's content is encrypted
with a key derived from it: a secret stored there for the page that shows it once is in no table in
clear. Used by SESSION_ENGINE in settings.py.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import connection
from django.utils import timezone
from django.utils.crypto import salted_hmac

from registryui.database_state import while_unwritten, written

_BEGAN = "began"
_ROW = "SELECT session_data, expire_date FROM django_session WHERE session_key = %s"


class SessionStore(db.SessionStore):
    """Django's, with other rows. A session never lasts longer than SESSION_COOKIE_AGE, used or
    not."""

    def load(self) -> dict[str, Any]:
        row = while_unwritten(_row, _hash(self.session_key or ""))
        if row is None or row[1] <= timezone.now():
            self._session_key = None
            return {}
        return self.decode(row[0])

    def save(self, must_create: bool = False) -> None:
        super().save(must_create)
        written()

    def exists(self, session_key: str) -> bool:
        return self.model.objects.filter(session_key=_hash(session_key)).exists()

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        began = datetime.fromtimestamp(data.setdefault(_BEGAN, timezone.now().timestamp()), UTC)
        row = super().create_model_instance(data)
        row.session_key = _hash(row.session_key)
        last = began + timedelta(seconds=settings.SESSION_COOKIE_AGE)
        row.expire_date = min(row.expire_date, last)
        return row

    def delete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            self.model.objects.filter(session_key=_hash(key)).delete()
            written()

    def encode(self, session_dict: dict[str, Any]) -> str:
        return self._fernet().encrypt(self.serializer().dumps(session_dict)).decode()

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.serializer().loads(self._fernet().decrypt(session_data))
        except (InvalidToken, ValueError):
            return {}
        return found

    def _fernet(self) -> Fernet:
        key = salted_hmac("portal.sessions.content", self.session_key or "", algorithm="sha256")
        return Fernet(base64.urlsafe_b64encode(key.digest()))


def _row(hashed: str) -> tuple[str, datetime] | None:
    """Content, still encrypted, and end."""
    # To build the same query from a QuerySet takes ten times as long as to answer it.
    with connection.cursor() as cursor:
        cursor.execute(_ROW, [hashed])
        row = cursor.fetchone()
    # SQLite has no time zones: Django writes UTC.
    return row and (row[0], row[1] if row[1].tzinfo else row[1].replace(tzinfo=UTC))


def _hash(key: str) -> str:
    """The value in a row for the key in the cookie."""
    return salted_hmac("portal.sessions.row", key, algorithm="sha256").hexdigest()[:40]
