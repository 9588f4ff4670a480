"""Who did what: one row for each act of an operator, a command or the schedule."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Max, Min, Q
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThanOrEqual, LessThan

from .actors import OPERATOR, POLICY, POLICY_OF_BEFORE


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def asked(
        self,
        *,
        actor: str = "",
        act: str = "",
        target: str = "",
        result: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AuditEventQuerySet:
        """Those that fit all that is given; in any order.

        actor: as stored, an operator's name alone, or a policy as it is named now. act:
        "tag.delete", or "tag" for all acts on tags. target: any part of it, in any case. until:
        not that moment itself.
        """
        rows = self
        if actor:
            names = [actor, f"{OPERATOR}{actor}"]
            if actor.startswith(POLICY):
                names.append(POLICY_OF_BEFORE + actor.removeprefix(POLICY))
            rows = rows.filter(actor__in=names)
        if act:
            rows = rows.filter(act=act) if "." in act else rows.filter(_beginning(act))
        if target:
            rows = rows.filter(target__icontains=target)
        if result:
            rows = rows.filter(result=result)
        if since:
            rows = rows.filter(at__gte=since)
        return rows.filter(at__lt=until) if until else rows

    def between(self, since: datetime | None, until: datetime | None) -> AuditEventQuerySet:
        """Those in that time, for reading them by their ids; costs a query for each end.

        The index of times would have all of them sorted first: 2 s for a year of 400,000. No row
        before the first one, nor behind the last one, can be meant, also if a clock was set back.
        """
        rows, every = self, AuditEvent.objects.all()
        if since:
            first = every.filter(at__gte=since).aggregate(id=Min("id"))["id"]
            late = GreaterThanOrEqual(_PLAIN_AT, since)
            rows = rows.filter(late, id__gte=first) if first else rows.none()
        if until:
            last = every.filter(at__lt=until).aggregate(id=Max("id"))["id"]
            rows = rows.filter(LessThan(_PLAIN_AT, until), id__lte=last) if last else rows.none()
        return rows


# The time, so that no index is tempted.
_PLAIN_AT = Coalesce(F("at"), F("at"), output_field=models.DateTimeField())


def _beginning(act: str) -> Q:
    return Q(act__gte=f"{act}.", act__lt=f"{act}/")  # "/" sorts after "."; an index finds it


class AuditEvent(models.Model):
    """Written by registryui/audit/, never changed. Each row carries the hash of the one before."""

    class Result(models.TextChoices):
        DONE = "done"
        REFUSED = "refused"  # a rule said no; nothing changed
        FAILED = "failed"  # it was tried and went wrong; `details` say how far it came

    at = models.DateTimeField()
    # "operator:vera", "command line", "schedule", "policy NAME"; "": nobody who is known
    actor = models.CharField(max_length=255)
    address = models.CharField(max_length=64, blank=True)  # of the person's machine, from a page
    act = models.CharField(max_length=64)  # "tag.delete", "user.create": object, then what was done
    target = models.CharField(max_length=512)  # "team/app:1.0", "team/app@sha256:…", a user's name
    result = models.CharField(max_length=16, choices=Result.choices)
    details = models.JSONField(default=dict)  # counts, digests, reasons; never a secret
    previous = models.CharField(max_length=64)  # hash of the row before; 64 zeros: there was none
    hash = models.CharField(max_length=64, unique=True)  # sha256, hexadecimal: audit/chain.py

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            # the page of activity, as it is filtered: newest first
            models.Index(fields=["actor", "-id"], name="audit_actor"),
            models.Index(fields=["act", "-id"], name="audit_act"),
            models.Index(fields=["target", "-id"], name="audit_target"),
            models.Index(fields=["at"], name="audit_at"),  # a day, and pruning
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.act} {self.target}"
