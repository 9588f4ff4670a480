"""What ./boathouse export writes is what the registry has, and what another registry takes in."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from registryui.imports.source import Options
from registryui.index.sync import sync
from registryui.registry.client import RegistryClient
from tests.support.archives import imported, states
from tests.support.filled import fill
from tests.support.parts import running_registry
from tests.support.registries import Registry, what_is_missing
from tests.support.worlds import World

pytestmark = pytest.mark.django_db(transaction=True)

BIG = [b"layer %d " % number * 200_000 for number in range(20)]  # 1.8 MB each


def export(*words: str) -> tuple[int, dict[str, Any]]:
    """Its end, and its facts."""
    out = StringIO()
    try:
        call_command("export", *words, "--json", stdout=out, stderr=StringIO())
    except SystemExit as end:
        return int(end.code or 0), json.loads(out.getvalue())
    except CommandError as error:
        return error.returncode, {"error": str(error)}
    return 0, json.loads(out.getvalue())


# As it comes, a registry refuses layers that lie elsewhere.
FOREIGN = {"validation": {"manifests": {"urls": {"allow": ["^https?://"]}}}}


@pytest.fixture
def full(tmp_path: Path, settings: Any) -> Iterator[tuple[Registry, dict[str, tuple[str, str]]]]:
    """A registry with something of every kind, in the index: digests and kinds by name."""
    with running_registry(tmp_path / "full", settings=FOREIGN) as url:
        settings.REGISTRY_URL = url
        real = Registry(url, tmp_path / "full" / "store")
        made = fill(real)
        with RegistryClient(url) as client:
            assert sync(client, by="test") is not None
        yield real, made


@contextmanager
def other_side(folder: Path, settings: Any) -> Iterator[Registry]:
    """Another registry, to import into."""
    with running_registry(folder, settings=FOREIGN) as url:
        before, settings.REGISTRY_URL = settings.REGISTRY_URL, url
        settings.RUN_DIR = folder / "run"
        try:
            yield Registry(url, folder / "store")
        finally:
            settings.REGISTRY_URL = before


def members(place: Path) -> dict[str, bytes]:
    """The archive's files, as Python's tarfile reads it."""
    with tarfile.open(place) as opened:
        return {one.name: opened.extractfile(one).read() for one in opened}  # type: ignore[union-attr]


def test_everything_arrives_with_the_same_bytes(
    full: tuple[Registry, dict[str, tuple[str, str]]], tmp_path: Path, settings: Any
) -> None:
    real, made = full
    place = tmp_path / "all.tar"
    code, facts = export(str(place))
    assert (code, facts["skipped"]) == (0, [])
    for name, content in members(place).items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(content).hexdigest() == name.removeprefix("blobs/sha256/")
    with other_side(tmp_path / "other", settings) as other:
        done = imported(place)
        assert set(states(done).values()) == {"taken"}, states(done)
        for name in made:
            repository, _colon, tag = name.partition(":")
            assert other.get(repository, tag).body == real.get(repository, tag).body, name
            assert what_is_missing(other, repository, tag) == what_is_missing(real, repository, tag)


def test_the_same_tags_give_the_same_bytes(here: World, tmp_path: Path) -> None:
    here.real.push_image("team/api", "1", "2", layers=[b"base", b"app"])
    here.real.push_image("team/web", "1", layers=[b"base", b"web"])
    here.sync()
    one, two = tmp_path / "one.tar", tmp_path / "two.tar"
    for place in (one, two):
        assert export(str(place), "team/*")[0] == 0
    assert one.read_bytes() == two.read_bytes()
    found = members(one)
    assert len([name for name in found if name.startswith("blobs/")]) == 3 + 2 + 2
    images = json.loads(found["manifest.json"])
    assert [one["RepoTags"] for one in images] == [
        ["localhost:8443/team/api:1", "localhost:8443/team/api:2"],
        ["localhost:8443/team/web:1"],
    ]


def test_patterns_and_a_search_choose(here: World, tmp_path: Path) -> None:
    for repository in ("team/api", "team/web", "tools/api"):
        here.real.push_image(repository, "1.0", "2.0", layers=[repository.encode()])
    here.sync()
    place = str(tmp_path / "some.tar")

    def names(*words: str) -> list[str]:
        code, facts = export(place, *words)
        assert code == 0, facts
        found = json.loads(members(Path(place))["index.json"])["manifests"]
        assert len(found) == facts["tags"]
        return [one["annotations"]["org.opencontainers.image.ref.name"] for one in found]

    assert names("team/api:2.*", "tools/api") == ["team/api:2.0", "tools/api:1.0", "tools/api:2.0"]
    assert names("--query", "tag:1.0 repo:team") == ["team/api:1.0", "team/web:1.0"]
    assert names("team/web", "--query", "tag:1.0") == ["team/web:1.0"]
    assert export(place, "nothing/*") == (
        1,
        {"error": "No tag matches: ./boathouse list shows all repositories."},
    )
    assert export(place, "--query", "size>")[0] == 2
    assert export(place, "--dry-run")[1]["tags"] == 6


def test_signatures_go_with_the_tag(
    full: tuple[Registry, dict[str, tuple[str, str]]], tmp_path: Path, settings: Any
) -> None:
    _real, made = full
    place = tmp_path / "one.tar"
    assert export(str(place), "all/image:1")[0] == 0
    digest, _kind = made["all/image:1"]
    fallback = digest.replace(":", "-")
    with other_side(tmp_path / "other", settings) as other:
        assert set(states(imported(place)).values()) == {"taken"}
        tags = other.tags("all/image").json()["tags"]
        suffixes = ("", ".sig", ".att", ".sbom")
        assert set(tags) == {"1", *(f"{fallback}{one}" for one in suffixes)}
        for child in json.loads(other.get("all/image", fallback).body)["manifests"]:
            assert what_is_missing(other, "all/image", child["digest"]) == ""


def test_a_second_archive_has_only_what_is_new(here: World, tmp_path: Path, settings: Any) -> None:
    here.real.push_image("team/api", "1", layers=BIG)
    here.sync()
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    assert export(str(first))[0] == 0
    here.real.push_image("team/api", "2", layers=[*BIG[:-1], b"changed"])
    here.sync()
    code, facts = export(str(second), "--since", str(first))
    assert (code, facts["tags"], facts["elsewhere"]["blobs"]) == (0, 2, 21)
    assert second.stat().st_size <= 0.05 * first.stat().st_size
    with other_side(tmp_path / "other", settings) as other:
        alone = imported(second)
        assert set(states(alone).values()) == {"skipped"}
        words = str(alone.imported.get(tag="2").note)
        assert "19 blobs are neither in the archive nor in this registry" in words
        assert other.get("team/api", "2").status == 404
        imported(first)
        assert states(imported(second)) == {"team/api:1": "there", "team/api:2": "taken"}
        assert what_is_missing(other, "team/api", "2") == ""


def test_blobs_of_another_repository_of_the_index_are_found(here: World, tmp_path: Path) -> None:
    here.real.push_image("team/api", "1", layers=BIG[:2])
    here.sync()
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    export(str(first))
    here.real.push_image("tools/new", "1", layers=[BIG[0], b"new"])
    here.sync()
    assert export(str(second), "tools/*", "--since", str(first))[0] == 0
    assert states(imported(second, options=Options(namespace="copy"))) == {"tools/new:1": "taken"}
    assert what_is_missing(here.real, "copy/tools/new", "1") == ""


def test_skopeo_opens_it(full: tuple[Registry, dict[str, tuple[str, str]]], tmp_path: Path) -> None:
    real, _made = full
    place = tmp_path / "all.tar"
    export(str(place), "all/image:1", "all/multi:multi")
    one = _skopeo("inspect", "--raw", f"oci-archive:{place}:all/image:1")
    assert one == real.get("all/image", "1").body
    copied = tmp_path / "copied"
    _skopeo("copy", "--all", f"oci-archive:{place}:all/multi:multi", f"oci:{copied}:multi")
    assert (copied / "index.json").exists()
    names = json.loads(_skopeo("list-tags", f"docker-archive:{place}"))["Tags"]
    assert "localhost:8443/all/image:1" in names


def _skopeo(*words: str) -> bytes:
    done = subprocess.run(["skopeo", "--insecure-policy", *words], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_not_complete_is_left_out_with_the_reason(here: World, tmp_path: Path) -> None:
    here.real.push_image("team/api", "whole", layers=[b"base"])
    here.real.push_image("team/api", "broken", layers=[b"base", b"lost"])
    here.sync()
    digest = "sha256:" + hashlib.sha256(b"lost").hexdigest()
    here.real.blob(digest).unlink()
    code, facts = export(str(tmp_path / "some.tar"))
    assert (code, facts["tags"]) == (1, 1)
    assert facts["skipped"] == [
        {"name": "team/api:broken", "reason": f"the blob {digest} is missing"}
    ]


def test_nothing_is_left_of_an_archive_that_could_not_be_written(
    here: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.real.push_image("team/api", "1", layers=[b"base"])
    here.sync()
    place = tmp_path / "out" / "one.tar"
    place.parent.mkdir()
    place.write_bytes(b"an older one")

    def other(*_words: object) -> Iterator[bytes]:
        yield b"other content"

    monkeypatch.setattr(RegistryClient, "pieces", other)
    code, facts = export(str(place))
    assert code == 1
    assert "was deleted meanwhile, or is damaged" in facts["error"]
    assert [one.name for one in place.parent.iterdir()] == ["one.tar"]
    assert place.read_bytes() == b"an older one"


def test_words_that_do_not_fit(here: World, tmp_path: Path) -> None:
    here.real.push_image("team/api", "1")
    here.sync()
    assert "does not exist" in export(str(tmp_path / "no" / "one.tar"))[1]["error"]
    assert "is a folder" in export(str(tmp_path))[1]["error"]
    assert export("settings")[0] == 2
    place = tmp_path / "saved.tar"
    with tarfile.open(place, "w") as made:
        made.addfile(tarfile.TarInfo("manifest.json"), io.BytesIO())
    code, facts = export(str(tmp_path / "one.tar"), "--since", str(place))
    assert (code, "is not an OCI archive" in facts["error"]) == (1, True)
