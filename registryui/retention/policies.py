"""Retention policies: the only writer of RetentionPolicy. Each change is in the audit log.

    draft ──enable──► active ──disable, or a change of what it deletes──► draft

A draft runs nowhere and keeps nothing. So what runs by itself at night is always something that
an administrator enabled as it is.
"""

from __future__ import annotations

import logging
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from registryui import audit, schedules
from registryui.models import RetentionPolicy
from registryui.oci import patterns
from registryui.refused import Refused

from .decide import MOST_DAYS, Policy

log = logging.getLogger(__name__)

_NAME = re.compile(r"[\w][\w .:/()-]{0,63}\Z")
_MOST_KEPT = 1_000_000  # tags


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a form or a command asks for, as it was typed; None and 0: it does not keep by that."""

    name: str
    repositories: str
    tags: str = "*"
    keep_newest: int | None = None
    keep_pushed_days: int | None = None
    keep_pulled_days: int | None = None
    keep_tags: str = ""
    schedule: str = ""


# What it decides by; a change of any of these makes it a draft again.
_DECIDES = (
    *("repositories", "tags", "keep_newest", "keep_pushed_days", "keep_pulled_days", "keep_tags"),
)


def plain(row: RetentionPolicy) -> Policy:
    """The row as retention.decide takes it."""
    return Policy(
        row.name,
        row.repositories,
        row.tags,
        row.keep_newest,
        row.keep_pushed_days,
        row.keep_pulled_days,
        row.keep_tags,
    )


def facts(row: RetentionPolicy) -> dict[str, Any]:
    """For programs, the audit log and the report of a run."""
    return {**asdict(plain(row)), "schedule": row.schedule, "is_active": row.is_active}


def active() -> list[RetentionPolicy]:
    """Those that run, and keep, in the order of their names. One query."""
    return list(RetentionPolicy.objects.filter(is_active=True))


def add(wanted: Wanted, *, by: str) -> RetentionPolicy:
    """A new policy, as a draft. Raises Refused for what cannot be a policy."""
    row = RetentionPolicy(made_by=by[:255])
    _fill(row, _checked(wanted))
    _save(row, "retention.add", by)
    return row


def change(row: RetentionPolicy, wanted: Wanted, *, by: str) -> RetentionPolicy:
    """Another one in its place, and a draft again if it decides otherwise than before. Raises
    Refused, also if somebody removed it meanwhile."""
    checked = _checked(wanted)
    with transaction.atomic():
        row = _locked(row)
        before = facts(row)
        _fill(row, checked)
        if any(before[field] != getattr(row, field) for field in _DECIDES):
            row.is_active = False
        row.next_at = _next(row)
        _save(row, "retention.change", by, before=before)
    return row


@transaction.atomic
def remove(row: RetentionPolicy, *, by: str) -> None:
    """What it deleted stays deleted, and can be undone as before. Raises Refused."""
    row = _locked(row)
    audit.record("retention.remove", row.name, by=by, details=facts(row))
    row.delete()
    log.info("retention policy %s removed by %s", row.name, by)


@transaction.atomic
def set_active(row: RetentionPolicy, *, is_active: bool, by: str) -> RetentionPolicy:
    """Makes a draft run, or an active policy a draft. Raises Refused."""
    row = _locked(row)
    if row.is_active == is_active:
        return row
    if is_active:
        _check_it_keeps(row)
    row.is_active = is_active
    row.next_at = _next(row)
    _save(row, "retention.enable" if is_active else "retention.disable", by)
    return row


def claim(row: RetentionPolicy, now: datetime) -> bool:
    """Takes a run that is due, and sets the next one. False: another host took it, or the policy
    was changed meanwhile."""
    following = schedules.next_time(row.schedule, now)
    found = RetentionPolicy.objects.filter(pk=row.pk, is_active=True, next_at=row.next_at)
    return bool(found.update(next_at=following))


def due(now: datetime) -> list[RetentionPolicy]:
    """Active policies whose time has come, the longest waiting first."""
    return list(
        RetentionPolicy.objects.filter(is_active=True, next_at__lte=now).order_by("next_at")
    )


# -- what may be a policy ------------------------------------------------------------------------
def _checked(wanted: Wanted) -> Wanted:
    name = " ".join(wanted.name.split())
    if not _NAME.match(name):
        raise Refused(
            _(
                "Enter a policy name: up to 64 letters, digits, spaces and . _ : / ( ) "
                "-, starting with a letter or digit."
            )
        )
    checked = Wanted(
        name=name,
        repositories=_patterns(wanted.repositories, _("the repositories")),
        tags=_patterns(wanted.tags, _("the tags to delete")),
        keep_newest=_number(wanted.keep_newest, _MOST_KEPT),
        keep_pushed_days=_number(wanted.keep_pushed_days, MOST_DAYS),
        keep_pulled_days=_number(wanted.keep_pulled_days, MOST_DAYS),
        keep_tags=_patterns(wanted.keep_tags, _("the tags to keep"), may_be_empty=True),
        schedule=schedules.checked(wanted.schedule),
    )
    row = RetentionPolicy()
    _fill(row, checked)
    _check_it_keeps(row)
    return checked


def _check_it_keeps(row: RetentionPolicy) -> None:
    if plain(row).keeps_something:
        return
    raise Refused(
        _(
            "This policy keeps nothing and would delete every tag that it selects: set "
            "the number of newest tags, the days or the tags to keep. To delete all of "
            "them, delete them manually."
        )
    )


def _patterns(text: str, what: str, *, may_be_empty: bool = False) -> str:
    if may_be_empty and not text.strip(" ,\t\r\n"):
        return ""
    try:
        return " ".join(patterns.parse(text))
    except ValueError as error:
        raise Refused(
            _(
                "Enter one or more patterns for %(what)s, separated by spaces, at most "
                "%(most)d characters: letters, digits and . _ / -, and * for any text."
            )
            % {"what": what, "most": patterns.LIMIT}
        ) from error


def _number(value: int | None, most: int) -> int | None:
    """None for 0: keeping the newest 0 keeps nothing."""
    if not value:
        return None
    if not 0 < value <= most:
        raise Refused(_("Enter a number from 1 to %(most)d, or leave it empty.") % {"most": most})
    return value


# -- writing -------------------------------------------------------------------------------------
def _fill(row: RetentionPolicy, checked: Wanted) -> None:
    for field, value in asdict(checked).items():
        setattr(row, field, value)


def _next(row: RetentionPolicy) -> datetime | None:
    return schedules.next_time(row.schedule) if row.is_active and row.schedule else None


def _locked(row: RetentionPolicy) -> RetentionPolicy:
    found = RetentionPolicy.objects.select_for_update().filter(pk=row.pk).first()
    if found is None:
        raise Refused(_("This policy has been removed in the meantime."))
    return found


def _save(row: RetentionPolicy, act: str, by: str, *, before: dict[str, Any] | None = None) -> None:
    details = facts(row) | ({"before": before} if before else {})
    try:
        with transaction.atomic():
            row.save()
            audit.record(act, row.name, by=by, details=details)
    except IntegrityError as error:
        raise Refused(_("A policy with this name already exists.")) from error
    log.info("%s %s by %s", act, row.name, by)
