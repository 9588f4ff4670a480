"""When a tag expires: set for its digest, or by the label of its image, once labels count."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.index import expiry, ingest
from registryui.models import NEVER, Manifest, Mirror, Tag
from registryui.oci.expiry import LABEL
from tests.support import pushed

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

R = "team/app"
DAY = timedelta(days=1)


def labelled(after: str, **fields: Any) -> pushed.Pushed:
    return pushed.image(
        fields.pop("repository", R), config={"config": {"Labels": {LABEL: after}}}, **fields
    )


def tag(name: str) -> Tag:
    return Tag.objects.select_related("manifest", "repository").get(name=name)


def due() -> list[str]:
    return [row.name for found in expiry.due(timezone.now()) for row in found]


def test_a_label_counts_from_the_push_and_only_if_labels_count(settings: Any) -> None:
    labelled("2d", tags=["a"])
    labelled("soon", tags=["b"], layers=[("b", 5)])
    labelled("1h", tags=["c"], layers=[("c", 5)], at=None)
    assert tag("a").label_expires_at == pushed.AT + 2 * DAY
    assert (tag("b").label_expires_at, tag("c").label_expires_at) == (None, None)
    assert expiry.of(tag("a")) == expiry.Expiry(None, False, 172_800)
    assert expiry.of(tag("b")).label is None
    assert due() == []
    settings.EXPIRE_BY_LABEL = True
    assert expiry.of(tag("a")).at == pushed.AT + 2 * DAY
    assert due() == ["a"]


def test_a_push_starts_anew_and_what_was_set_is_for_its_digest(settings: Any) -> None:
    settings.EXPIRE_BY_LABEL = True
    image = labelled("2d", tags=["a"])
    later = timezone.now().replace(microsecond=0)
    assert expiry.put(tag("a"), later + DAY)
    labelled("2d", tags=["a"], at=later)  # the same digest
    assert expiry.of(tag("a")) == expiry.Expiry(later + DAY, True, 172_800)
    assert tag("a").label_expires_at == later + 2 * DAY
    labelled("1d", tags=["a"], at=later)
    assert expiry.of(tag("a")) == expiry.Expiry(later + DAY, False, 86_400)
    stale = tag("a")
    pushed.image(R, tags=["a"], at=later)
    assert not expiry.put(stale, later + DAY)
    assert expiry.of(tag("a")) == expiry.Expiry(None, False, None)
    assert image.row.expires_after == 172_800


def test_what_is_set_counts_before_the_label(settings: Any) -> None:
    settings.EXPIRE_BY_LABEL = True
    labelled("1h", tags=["a", "b"])
    assert due() == ["a", "b"]
    expiry.put(tag("a"), NEVER)
    expiry.put(tag("b"), timezone.now() + DAY)
    assert due() == []
    assert expiry.of(tag("a")) == expiry.Expiry(None, True, 3600)
    expiry.put(tag("a"), None)
    expiry.put(tag("b"), timezone.now() - DAY)
    assert due() == ["b", "a"]


def test_a_restored_tag_does_not_expire_by_its_label(settings: Any) -> None:
    settings.EXPIRE_BY_LABEL = True
    image = labelled("1h", tags=["a"])
    plain = pushed.image(R, tags=["b"])
    for name, one in (("c", image), ("d", plain)):
        stored = pushed.Stored(one.digest, one.media_type, bytes(one.row.raw))
        probe = pushed.TagProbe(name, "", one.digest, stored)
        update = ingest.TagUpdate(one.digest, pushed.AT, "vera", is_restored=True)
        ingest.save(R, [probe], [], updates={name: update})
    assert due() == ["a"]
    assert (tag("c").expires_at, tag("d").expires_at) == (NEVER, None)


def test_an_image_index_expires_with_the_last_of_its_images() -> None:
    attached = pushed.image(
        R, config={"os": "unknown", "architecture": "unknown"}, layers=[("x", 1)]
    )
    short, long = labelled("1h"), labelled("1d", architecture="arm64")
    images = [(short, "linux/amd64"), (long, "linux/arm64")]
    pushed.image_index(R, images, attestations=[(attached, short)], tags=["both"])
    pushed.image_index(R, [*images, (pushed.image(R), "linux/s390x")], tags=["some"])
    pushed.image_index(R, images, annotations={LABEL: "3w"}, tags=["own"])
    found = {name: tag(name).label_expires_at for name in ("both", "some", "own")}
    assert found == {"both": pushed.AT + DAY, "some": None, "own": pushed.AT + 21 * DAY}


def test_referrer_tags_damaged_ones_and_mirrors_are_not_due(settings: Any) -> None:
    settings.EXPIRE_BY_LABEL = True
    labelled("1h", tags=["a", f"sha256-{'0' * 64}.sig"])
    assert due() == ["a"]
    Tag.objects.update(problem=Tag.Problem.BROKEN)
    assert due() == []
    Tag.objects.update(problem="")
    Mirror.objects.create(name="team", url="https://hub.example")
    assert due() == []


def test_what_is_due_is_found_by_the_indexes_of_the_two_columns(settings: Any) -> None:
    settings.EXPIRE_BY_LABEL = True
    labelled("1h", tags=["a"])
    plans = [found.explain() for found in expiry.due(timezone.now())]
    if connection.vendor == "sqlite":
        assert "tag_expires" in plans[0]
        assert "tag_label_expires" in plans[1]
    with CaptureQueriesContext(connection) as captured:
        due()
    assert len(captured) == 3  # with the mirrors


def test_images_of_before_get_their_expiry_with_the_migration() -> None:
    short, long = labelled("1h", tags=["a"]), labelled("1d", architecture="arm64")
    pushed.image_index(R, [(short, "linux/amd64"), (long, "linux/arm64")], tags=["both"])
    pushed.image_index(R, [(short, ""), (pushed.image(R), "")], tags=["some"])
    before = set(Tag.objects.values_list("name", "label_expires_at"))
    seconds = set(Manifest.objects.values_list("digest", "expires_after"))
    Tag.objects.update(label_expires_at=None)
    Manifest.objects.update(expires_after=None)
    import_module("registryui.migrations.0027_expiry").read_labels(apps, None)
    assert set(Tag.objects.values_list("name", "label_expires_at")) == before
    assert set(Manifest.objects.values_list("digest", "expires_after")) == seconds
