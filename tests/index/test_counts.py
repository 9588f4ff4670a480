"""The numbers follow the repositories, whatever writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import transaction
from django.db.models import F

from registryui.index import counts
from registryui.index.counts import Counted
from registryui.models import CountChange, Repository
from tests.support import programs
from tests.support.factories import make_repository

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def counted_by_hand() -> Counted:
    rows = list(Repository.objects.values_list("tag_count", "manifest_count"))
    return Counted(len(rows), sum(tags for tags, _ in rows), sum(some for _, some in rows))


def test_an_empty_index_has_none() -> None:
    assert counts.of_store() == Counted()
    assert counts.by_namespace() == {}
    assert not counts.fold()


def test_each_change_counts_in_its_own_transaction() -> None:
    for number, name in enumerate(("team/a", "team/b/c", "alone", "other/d")):
        make_repository(name, tag_count=number, manifest_count=10 * number)
    assert counts.of_store() == Counted(4, 6, 60)
    assert counts.by_namespace() == {
        "": Counted(1, 2, 20),
        "team": Counted(2, 1, 10),
        "other": Counted(1, 3, 30),
    }
    Repository.objects.filter(namespace="team").update(tag_count=F("tag_count") + 5)
    Repository.objects.filter(name="alone").update(manifest_count=0)
    Repository.objects.filter(name="other/d").delete()
    assert counts.of_store() == counted_by_hand() == Counted(3, 13, 10)
    assert counts.by_namespace() == {"": Counted(1, 2, 0), "team": Counted(2, 11, 10)}


def test_what_is_rolled_back_does_not_count() -> None:
    make_repository("team/a", tag_count=3)
    with transaction.atomic():
        make_repository("team/b", tag_count=4)
        Repository.objects.filter(name="team/a").delete()
        transaction.set_rollback(True)
    assert counts.of_store() == Counted(1, 3, 0)


def test_a_change_of_something_else_leaves_no_row() -> None:
    make_repository("team/a")
    rows = CountChange.objects.count()
    Repository.objects.update(size=7, pushed_by="ada", tag_count=F("tag_count"))
    assert CountChange.objects.count() == rows


def test_many_changes_become_a_row_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "LOOSE", 10)
    for name in ("a/x", "b/x", "gone/x"):
        make_repository(name)
    assert not counts.fold()
    for _ in range(10):
        Repository.objects.update(tag_count=F("tag_count") + 1)
    Repository.objects.filter(name="gone/x").delete()
    before = counts.by_namespace()
    assert counts.fold()
    assert counts.by_namespace() == before == {"a": Counted(1, 10, 0), "b": Counted(1, 10, 0)}
    assert CountChange.objects.count() == 3
    assert counts.of_store() == counted_by_hand()
    assert not counts.fold()


def test_after_a_migration_all_is_counted_anew() -> None:
    """So a table that came with rows, or that a restored backup brought, is right after `up`."""
    make_repository("team/a", tag_count=3, manifest_count=4)
    CountChange.objects.create(namespace="team", repositories=9, tags=9, manifests=9)
    CountChange.objects.create(namespace="never", repositories=1, tags=1, manifests=1)
    call_command("migrate", verbosity=0)
    assert counts.by_namespace() == {"team": Counted(1, 3, 4)}


@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_between_many_writers_and_folds(tmp_path: Path) -> None:
    """Four that write, two that add up."""
    using = programs.environment(tmp_path)
    module = "tests.support.counter"
    acts = [["write", f"w{number}", "50"] for number in range(4)] + [["fold", "100"]] * 2
    for one in [programs.start(module, *act, using=using) for act in acts]:
        programs.said(one)
    found = json.loads(programs.said(programs.start(module, "tell", using=using)))
    assert found["counted"] == found["there"] == [4 + 4 * 40, 4 * 48 + 4 * 40, 0]
