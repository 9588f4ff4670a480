"""What somebody does to the log behind our back shows. The triggers are taken away first, as
somebody who owns the database can."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from registryui import audit, doctor
from registryui.audit import chain, newest
from registryui.audit.chain import What
from registryui.audit.check import check
from registryui.doctor.checks import check_audit_log
from registryui.models import AuditEvent
from tests.selection import Extent

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
guard = import_module("registryui.migrations.0011_audit")
TABLE = "registryui_auditevent"


@pytest.fixture
def rows(
    tmp_path: Path, settings: Any, django_capture_on_commit_callbacks: Any
) -> list[AuditEvent]:
    """Ten rows, the newest of them noted, and no trigger."""
    settings.AUDIT_NOTE_FILE = tmp_path / "audit-newest"
    with django_capture_on_commit_callbacks(execute=True):
        made = [
            audit.record("tag.delete", f"a:{n}", by="operator:ada", details={"n": n})
            for n in range(10)
        ]
    back = guard.POSTGRESQL_BACK if connection.vendor == "postgresql" else guard.SQLITE_BACK
    for statement in back:
        run(statement)
    assert found() == [(0, What.UNGUARDED)]
    assert newest.read() == [(made[-1].pk, made[-1].hash)]
    return made


def run(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def found() -> list[tuple[int, str]]:
    return [(one.id, one.what) for one in chain.verify().flaws]


def flaws() -> list[tuple[int, str]]:
    return [one for one in found() if one != (0, What.UNGUARDED)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", timezone.now() - timedelta(seconds=1)),
        ("actor", "operator:mei"),
        ("address", "192.0.2.1"),
        ("act", "tag.restore"),
        ("target", "a:x"),
        ("result", "refused"),
        ("details", {"n": 4.5}),
        ("details", {}),
    ],
)
def test_a_changed_field_is_found(rows: list[AuditEvent], column: str, value: Any) -> None:
    AuditEvent.objects.filter(pk=rows[4].pk).update(**{column: value})
    assert flaws() == [(rows[4].pk, What.CHANGED)]


def test_a_changed_row_with_a_new_hash_breaks_the_chain_behind_it(rows: list[AuditEvent]) -> None:
    row = rows[4]
    row.actor = "operator:mei"
    row.hash = audit.hash_of(row)
    row.save()
    assert flaws() == [(rows[5].pk, What.BROKEN)]


def test_a_removed_row_is_found(rows: list[AuditEvent]) -> None:
    run(f"DELETE FROM {TABLE} WHERE id = %s", rows[4].pk)
    assert flaws() == [(rows[5].pk, What.BROKEN)]


def test_removed_first_rows_are_found(rows: list[AuditEvent]) -> None:
    run(f"DELETE FROM {TABLE} WHERE id <= %s", rows[2].pk)
    assert flaws() == [(rows[3].pk, What.BEGINNING)]


def test_an_inserted_row_is_found(rows: list[AuditEvent]) -> None:
    run(f"DELETE FROM {TABLE} WHERE id = %s", rows[4].pk)
    forged = rows[4]
    forged.target = "a:forged"
    forged.previous = rows[3].hash
    forged.hash = audit.hash_of(forged)
    forged.save(force_insert=True)
    assert flaws() == [(rows[5].pk, What.BROKEN)]


def test_swapped_rows_are_found(rows: list[AuditEvent]) -> None:
    run(f"UPDATE {TABLE} SET id = id + 1000 WHERE id = %s", rows[4].pk)
    run(f"UPDATE {TABLE} SET id = %s WHERE id = %s", rows[4].pk, rows[5].pk)
    run(f"UPDATE {TABLE} SET id = %s WHERE id = %s", rows[5].pk, rows[4].pk + 1000)
    assert [what for _row, what in flaws()] == [What.BROKEN] * 3


def test_a_cut_off_end_is_found(rows: list[AuditEvent]) -> None:
    run(f"DELETE FROM {TABLE} WHERE id > %s", rows[6].pk)
    assert flaws() == [(rows[9].pk, What.END)]


def test_a_cut_off_end_is_still_found_after_others_have_written(
    rows: list[AuditEvent], django_capture_on_commit_callbacks: Any
) -> None:
    run(f"DELETE FROM {TABLE} WHERE id > %s", rows[6].pk)
    with django_capture_on_commit_callbacks(execute=True):
        new = audit.record("tag.delete", "a:new", by="operator:ada")
    assert flaws() == [(rows[9].pk, What.END)]
    with django_capture_on_commit_callbacks(execute=True):
        new = audit.record("tag.delete", "a:newer", by="operator:ada")
    assert flaws() == [(rows[9].pk, What.END)]
    assert newest.read() == [(rows[9].pk, rows[9].hash), (new.pk, new.hash)]


def test_a_number_used_again_after_a_cut_is_found(
    rows: list[AuditEvent], django_capture_on_commit_callbacks: Any
) -> None:
    run(f"DELETE FROM {TABLE} WHERE id = %s", rows[9].pk)
    forged = AuditEvent(
        id=rows[9].pk, at=timezone.now(), actor="operator:mei", act="tag.delete", target="a:x",
        result="done", details={}, previous=rows[8].hash,
    )  # fmt: skip
    forged.hash = audit.hash_of(forged)
    forged.save(force_insert=True)
    assert flaws() == [(rows[9].pk, What.END)]
    with django_capture_on_commit_callbacks(execute=True):
        audit.record("tag.delete", "a:new", by="operator:ada")
    assert flaws() == [(rows[9].pk, What.END)]


def test_a_chain_that_was_reckoned_anew_is_found_by_the_note(rows: list[AuditEvent]) -> None:
    """Somebody changed a row and gave all later ones new hashes: the chain alone is whole."""
    previous = rows[3].hash
    rows[4].actor = "operator:mei"
    for row in rows[4:]:
        row.previous = previous
        row.hash = previous = audit.hash_of(row)
        row.save()
    assert flaws() == [(rows[9].pk, What.END)]


def test_all_rows_gone_is_found(rows: list[AuditEvent]) -> None:
    run(f"DELETE FROM {TABLE}")
    assert flaws() == [(rows[9].pk, What.END)]


def test_a_pruning_by_hand_of_recent_rows_is_found(rows: list[AuditEvent]) -> None:
    """With its row about it, as the rule asks, and nothing that the rule allows."""
    details = {
        "through": rows[4].pk,
        "hash": rows[4].hash,
        "before": timezone.now().isoformat(timespec="seconds"),
    }
    made = audit.record("audit.prune", "", by="schedule", details=details)
    run(f"DELETE FROM {TABLE} WHERE id <= %s", rows[4].pk)
    assert flaws() == [(made.pk, What.PRUNED)]


def test_a_note_of_garbage_harms_nobody(rows: list[AuditEvent], settings: Any) -> None:
    settings.AUDIT_NOTE_FILE.write_bytes(b"\xff\xfe garbage\n12\n-3 x\n" + b"9" * 30 + b" y\n")
    assert flaws() == [(12, What.END)]


@pytest.mark.parametrize("details", ["a", [], 5, {"through": "all"}, {"before": [1]}])
def test_strange_details_of_a_pruning_are_a_finding_not_a_failure(
    rows: list[AuditEvent], details: Any
) -> None:
    row = rows[9]
    row.act, row.details = "audit.prune", details
    row.hash = audit.hash_of(row)
    row.save()
    assert flaws() == [(row.pk, What.PRUNED), (row.pk, What.END)]


def test_many_flaws_are_counted_and_the_first_are_named(written: Callable[[int], None]) -> None:
    written(300)
    back = guard.POSTGRESQL_BACK if connection.vendor == "postgresql" else guard.SQLITE_BACK
    for statement in back:
        run(statement)
    AuditEvent.objects.update(actor="x")
    verdict = chain.verify()
    assert (verdict.count, len(verdict.flaws)) == (301, chain.SHOWN)


@pytest.fixture
def written() -> Callable[[int], None]:
    def write(count: int) -> None:
        audit.record_each("tag.delete", [f"a:{n}" for n in range(count)], by="operator:ada")

    return write


@pytest.mark.one_database
def test_verify_takes_the_same_memory_for_many_rows_as_for_few(
    written: Callable[[int], None], extent: Extent
) -> None:
    def peak() -> int:
        tracemalloc.start()
        try:
            assert chain.verify().is_complete
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    written(5_000)
    few = peak()
    written(extent(5_000, 45_000))
    assert peak() < few * 1.5


def test_the_doctor_raises_an_alarm_until_a_check_finds_the_log_intact(
    rows: list[AuditEvent],
) -> None:
    assert check_audit_log() is None  # never checked
    check(by="test")
    finding = check_audit_log()
    assert finding is not None
    assert (finding.state, finding.code) == ("bad", "audit-log-changed")
    words = doctor.texts(finding)
    assert "The audit log fails verification" in str(words)
    assert "Activity" in str(words)
    for statement in guard.POSTGRESQL if connection.vendor == "postgresql" else guard.SQLITE:
        run(statement)
    check(by="test")
    assert check_audit_log() is None
