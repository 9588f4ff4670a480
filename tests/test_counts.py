"""One store: every page, command and figure counts the same tags, manifests and blobs in it, or
says what else it counts."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from django.test import Client

from registryui.backup.listing import write_links
from registryui.index import sizes
from registryui.integrity.check import check
from registryui.metrics import families
from registryui.models import Manifest, NamespaceSize, Role, Run
from registryui.registry.choose import open_store
from registryui.registry.storages import FILESYSTEM, Storage
from tests.support.commands import Command
from tests.support.pages import client_of, text
from tests.support.stores import Small, done

pytestmark = pytest.mark.django_db

TAGS, REFERRER_TAGS = 4, 2
STORED = 5  # manifests: one of the six in repositories is in two of them
LINKED = 6
LAYERS_AND_CONFIGS = 10


@pytest.fixture
def filled(small: Small) -> Small:
    """Shared layers, two tags on an image, an image in two repositories, signatures, a manifest
    without a tag; measured."""
    one = small.image("team/app", "1", "latest", layers=(b"base", b"one"))
    small.image("other/app", "1", layers=(b"base", b"one"))
    small.image("team/app", "2", layers=(b"base", b"two"))
    small.image("team/app", layers=(b"base", b"loose"))
    signature = f"sha256-{one.removeprefix('sha256:')}"
    small.image("team/app", f"{signature}.sig", layers=(b"signature",))
    small.image("team/app", f"{signature}.att", layers=(b"attestation",))
    small.sync()
    sizes.measure(by="tests")
    return small


@pytest.fixture
def client() -> Client:
    return client_of(Role.ADMIN)


def figure(pattern: str, page: str) -> list[int]:
    """The numbers in what the page says."""
    found = re.search(pattern, page)
    assert found, f"{pattern} in {page}"
    return [int(one.replace(",", "")) for one in found.groups()]


def gauges(metrics: Any) -> dict[str, float]:
    return {one.name: one.samples[0].value for one in metrics}


def test_all_of_them_agree(filled: Small, client: Client) -> None:
    run = done(dry_run=True)
    checked = check(by="tests", source="store")
    assert checked is not None
    assert checked.state == Run.State.DONE
    listing = write_links(
        open_store(Storage(FILESYSTEM, {}, str(filled.root))), io.StringIO(), lambda: None
    )

    tags = {
        "overview": figure(r"\btags (\d+)", text(client.get("/")))[0],
        "repositories": sum(row["tags"] for row in Command("list").facts()),
        "namespaces": sum(row.tag_count for row in NamespaceSize.objects.all()),
        "integrity": checked.result["tags"],
        "integrity page": figure(
            r"(\d+) tags checked", text(client.get(f"/maintenance/integrity/{checked.pk}"))
        )[0],
        "backup": listing.tags,
        "metrics": int(gauges(families.of_store())["boathouse_tags"]),
    }
    assert set(tags.values()) == {TAGS}, tags
    assert checked.result["referrer_tags"] == REFERRER_TAGS

    linked = {
        "overview": figure(r"manifests in repositories (\d+)", text(client.get("/")))[0],
        "metrics": int(gauges(families.of_store())["boathouse_manifests"]),
        "garbage collection": run.result["manifests"],
        "index": Manifest.objects.count(),
    }
    assert set(linked.values()) == {LINKED}, linked

    parts = {
        "overview": figure(r"layers and configs (\d+)", text(client.get("/")))[0],
        "storage": figure(r"layers and configs (\d+)", text(client.get("/storage")))[0],
        "metrics": int(gauges(families.of_sizes())["boathouse_blobs"]),
    }
    assert set(parts.values()) == {LAYERS_AND_CONFIGS}, parts

    report = text(client.get(f"/maintenance/gc/{run.pk}"))
    stored = {
        "report": figure(r"(\d+) blobs, of which (\d+) manifests", report),
        "garbage collection": [run.result["blobs"], run.result["manifest_blobs"]],
        "index": [LAYERS_AND_CONFIGS + STORED, STORED],
        "files": [len(filled.blobs()), STORED],
        "backup": [len(listing.blobs), STORED],
        "command": figure(
            r"(\d+) blobs, of which (\d+) manifests", Command("gc").said("--dry-run")
        ),
    }
    assert {tuple(one) for one in stored.values()} == {(LAYERS_AND_CONFIGS + STORED, STORED)}, (
        stored
    )
