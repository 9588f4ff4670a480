"""Content that manifests name by another digest than sha256: the registry stores it under its
sha256, and only links in the repository say which that is."""

from __future__ import annotations

import html
import json
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from registryui.deletion import execute, plan, purge, restore
from registryui.deletion.records import Selection
from registryui.gc import collector, registry_gc
from registryui.index import search
from registryui.index.sync import sync
from registryui.models import Blob, Manifest, Repository, Role, Tag
from registryui.refused import Refused
from registryui.registry import paths
from registryui.registry.choose import open_source
from tests.support.factories import make_operator
from tests.support.fake_source import IMAGE, descriptor, digest_of, encode
from tests.support.gc_runs import data_size, run_gc, use
from tests.support.other_digests import NAME, check, index, run_registry_gc
from tests.support.parts import running_registry
from tests.support.pushing import untag, what_is_missing
from tests.support.registries import Registry

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]
BASE = random.Random(1).randbytes(100_000)
OWN = random.Random(2).randbytes(30_000)


@pytest.fixture
def served(tmp_path: Path, settings: Any) -> Iterator[Registry]:
    with running_registry(tmp_path / "registry") as url:
        use(settings, tmp_path / "registry/store", url)
        yield Registry(url, tmp_path / "registry/store")


def push(real: Registry, algorithm: str = "sha512", *, tag: str = "1", own: bytes = OWN) -> str:
    return real.push_image(NAME, tag, layers=[BASE, own], algorithm=algorithm)


def push_index(real: Registry, algorithm: str = "sha512") -> str:
    """An image index whose child is named so. The registry knows a manifest by such a digest only
    if its bytes were uploaded as a blob."""
    child = real.push_image(NAME, layers=[BASE, b"child"], algorithm=algorithm)
    raw = real.get(NAME, child).body
    real.push_blob(NAME, raw, algorithm)
    platform = {"os": "linux", "architecture": "amd64"}
    return real.push_index(NAME, [descriptor(IMAGE, raw, algorithm, platform=platform)], "all")


def pages() -> Client:
    client = Client()
    client.force_login(make_operator("mika", Role.MAINTAINER))
    return client


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_the_registry_stores_by_sha256_and_links(served: Registry, algorithm: str) -> None:
    stored, named = digest_of(OWN), digest_of(OWN, algorithm)
    push(served, algorithm)
    links = [served.store / paths.layer_link(NAME, one) for one in (stored, named)]
    assert [link.read_text() for link in links] == [stored, stored]
    assert (served.store / paths.blob_data(stored)).read_bytes() == OWN
    assert not (served.store / paths.blob_data(named)).exists()
    place = f"/v2/{NAME}/blobs/{named}"
    for method in ("HEAD", "GET"):
        assert served.ask(method, place).headers["docker-content-digest"] == stored
    # A manifest has no other name than its sha256, but that of a blob.
    raw = served.get(NAME, "1").body
    assert served.put(NAME, digest_of(raw, algorithm), raw, IMAGE).status == 400
    assert served.get(NAME, digest_of(raw, algorithm)).status == 404
    child = descriptor(IMAGE, raw, algorithm)
    assert served.put(NAME, "all", _index_of(child), _INDEX).status == 400
    served.push_blob(NAME, raw, algorithm)
    assert served.get(NAME, digest_of(raw, algorithm)).body == raw
    assert served.put(NAME, "all", _index_of(child), _INDEX).status == 201
    # A mount by such a digest is granted, and is of no use.
    told = served.ask("POST", f"/v2/other/app/blobs/uploads/?mount={named}&from={NAME}")
    assert told.status == 201
    assert served.ask("HEAD", f"/v2/other/app/blobs/{named}").status == 404
    # Both links are needed to serve it.
    links[0].unlink()
    assert served.ask("GET", place).status == 500


_INDEX = "application/vnd.oci.image.index.v1+json"


def _index_of(child: dict[str, Any]) -> bytes:
    return encode({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [child]})


