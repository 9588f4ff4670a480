"""A store that another registry filled is used in place, and the old registry takes it back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registryui.oci import media_types
from registryui.registry import paths
from registryui.registry.client import RegistryClient
from tests.support.client_push import push
from tests.support.folders import open_folder
from tests.support.parts import running_registry
from tests.support.product import Product, free_port, product
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

REPOSITORIES = ("library/app", "library/base", "team/deep/api", "single")
TAGS = ("1", "2", "latest")


def fill(url: str) -> dict[str, dict[str, str]]:
    """Images of both formats and an image index; digest by repository and tag."""
    with RegistryClient(url) as client:
        for repository in REPOSITORIES:
            for tag in TAGS:
                push(client, repository, tag, nonce=f"{repository} {tag}")
        push(client, "single", "docker", media_type=media_types.DOCKER_MANIFEST, nonce="docker")
        listed = client.manifest("library/app", "1")
        assert listed is not None
        entry = {"mediaType": listed.media_type, "digest": listed.digest, "size": len(listed.raw)}
        index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [entry]}
        raw = json.dumps(index).encode()
        client.put_manifest("library/app", "multi", raw, media_types.OCI_INDEX)
    return digests(url)


def digests(url: str) -> dict[str, dict[str, str]]:
    """What a registry answers for every tag."""
    with RegistryClient(url) as client:
        return {
            name: {tag: str(client.resolve(name, tag)) for tag in client.tags(name)}
            for name in client.repositories()
        }


def leave_an_upload(store: Path) -> None:
    """As a client that was cut off just now leaves it. The registry itself removes old ones: each
    of its processes looks for some at a random minute of its first hour."""
    place = store / paths.uploads("library/app") / "0b9bd5d0-0000-4000-8000-000000000000"
    place.mkdir(parents=True)
    (place / "data").write_bytes(b"half of a layer")
    (place / "startedat").write_text(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def files(store: Path) -> dict[str, tuple[Any, ...]]:
    """Every file of a registry: its time, mode and content."""
    found = {}
    for path in sorted((store / "docker").rglob("*")):
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(store))] = (status.st_mtime_ns, status.st_mode, content)
    return found


def give(store: Path, user: str | int, group: str | int) -> None:
    """chown -R, as the sentence says."""
    shutil.chown(store, user, group)
    for path in store.rglob("*"):
        shutil.chown(path, user, group)


def indexed(one: Product) -> dict[str, dict[str, str]]:
    """What the pages show."""
    names = [row["repository"] for row in one.listed()]
    return {name: {row["tag"]: row["digest"] for row in one.listed(name)} for name in names}


def finding(one: Product, check: str) -> dict[str, Any]:
    found = json.loads(one.boathouse("doctor", "--json", check=False).stdout)
    return next(row for row in found["findings"] if row["name"] == check)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has stores of two owners")
def test_a_store_of_another_owner_is_looked_at_then_used_and_given_back() -> None:
    with open_folder("adopt") as place:
        old, store = place / "old", place / "old" / "store"
        with running_registry(old) as url:
            wanted = fill(url)
        leave_an_upload(store)
        give(store, 10_000, 10_000)  # Harbor's
        before = files(store)
        settings = {"BOATHOUSE_STORAGE": str(store)}
        with product(place / "data", "127.0.0.1", settings=settings) as one:
            said = (place / "data" / "log" / "boathouse.log").read_text()
            assert f"may not write {store}" in said
            assert f"chown -R boathouse: {store}; to give it back: chown -R 10000:10000" in said
            assert f"{store} contains images already" in said
            until(lambda: indexed(one) == wanted, "every digest is in the index")
            assert finding(one, "store")["code"] == "store-unwritten"
            accept = {"Accept": media_types.OCI_INDEX}
            pulled = one.ask("/v2/library/app/manifests/multi", headers=accept, as_user=True)
            assert pulled.status == 200, pulled.body
            assert pulled.headers["docker-content-digest"] == wanted["library/app"]["multi"]
            refused = one.ask("/v2/new/app/blobs/uploads/", method="POST", as_user=True)
            assert refused.status >= 500
            assert files(store) == before
            one.down()

            give(store, "boathouse", "boathouse")
            one.up()
            assert files(store) == before
            one.tag_again("library/app", "1", "pushed-here")
            wanted["library/app"]["pushed-here"] = wanted["library/app"]["1"]
            until(lambda: indexed(one) == wanted, "the push is in the index")
            assert finding(one, "store")["code"] == "store-ok"
            one.down()
        after = files(store)
        ours = {one.name for one in store.iterdir()} - {"docker"}
        assert ours <= {"boathouse", "boathouse-mirror", "boathouse-mirror.lock"}
        # The registry itself writes the link of a manifest again that is pushed again.
        assert {name: after[name][1:] for name in before} == {
            name: found[1:] for name, found in before.items()
        }
        give(store, 10_000, 10_000)
        with running_registry(old) as url:
            assert digests(url) == wanted


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it as another user")
def test_a_store_that_cannot_be_read_is_refused() -> None:
    with open_folder("adopt") as place:
        with running_registry(place / "old") as url:
            fill(url)
        store = place / "old" / "store"
        store.chmod(0o700)
        settings = {"BOATHOUSE_STORAGE": str(store)}
        one = Product(place / "data", "127.0.0.1", "127.0.0.1", free_port(), settings=settings)
        refused = one.boathouse("up", "--background", check=False)
        assert refused.returncode == 1
        assert f"The user boathouse may not read {store}. To change that" in refused.stderr
        assert f"to give it back: chown -R root:root {store}" in refused.stderr
