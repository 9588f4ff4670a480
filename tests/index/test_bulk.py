"""The first build and single changes write the same index: one store, both ways, every row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bench.store import MadeStore
from registryui.index import build, bulk, ingest, reading, reconcile
from registryui.index.progress import Result, State
from registryui.index.sync import sync
from registryui.models import Manifest, RegistryEvent, Repository, Run, Tag
from registryui.oci.expiry import LABEL
from registryui.registry import paths
from registryui.registry.errors import Unreachable
from registryui.registry.source import Store, TagLink
from tests.selection import Extent
from tests.support import made_files
from tests.support.fake_source import IMAGE, INDEX, descriptor, encode
from tests.support.index_rows import all_rows

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def store(extent: Extent) -> MadeStore:
    return MadeStore(extent(240, 900), repositories=extent(6, 12))


def state() -> State:
    return State(Run.objects.get_or_create(kind=Run.Kind.SYNC)[0], Result())


def build_all(store: Store) -> State:
    now = state()
    assert build.build(store, list(store.repositories()), now) == []
    return now


def ingest_all(store: Store) -> State:
    """One repository after the other, by the writer of single changes."""
    now = state()
    for name in store.repositories():
        ingest.save(name, [], [])
        reconcile.reconcile(store, name, reconcile.Known(""), now, full=False)
    return now


def forget() -> None:
    for name in list(Repository.objects.values_list("name", flat=True)):
        ingest.drop_repository(name)
    Run.objects.all().delete()


def compare(store: Store) -> None:
    built = build_all(store)
    bulk_rows = all_rows()
    forget()
    single = ingest_all(store)
    for table, rows in all_rows().items():
        assert bulk_rows[table] == rows, table
        assert rows, table
    for count in ("added", "manifests", "problems"):
        assert getattr(built.changes, count) == getattr(single.changes, count), count


def test_both_writers_make_the_same_rows(store: MadeStore) -> None:
    compare(store)
    kinds = set(Manifest.objects.values_list("kind", flat=True))
    assert kinds == {"image", "image index", "artifact"}
    assert Manifest.objects.filter(untagged_at__isnull=False).exists()
    assert Tag.objects.exclude(refers_to="").exists()


def test_what_events_told_of_pushes_is_written_by_both(store: MadeStore) -> None:
    name = next(iter(store.repositories()))
    made = store.records(name)
    for number, (tag, digest, at) in enumerate(made.tags[:40]):
        RegistryEvent.objects.create(
            event_id=str(number),
            action="push",
            repository=name,
            tag=tag,
            digest=digest if number % 2 else "sha256:" + "0" * 64,  # of an older push
            at=at,
            actor="ci",
        )
    compare(store)
    assert Tag.objects.filter(tagged_by="ci").count() == 20
    assert Manifest.objects.filter(pushed_by="ci").exists()


def test_what_is_odd_is_the_same_by_both(tmp_path: Path) -> None:
    """Broken links, lost and changed bytes, a child that is gone, nested image indexes."""
    files = made_files.write(tmp_path, 300, repositories=3)
    name = next(iter(files.records.repositories()))
    made = files.records.records(name)
    tagged = {tag: digest for tag, digest, _at in made.tags}
    images = [tag for tag, digest in tagged.items() if b'"layers"' in made.manifests[digest][0]]
    indexes = [tag for tag, digest in tagged.items() if b'"manifests"' in made.manifests[digest][0]]
    blob = {tag: files.path(paths.blob_data(digest)) for tag, digest in tagged.items()}
    files.path(paths.tag_link(name, images[0])).write_text("")
    blob[images[1]].unlink()
    blob[images[2]].write_bytes(b"other bytes")
    files.set_tag(name, "nowhere", "sha256:" + "0" * 64)
    child = json.loads(made.manifests[tagged[indexes[0]]][0])["manifests"][0]["digest"]
    files.path(paths.blob_data(child)).unlink()
    config = json.loads(made.manifests[tagged[images[3]]][0])["config"]["digest"]
    files.path(paths.blob_data(config)).unlink()
    inner = tagged[indexes[1]]
    listed = [descriptor(INDEX, made.manifests[inner][0])]
    nested = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
    stated = {"schemaVersion": 2, "annotations": {LABEL: "2w"}}
    expiring = encode({**stated, "mediaType": INDEX, "manifests": listed})
    of_expiring = [descriptor(INDEX, expiring)]
    around = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": of_expiring})
    for raw, tag in (
        (nested, "nested"),
        (expiring, "expiring"),
        (around, "around"),
        (b"no manifest", "words"),
        (b'{"schemaVersion": 2, "mediaType": "%s", "layers": 7}' % IMAGE.encode(), "shape"),
    ):
        files.put(name, tag, raw)
    files.age()
    compare(files.open())
    problems = dict(Tag.objects.exclude(problem="").values_list("name", "problem"))
    assert problems[images[0]] == problems[images[2]] == problems["words"] == "unreadable"
    assert problems[images[1]] == problems["nowhere"] == "dangling"
    assert problems[indexes[0]] == problems[images[3]] == "incomplete"
    assert Manifest.objects.get(tags__name="shape").kind == "unknown"
    expire = dict(Tag.objects.exclude(label_expires_at=None).values_list("name", "tagged_at"))
    assert expire.keys() == {"expiring", "around"}
    outer = Manifest.objects.get(tags__name="nested")
    assert outer.size == len(nested) + Manifest.objects.get(digest=inner).size


def test_a_large_repository_is_written_in_pieces_that_are_each_true(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "ATTEMPT", 20)
    monkeypatch.setattr(reading, "WEIGHT", 1)
    store = MadeStore(200, repositories=1)
    figures = []
    whole = bulk.write

    def write(pieces: Sequence[reading.Piece], begun: dict[str, bulk.Begun]) -> None:
        whole(pieces, begun)
        row = Repository.objects.get()
        figures.append((row.tag_count, row.manifest_count, row.stamp))
        assert row.tag_count == Tag.objects.filter(refers_to="").count()
        assert row.manifest_count == Manifest.objects.count()
        assert not Manifest.objects.filter(untagged_at=None, tags=None).exists()

    monkeypatch.setattr(bulk, "write", write)
    compare(store)
    assert len(figures) > 8
    assert [stamp for _tags, _manifests, stamp in figures[:-1]] == [""] * (len(figures) - 1)
    assert figures[-1][2]


def test_a_repository_that_an_event_wrote_into_is_left_to_reconcile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "ATTEMPT", 20)
    monkeypatch.setattr(reading, "WEIGHT", 1)
    store = MadeStore(200, repositories=1)
    (name,) = store.repositories()
    expected = state()
    build.build(store, [name], expected)
    wanted = all_rows()
    forget()
    whole = bulk.write

    def write(pieces: Sequence[reading.Piece], begun: dict[str, bulk.Begun]) -> None:
        whole(pieces, begun)
        if Tag.objects.count() == 60:  # a push that the build has not come to yet
            links = [link for link in store.tag_links(name) if link.name > max(names())]
            known = reconcile.Known("", {tag: (digest, "") for tag, digest in now().items()})
            one = reconcile.Known(known.stamp, known.tags)
            monkeypatch.setattr(store, "tag_links", lambda _name: [*present(), links[-1]])
            reconcile.reconcile(store, name, one, state(), full=False)
            monkeypatch.undo()
            monkeypatch.setattr(bulk, "write", whole)

    def names() -> list[str]:
        return list(Tag.objects.values_list("name", flat=True))

    def now() -> dict[str, str]:
        return dict(Tag.objects.values_list("name", "manifest__digest"))

    def present() -> list[TagLink]:
        have = set(names())
        return [link for link in MadeStore.tag_links(store, name) if link.name in have]

    Run.objects.all().delete()
    monkeypatch.setattr(bulk, "write", write)
    assert build.build(store, [name], state()) == [name]
    Run.objects.all().delete()
    assert sync(store, by="test") is not None
    assert all_rows() == wanted


def test_a_column_that_nobody_fills_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match=r"Tag\.repository has no default"):
        bulk._table(Tag, ("name",))


@pytest.mark.one_database  # COPY is in no log
def test_the_columns_of_every_table_are_all_written(store: MadeStore) -> None:
    """By their names in the statements: whatever the model has, its key apart."""
    with CaptureQueriesContext(connection) as captured:
        build_all(store)
    statements = [query["sql"] for query in captured]
    for model in (Repository, Tag, Manifest):
        table = f'INSERT INTO "{model._meta.db_table}"'
        (first, *_rest) = [text for text in statements if table in text]
        for column in model._meta.concrete_fields:
            assert column.name == "id" or f'"{column.column}"' in first


def test_a_store_that_does_not_answer_for_one_repository_stops_no_other(
    store: MadeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(store.repositories())

    def tag_links(name: str) -> list[TagLink]:
        if name == names[3]:
            raise Unreachable("no answer")
        return MadeStore.tag_links(store, name)

    monkeypatch.setattr(store, "tag_links", tag_links)
    now = build_all(store)
    assert now.result.errors == 1
    assert set(Repository.objects.values_list("name", flat=True)) == {*names} - {names[3]}


@pytest.mark.django_db(transaction=True)
def test_postgresql_knows_at_once_how_much_there_is() -> None:
    """SQLite does without: there it would write its whole file once more."""
    with CaptureQueriesContext(connection) as captured:
        build_all(MadeStore(100, repositories=45))
    asked = [one["sql"] for one in captured if one["sql"].startswith("VACUUM")]
    if connection.vendor == "sqlite":
        assert asked == []
        return
    assert len(asked) == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE relname = %s", [Tag._meta.db_table])
        assert cursor.fetchone()[0] == Tag.objects.count() == 100