@pytest.mark.parametrize("way", ["store", "http", "event"])
def test_pages_and_search_know_them_by_either_name(served: Registry, way: str) -> None:
    digests = {"1": push(served), "all": push_index(served)}
    digests["plain"] = push(served, "sha256", tag="plain")
    index(way, *digests.items())
    assert set(Tag.objects.values_list("name", "problem")) == {(one, "") for one in digests}
    raw = served.get(NAME, "1").body
    config = json.loads(raw)["config"]["size"]
    tag = Tag.objects.get(name="1")
    assert tag.size == len(raw) + config + len(BASE) + len(OWN)
    # One blob, whatever it is called: these bytes are on the disk once.
    assert not Blob.objects.exclude(digest__startswith="sha256:").exists()
    assert Blob.objects.get(digest=digest_of(BASE)).manifest_count == 3
    raws = sum(len(raw) for raw in Manifest.objects.values_list("raw", flat=True))
    blobs = sum(Blob.objects.values_list("size", flat=True))
    assert Repository.objects.get().size == raws + blobs
    for named in (digest_of(OWN), digest_of(OWN, "sha512"), digest_of(OWN, "sha512")[:20]):
        hits = search.tags(search.conditions(search.parse(f"layer:{named}")), size=10)
        assert {one.name for one in hits.rows} == {"1", "plain"}, named
    client = pages()
    text = html.unescape(client.get(f"/repositories/{NAME}:1?tab=layers").content.decode())
    assert digest_of(OWN, "sha512").partition(":")[2][:12] in text
    assert "make 1" in text  # what the config says of the layer
    for digest in (digest_of(OWN), digest_of(OWN, "sha512")):
        page = client.get(f"/layers/{digest}")
        assert page.status_code == 200
        assert f"{NAME}" in page.content.decode()
    assert client.get(f"/repositories/{NAME}:all").status_code == 200
    with open_source("store") as source:
        run = sync(source, by="test", full=True)
        assert run is not None
        assert run.result["manifests"] == run.result["problems"] == 0


def test_an_image_and_an_image_index_stay_complete(served: Registry) -> None:
    push(served)
    push_index(served)
    push(served, "sha384", tag="384", own=b"384")
    lonely = served.push_blob(NAME, b"lonely", "sha512")
    index("store")
    assert run_gc(dry_run=True)["candidate_blobs"] == 1
    assert run_gc()["quarantined"] == 1
    assert run_gc()["quarantined"] == 0
    assert served.ask("HEAD", f"/v2/{NAME}/blobs/{lonely}").status == 404
    for tag in ("1", "all", "384"):
        assert what_is_missing(served, NAME, tag) == ""
    assert check() == check("http") == check(deep=True) == check("http", deep=True) == []
    assert collector.quarantined() == []


def delete(tag: str) -> None:
    wanted = Selection(NAME, (tag,))
    done = execute.execute(wanted, fingerprint=plan.plan(wanted).fingerprint, by="mika")
    assert [one.state for one in done.results] == ["deleted"]


def test_a_deleted_image_waits_for_undo_and_then_gives_its_bytes_back(
    served: Registry, settings: Any
) -> None:
    settings.UNDO_DAYS = 7
    push(served, tag="kept", own=b"kept")
    index("store")
    before = data_size(served.store)
    digest = push(served)
    push_index(served)
    index("store")
    delete("1")
    delete("all")
    run_gc()
    for tombstone in restore.restorable():
        restore.restore(tombstone, by="mika")
    assert [what_is_missing(served, NAME, tag) for tag in ("1", "all", "kept")] == ["", "", ""]
    assert served.get(NAME, "1").headers["docker-content-digest"] == digest
    assert check() == []

    delete("1")
    delete("all")
    restore.restorable().delete()
    run_gc()
    assert data_size(served.store) == before
    assert check() == []
    assert what_is_missing(served, NAME, "kept") == ""
    push(served)  # what left its links behind is uploaded again
    index("store")
    assert what_is_missing(served, NAME, "1") == ""


def test_what_was_quarantined_comes_back_when_it_is_needed(served: Registry, settings: Any) -> None:
    settings.QUARANTINE_TIME = timedelta(hours=1)
    digest = push(served)
    index("store")
    untag(served, NAME, "1")
    index("store")
    assert run_gc()["quarantined"] == 5  # its manifest, the throw-away's, config, layers
    # The registry refuses it now; a push that it checked before has written this meanwhile.
    for link in (paths.revision_link(NAME, digest), paths.tag_link(NAME, "1")):
        (served.store / link).parent.mkdir(parents=True, exist_ok=True)
        (served.store / link).write_text(digest)
    assert run_gc()["restored"] == 4
    assert what_is_missing(served, NAME, "1") == ""


