"""Tags that a push overwrote are noted for undo, and it costs nothing where none is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.index import ingest
from registryui.index.contents import TagUpdate
from registryui.index.fetch import TagProbe
from registryui.models import UNKNOWN, Repository, TagTombstone
from registryui.oci import throw_away
from tests.support.factories import digest_of, make_manifest, make_repository, make_tag

pytestmark = pytest.mark.django_db
R = "team/api"


@pytest.fixture
def repository() -> Repository:
    made = make_repository(R)
    for number in range(20):
        manifest = make_manifest(made, f"a{number}")
        make_tag(made, f"t{number}", manifest, tagged_at=UNKNOWN, tagged_by="ci")
        make_manifest(made, f"b{number}")
    return made


def digest(repository: Repository, key: str) -> str:
    return digest_of(f"{repository.name} {key}")


def move(repository: Repository, count: int, **updates: TagUpdate) -> list[str]:
    """Sets so many tags from a to b; the statements that it took."""
    probes = [
        TagProbe(f"t{n}", digest(repository, f"a{n}"), digest(repository, f"b{n}"))
        for n in range(count)
    ]
    with CaptureQueriesContext(connection) as caught:
        ingest.save(R, probes, [], updates=updates)
    return [one["sql"] for one in caught]


def test_each_is_noted_with_what_it_was_and_by_one_statement(repository: Repository) -> None:
    at = timezone.now() - timedelta(hours=1)
    statements = move(repository, 20, t3=TagUpdate(digest(repository, "b3"), at, "mika"))
    assert sum("registryui_tagtombstone" in one for one in statements) == 1
    rows = {row.tag: row for row in TagTombstone.objects.all()}
    assert len(rows) == 20
    assert {row.how for row in rows.values()} == {"overwritten"}
    row = rows["t3"]
    assert (row.digest, row.at, row.by, row.tagged_by) == (
        *(digest(repository, "a3"), at, "mika", "ci"),
    )
    assert row.keep_until == at + timedelta(days=7)
    assert rows["t4"].at > at


def test_nothing_is_asked_where_no_tag_moves(repository: Repository) -> None:
    probes = [
        TagProbe(f"t{n}", digest(repository, f"a{n}"), digest(repository, f"a{n}"))
        for n in range(9)
    ]
    probes.append(TagProbe("new", "", digest(repository, "b1")))
    with CaptureQueriesContext(connection) as caught:
        ingest.save(R, probes, [])
    assert not [one for one in caught if "formertag" in one["sql"]]
    assert not TagTombstone.objects.exists()


def test_what_happened_too_long_ago_is_not_noted(repository: Repository, settings: Any) -> None:
    settings.UNDO_DAYS = 2
    long_ago = timezone.now() - timedelta(days=3)
    move(repository, 1, t0=TagUpdate(digest(repository, "b0"), long_ago, "mika"))
    assert not TagTombstone.objects.exists()


def test_a_throw_away_leaves_no_note(repository: Repository) -> None:
    made = make_manifest(repository, "x", artifact_type=throw_away.ARTIFACT_TYPE)
    ingest.save(R, [TagProbe("t0", digest(repository, "a0"), made.digest)], [])
    ingest.save(R, [TagProbe("t0", made.digest, digest(repository, "b0"))], [])
    assert not TagTombstone.objects.exists()


def test_many_tags_go_with_as_many_statements_as_one(repository: Repository) -> None:
    def gone(*numbers: int) -> int:
        probes = [TagProbe(f"t{n}", digest(repository, f"a{n}"), "", is_gone=True) for n in numbers]
        with CaptureQueriesContext(connection) as caught:
            assert ingest.save(R, probes, []).removed == len(numbers)
        return len(caught)

    assert gone(0) == gone(*range(1, 15))
