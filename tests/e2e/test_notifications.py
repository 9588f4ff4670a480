"""What the real registry notifies of, which the tests of index/events.py make by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from registryui.index import events
from registryui.models import Manifest, Repository, Tag
from registryui.registry.client import RegistryClient
from tests.support.notifications import Sink, tag_of
from tests.support.parts import running_registry
from tests.support.registries import Registry
from tests.support.registry_habits import habits
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]

TOKEN = "Bearer of the tests"
BY = {"Authorization": "Basic Y2k6c2VjcmV0", "X-Forwarded-For": "192.0.2.7"}  # ci:secret


@pytest.fixture
def told(sink: tuple[Sink, str], tmp_path: Path) -> Iterator[tuple[Registry, Sink]]:
    """A registry whose requests come from "ci" at 192.0.2.7, and what it tells."""
    kept, url = sink
    notifications = {"url": url, "headers": {"Authorization": [TOKEN]}}
    with running_registry(tmp_path / "registry", notifications=notifications) as registry:
        yield Registry(registry, tmp_path / "registry" / "store", BY), kept


def apply(real: Registry, sink: Sink) -> None:
    """Takes all notifications in, twice and backwards: neither may matter."""
    for body in [*sink.bodies, *reversed(sink.bodies)]:
        events.receive(body)
    with RegistryClient(real.url) as client:
        events.apply_pending(client)


def test_a_push_tells_tag_digest_type_and_who(told: tuple[Registry, Sink]) -> None:
    real, sink = told
    digest = real.push_image("team/app", "1", "latest")
    until(lambda: len(sink.tags("push")) == 2, "both pushes were told")

    event = next(one for one in sink.events("push") if tag_of(one) == "1")
    assert sink.tokens == {TOKEN}
    assert event["target"]["digest"] == digest
    assert event["target"]["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert event["actor"]["name"] == "ci"
    assert event["request"]["addr"] == "192.0.2.7"
    assert event["request"]["method"] == "PUT"
    apply(real, sink)
    tags = Tag.objects.select_related("manifest").order_by("name")
    assert [(tag.name, tag.tagged_by, tag.manifest and tag.manifest.digest) for tag in tags] == [
        ("1", "ci", digest),
        ("latest", "ci", digest),
    ]


def test_a_head_is_told_as_a_pull_and_not_counted(told: tuple[Registry, Sink]) -> None:
    real, sink = told
    real.push_image("app", "1")
    real.get("app", "1", method="HEAD")
    real.get("app", "1")
    with RegistryClient(real.url) as client:
        client.manifest("app", "1")  # our own is nobody's pull either
    until(lambda: len(sink.events("pull")) >= 3, "all three were told")
    assert sorted(one["request"]["method"] for one in sink.events("pull")) == ["GET", "GET", "HEAD"]
    apply(real, sink)
    assert Repository.objects.get().pull_count == 1
    assert Manifest.objects.get().pulled_by == "ci"


def test_deleting_a_digest_tells_of_it_and_of_each_of_its_tags(
    told: tuple[Registry, Sink],
) -> None:
    real, sink = told
    digest = real.push_image("app", "1", "latest", layers=(b"goes",))
    real.push_image("app", "stays", layers=(b"stays",))
    until(lambda: len(sink.tags("push")) == 3, "all pushes were told")
    apply(real, sink)

    real.delete("app", digest)

    until(lambda: len(sink.events("delete")) == 3, "all three deletes were told")
    assert sorted(sink.tags("delete")) == ["1", "latest"]
    by_digest = [one for one in sink.events("delete") if not tag_of(one)]
    assert [one["target"]["digest"] for one in by_digest] == [digest]
    apply(real, sink)
    assert [tag.name for tag in Tag.objects.all()] == ["stays"]
    assert not Manifest.objects.filter(digest=digest).exists()


def test_deleting_a_tag_tells_of_that_tag_or_is_refused_and_not_told(
    told: tuple[Registry, Sink],
) -> None:
    real, sink = told
    digest = real.push_image("app", "1", "latest")
    until(lambda: len(sink.tags("push")) == 2, "both pushes were told")
    apply(real, sink)

    answer = real.delete("app", "1")

    left = ["latest"] if habits().deletes_tags else ["1", "latest"]
    if habits().deletes_tags:
        until(lambda: sink.events("delete"), "the delete was told")
    assert answer.status == (202 if habits().deletes_tags else 400)
    real.push_image("zoo", "1")  # what was told before has come when this has
    until(lambda: sink.events("push", "zoo"), "the next push was told")
    assert sink.tags("delete") == (["1"] if habits().deletes_tags else [])
    assert not any(one["target"].get("digest") for one in sink.events("delete"))
    apply(real, sink)
    tags = Tag.objects.filter(repository__name="app").order_by("name")
    assert [tag.name for tag in tags] == left
    assert Manifest.objects.filter(digest=digest, repository__name="app").exists()


def test_an_image_index_is_told_after_its_children_which_have_no_tag(
    told: tuple[Registry, Sink],
) -> None:
    real, sink = told
    children = [real.push_image("app", architecture=one) for one in ("amd64", "arm64")]
    entries = [real.child("app", one, architecture="amd64") for one in children]
    index = real.push_index("app", entries, "multi")
    until(lambda: sink.tags("push"), "the image index was told")
    manifests = [
        (one["target"]["digest"], tag_of(one))
        for one in sink.events("push")
        if "manifest" in one["target"]["mediaType"] or "index" in one["target"]["mediaType"]
    ]
    assert manifests == [(children[0], ""), (children[1], ""), (index, "multi")]
    apply(real, sink)
    assert Manifest.objects.count() == 3
    assert Tag.objects.get().problem == ""


def test_a_notification_that_was_refused_comes_again_with_the_same_id(
    told: tuple[Registry, Sink],
) -> None:
    real, sink = told
    sink.to_refuse = 2
    real.push_image("app", "1")
    until(lambda: sink.tags("push"), "it came in the end")
    ids = [event["id"] for body in sink.bodies for event in json.loads(body)["events"]]
    assert len(ids) == len(set(ids)) + 2
    apply(real, sink)
    assert Tag.objects.get().tagged_by == "ci"
