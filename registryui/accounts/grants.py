"""What an operator may grant to registry users: at most what an administrator allowed.

    administrator, command line, setup    everything, without limit, to every user
    maintainer                            to their own users, the granted rights and time
    viewer, or a disabled operator        nothing

Removing access (rights, time, the login) needs no grant. The services of this package check here
inside their transaction, so that it applies to each page and command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from registryui import audit
from registryui.models import OPERATOR, AuditEvent, Operator, Role
from registryui.refused import Refused

from . import rights


class Beyond(Refused):
    """An attempt to grant more than allowed; `details` are for the audit log."""

    def __init__(self, sentence: str, **details: Any) -> None:
        super().__init__(sentence)
        self.details = details


@dataclass(frozen=True, slots=True)
class Giver:
    """Who grants, and the limits."""

    pk: int = 0  # of the operator
    is_unlimited: bool = False
    may: rights.Rights = frozenset()
    longest: timedelta | None = None  # None: no limit

    def check_new(self, name: str, owner: Operator | None) -> None:
        """Beyond, unless the user is to be this operator's own."""
        self.check_own(name, owner.pk if owner else None)

    def check_own(self, name: str, owner_pk: int | None) -> None:
        """Beyond for a user of somebody else."""
        if not self.is_unlimited and owner_pk != self.pk:
            raise Beyond(
                _("%(name)s is not your user: only an administrator can do this.") % {"name": name},
                reason="not the owner",
            )

    def check(self, name: str, may: rights.Rights, expires_at: datetime) -> None:
        """Beyond, if a user with these rights until then has more than this operator may grant."""
        if self.is_unlimited:
            return
        if more := rights.beyond(may, self.may):
            raise Beyond(
                _(
                    "%(name)s would have more rights than you can grant: %(more)s. You can grant: "
                    "%(granted)s. Ask an administrator to do it, or to let you grant more."
                )
                % {"name": name, "more": words(more), "granted": words(self.may)},
                reason="more than granted",
                beyond=said(more),
            )
        if self.longest is not None and expires_at > timezone.now() + self.longest:
            raise Beyond(
                _(
                    "You can grant access for at most %(days)d days. Choose an earlier "
                    "expiry date for %(name)s first, or ask an administrator."
                )
                % {"days": self.longest.days, "name": name},
                reason="longer than granted",
                longest_days=self.longest.days,
            )


def of(operator: Operator) -> Giver:
    """What that operator may grant now."""
    if not operator.is_active or not operator.has_role(Role.MAINTAINER):
        return Giver(operator.pk)
    if operator.has_role(Role.ADMIN):
        return Giver(operator.pk, is_unlimited=True)
    may = frozenset(operator.grants.values_list("action", "scope"))
    days = operator.longest_days
    return Giver(operator.pk, False, may, None if days is None else timedelta(days=days))


def locked(by: str) -> Giver:
    """What `by` (Operator.actor, or the command line) may grant. In a transaction: whoever revokes
    a grant meanwhile waits for its end."""
    if not by.startswith(OPERATOR):
        return Giver(is_unlimited=True)
    rows = Operator.objects.select_for_update(no_key=True)
    operator = rows.filter(username=by.removeprefix(OPERATOR)).first()
    return of(operator) if operator else Giver()


@contextmanager
def recorded(act: str, names: Sequence[str], *, by: str) -> Iterator[None]:
    """Around a transaction: records attempts to grant more than allowed in the audit log."""
    try:
        yield
    except Beyond as error:
        refused = AuditEvent.Result.REFUSED
        audit.record_each(act, names, by=by, result=refused, details=error.details)
        raise


def only_administrators(act: str, names: Sequence[str], *, by: str) -> None:
    """Beyond, and a row in the audit log, for anybody else."""
    with recorded(act, names, by=by), transaction.atomic():
        if not locked(by).is_unlimited:
            raise Beyond(_("Only an administrator can do this."), reason="not an administrator")


def said(may: rights.Rights) -> list[str]:
    """Rights as the audit log has them: "pull team/*"."""
    return sorted(f"{action} {scope}" for action, scope in may)


def words(may: rights.Rights) -> str:
    """Rights on a line, for a sentence."""
    return ", ".join(said(may)) or _("nothing")
