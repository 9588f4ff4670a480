"""What only undo keeps, as the worker measures it for the page of garbage collection."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from registryui.index import sizes
from registryui.index.freed import only_for_undo
from registryui.models import Repository, StoreDay, Tag, TagTombstone
from tests.support import pushed
from tests.support.factories import make_tombstone

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
R = "team/app"
BASE = ("base", 1000)


def deleted(tag: str, image: pushed.Pushed, **fields: object) -> TagTombstone:
    """The tag is gone, and undo has it."""
    Tag.objects.filter(name=tag).delete()
    return make_tombstone(R, tag, digest=image.digest, **fields)


def undo_size() -> int:
    return only_for_undo(timezone.now())


def test_only_what_nothing_else_needs_counts() -> None:
    pushed.image(R, tags=["stays"], layers=[BASE, ("stays", 7)])
    gone = pushed.image(R, tags=["gone"], layers=[BASE, ("gone", 300)])
    assert undo_size() == 0
    row = deleted("gone", gone)
    assert undo_size() == 300  # base and config are needed by the other image
    deleted("again", gone)  # a second tag on it changes nothing
    assert undo_size() == 300
    other = pushed.image("other/app", tags=["1"], layers=[("gone", 300)])
    assert undo_size() == 0
    Tag.objects.filter(manifest__digest=other.digest).delete()  # it waits for garbage collection
    assert undo_size() == 0
    TagTombstone.objects.exclude(pk=row.pk).delete()
    row.restored_at = timezone.now()
    row.save()
    assert undo_size() == 0


def test_children_of_an_image_index_are_held_with_it() -> None:
    child = pushed.image(R, layers=[("child", 500)])
    index = pushed.image_index(R, [(child, "linux/amd64")], tags=["multi"])
    deleted("multi", index)
    assert undo_size() > 500
    pushed.image_index(R, [(child, "linux/amd64")], tags=["other"], annotations={"a": "b"})
    assert undo_size() == 0


def test_the_worker_measures_it_and_once_more_when_undo_ends() -> None:
    row = deleted("gone", pushed.image(R, tags=["gone"], layers=[("gone", 300)]))
    sizes.measure(by="tests")
    measured = sizes.newest()
    assert measured is not None
    assert measured.undo_size > 300
    now = timezone.now()
    StoreDay.objects.update(measured_at=now - timedelta(minutes=1), seconds=0)
    Repository.objects.update(changed_at=now - timedelta(hours=1))
    assert not sizes.is_due()
    TagTombstone.objects.filter(pk=row.pk).update(keep_until=now - timedelta(seconds=1))
    assert sizes.is_due()
