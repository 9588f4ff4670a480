"""A sync and an event that write the same repository at once: each thing is there once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from registryui.index import ingest
from registryui.index.contents import NewManifest
from registryui.models import Manifest
from registryui.oci import manifest as oci
from tests.support.fake_source import CONFIG, IMAGE, LAYER, descriptor, digest_of, encode
from tests.support.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


def image() -> NewManifest:
    config, layer = encode({"os": "linux", "architecture": "amd64"}), b"layer"
    raw = encode(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(CONFIG, config),
            "layers": [descriptor(LAYER, layer)],
        }
    )
    return NewManifest(digest_of(raw), IMAGE, raw, oci.parse_manifest(raw, IMAGE), config)


def test_the_second_writer_waits_and_adds_nothing_twice() -> None:
    ingest.save("team/app", [], [])
    if connection.vendor == "sqlite":  # whose transactions begin one after the other
        assert ingest.save("team/app", [], [image()]).manifests == 1
        assert ingest.save("team/app", [], [image()]).manifests == 0
        return

    def second() -> int:
        try:
            return ingest.save("team/app", [], [image()]).manifests
        finally:
            connection.close()

    def is_waiting() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(WAITING)
            return bool(cursor.fetchone()[0])

    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            assert ingest.save("team/app", [], [image()]).manifests == 1
            late = other.submit(second)
            until(lambda: is_waiting() or late.done(), "the second one waits")
        assert late.result() == 0
    assert Manifest.objects.count() == 1
