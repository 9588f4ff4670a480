"""Operators: people who log in to the portal. The only writer of their rows, for page and command.

They have nothing to do with registry users, who are lines of the htpasswd file. Two rules hold
whoever asks: an active administrator must remain, and nobody takes away their own access.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from registryui.models import Operator, Role

from .refused import Refused

log = logging.getLogger(__name__)


def new_password() -> str:
    """A password nobody guesses: 144 random bits, 24 characters."""
    return secrets.token_urlsafe(18)


def add(name: str, *, role: Role, by: str, password: str = "") -> tuple[Operator, str]:
    """A new operator and the password to hand over (generated if none is given).

    Raises Refused for a name that is taken or odd, and for a password that is easy to guess.
    """
    name = Operator.normalize_username(name.strip())
    operator = Operator(username=name, role=role)
    try:
        operator.clean_fields(exclude=["password"])
    except ValidationError as error:
        raise Refused(" ".join(error.messages)) from error
    password = _checked(password, operator) if password else new_password()
    operator.set_password(password)
    with transaction.atomic():
        # Names that differ in case only would be one person to everybody but the database.
        if Operator.objects.filter(username__iexact=name).exists():
            raise Refused(_("There is an operator %(name)s already.") % {"name": name})
        operator.save(force_insert=True)
    log.info("operator %s added as %s by %s", name, role, by)
    return operator, password


def set_role(operator: Operator, role: Role, *, by: str) -> None:
    """Give another role. Raises Refused."""
    with _change(operator, by=by, takes_admin=role != Role.ADMIN) as row:
        row.role = role
        row.save(update_fields=["role"])
    log.info("operator %s is %s by %s", operator.username, role, by)


def set_active(operator: Operator, *, is_active: bool, by: str) -> None:
    """Switch on or off; sessions of one who is off end with their next request. Raises Refused."""
    with _change(operator, by=by, takes_admin=not is_active) as row:
        row.is_active = is_active
        row.save(update_fields=["is_active"])
    log.info("operator %s is %s by %s", operator.username, "on" if is_active else "off", by)


def set_password(operator: Operator, *, by: str, password: str = "") -> str:
    """A new password, generated if none is given; all sessions of the operator end with it.

    Raises Refused, also for one's own: that page asks for the old one.
    """
    if operator.username == by:
        raise Refused(_("Change your own password with “Change my password”."))
    password = _checked(password, operator) if password else new_password()
    operator.set_password(password)
    operator.save(update_fields=["password"])
    log.info("operator %s has a new password by %s", operator.username, by)
    return password


def remove(operator: Operator, *, by: str) -> None:
    """Forget an operator; what they did stays under their name. Raises Refused."""
    with _change(operator, by=by, takes_admin=True) as row:
        row.delete()
    log.info("operator %s removed by %s", operator.username, by)


@contextmanager
def _change(operator: Operator, *, by: str, takes_admin: bool) -> Iterator[Operator]:
    """The locked row of an operator, if `by` may change it so.

    All administrators are locked: two who switch each other off at once would else both succeed.
    """
    if operator.username == by and takes_admin:
        raise Refused(_("You cannot take away your own access. Ask another administrator."))
    with transaction.atomic():
        admins = set(
            Operator.objects.select_for_update()
            .filter(role=Role.ADMIN, is_active=True)
            .order_by("pk")
            .values_list("pk", flat=True)
        )
        if takes_admin and admins == {operator.pk}:
            raise Refused(
                _("%(name)s is the last active administrator: make another one first.")
                % {"name": operator.username}
            )
        try:
            row = Operator.objects.select_for_update().get(pk=operator.pk)
        except Operator.DoesNotExist as error:
            raise Refused(_("This operator has been removed already.")) from error
        yield row


def _checked(password: str, operator: Operator) -> str:
    try:
        validate_password(password, operator)
    except ValidationError as error:
        raise Refused(" ".join(error.messages)) from error
    return password
