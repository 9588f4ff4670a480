"""What support/fake_source.py pretends, shown by a real registry, and what a sync makes of it.

Each habit is asked for in raw HTTP first; then the index, read through the product's own client,
has to say the same. What differs between versions is in tests/support/registry_habits.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registryui.index.sync import sync
from registryui.models import Manifest, Repository, Run, Tag
from registryui.registry.client import RegistryClient
from registryui.registry.errors import NotFound
from tests.oci.samples import signed_schema1
from tests.support.fake_source import IMAGE, INDEX, descriptor, encode
from tests.support.filled import DOCKER_TYPES, fill
from tests.support.registries import LIST, Registry
from tests.support.registry_habits import habits

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]

NOWHERE = "sha256:" + "0" * 64


@pytest.fixture
def client(real: Registry) -> Iterator[RegistryClient]:
    with RegistryClient(real.url) as made:
        yield made


def read(client: RegistryClient) -> Run:
    """One sync that has to reach its end."""
    run = sync(client, by="test")
    assert run is not None
    assert run.state == Run.State.DONE, run.log
    return run


def problems() -> dict[str, str]:
    """Problem of each tag in the index, by "repository:tag"."""
    return {str(tag): tag.problem for tag in Tag.objects.select_related("repository")}


def test_an_unknown_repository_is_a_404_name_unknown(
    real: Registry, client: RegistryClient
) -> None:
    answer = real.tags("nobody/here")
    assert (answer.status, answer.json()["errors"][0]["code"]) == (404, "NAME_UNKNOWN")
    with pytest.raises(NotFound):
        client.tags("nobody/here")


def test_an_emptied_repository_stays_in_the_catalogue_without_tags(
    real: Registry, client: RegistryClient
) -> None:
    digest = real.push_image("emptied", "1", "2")
    read(client)
    assert Repository.objects.get().tag_count == 2

    assert real.delete("emptied", digest).status == 202

    assert real.tags("emptied").json() == {"name": "emptied", "tags": habits().emptied}
    assert real.catalogue() == ["emptied"]
    assert client.tags("emptied") == []
    assert read(client).result["removed"] == 2
    assert Repository.objects.get().tag_count == 0


def test_deleting_a_digest_takes_all_its_tags_and_no_others(
    real: Registry, client: RegistryClient
) -> None:
    digest = real.push_image("app", "1", "1.0", "latest", layers=(b"one",))
    real.push_image("app", "2", layers=(b"two",))
    read(client)

    assert real.delete("app", digest).status == 202

    assert real.tags("app").json()["tags"] == ["2"]
    read(client)
    assert problems() == {"app:2": ""}


def test_deleting_by_tag_takes_that_tag_alone_or_is_refused(
    real: Registry, client: RegistryClient
) -> None:
    digest = real.push_image("app", "1", "latest")
    read(client)
    answer = real.delete("app", "1")
    if habits().deletes_tags:
        assert answer.status == 202
        left = {"app:latest": ""}
        assert real.delete("app", "nothing").json()["errors"][0]["code"] == "MANIFEST_UNKNOWN"
    else:
        assert (answer.status, answer.json()["errors"][0]["code"]) == (400, "DIGEST_INVALID")
        left = {"app:1": "", "app:latest": ""}
    assert {f"app:{tag}" for tag in real.tags("app").json()["tags"]} == left.keys()
    assert real.get("app", digest).status == 200
    read(client)
    assert problems() == left


def test_a_head_tells_the_digest_of_every_kind_when_all_types_are_accepted(
    real: Registry, client: RegistryClient
) -> None:
    image = real.push_image("app", "oci")
    docker = real.push_image("app", "docker", media_types=DOCKER_TYPES)
    index = real.push_index("app", [real.child("app", image, architecture="amd64")], "index")
    made = {"oci": image, "docker": docker, "index": index}
    for tag, digest in made.items():
        assert real.get("app", tag, method="HEAD").headers["docker-content-digest"] == digest
        assert client.resolve("app", tag) == digest
    assert real.get("app", "nothing", method="HEAD").status == 404
    assert client.resolve("app", "nothing") is None
    assert client.manifest("app", "nothing") is None
    assert client.blob("app", NOWHERE, limit=10) is None


def test_without_the_accepted_types_a_manifest_is_missing_or_another(real: Registry) -> None:
    real.push_image("app", "oci")
    docker = real.push_image("app", "docker", media_types=DOCKER_TYPES)
    entries = [real.child("app", docker, architecture="amd64")]
    real.push_index("app", entries, "list", mediaType=LIST)
    path = "/v2/app/manifests/"
    assert real.ask("GET", f"{path}oci").status == 404
    answer = real.ask("GET", f"{path}docker")
    listed = real.ask("GET", f"{path}list")
    if habits().knows_schema1:
        assert answer.headers["docker-content-digest"] != docker
        assert answer.json()["schemaVersion"] == listed.json()["schemaVersion"] == 1
    else:
        assert answer.headers["docker-content-digest"] == docker
        assert (listed.status, listed.json()["errors"][0]["code"]) == (400, "MANIFEST_INVALID")


def test_tags_have_pages_only_for_who_asks_for_them(real: Registry, client: RegistryClient) -> None:
    real.push_image("app", *"1234")
    whole = real.tags("app")
    assert (sorted(whole.json()["tags"]), whole.headers.get("link")) == (list("1234"), None)
    assert sorted(client.tags("app")) == list("1234")
    first = real.ask("GET", "/v2/app/tags/list?n=3")
    if habits().pages_tags:
        assert first.json()["tags"] == ["1", "2", "3"]
        assert first.headers["link"] == '</v2/app/tags/list?last=3&n=3>; rel="next"'
    else:
        assert (sorted(first.json()["tags"]), first.headers.get("link")) == (list("1234"), None)


def test_a_schema_1_image_in_the_store_is_read_or_shown_as_unreadable(
    real: Registry, client: RegistryClient
) -> None:
    """A store of 2.8 that 3 took over: 3 lists the tag, and has a 500 for its manifest."""
    layer = real.push_blob("old", b"layer")
    _, payload = signed_schema1("old", "1", [layer])
    real.put_into_store("old", "1", payload)
    assert real.tags("old").json()["tags"] == ["1"]
    assert real.get("old", "1").status == (200 if habits().knows_schema1 else 500)

    for _ in range(2):  # new, then known
        assert read(client).result["errors"] == 0
        assert problems() == {"old:1": "" if habits().knows_schema1 else "unreadable"}


def test_a_tag_whose_manifest_is_gone_is_listed_and_dangles_until_it_is_pushed_again(
    real: Registry, client: RegistryClient
) -> None:
    digest = real.push_image("app", "broken", layers=(b"broken",))
    real.push_image("app", "sound", layers=(b"sound",))
    (real.revision("app", digest) / "link").unlink()

    assert sorted(real.tags("app").json()["tags"]) == ["broken", "sound"]
    assert real.get("app", "broken").status == 404
    read(client)
    assert problems() == {"app:broken": "dangling", "app:sound": ""}

    real.push_image("app", "broken", layers=(b"broken",))
    read(client)
    assert problems() == {"app:broken": "", "app:sound": ""}


def test_a_tag_that_begins_to_dangle_after_it_was_read_is_seen(
    real: Registry, client: RegistryClient
) -> None:
    digest = real.push_image("app", "1")
    read(client)
    (real.revision("app", digest) / "link").unlink()
    read(client)
    assert problems() == {"app:1": "dangling"}


def test_damaged_bytes_of_one_manifest_stop_nothing(real: Registry, client: RegistryClient) -> None:
    damaged = real.push_image("app", "damaged", layers=(b"damaged",))
    real.push_image("app", "sound")
    real.push_image("zoo", "1")
    real.blob(damaged).write_bytes(b"\xff\x00 not a manifest")

    assert real.get("app", "damaged").status >= 400
    run = read(client)

    found = problems()
    assert found.pop("app:damaged", "unreadable") in ("unreadable", "dangling")
    assert found == {"app:sound": "", "zoo:1": ""}
    assert run.result["errors"] + run.result["problems"] > 0


def test_an_image_index_with_a_missing_child_is_refused(real: Registry) -> None:
    child = descriptor(IMAGE, b"{}", platform={"os": "linux", "architecture": "amd64"})
    raw = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]})
    answer = real.put("app", "index", raw, INDEX)
    assert answer.status == 400
    assert "unknown" in answer.json()["errors"][0]["message"]


def test_deleting_a_child_is_allowed_and_its_image_index_is_shown_as_incomplete(
    real: Registry, client: RegistryClient
) -> None:
    children = [real.push_image("app", architecture=one) for one in ("amd64", "arm64")]
    entries = [real.child("app", one, architecture="amd64") for one in children]
    raw = real.get("app", children[1]).body
    index = real.push_index("app", entries, "multi", "also")

    assert real.delete("app", children[1]).status == 202

    assert real.get("app", "multi").headers["docker-content-digest"] == index
    assert real.get("app", children[1]).status == 404
    read(client)
    assert problems() == {"app:also": "incomplete", "app:multi": "incomplete"}

    real.push("app", raw, IMAGE)
    read(client)
    assert problems() == {"app:also": "", "app:multi": ""}


def test_deleting_an_image_index_leaves_its_children(real: Registry) -> None:
    image = real.push_image("app")
    index = real.push_index("app", [real.child("app", image, architecture="amd64")], "multi")
    assert real.delete("app", index).status == 202
    assert real.get("app", image).status == 200


def test_the_catalogue_is_sorted_and_refuses_a_page_over_its_limit(
    real: Registry, client: RegistryClient
) -> None:
    for name in ("zoo", "a", "m/n", "m"):
        real.push_image(name, "1")
    assert real.catalogue() == sorted(real.catalogue())
    assert list(client.repositories()) == real.catalogue()
    assert real.ask("GET", "/v2/_catalog?n=1001").status == 400


def test_a_moved_tag_keeps_the_old_image_by_its_digest(
    real: Registry, client: RegistryClient
) -> None:
    old = real.push_image("app", "latest", layers=(b"old",))
    read(client)
    new = real.push_image("app", "latest", layers=(b"new",))
    assert real.get("app", old).status == 200
    assert read(client).result["moved"] == 1
    assert Manifest.objects.get(tags__name="latest").digest == new
    assert Manifest.objects.get(digest=old).untagged_at is not None


def test_a_repository_that_left_the_disk_leaves_the_index(
    real: Registry, client: RegistryClient
) -> None:
    real.push_image("stays", "1")
    real.push_image("goes", "1")
    read(client)
    folder = real.store / "docker/registry/v2/repositories/goes"
    folder.rename(real.store / "elsewhere")
    assert real.catalogue() == ["stays"]
    assert real.tags("goes").status == 404
    read(client)
    assert [row.name for row in Repository.objects.all()] == ["stays"]


@pytest.mark.parametrize(
    "name",
    [
        "one",
        "a/b/c/d/e/f/g/h",
        "a/manifests/b",
        "a/tags/list/x",
        "a/blobs/c",
        "x__y/z.z-z",
        "n" * 255,
    ],
)
def test_every_name_that_the_registry_takes_is_read(
    real: Registry, client: RegistryClient, name: str
) -> None:
    digest = real.push_image(name, "a.tag", "T_" + "x" * 126)
    read(client)
    tags = Tag.objects.select_related("manifest").filter(repository__name=name)
    assert [tag.manifest.digest for tag in tags if tag.manifest] == [digest] * 2


# -- a store with everything ---------------------------------------------------------------------


def test_everything_that_clients_leave_behind_is_read_and_shown_for_what_it_is(
    real: Registry, client: RegistryClient
) -> None:
    made = fill(real)

    run = read(client)

    assert run.result["errors"] == 0, run.log
    assert set(problems().values()) == {""}
    tags = Tag.objects.select_related("manifest", "repository").order_by("id")
    found = {str(tag): (tag.manifest.digest, tag.manifest.kind) for tag in tags if tag.manifest}
    assert found == made
    for tag in tags:  # the index says what the registry answers
        answer = real.get(tag.repository.name, tag.name)
        assert tag.manifest is not None
        assert tag.manifest.digest == answer.headers["docker-content-digest"]
        assert tag.manifest.media_type == answer.headers["content-type"]
        assert bytes(tag.manifest.raw) == answer.body
    attached = {tag.name for tag in tags if tag.refers_to}
    image = made["all/image:1"][0].replace(":", "-")
    assert attached == {image, f"{image}.sig", f"{image}.att", f"{image}.sbom"}
    assert Repository.objects.get(name="all/image").tag_count == 2
    sbom = Manifest.objects.get(subject_digest=made["all/image:1"][0], tags=None)
    assert sbom.artifact_type == "application/spdx+json"
    multi = Manifest.objects.get(tags__name="multi")
    assert [entry.platform for entry in multi.entries.all()][:2] == ["linux/amd64", "linux/arm64"]

    again = read(client).result
    assert (again["added"], again["moved"], again["removed"], again["manifests"]) == (0, 0, 0, 0)
