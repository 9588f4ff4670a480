"""Operators: people who log in to the portal. The only writer of their rows, for page and command.

Registry users are separate: lines of the htpasswd file. What a maintainer may grant to them is set
here and checked in accounts/grants.py. Two rules always apply: an active administrator must remain,
and nobody removes their own access. `by` is Operator.actor or "command line"; the audit log has
each action, also refused ones.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import timedelta
from importlib import import_module
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import audit
from registryui.models import AuditEvent, Grant, Operator, Role

from .database_state import while_unwritten
from .refused import Refused

log = logging.getLogger(__name__)

MOST_DAYS = 36500  # of a grant
_SKEW = timedelta(minutes=5)  # clock difference between hosts, not a future time


class Backend(ModelBackend):
    """Django's. A request gets an Operator of its own, of a row that is read again once anything
    was written."""

    def get_user(self, user_id: int) -> Operator | None:
        found = copy(while_unwritten(_row, user_id))
        return found if found and self.user_can_authenticate(found) else None


def _row(user_id: int) -> Operator | None:
    # To build the same query from a QuerySet takes ten times as long as to answer it.
    rows = Operator.objects.raw("SELECT * FROM registryui_operator WHERE id = %s", [user_id])
    return next(iter(rows), None)


def new_password() -> str:
    """A random password: 144 bits, 24 characters."""
    return secrets.token_urlsafe(18)


def add(name: str, *, role: Role, by: str, password: str = "") -> tuple[Operator, str]:
    """A new operator and the password (generated if none is given).

    A maintainer can grant nothing before `set_grant`. Raises Refused for a name that exists or is
    invalid, and for a password that is easy to guess.
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
        # People would confuse names that differ only in case.
        if Operator.objects.filter(username__iexact=name).exists():
            raise Refused(_("The operator %(name)s already exists.") % {"name": name})
        operator.save(force_insert=True)
        audit.record("operator.create", name, by=by, details={"role": role.value})
    log.info("operator %s added as %s by %s", name, role, by)
    return operator, password


# See offboarding.py: `registry_users` is the answer.
def set_role(operator: Operator, role: Role, *, by: str, registry_users: str = "") -> None:
    """Sets the role. Raises Refused."""
    details = {"role": role.value, "before": operator.role, **_answered(registry_users)}
    takes = role != Role.ADMIN
    with _change(operator, "operator.role", by=by, takes_admin=takes, details=details) as row:
        row.role = role
        row.save(update_fields=["role"])
    log.info("operator %s is %s by %s", operator.username, role, by)


def set_active(operator: Operator, *, is_active: bool, by: str, registry_users: str = "") -> None:
    """Enables or disables; sessions of a disabled operator end with the next request. Raises
    Refused."""
    act = "operator.enable" if is_active else "operator.disable"
    details = _answered(registry_users)
    with _change(operator, act, by=by, takes_admin=not is_active, details=details) as row:
        row.is_active = is_active
        row.save(update_fields=["is_active"])
    log.info("operator %s is %s by %s", operator.username, "on" if is_active else "off", by)


def set_grant(
    operator: Operator, may: Collection[tuple[str, str]], *, longest_days: int | None, by: str
) -> None:
    """What the operator may grant to registry users as a maintainer: these (action, scope), for at
    most so many days; None: no limit. Users who have more keep it. Raises Refused."""
    if longest_days is not None and not 0 < longest_days <= MOST_DAYS:
        raise Refused(
            _("A maintainer can grant access for 1 to %(most)d days, or without expiry.")
            % {"most": MOST_DAYS}
        )
    details = {
        "rights": sorted(f"{action} {scope}" for action, scope in may),
        "before": sorted(f"{one.action} {one.scope}" for one in operator.grants.all()),
        "longest_days": longest_days,
    }
    with _change(operator, "operator.grant", by=by, takes_admin=False, details=details) as row:
        row.grants.all().delete()
        Grant.objects.bulk_create(Grant(operator=row, action=a, scope=s) for a, s in set(may))
        row.longest_days = longest_days
        row.save(update_fields=["longest_days"])
    log.info("operator %s: another grant by %s", operator.username, by)


def set_password(operator: Operator, *, by: str, password: str = "") -> str:
    """A new password, generated if none is given; ends all sessions of the operator.

    Raises Refused, also for one's own, because changing that needs the old one.
    """
    if operator.actor == by:
        _record_refusal("operator.password", operator, by=by, reason="own password")
        raise Refused(_("Change your own password with “Change my password”."))
    password = _checked(password, operator) if password else new_password()
    _save_password(operator, password, by=by)
    log.info("operator %s has a new password by %s", operator.username, by)
    return password