@pytest.mark.parametrize("content", [None, b"", b"sha256:", digest_of(OWN, "sha512").encode()])
def test_a_link_that_says_nothing_keeps_all_that_the_repository_has(
    served: Registry, content: bytes | None
) -> None:
    """What a mount by such a digest leaves, too: the registry cannot serve the layer, and the bytes
    are there for whoever mends the link."""
    push(served)
    lonely = served.push_blob(NAME, b"lonely")
    other = served.push_blob("other/app", b"other")
    served.push_image("other/app", "1")
    index("store")
    link = served.store / paths.layer_link(NAME, digest_of(OWN, "sha512"))
    if content is None:
        link.unlink()
    else:
        link.write_bytes(content)
    result = run_gc()
    assert [name for name, _why in result["skipped_repositories"]] == [NAME]
    assert served.blob(digest_of(OWN)).exists()
    assert served.blob(lonely).exists()
    assert not served.blob(other).exists()
    assert [why for _name, _tag, why, _digest in check()] in (["layer-missing"], ["layer-damaged"])
    link.write_text(digest_of(OWN))
    run_gc()
    assert not served.blob(lonely).exists()
    assert what_is_missing(served, NAME, "1") == ""


def test_the_index_remembers_what_a_lost_link_said(served: Registry) -> None:
    push(served)
    index("store")
    for digest in (digest_of(OWN), digest_of(OWN, "sha512")):
        (served.store / paths.layer_link(NAME, digest)).unlink()
    run_gc()
    assert served.blob(digest_of(OWN)).exists()


@pytest.mark.parametrize("source", ["store", "http"])
def test_damage_is_found(served: Registry, source: str) -> None:
    push(served)
    index("store")
    data = served.blob(digest_of(OWN))
    named = digest_of(OWN, "sha512")
    data.write_bytes(OWN[:-1])
    assert check(source) == [[NAME, "1", "layer-size", named]]
    data.write_bytes(OWN[:-1] + b"x")
    assert check(source) == []
    assert check(source, deep=True) == [[NAME, "1", "layer-damaged", named]]
    assert check(source) == [[NAME, "1", "layer-damaged", named]]  # it is remembered
    data.unlink()
    assert check(source) == [[NAME, "1", "layer-missing", named]]
    data.write_bytes(OWN)
    assert check(source) == []
    if source == "store":
        (served.store / paths.layer_link(NAME, digest_of(OWN))).unlink()
        assert check(source) == [[NAME, "1", "layer-unlinked", named]]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_referrer_stays_with_its_subject_whatever_it_calls_it(
    served: Registry, algorithm: str
) -> None:
    push(served)
    subject = descriptor(IMAGE, served.get(NAME, "1").body, algorithm)
    config = served.push_blob(NAME, b"{}")
    layer = served.push_blob(NAME, b"signature")
    raw = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": layer, "size": 9}],
        "subject": subject,
    }
    digest = served.push(NAME, encode(raw), IMAGE)
    index("store")
    assert run_gc()["quarantined"] == 0
    assert what_is_missing(served, NAME, digest) == ""
    delete("1")
    restore.restorable().delete()
    run_gc()
    assert served.get(NAME, digest).status == 404


def test_a_purge_takes_both_links_and_no_blob_of_another_image(served: Registry) -> None:
    digest = push(served)
    push(served, "sha256", tag="other", own=b"other")
    index("store")
    purge.purge_manifest(NAME, digest, by="mika")
    for named in (digest_of(OWN), digest_of(OWN, "sha512")):
        assert served.ask("HEAD", f"/v2/{NAME}/blobs/{named}").status == 404
        assert not (served.store / paths.layer_link(NAME, named)).exists()
    assert what_is_missing(served, NAME, "other") == ""


def test_the_registrys_own_gc_is_not_to_be_run(served: Registry) -> None:
    """It believes that blobs are stored by the digests that manifests name."""
    push(served)
    with pytest.raises(Refused, match=NAME):
        registry_gc.delete_untagged(by="mika", dry_run=True)
    run_registry_gc(served)
    assert what_is_missing(served, NAME, "1") != ""
