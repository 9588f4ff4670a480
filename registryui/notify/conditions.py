"""What is wrong: compares each round of the doctor with the ones before.

A state counts once two rounds in a row, a minute apart, are at least as bad; it ends when two are
better. So what a restart breaks for a moment is no message.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone, translation

from registryui import hosts
from registryui.doctor import Finding
from registryui.doctor.findings import STATES
from registryui.models import Condition, Receiver, here

from . import deliveries, messages

# Found in the tables, which all hosts share: one host speaks for all.
SHARED = frozenset(
    {
        "database",
        "hosts",
        "events",
        "index",
        "gc",
        "quotas",
        "retention",
        "backup",
        "integrity",
        "audit log",
    }
)


def note(findings: Sequence[Finding]) -> None:
    """Queues what began and what ended with this round. One query if nothing changed."""
    # Of the worker: it runs this. If the database is away, nothing else was checked.
    found = {one.name: one for one in findings if one.name != "worker"}
    if "database" in found and found["database"].state == "bad":
        return
    places = {here(), ""} if hosts.leads() else {here()}
    rows = {row.part: row for row in Condition.objects.filter(host__in=places)}
    for part in sorted(found.keys() | rows.keys()):
        host = "" if part in SHARED else here()
        finding = found.get(part) or Finding(part, "ok", "")
        if host in places and (part in rows or finding.state != "ok"):
            new = Condition(host=host, part=part, state="ok", newest="ok", since=timezone.now())
            _note(rows.get(part, new), finding)


@transaction.atomic
def _note(row: Condition, finding: Finding) -> None:
    better, worse = sorted((STATES.index(row.newest), STATES.index(finding.state)))
    before = STATES.index(row.state)
    now = max(better, min(before, worse))  # both are worse, or both better
    if (STATES[now], finding.state) != (row.state, row.newest):
        row.state, row.newest = STATES[now], finding.state
        if row.state == row.newest == "ok":
            if row.pk:
                row.delete()
        else:
            row.save()
    if now != before:
        _tell(row, finding, before, now)


def _tell(row: Condition, finding: Finding, before: int, now: int) -> None:
    key = f"condition-{uuid.uuid4().hex}"
    for receiver in Receiver.objects.filter(is_active=True).exclude(conditions=""):
        least = STATES.index(receiver.conditions)
        if now >= least and now > before:
            make = messages.started
        elif before >= least > now:
            make = messages.ended
        else:
            continue
        with translation.override(receiver.language):
            message = make(finding, host=hosts.name_here(), since=row.since, key=key)
        deliveries.queue(receiver, [message])
