"""The first operator and the first registry user, made once all parts are healthy.

Not earlier, because their secrets are shown once: a failed start must not use them up. Neither is
stored in clear. For a lost password: `./boathouse operator password admin`.
"""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from registryui import audit
from registryui.accounts import drift, htpasswd, publish, users
from registryui.models import Operator, RegistryUser, Role

BY = "set-up"
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
        audit.record("operator.create", OPERATOR, by=BY, details={"role": Role.ADMIN.value})
    return Account(OPERATOR, password)


def known_operator() -> Account:
    """An existing administrator, else any operator; name "" if there is none."""
    found = Operator.objects.order_by("pk").values_list("username", flat=True)
    admin = found.filter(role=Role.ADMIN, is_active=True).first()
    return Account(str(admin or found.first() or ""), "")


def prepare_files() -> None:
    """Makes the files of registry users correct and readable, before nginx starts to read them.

    An htpasswd file that is older than the database is adopted, a missing one is written from it,
    rights are rewritten. Raises OSError.
    """
    publish.let_nginx_read(settings.HTPASSWD_FILE)
    if not settings.HTPASSWD_FILE.exists():
        if RegistryUser.objects.exists():
            publish.write([])
    elif not RegistryUser.objects.exists():
        _adopt()
    publish.prepare()
    publish.catch_up()


def _adopt() -> None:
    """Adopts the users of the file; their lines are kept.

    Their rights are those of the rights folder, if the file was ours and the database was lost;
    else pull and push.
    """
    lines = publish.lines()
    known = publish.read_rights()
    is_ours = bool(known) or htpasswd.CANARY in htpasswd.parse(publish.read())
    may = {name: known.get(name, frozenset()) if is_ours else users.ADOPTED for name in lines}
    rows = [
        row
        for one in set(may.values())
        for row in users.adopt(
            {name: lines[name] for name in lines if may[name] == one}, by=BY, may=one
        )
    ]
    publish.write([row.pk for row in rows])
    drift.find()


def registry_user() -> Account:
    """The first registry user; made with a new secret if there is no htpasswd file yet.

    An existing file is intended, even an empty one.
    """
    if not settings.HTPASSWD_FILE.exists() and not RegistryUser.objects.exists():
        made = users.create(USER, by=BY, may=users.ADOPTED)
        return Account(USER, made.secret)
    return known_registry_user()


def known_registry_user() -> Account:
    """The oldest registry user; name "" if there is none."""
    name = RegistryUser.objects.order_by("pk").values_list("name", flat=True).first()
    return Account(name or "", "")


def _group(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
