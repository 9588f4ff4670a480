"""What clients delete past the portal, with a real registry on a disk and on S3: it can be restored
with its digest, and garbage collection keeps it until then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as now
from django.utils import timezone

from registryui.deletion import execute, plan, purge, restore
from registryui.deletion.records import Selection
from registryui.index import events
from registryui.models import Manifest, Tag, TagTombstone
from registryui.registry import storages
from registryui.registry.choose import open_source
from registryui.registry.client import RegistryClient
from tests.support.events import event, receive
from tests.support.fake_source import digest_of
from tests.support.gc_runs import run_gc, use
from tests.support.other_digests import check, index, run_registry_gc
from tests.support.parts import free_port, running_registry, running_s3
from tests.support.pushing import what_is_missing
from tests.support.registries import Registry

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]
NAME = "team/app"
BASE, OWN = b"base" * 1000, b"own" * 1000


@pytest.fixture
def served(tmp_path: Path, settings: Any) -> Iterator[Registry]:
    with running_registry(tmp_path / "registry") as url:
        use(settings, tmp_path / "registry/store", url)
        settings.UNDO_DAYS = 7
        yield Registry(url, tmp_path / "registry/store")


@pytest.fixture
def on_s3(tmp_path: Path, settings: Any) -> Iterator[Registry]:
    port = free_port()
    with running_s3(port, "images") as (key, secret):
        use(settings, tmp_path, "")
        settings.UNDO_DAYS = 7
        settings.STORAGE, settings.STORAGE_REGION = "s3://images/deep", "us-east-1"
        settings.STORAGE_ENDPOINT = f"http://127.0.0.1:{port}"
        settings.STORAGE_KEY, settings.STORAGE_SECRET = key, secret
        storage = storages.of_settings()
        section = {storage.driver: storage.section, "delete": {"enabled": True}}
        sections = {"storage": {**section, "redirect": {"disable": True}}}
        with running_registry(tmp_path, settings=sections) as url:
            settings.REGISTRY_URL = url
            yield Registry(url, tmp_path)


def client_deletes(registry: Registry, digest: str, *tags: str) -> list[dict[str, Any]]:
    """DELETE by a client; the events of it, which are not told yet."""
    assert registry.delete(NAME, digest).status == 202
    at = timezone.now()
    return [
        event("delete", NAME, digest, at=at, media_type="", actor="robot"),
        *(event("delete", NAME, "", tag, at=at, media_type="", actor="robot") for tag in tags),
    ]


def learn(told: list[dict[str, Any]], way: str) -> None:
    receive(*told)
    with open_source(way) as source:
        events.apply_pending(source)


def restore_all() -> None:
    for row in restore.restorable():
        restore.restore(row, by="mika")


def end_of_undo() -> None:
    TagTombstone.objects.update(keep_until=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize("learned", ["events", "sync"])
@pytest.mark.parametrize("way", ["store", "http"])
def test_it_waits_for_undo_and_comes_back_with_its_digest(
    served: Registry, way: str, learned: str
) -> None:
    _comes_back(served, way, learned)


@pytest.mark.one_database
@pytest.mark.parametrize("learned", ["events", "sync"])
def test_the_same_on_s3(on_s3: Registry, learned: str) -> None:
    _comes_back(on_s3, "store", learned)


def _comes_back(registry: Registry, way: str, learned: str) -> None:
    digest = registry.push_image(NAME, "1", "latest", layers=[BASE, OWN])
    registry.push_image("other/app", "1", layers=[BASE])
    lonely = registry.push_blob(NAME, b"lonely")
    index(way)
    told = client_deletes(registry, digest, "1", "latest")
    run_gc()  # nobody has told yet, and nothing of it goes
    assert registry.ask("HEAD", f"/v2/{NAME}/blobs/{digest_of(OWN)}").status == 200
    if learned == "events":
        learn(told, way)
    else:
        index(way)
    assert {(row.tag, row.digest) for row in restore.restorable()} == {
        *(("1", digest), ("latest", digest)),
    }
    assert {row.by for row in restore.restorable()} == {"robot" if learned == "events" else ""}
    run_gc()
    run_gc()
    assert registry.ask("HEAD", f"/v2/{NAME}/blobs/{lonely}").status == 404
    restore_all()
    assert not restore.restorable().exists()
    for tag in ("1", "latest"):
        assert registry.get(NAME, tag).headers["docker-content-digest"] == digest
        assert what_is_missing(registry, NAME, tag) == ""
    assert set(Tag.objects.filter(repository__name=NAME).values_list("name", "problem")) == {
        *(("1", ""), ("latest", "")),
    }
    client_deletes(registry, digest)
    index(way)
    end_of_undo()
    index(way)
    run_gc()
    assert registry.ask("HEAD", f"/v2/{NAME}/blobs/{digest_of(OWN)}").status == 404
    assert what_is_missing(registry, "other/app", "1") == ""


@pytest.fixture
def multi(served: Registry) -> dict[str, str]:
    """An image index with two children, indexed."""
    found = {
        name: served.push_image(NAME, layers=[BASE, name.encode()], architecture=name)
        for name in ("amd64", "arm64")
    }
    children = [served.child(NAME, digest, architecture=name) for name, digest in found.items()]
    found["all"] = served.push_index(NAME, children, "all")
    index("store")
    return found


@pytest.mark.parametrize("learned", ["events", "sync"])
@pytest.mark.parametrize("gone", [("arm64",), ("all",), ("all", "amd64", "arm64")], ids=",".join)
def test_a_promised_undo_holds_whatever_of_it_a_client_deletes(
    served: Registry, multi: dict[str, str], gone: tuple[str, ...], learned: str
) -> None:
    wanted = Selection(NAME, ("all",))
    execute.execute(wanted, fingerprint=plan.plan(wanted).fingerprint, by="mika")
    told = [one for name in gone for one in client_deletes(served, multi[name])]
    if learned == "events":
        learn(told, "store")
    else:
        index("store")
    run_gc()
    run_gc()
    restore.restore(restore.restorable().get(tag="all"), by="mika")
    assert what_is_missing(served, NAME, "all") == ""
    assert served.get(NAME, "all").headers["docker-content-digest"] == multi["all"]
    assert Tag.objects.get().problem == ""
    assert Manifest.objects.filter(digest__in=multi.values()).count() == 3
    assert check() == []
    index("store")
    assert Tag.objects.get().problem == ""


@pytest.mark.parametrize("way", ["store", "http"])
def test_a_child_that_is_deleted_under_a_tag_shows_at_once_and_comes_back(
    served: Registry, multi: dict[str, str], way: str
) -> None:
    learn(client_deletes(served, multi["arm64"]), way)
    assert Tag.objects.get().problem == "incomplete"
    run_gc()
    restore_all()
    assert what_is_missing(served, NAME, "all") == ""
    assert Tag.objects.get().problem == ""


def test_what_was_pushed_and_deleted_before_anybody_looked_comes_back(served: Registry) -> None:
    served.push_image("other/app", "1", layers=[BASE])
    index("store")
    at = timezone.now()
    one = served.push_image(NAME, "1", layers=[BASE, b"one"])
    two = served.push_image(NAME, "1", layers=[BASE, OWN])
    told = [
        event("push", NAME, one, "1", at=at),
        event("push", NAME, two, "1", at=at + timedelta(milliseconds=1)),
        *client_deletes(served, two, "1"),
        *client_deletes(served, one),
    ]
    learn(told, "store")
    assert {(row.digest, row.how, row.by) for row in restore.restorable()} == {
        *((one, "overwritten", "ci"), (two, "deleted", "robot")),
    }
    run_gc()
    restore.restore(restore.restorable().get(digest=two), by="mika")
    assert what_is_missing(served, NAME, "1") == ""
    restore.restore(restore.restorable().get(digest=one), by="mika", expected=two)
    assert what_is_missing(served, NAME, "1") == ""
    assert served.get(NAME, "1").headers["docker-content-digest"] == one


def test_content_that_is_named_by_sha512_comes_back(served: Registry) -> None:
    digest = served.push_image(NAME, "1", layers=[BASE, OWN], algorithm="sha512")
    served.push_image("other/app", "1", layers=[BASE])
    index("store")
    learn(client_deletes(served, digest, "1"), "store")
    run_gc()
    restore_all()
    assert what_is_missing(served, NAME, "1") == ""
    assert check() == []


def test_a_purge_takes_no_layer_that_undo_needs(served: Registry) -> None:
    digest = served.push_image(NAME, "1", layers=[BASE, OWN])
    secret = served.push_image(NAME, "2", layers=[BASE, OWN, b"secret"])
    index("store")
    learn(client_deletes(served, digest, "1"), "store")
    purge.purge_manifest(NAME, secret, by="mika")
    assert served.ask("HEAD", f"/v2/{NAME}/blobs/{digest_of(b'secret')}").status == 404
    run_gc()
    restore_all()
    assert what_is_missing(served, NAME, "1") == ""


def test_the_registrys_own_collector_leaves_what_was_brought_back(
    served: Registry, multi: dict[str, str]
) -> None:
    told = [one for name in ("all", "arm64") for one in client_deletes(served, multi[name])]
    learn(told, "http")
    with RegistryClient(now.REGISTRY_URL) as client:
        restore.bring_back(client)
    run_registry_gc(served)
    restore.restore(restore.restorable().get(tag="all"), by="mika")
    assert what_is_missing(served, NAME, "all") == ""
