"""Pages of mirrored repositories: what was not pulled yet is said, and is no damage."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from registryui.models import Mirror
from tests.support import factories
from tests.support.mirrored import Here, M, mirror
from tests.support.stores import Small

pytestmark = pytest.mark.django_db

OTHER = "team/app"


@pytest.fixture
def vera(client: Client) -> Client:
    client.force_login(factories.make_operator())
    return client


@pytest.fixture
def store(small: Small) -> Here:
    """The same in a mirrored repository and in another one."""
    mirror()
    here = Here(small.root)
    arm64 = here.upstream.image(b"one" * 100, architecture="arm64")
    amd64 = here.upstream.image(b"two" * 100)
    index = here.upstream.image_index(amd64, arm64)
    for name in (M, OTHER):
        here.manifest(name, index, "sparse")
        here.image(name, arm64, "whole")
        here.manifest(name, here.upstream.image(b"three" * 100, b"four", number=1), "bare")
        here.image(name, here.upstream.image(b"five" * 99, b"six", number=2), "part", blobs=2)
    small.sync()
    return here


def words(client: Client, path: str) -> str:
    response = client.get(f"/repositories/{path}")
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def test_what_is_not_pulled_is_not_missing(vera: Client, store: Here) -> None:
    for path in ("", ":sparse", ":sparse?tab=entries"):
        found = words(vera, M + path)
        assert "not pulled yet" in found, path
        assert not re.search(r"\bmissing\b|Incomplete|Pulls fail", found), path
        assert "missing" in words(vera, OTHER + path), path
    # The platform that is there is shown first; the other one says what is to happen.
    assert "The image for" not in words(vera, f"{M}:sparse")
    told = words(vera, f"{M}:sparse?platform=linux/a0")
    assert "The image for linux/a0 has not been pulled yet." in told
    assert "The mirror fetches it from its upstream when a client pulls it." in told


def test_blobs_that_are_absent_are_counted_and_marked(vera: Client, store: Here) -> None:
    bare = words(vera, f"{M}:bare")
    assert "3 blobs of this image have not been pulled yet." in bare
    assert "is not available" not in bare
    assert bare.count("not pulled yet") == 2
    part = words(vera, f"{M}:part")
    assert "1 blob of this image has not been pulled yet." in part
    assert part.count("not pulled yet") == 1
    assert "not been pulled" not in words(vera, f"{M}:whole")
    assert "The config of this image is not available." in words(vera, f"{OTHER}:bare")


def test_search_finds_no_problem_in_it(vera: Client, store: Here) -> None:
    response = vera.get("/search", {"q": "is:broken"})
    assert response.status_code == 200
    found = response.content.decode()
    assert OTHER in found
    assert M not in found


def test_a_complete_image_asks_for_no_mirror(vera: Client, store: Here) -> None:
    for path in (":whole", ":part"):
        counts: dict[Any, int] = {}
        for name in (OTHER, M):
            vera.get(f"/repositories/{name}{path}")
            Mirror.objects.update(fresh_minutes=5)  # so that the page is rendered again
            with CaptureQueriesContext(connection) as queries:
                vera.get(f"/repositories/{name}{path}")
            assert not any('FROM "registryui_mirror"' in one["sql"] for one in queries), path
            counts[name] = len(queries)
        assert counts[M] == counts[OTHER]