def change_own_password(operator: Operator, password: str) -> None:
    """Changes one's own password, after the form has checked the old one; ends all other
    sessions."""
    _save_password(operator, password, by=operator.actor)
    log.info("operator %s has changed the own password", operator.username)


def record_wrong_password(operator: Operator) -> None:
    """The old password was wrong, in this operator's session."""
    failed = AuditEvent.Result.FAILED
    audit.record("operator.password", operator.username, by=operator.actor, result=failed)


@transaction.atomic
def _save_password(operator: Operator, password: str, *, by: str) -> None:
    operator.set_password(password)
    operator.save(update_fields=["password"])
    audit.record("operator.password", operator.username, by=by)


def remove(operator: Operator, *, by: str, registry_users: str = "") -> None:
    """Removes an operator; the audit log keeps the name. Raises Refused."""
    details = _answered(registry_users)
    with _change(operator, "operator.remove", by=by, takes_admin=True, details=details) as row:
        row.delete()
    log.info("operator %s removed by %s", operator.username, by)


@contextmanager
def _change(
    operator: Operator,
    act: str,
    *,
    by: str,
    takes_admin: bool,
    details: dict[str, Any] | None = None,
) -> Iterator[Operator]:
    """The locked row of an operator, if `by` may change it.

    All administrators are locked: otherwise two who disable each other at once would both succeed.
    """
    if operator.actor == by and takes_admin:
        _record_refusal(act, operator, by=by, reason="own access")
        raise Refused(_("You cannot remove your own access. Ask another administrator."))
    with transaction.atomic():
        admins = set(
            Operator.objects.select_for_update()
            .filter(role=Role.ADMIN, is_active=True)
            .order_by("pk")
            .values_list("pk", flat=True)
        )
        is_last = takes_admin and admins == {operator.pk}
        if not is_last:
            try:
                row = Operator.objects.select_for_update().get(pk=operator.pk)
            except Operator.DoesNotExist as error:
                raise Refused(_("This operator has already been removed.")) from error
            yield row
            audit.record(act, operator.username, by=by, details=details)
    if is_last:  # raised outside, or the rollback would remove the record
        _record_refusal(act, operator, by=by, reason="last administrator")
        raise Refused(
            _("%(name)s is the last active administrator: add another one first.")
            % {"name": operator.username}
        )


def _answered(registry_users: str) -> dict[str, Any]:
    return {"registry_users": registry_users} if registry_users else {}


def _record_refusal(act: str, operator: Operator, *, by: str, reason: str) -> None:
    refused = AuditEvent.Result.REFUSED
    audit.record(act, operator.username, by=by, result=refused, details={"reason": reason})


def _checked(password: str, operator: Operator) -> str:
    try:
        validate_password(password, operator)
    except ValidationError as error:
        raise Refused(" ".join(error.messages)) from error
    return password


# -- sessions ------------------------------------------------------------------------------------
def record_login(operator: Operator) -> None:
    """Records a login."""
    audit.record("operator.login", operator.username, by=operator.actor)


def record_logout(operator: Operator) -> None:
    """Records a logout; an expired session is none."""
    audit.record("operator.logout", operator.username, by=operator.actor)


def record_failed_login(typed: str, *, is_locked: bool, pause: timedelta) -> None:
    """Records a failed login.

    The name is not kept if no operator has it: people type passwords there. Guessed names, and
    attempts while locked out, are recorded once per `pause` and address. All attempts for an
    operator's name are recorded: five, then it is locked.
    """
    known = Operator.objects.filter(username=typed).exists() if "\0" not in typed else False
    target = typed if known else ""
    result = AuditEvent.Result.REFUSED if is_locked else AuditEvent.Result.FAILED
    if is_locked or not known:
        now = timezone.now()
        same = AuditEvent.objects.filter(
            act="operator.login",
            target=target,
            result=result,
            address=audit.address.get(),
            at__range=(now - pause, now),  # ignore rows of a clock that was ahead
        )
        if same.exists():
            return
    audit.record("operator.login", target, by="", result=result, details={"known": known})


def forget_times_to_come() -> None:
    """After a clock that was ahead has been set back: failed logins with a future time would lock
    an operator out until then, and sessions would last until then."""
    late = timezone.now() + _SKEW
    AccessAttempt.objects.filter(attempt_time__gt=late).delete()
    sessions = import_module(settings.SESSION_ENGINE).SessionStore.get_model_class()
    longest = timedelta(seconds=settings.SESSION_COOKIE_AGE)
    sessions.objects.filter(expire_date__gt=late + longest).delete()
