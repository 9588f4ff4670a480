"""The first operator and the first registry user, made once all parts are healthy.

So late, because their secrets are shown once: a start that fails half way must not use them up.
Neither is kept anywhere in clear. A lost password: `./boathouse manage changepassword admin`.
"""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from registryui.accounts import htpasswd, publish
from registryui.models import Operator, Role

OPERATOR = "admin"
USER = "docker"
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that look alike: people type it


@dataclass(frozen=True, slots=True)
class Account:
    """A name with its secret, which is "" unless it was just made."""

    name: str
    secret: str


def operator() -> Account:
    """The first administrator; made with a new password if there is no operator at all."""
    with transaction.atomic():
        known = known_operator()
        if known.name:
            return known
        password = "-".join(_group(5) for _ in range(4))  # 99 bits
        Operator.objects.create_user(username=OPERATOR, password=password, role=Role.ADMIN)
    return Account(OPERATOR, password)


def known_operator() -> Account:
    """An administrator who is there, else any operator; name "" if there is none."""
    found = Operator.objects.order_by("pk").values_list("username", flat=True)
    admin = found.filter(role=Role.ADMIN, is_active=True).first()
    return Account(str(admin or found.first() or ""), "")


def registry_user() -> Account:
    """The first user of the htpasswd file; made with a new secret if there is no such file yet.

    A file that exists is somebody's decision, even an empty one.
    """
    if settings.HTPASSWD_FILE.exists():
        return known_registry_user()
    secret = htpasswd.new_secret()
    publish.add_line(USER, secret)
    return Account(USER, secret)


def known_registry_user() -> Account:
    """The first user of the htpasswd file; name "" if there is none."""
    return Account(next(iter(publish.names()), ""), "")


def _group(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
