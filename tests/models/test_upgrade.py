"""From the tables of the version before to ours: each row keeps its values, under the new names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from registryui.models import Run
from registryui.views.activity import words

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

BEFORE = ("registryui", "0017_grants")
NOW = MigrationLoader(None).graph.leaf_nodes("registryui")[0]
TABLES = {"FormerTag": "TagTombstone", "RetentionRule": "RetentionPolicy"}
TAG = {"moved_at": "tagged_at", "moved_by": "tagged_by", "attached_to": "refers_to"}
COLUMNS = {
    "Tag": TAG,
    "FormerTag": TAG,
    "RetentionFate": {"moved_at": "tagged_at", "rule": "policy"},
    "RegistryUser": {"decision": "generation"},
    "Published": {"decision": "generation"},
}
# Columns that have come since, with what they are in rows of then.
ADDED: dict[str, dict[str, Any]] = {
    "Tag": {"expires_at": None, "label_expires_at": None},
    "Manifest": {"expires_after": None},
    "StoreDay": {"undo_size": 0},
}
RENAMED = import_module("registryui.migrations.0018_standard_words").RESULTS
# What a row of the audit log can say that it is; a row cannot be changed any more.
ACTS = {
    "audit": "export prune verify",
    "client": "delete delete_blob delete_manifest move push",
    "clock": "trust",
    "delete": "begin",
    "file": "publish restore",
    "hold": "off on",
    "line": "leave put_back take_over",
    "manifest": "delete delete_for_good restore",
    "operator": "create disable enable grant login logout password remove role",
    "page": "refuse",
    "protection": "add lift",
    "retention": "add change disable enable remove run",
    "store": "collect put_back remove_untagged",
    "sync": "start",
    "tag": "delete restore",
    "user": "adopt create describe disable enable expire password remove rights secret",
}


def migrate(to: tuple[str, str]) -> Any:
    executor = MigrationExecutor(connection)
    executor.migrate([to])
    return MigrationExecutor(connection).loader.project_state([to]).apps


@pytest.fixture
def before() -> Iterator[Any]:
    """The models of the version before, on its tables."""
    yield migrate(BEFORE)
    migrate(NOW)


def value(field: Any, number: int) -> Any:
    """One that the column takes, and that is no default."""
    match field:
        case models.BooleanField():
            return True
        case models.IntegerField():
            return number + 1
        case models.DateTimeField():
            return datetime(2026, 3, 1 + number % 28, 12, tzinfo=UTC)
        case models.DateField():
            return datetime(2026, 3, 1 + number % 28, tzinfo=UTC).date()
        case models.BinaryField():
            return bytes([number + 1])
        case models.JSONField():
            return {"number": number}
        case models.FloatField():
            return number + 0.5
    return (field.choices[0][0] if field.choices else "") or f"{number:02}"


def fill(before: Any) -> None:
    """A row in every table, a value in every column; first those that others point to."""
    left = {model for model in before.get_models() if model._meta.app_label == "registryui"}
    while left:
        for number, model in enumerate(sorted(left, key=lambda one: one.__name__)):
            columns = [one for one in model._meta.concrete_fields if not one.primary_key]
            if {one.related_model for one in columns} & (left - {model}):
                continue
            row = model()
            for place, column in enumerate(columns):
                if column.related_model is None:
                    setattr(row, column.name, value(column, number + place))
                elif column.related_model is not model:
                    setattr(row, column.name, column.related_model.objects.first())
            row.save()
            left.discard(model)


def rows(model: Any) -> list[dict[str, Any]]:
    found = list(model._default_manager.order_by("pk").values())
    return [
        {name: bytes(one) if isinstance(one, memoryview) else one for name, one in row.items()}
        for row in found
    ]


def test_every_row_of_every_table_is_there_under_the_new_names(before: Any) -> None:
    fill(before)
    wanted = {}
    for model in before.get_models():
        if model._meta.app_label == "registryui":
            new, added = COLUMNS.get(model.__name__, {}), ADDED.get(model.__name__, {})
            wanted[TABLES.get(model.__name__, model.__name__)] = [
                {new.get(name, name): one for name, one in row.items()} | added
                for row in rows(model)
            ]
    assert all(wanted.values())  # no table was empty
    migrate(NOW)
    # Tables that were added later have none of then.
    assert {name: rows(apps.get_model("registryui", name)) for name in wanted} == wanted


def test_reports_of_garbage_collections_keep_their_figures(before: Any) -> None:
    runs = before.get_model("registryui", "Run").objects
    figures = {old: place for place, old in enumerate(RENAMED)}
    one = runs.create(kind="collect", state="done", result={**figures, "freed_bytes": 7})
    other = runs.create(kind="sync", state="done", result={"waiting": 3})
    none = runs.create(kind="collect", state="failed")
    migrate(NOW)
    assert Run.objects.get(pk=one.pk).kind == Run.Kind.GC
    renamed = {RENAMED[old]: place for old, place in figures.items()}
    assert Run.objects.get(pk=one.pk).result == {**renamed, "freed_bytes": 7}
    assert Run.objects.get(pk=other.pk).result == {"waiting": 3}
    assert (Run.objects.get(pk=none.pk).kind, Run.objects.get(pk=none.pk).state) == ("gc", "failed")


def test_reports_of_retention_keep_their_policy(before: Any) -> None:
    runs, facts = before.get_model("registryui", "Run").objects, {"name": "nightly"}
    told = {"rule": facts, "rule_id": 3, "goes": 7}
    kept = [
        runs.create(kind=kind, state="done", result=told).pk for kind in ("retention", "dry_run")
    ]
    other = runs.create(kind="delete", state="done", result=told)
    migrate(NOW)
    for run in Run.objects.filter(pk__in=kept):
        assert run.result == {"policy": facts, "policy_id": 3, "goes": 7}
    assert Run.objects.get(pk=other.pk).result == told


def test_indexes_and_triggers_follow_the_columns(before: Any) -> None:
    """Only Django was told of the indexes: the database must have renamed their columns itself."""
    migrate(NOW)
    with connection.cursor() as cursor:
        for model in apps.get_app_config("registryui").get_models():
            table = model._meta.db_table
            there = connection.introspection.get_constraints(cursor, table)
            for index in model._meta.indexes:
                columns = [model._meta.get_field(name.lstrip("-")).column for name in index.fields]
                assert there[index.name]["columns"] == columns, index.name
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() UNION ALL"
                " SELECT prosrc FROM pg_proc WHERE pronamespace = current_schema()::regnamespace"
            )
        else:
            cursor.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        definitions = " ".join(sql for (sql,) in cursor.fetchall())
    old = {name for names in COLUMNS.values() for name in names} - {"rule"}
    assert [name for name in sorted(old) if name in definitions] == []


def test_each_act_in_a_log_of_before_has_words() -> None:
    acts = {f"{group}.{act}" for group, some in ACTS.items() for act in some.split()}
    assert {act for act in acts if not words.is_known(act)} == set()
