"""The demo images, and that a real registry and the index take all of them."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from registryui.accounts import publish, users
from registryui.demo.images import DemoRepository, make_images
from registryui.demo.push import push, temporary_user
from registryui.index.sync import sync
from registryui.models import Manifest, RegistryUser, Repository, Run, Tag
from registryui.oci.config import pair_layers, parse_config
from registryui.oci.digest import sha256
from registryui.oci.manifest import parse_manifest
from registryui.oci.names import check_repository, check_tag
from registryui.registry.client import RegistryClient


@pytest.fixture(scope="module")
def images() -> list[DemoRepository]:
    return make_images()


def test_the_same_images_are_made_every_time(images: list[DemoRepository]) -> None:
    assert make_images() == images


def test_layers_are_the_same_bytes_on_every_machine(images: list[DemoRepository]) -> None:
    debian = next(one for one in images if one.name == "library/debian").made[0]
    assert debian.digest == (
        "sha256:f20148973e9ce6be9cadf7885a47fe900e0fc50870ec0d4fb7e278be3f26cdda"
    )


def test_the_store_grows_by_less_than_40_mb(images: list[DemoRepository]) -> None:
    stored = {
        sha256(blob): len(blob) for one in images for made in one.manifests() for blob in made.blobs
    }
    assert 20_000_000 < sum(stored.values()) < 40_000_000


def test_every_manifest_can_be_read_and_names_only_what_is_pushed_before(
    images: list[DemoRepository],
) -> None:
    kinds = set()
    for repository in images:
        check_repository(repository.name)
        have: set[str] = set()
        for made in repository.manifests():
            found = parse_manifest(made.raw, made.media_type)
            kinds.add(found.kind)
            have |= {sha256(blob) for blob in made.blobs}
            named = [found.config] if found.config else []
            assert {one.digest for one in (*named, *found.layers, *found.entries)} <= have
            assert not found.subject or found.subject in have
            have.add(made.digest)
            assert [check_tag(tag) for tag in made.tags] == list(made.tags)
    assert kinds == {"image", "image index", "artifact", "cache"}


def test_each_history_fits_its_layers(images: list[DemoRepository]) -> None:
    for made in (made for one in images for made in one.manifests()):
        found = parse_manifest(made.raw, made.media_type)
        if found.kind == "image":
            config = parse_config(made.blobs[0])
            pairs = pair_layers(config, len(found.layers))
            assert len(pairs) == len(config.history)
            assert len(config.diff_ids) == len(found.layers)


@pytest.mark.django_db
def test_a_real_registry_takes_them_and_the_index_has_no_problems(
    registry: str, images: list[DemoRepository]
) -> None:
    with RegistryClient(registry) as client:
        pushed = list(push(client, images))
        assert not any(one.was_there for one in pushed)
        assert all(one.was_there for one in push(client, images))
        run = sync(client, by="test")

    assert run is not None
    assert run.state == Run.State.DONE
    assert run.result["errors"] == run.result["problems"] == 0
    names = [one.name for one in images]
    assert Repository.objects.filter(name__in=names).count() == len(names)
    tags = Tag.objects.filter(repository__name__in=names)
    assert {(str(tag.repository), tag.name) for tag in tags} == {
        (one.repository, one.tag) for one in pushed
    }
    assert not tags.exclude(problem="").exists()
    made = {(one.name, made.digest) for one in images for made in one.manifests()}
    assert Manifest.objects.filter(repository__name__in=names).count() == len(made)


@pytest.mark.django_db
def test_the_temporary_user_is_gone_afterwards_even_after_an_error(files: Path) -> None:
    (files / "htpasswd").write_text("docker:{SSHA}x\n")

    def fail() -> None:
        with temporary_user() as (name, secret):
            assert list(publish.lines()) == ["docker", name]
            assert (name, len(secret)) == ("demo", 40)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(publish.lines()) == ["docker"]
    assert not RegistryUser.objects.exists()


@pytest.mark.django_db
def test_a_user_called_demo_keeps_his_secret(files: Path) -> None:
    users.create("demo", by="tests")
    before = publish.lines()
    with temporary_user() as (name, _):
        assert name.startswith("demo-")
    assert publish.lines() == before


def test_the_command_says_how_to_start_a_registry_that_is_not_up() -> None:
    with pytest.raises(CommandError, match=r"not running.*\./boathouse up"):
        call_command("demo")


def test_labels_survive_as_they_were_written(images: list[DemoRepository]) -> None:
    odd = next(one for one in images if one.name == "tools/odd-labels").made[0]
    labels = json.loads(odd.blobs[0])["config"]["Labels"]
    assert "<script>alert('name')</script>" in labels
    assert len(labels["long"]) == 10_240
