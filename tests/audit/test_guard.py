"""The database refuses changes of the log, and lets rows go by the rule only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from registryui import audit
from registryui.audit import chain, prune
from registryui.models import AuditEvent

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
DAY = timedelta(days=1)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[AuditEvent]]:
    """Writes rows of that age in days, the oldest first."""

    def write(*days: float) -> list[AuditEvent]:
        rows = []
        for age in days:
            with monkeypatch.context() as patch:
                now = timezone.now() - age * DAY
                patch.setattr(timezone, "now", lambda now=now: now)
                rows.append(audit.record("tag.delete", f"a:{age}", by="operator:ada"))
        return rows

    return write


def refused(act: Callable[[], object]) -> bool:
    try:
        with transaction.atomic():
            act()
    except DatabaseError as error:
        return "append-only" in str(error)
    return False


def run(sql: str) -> Callable[[], object]:
    def act() -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    return act


def test_rows_cannot_be_changed(written: Any) -> None:
    (row,) = written(1)
    assert refused(lambda: AuditEvent.objects.update(actor="operator:mei"))
    assert refused(lambda: AuditEvent.objects.filter(pk=row.pk).update(result="failed"))
    assert refused(run("UPDATE registryui_auditevent SET target = 'x'"))
    row.target = "x"
    assert refused(row.save)


def test_rows_cannot_be_deleted_whatever_their_age(written: Any) -> None:
    rows = written(500, 1)
    assert refused(lambda: AuditEvent.objects.all().delete())
    assert refused(rows[0].delete)
    assert refused(run("DELETE FROM registryui_auditevent"))
    if connection.vendor == "postgresql":
        assert refused(run("TRUNCATE registryui_auditevent"))
    assert AuditEvent.objects.count() == 2


def test_also_after_a_pruning_recent_rows_and_later_ones_stay(written: Any) -> None:
    rows = written(500, 31, 29)
    audit.record("audit.prune", "", by="schedule", details={"through": rows[2].pk})
    assert refused(rows[2].delete)  # said to go, and too young
    assert not refused(lambda: AuditEvent.objects.filter(pk=rows[1].pk).delete())
    last = AuditEvent.objects.order_by("-id")[0]
    assert refused(last.delete)  # the pruning itself


def test_pruning_takes_what_is_old_and_leaves_a_chain_that_verifies(
    written: Any, settings: Any
) -> None:
    settings.AUDIT_DAYS = 100
    rows = written(500, 101, 99, 1)
    assert prune.prune() == 2
    left = list(AuditEvent.objects.order_by("id"))
    assert [row.pk for row in left[:2]] == [rows[2].pk, rows[3].pk]
    assert left[2].act == "audit.prune"
    assert left[2].details["rows"] == 2
    assert left[2].details["hash"] == rows[1].hash
    assert chain.verify().is_complete
    assert prune.prune() == 0  # nothing to do, and no row about nothing
    assert AuditEvent.objects.count() == 3


def test_a_pruning_that_was_killed_is_finished_by_the_next_one(
    written: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AUDIT_DAYS = 100
    rows = written(*range(300, 280, -1), 5)
    monkeypatch.setattr(prune, "_take_away", lambda: 0)  # dead before it took any away
    prune.prune()
    assert chain.verify().is_complete
    monkeypatch.undo()
    assert not refused(lambda: AuditEvent.objects.filter(pk=rows[0].pk).delete())
    assert chain.verify().is_complete
    assert prune.prune() == 19
    assert chain.verify().is_complete


def test_nothing_is_pruned_if_the_setting_is_0(written: Any, settings: Any) -> None:
    settings.AUDIT_DAYS = 0
    written(5000)
    assert prune.prune() == 0


def test_a_clock_that_was_wrong_prunes_no_recent_row(written: Any, settings: Any) -> None:
    """One row from the future stands first: what follows it is not at the beginning any more."""
    settings.AUDIT_DAYS = 100
    written(-3, 500, 1)
    assert prune.prune() == 0
    assert AuditEvent.objects.count() == 3


def test_the_guard_survives_all_migrations() -> None:
    assert chain.is_guarded()


def test_the_log_is_in_utc_whatever_the_zone_of_the_portal(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    row = audit.record("tag.delete", "a:1", by="operator:ada")
    assert abs(row.at - datetime.now(UTC)) < timedelta(minutes=1)
    assert chain.verify().is_complete
