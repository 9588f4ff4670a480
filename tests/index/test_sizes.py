"""What is measured equals what counting by hand gives, and is measured when it should be."""

import threading
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from registryui import tasks
from registryui.index import events, ingest, sizes
from registryui.models import (
    DailyActivity,
    Manifest,
    ManifestBlob,
    NamespaceSize,
    Repository,
    Run,
    StoreDay,
)
from tests.support import pushed
from tests.support.factories import make_event, make_manifest, make_repository, make_tag

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NAMES = ["a/x", "a/y", "b/x", "alone", "b/x/deep"]


def by_hand(names: list[str]) -> tuple[int, int]:
    """Size and own size of these repositories together."""
    held: dict[int, int] = {}
    others: set[int] = set()
    for edge in ManifestBlob.objects.select_related("blob", "repository"):
        if edge.repository.name in names:
            held[edge.blob_id] = edge.blob.size
        else:
            others.add(edge.blob_id)
    return sum(held.values()), sum(size for pk, size in held.items() if pk not in others)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.lists(st.integers(1, 9), max_size=4)), max_size=8)
)
def test_sizes_equal_those_counted_by_hand(images: list[tuple[str, list[int]]]) -> None:
    Repository.objects.all().delete()
    for number, (name, layers) in enumerate(images):
        row = Repository.objects.filter(name=name).first() or make_repository(name)
        make_manifest(row, f"image {number}", layers=layers)
    sizes.measure(by="test")
    for row in Repository.objects.all():
        assert row.own_size == by_hand([row.name])[1]
    namespaces = {row.namespace: (row.size, row.own_size) for row in NamespaceSize.objects.all()}
    wanted = {name.split("/")[0] for name, _layers in images if "/" in name}
    assert namespaces == {
        one: by_hand([name for name in NAMES if name.startswith(f"{one}/")]) for one in wanted
    }


def test_the_store_is_measured_and_a_namespace_that_went_away_is_forgotten() -> None:
    one = make_repository("team/a")
    make_tag(one, "1", make_manifest(one, layers=[100, 20]))
    make_tag(one, "2", make_manifest(one, "other", layers=[100]))
    run = sizes.measure(by="test")
    assert run is not None
    assert (run.state, run.result["changed"]) == (Run.State.DONE, 1)
    day = sizes.newest()
    assert day is not None
    assert (day.size, day.shared_size, day.named_size) == (120, 100, 220)
    assert (day.repositories, day.tags, day.manifests, day.blobs) == (1, 2, 2, 2)
    ingest.drop_repository("team/a")
    sizes.measure(by="test")
    assert StoreDay.objects.count() == 1
    assert not NamespaceSize.objects.exists()


def test_it_is_measured_again_only_when_something_changed_and_not_at_once() -> None:
    repository = make_repository()
    assert sizes.is_due()
    sizes.measure(by="test")
    assert not sizes.is_due()  # just now
    day = StoreDay.objects.get()

    def measured(ago: timedelta, seconds: float = 0) -> None:
        StoreDay.objects.filter(pk=day.pk).update(
            measured_at=timezone.now() - ago, seconds=seconds, day=timezone.now().date()
        )

    Repository.objects.update(changed_at=timezone.now() - timedelta(hours=5))
    measured(timedelta(minutes=10))
    assert not sizes.is_due()  # nothing changed
    Repository.objects.update(changed_at=timezone.now())
    assert sizes.is_due()
    measured(timedelta(minutes=10), seconds=100)
    assert not sizes.is_due()  # it takes long, so it is done seldom
    Repository.objects.update(changed_at=timezone.now() - timedelta(hours=5))
    measured(timedelta(minutes=10))
    repository.delete()
    assert sizes.is_due()  # one is gone
    StoreDay.objects.update(repositories=0, day=timezone.now().date() - timedelta(days=1))
    assert sizes.is_due()  # a new day begins


def test_two_do_not_measure_at_once() -> None:
    Run.objects.create(kind=Run.Kind.SIZES, heartbeat_at=timezone.now())
    assert sizes.measure(by="test") is None


def test_the_worker_measures_after_a_push() -> None:
    repository = make_repository()
    make_manifest(repository, layers=[7])
    tasks.measure_sizes.call_local()
    day = sizes.newest()
    assert day is not None
    assert day.size == 7
    tasks.measure_sizes.call_local()
    assert Run.objects.filter(kind=Run.Kind.SIZES).count() == 1


def test_the_last_push_of_many_is_measured_once_the_pause_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later: list[float] = []
    monkeypatch.setattr(tasks, "_measured_later", threading.Lock())
    monkeypatch.setattr(tasks.measure_sizes_later, "schedule", lambda *, delay: later.append(delay))
    repository = make_repository()
    tasks.measure_sizes.call_local()
    make_manifest(repository, layers=[7])
    ingest.refresh(repository)
    for _push in range(3):
        tasks.measure_sizes.call_local()
    assert len(later) == 1  # one waits, however many pushes come
    assert 0 < later[0] <= sizes.PAUSE.total_seconds()
    StoreDay.objects.update(measured_at=timezone.now() - timedelta(minutes=1))
    tasks.measure_sizes_later.call_local()
    found = sizes.newest()
    assert found is not None
    assert found.size == 7
    tasks.measure_sizes.call_local()
    assert len(later) == 2  # nobody waits any more, so the next one does
    tasks.measure_sizes_later.call_local()


def test_pulls_and_pushes_of_a_day_are_kept_for_the_store() -> None:
    for name in ("a/x", "a/y"):
        repository = make_repository(name)
        manifest = make_manifest(repository)
        make_tag(repository, "1", manifest)
        found = [
            make_event(name, tag="1", digest=manifest.digest),
            make_event(name, action="pull", tag="1", digest=manifest.digest),
            make_event(name, action="pull", tag="1", digest=manifest.digest),
        ]
        events._count({name: found}, None)
    assert list(StoreDay.objects.values_list("pulls", "pushes")) == [(4, 2)]
    assert DailyActivity.objects.count() == 2
    assert sizes.newest() is None  # counted, not measured


def test_what_an_image_index_lists_is_marked_whoever_comes_first() -> None:
    def listed() -> list[bool]:
        return list(Manifest.objects.order_by("digest").values_list("is_listed", flat=True))

    child = pushed.image("team/a")
    assert listed() == [False]
    index = pushed.image_index("team/a", [(child, "linux/amd64")], tags=["1"])
    assert child.row.is_listed
    assert not index.row.is_listed
    ingest.drop_manifest("team/a", index.digest)
    assert not child.row.is_listed
    pushed.image_index("team/b", [(child, "linux/amd64")], tags=["1"])
    assert not child.row.is_listed  # another repository's
    late = pushed.image("team/b")  # the same bytes: the digest that was listed before it came
    assert late.digest == child.digest
    assert late.row.is_listed
    Manifest.objects.update(is_listed=False)
    ingest.mark_listed(late.row.repository)
    assert late.row.is_listed
