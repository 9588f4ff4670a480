"""The index of letters follows the tables, whoever writes them."""

import pytest
from django.db import connection, transaction
from django.db.utils import IntegrityError

from registryui.index import search
from registryui.index.conditions import names_like
from registryui.models import Repository, Tag
from tests.support.factories import make_repository, make_tag

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def _named(text: str) -> set[str]:
    named = names_like("tag", text, most=100)
    assert named is not None
    return set(Tag.objects.filter(named).values_list("name", flat=True))


def _repositories(text: str) -> set[str]:
    named = names_like("repository", text, most=100)
    assert named is not None
    return set(Repository.objects.filter(named).values_list("name", flat=True))


def test_rows_are_found_as_they_come_change_and_go() -> None:
    row = make_repository("team/harbour")
    Tag.objects.bulk_create(Tag(repository=row, name=name) for name in ("Release-1", "nightly"))
    assert _named("release") == {"Release-1"}
    assert _repositories("HARB") == {"team/harbour"}
    Tag.objects.filter(name="nightly").update(name="daily")
    assert (_named("nightly"), _named("daily")) == (set(), {"daily"})
    Tag.objects.filter(name="Release-1").update(size=5)
    assert _named("lease-1") == {"Release-1"}
    row.delete()
    assert (_named("daily"), _named("release"), _repositories("harbour")) == (set(), set(), set())


def test_what_is_rolled_back_is_not_found() -> None:
    row = make_repository("a/b")
    make_tag(row, "twice")
    with pytest.raises(IntegrityError), transaction.atomic():
        Tag.objects.bulk_create(Tag(repository=row, name=name) for name in ("other", "twice"))
    assert _named("other") == set()
    assert _named("twice") == {"twice"}


def test_short_texts_have_no_trigram() -> None:
    assert names_like("tag", "ab", most=1) is None


def test_what_keeps_the_letters_outlives_all_migrations() -> None:
    """A migration that copies a table on SQLite loses its triggers: see 0007_search_names."""
    tables, events = ("tag", "repository"), ("named", "gone", "renamed")
    wanted = {f"registryui_{table}_{event}" for table in tables for event in events}
    sql = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    if connection.vendor == "postgresql":
        wanted = {f"{table}_trigrams" for table in tables}
        sql = "SELECT indexname FROM pg_indexes"
    with connection.cursor() as cursor:
        cursor.execute(sql)
        assert wanted <= {name for (name,) in cursor.fetchall()}


def test_what_went_round_the_triggers_is_found_after_rebuilding() -> None:
    make_tag(make_repository("team/harbour"), "release")
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for table in ("tag", "repository"):
                names = f"registryui_{table}_names"
                cursor.execute(f"INSERT INTO {names}({names}) VALUES('delete-all')")
        assert _named("release") == set()
    search.rebuild()
    assert (_named("release"), _repositories("harbour")) == ({"release"}, {"team/harbour"})
