"""What a mirror need not keep is deleted, and nothing else; the store of the disk is real."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from registryui import tasks
from registryui.deletion import protection
from registryui.index import sizes
from registryui.index.sync import sync
from registryui.mirrors import keeping
from registryui.models import AuditEvent, Manifest, Mirror, Tag, TagTombstone
from registryui.refused import Refused
from registryui.registry import choose, paths
from registryui.registry.storages import of_settings
from tests.registry.places import Objects, running_bucket
from tests.support.fake_source import digest_of
from tests.support.mirrored import Here, M, mirror
from tests.support.small_objects import SmallObjects, small_in
from tests.support.stores import Small, done

pytestmark = pytest.mark.django_db

BASE = b"b" * 100_000


@pytest.fixture(scope="module")
def bucket() -> Iterator[Objects]:
    with running_bucket() as made:
        yield made


@pytest.fixture(params=["plain", "versions"])
def small_objects(
    request: pytest.FixtureRequest, bucket: Objects, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> SmallObjects:
    return small_in(bucket, settings, monkeypatch, has_versions=request.param == "versions")


@pytest.fixture
def row() -> Mirror:
    return mirror()


@pytest.fixture
def store(small: Small, row: Mirror) -> Here:
    return Here(small.root)


def index() -> None:
    """Makes the index as the store is, with sizes."""
    run = sync(choose.open_store(of_settings()), by="test")
    assert run is not None
    assert sizes.measure(by="test") is not None


def days(number: float) -> datetime:
    return timezone.now() - timedelta(days=number)


def aged(digest: str, number: float) -> None:
    """Last pulled so many days ago, and here even longer."""
    rows = Manifest.objects.filter(digest=digest)
    rows.update(pulled_at=days(number), seen_at=days(number + 1))
    rows.exclude(untagged_at=None).update(untagged_at=days(number + 1))
    Tag.objects.filter(manifest__digest=digest).update(
        pulled_at=days(number), tagged_at=days(number + 1)
    )


def tags(repository: str = M) -> set[str]:
    """As the store has them; the index has the same."""
    found = {link.name for link in choose.open_store(of_settings()).tag_links(repository)}
    assert found == set(
        Tag.objects.filter(repository__name=repository).values_list("name", flat=True)
    )
    return found


def changed(row: Mirror, **more: Any) -> Mirror:
    for name, value in more.items():
        setattr(row, name, value)
    row.save()
    return row


def test_what_nobody_pulled_for_so_long_goes_and_its_content_with_it(
    small: Small, store: Here, row: Mirror
) -> None:
    image = store.upstream.image
    old, fresh, never = image(BASE, b"old"), image(BASE, b"fresh"), image(b"never")
    store.image(M, old, "old", "other")
    store.image(M, fresh, "fresh")
    store.image(M, never, "never")
    small.image("team/app", "1", layers=(b"team",))
    index()
    aged(old, 31)
    aged(fresh, 29)
    aged(never, 400)
    Manifest.objects.filter(digest=never).update(seen_at=days(2))  # the index was built anew
    row = changed(row, keep_days=30)
    assert keeping.evict_all() == ["hub"]
    assert tags() == {"fresh", "never"}
    assert not TagTombstone.objects.exists()
    event = AuditEvent.objects.get(act="mirror.evict")
    assert (event.target, event.actor) == ("hub", "schedule")
    assert event.details == {"tags": 2, "digests": 0, "names": [f"{M}:old", f"{M}:other"]}
    assert keeping.evict_all() == []
    done()
    assert small.revisions(M) == {fresh, never}
    assert digest_of(BASE) in small.blobs()
    assert digest_of(b"old") not in small.blobs()
    assert tags("team/app") == {"1"}


def test_a_pull_of_a_platform_counts_for_its_image_index(
    small: Small, store: Here, row: Mirror
) -> None:
    child = store.upstream.image(b"child")
    image_index = store.upstream.image_index(child, store.upstream.image(b"absent"))
    store.manifest(M, image_index, "1")
    store.image(M, child)
    index()
    aged(image_index, 31)
    aged(child, 3)
    assert keeping.superfluous(changed(row, keep_days=30)) == []
    aged(child, 31)
    assert [one.digest for one in keeping.superfluous(row)] == [image_index]


def test_by_size_the_least_recently_pulled_go_and_shared_bytes_count_once(
    small: Small, store: Here, row: Mirror
) -> None:
    image = store.upstream.image
    digests = [image(BASE, b"%d" % number * 1000) for number in range(6)]
    for number, digest in enumerate(digests):
        store.image(f"{M}-{number % 2}", digest, f"v{number}")
    index()
    for number, digest in enumerate(digests):
        aged(digest, number + 1)
    row = changed(row, keep_bytes=110_000)
    assert {one.tags[0] for one in keeping.superfluous(changed(row, keep_bytes=110_000))} == set()
    assert {one.tags[0] for one in keeping.superfluous(changed(row, keep_bytes=104_000))} == {
        *("v5", "v4", "v3"),
    }
    # What was pulled just now stays, whatever the size.
    Manifest.objects.filter(digest=digests[5]).update(pulled_at=timezone.now())
    row = changed(row, keep_bytes=1)
    assert keeping.evict_all() == ["hub"]
    assert tags(f"{M}-1") == {"v5"}
    assert tags(f"{M}-0") == set()


def test_pinned_and_protected_tags_stay(small: Small, store: Here, row: Mirror) -> None:
    image = store.upstream.image
    for name in ("library/debian", "debian", "library/other"):
        for tag in ("12", "12.1", "11"):
            store.image(f"hub/{name}", image(name.encode(), tag.encode()), tag)
    index()
    for digest in Manifest.objects.values_list("digest", flat=True):
        aged(digest, 100)
    protection.add("hub/library/other", "11", note="", by="operator:vera")
    row = changed(row, keep_days=30, keep_bytes=1, pins="library/debian:12*\n", is_library=True)
    assert keeping.evict_all() == ["hub"]
    assert tags("hub/library/debian") == tags("hub/debian") == {"12", "12.1"}
    assert tags("hub/library/other") == {"11"}
    row = changed(row, is_library=False)
    keeping.evict_all()
    assert tags("hub/debian") == set()


def test_what_was_pulled_by_digest_alone_goes_too(small: Small, store: Here, row: Mirror) -> None:
    old, fresh = store.upstream.image(b"old"), store.upstream.image(b"fresh")
    for digest in (old, fresh):
        store.image(M, digest)
    index()
    aged(old, 31)
    aged(fresh, 1)
    changed(row, keep_days=30)
    assert keeping.evict_all() == ["hub"]
    assert AuditEvent.objects.get(act="mirror.evict").details["digests"] == 1
    done()
    assert small.revisions(M) == {fresh}
    assert keeping.evict_all() == []


def test_referrer_tags_go_with_their_image(small: Small, store: Here, row: Mirror) -> None:
    one, two, signature = (store.upstream.image(name) for name in (b"one", b"two", b"sig"))
    store.image(M, one, "1")
    store.image(M, two, "2")
    for digest in (one, two):
        store.image(M, signature, f"{digest.replace(':', '-')}.sig")
    index()
    aged(one, 31)
    aged(signature, 100)
    changed(row, keep_days=30)
    assert keeping.evict_all() == ["hub"]
    assert tags() == {"2", f"{two.replace(':', '-')}.sig"}
    assert AuditEvent.objects.get(act="mirror.evict").details["tags"] == 2


def test_a_tag_that_moved_since_stays(
    small: Small, store: Here, row: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = store.upstream.image(b"old"), store.upstream.image(b"new")
    store.image(M, old, "1", "2")
    index()
    aged(old, 31)
    changed(row, keep_days=30)
    store.image(M, new, "1")
    assert keeping.evict_all() == ["hub"]
    assert set(Tag.objects.values_list("name", flat=True)) == {"1"}
    index()
    assert tags() == {"1"}
    # The index has learned of the move in the very moment.
    aged(new, 31)
    save = keeping.ingest.save

    def moved_before(*arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        Tag.objects.update(manifest=Manifest.objects.get(digest=old))
        return save(*arguments, **options)

    monkeypatch.setattr(keeping.ingest, "save", moved_before)
    assert keeping.evict_all() == []
    assert (small.root / paths.tag_link(M, "1")).read_text() == new


def test_without_limits_nothing_is_read(row: Mirror, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert keeping.evict_all() == []
    changed(row, keep_bytes=10**9)
    with django_assert_num_queries(2):
        assert keeping.evict_all() == []


def test_a_store_that_cannot_be_written_loses_nothing(
    small: Small, store: Here, row: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.upstream.image(b"one")
    store.image(M, digest, "1")
    index()
    aged(digest, 31)
    changed(row, keep_days=30)

    def refused() -> Any:
        raise Refused("nothing can be written")

    monkeypatch.setattr(choose, "open_quarantine", refused)
    tasks.evict_from_mirrors.call_local()
    assert Tag.objects.count() == 1


@pytest.mark.one_database
@pytest.mark.usefixtures("extent")
def test_on_an_object_store_too(small_objects: SmallObjects, row: Mirror) -> None:
    old = small_objects.image(M, "1", "2", layers=(b"base", b"old"))
    small_objects.image(M, "new", layers=(b"base", b"new"))
    index()
    aged(old, 31)
    changed(row, keep_days=30)
    assert keeping.evict_all() == ["hub"]
    assert tags() == {"new"}
    done()
    assert digest_of(b"old") not in small_objects.blobs()
    assert digest_of(b"base") in small_objects.blobs()
