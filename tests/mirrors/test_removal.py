"""A mirror that goes with its tags, on a real registry."""

from __future__ import annotations

import pytest

from registryui.deletion import protection
from registryui.mirrors import mirrors
from registryui.models import AuditEvent, Mirror, Tag, TagTombstone
from registryui.refused import Refused
from tests.support.deletion_pages import World

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
ADA = "operator:ada"


@pytest.fixture
def mirror(world: World) -> Mirror:
    """The namespace of a repository with two tags is a mirror."""
    world.push("1")
    world.push("2")
    world.sync()
    name = world.name.partition("/")[0]
    return Mirror.objects.create(name=name, url="https://quay.io")


def test_its_tags_are_deleted_and_can_be_restored(world: World, mirror: Mirror) -> None:
    assert mirrors.remove(mirror, by=ADA, content=mirrors.DELETE) == 2
    assert not Mirror.objects.exists()
    assert (world.now("1"), world.now("2")) == ("", "")
    assert TagTombstone.objects.filter(repository=world.name).count() == 2
    last = AuditEvent.objects.last()
    assert last is not None
    assert (last.act, last.details["tags_deleted"], last.details["tags_kept"]) == (
        "mirror.remove", 2, 0,
    )  # fmt: skip


def test_protected_tags_keep_it(world: World, mirror: Mirror) -> None:
    protection.add(world.name, "2", note="", by=ADA)
    with pytest.raises(Refused, match=r"1 tag in .* was not deleted"):
        mirrors.remove(mirror, by=ADA, content=mirrors.DELETE)
    assert not Mirror.objects.get().is_active
    assert list(Tag.objects.values_list("name", flat=True)) == ["2"]
    assert world.now("2")


def test_what_is_kept_can_be_pulled(world: World, mirror: Mirror) -> None:
    assert mirrors.remove(mirror, by=ADA, content=mirrors.KEEP) == 0
    assert world.now("1") == world.digests["1"]
    assert not TagTombstone.objects.exists()
