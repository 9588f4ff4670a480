"""Archives of images are the same here as the programs that wrote them mean."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path

import pytest

from registryui.imports import archive
from registryui.imports.archive import Name
from registryui.imports.source import Options
from registryui.models import Run
from registryui.refused import Refused
from tests.support.archives import as_tar, imported, layer, saved, states, tar_of, write
from tests.support.fake_source import digest_of
from tests.support.layouts import Layout
from tests.support.registries import Registry, what_is_missing

pytestmark = pytest.mark.django_db(transaction=True)

BASE, APP = layer(etc__base=b"base" * 1000), layer(bin__app=b"app" * 1000)


def note(done: Run) -> str:
    """What the report says of the only tag."""
    return str(done.imported.get().note)


def _layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "layout")
    made.tag("team/api:2.1", made.image("amd64", {"bin/app": b"app" * 1000}))
    both = [made.image(one, {"bin/app": one.encode()}) for one in ("amd64", "arm64")]
    made.tag("docker.io/library/alpine:3", made.image_index(both))
    return made


@pytest.mark.parametrize("form", ["folder", "tar", "gzip"])
def test_an_oci_layout_keeps_its_digests(form: str, tmp_path: Path, ours: Registry) -> None:
    made = _layout(tmp_path)
    place = made.folder if form == "folder" else as_tar(made.folder, tmp_path / "oci.tar")
    if form == "gzip":
        place = write(tmp_path / "oci.tar.gz", gzip.compress(place.read_bytes()))
    done = imported(place)
    assert states(done) == {"alpine:3": "taken", "team/api:2.1": "taken"}
    assert done.state == Run.State.DONE, done.log
    for entry in json.loads((made.folder / "index.json").read_text())["manifests"]:
        name = entry["annotations"]["org.opencontainers.image.ref.name"].rpartition("/library/")[2]
        repository, _colon, tag = name.partition(":")
        assert digest_of(ours.get(repository, tag).body) == entry["digest"]
        assert what_is_missing(ours, repository, tag) == ""
    assert set(states(imported(place)).values()) == {"there"}


def test_layers_of_docker_save_get_the_same_digests_each_time(
    tmp_path: Path, ours: Registry
) -> None:
    files = saved([BASE, APP], "registry.example.com:5000/team/api:2.1", "api:latest")
    place = write(tmp_path / "saved.tar", tar_of(files))
    assert set(states(imported(place, options=Options(namespace="one"))).values()) == {"taken"}
    assert set(states(imported(place, options=Options(namespace="two"))).values()) == {"taken"}
    found = {ours.get(f"{to}/{name}", tag).body for to in ("one", "two") for name, tag in NAMES}
    assert len(found) == 1
    assert what_is_missing(ours, "one/team/api", "2.1") == ""
    manifest = json.loads(found.pop())
    assert manifest["config"]["digest"] == f"sha256:{next(iter(_configs(files)))}"
    got = ours.ask("GET", f"/v2/one/api/blobs/{manifest['layers'][1]['digest']}").body
    assert gzip.decompress(got) == APP


NAMES = (("team/api", "2.1"), ("api", "latest"))


def _configs(files: dict[str, bytes]) -> set[str]:
    return {name.removesuffix(".json") for name in files} & {
        json.loads(files["manifest.json"])[0]["Config"].removesuffix(".json")
    }


def test_a_linked_layer_and_a_compressed_one_are_taken(tmp_path: Path, ours: Registry) -> None:
    files = saved([BASE, APP], "api:1")
    manifest = json.loads(files["manifest.json"])
    first, second = manifest[0]["Layers"]
    files[second] = gzip.compress(files[second], 9)
    files["real.tar"] = files.pop(first)
    content = tar_of(files, links={first: "../real.tar"})
    done = imported(write(tmp_path / "saved.tar", content))
    assert states(done) == {"api:1": "taken"}
    layers = ours.get("api", "1").json()["layers"]
    assert [one["digest"] for one in layers][1] == digest_of(files[second])
    assert what_is_missing(ours, "api", "1") == ""


def test_an_image_that_docker_pushed_is_there(tmp_path: Path, ours: Registry) -> None:
    files = saved([BASE], "api:1")
    place = write(tmp_path / "saved.tar", tar_of(files))
    imported(place)
    pushed = ours.get("api", "1").json()
    blob = gzip.compress(BASE, 1)  # as another program compresses it
    pushed["layers"][0] |= {"digest": ours.push_blob("api", blob), "size": len(blob)}
    raw = json.dumps(pushed).encode()
    ours.push("api", raw, pushed["mediaType"], "1")
    assert states(imported(place)) == {"api:1": "there"}
    assert ours.get("api", "1").body == raw


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer": b"other content"}, "not the layer"),
        ({"layer": None}, "is missing in the archive"),
        ({"config": None}, "is missing in the archive"),
        ({"config": b'{"rootfs": ' + b"[" * 100_000 + b"]}"}, "cannot be read"),
        ({"config": b'{"rootfs": {"diff_ids": []}}'}, "cannot be read"),
    ],
)
def test_a_damaged_archive_tags_nothing(
    change: dict[str, bytes | None], words: str, tmp_path: Path, ours: Registry
) -> None:
    files: dict[str, bytes] = saved([BASE, APP], "api:1")
    entry = json.loads(files["manifest.json"])[0]
    for what, content in change.items():
        name = entry["Layers"][1] if what == "layer" else entry["Config"]
        if content is None:
            del files[name]
        else:
            files[name] = content
    done = imported(write(tmp_path / "saved.tar", tar_of(files)))
    assert states(done) == {"api:1": "skipped"}
    assert words in note(done)
    assert ours.get("api", "1").status == 404


def test_a_blob_of_another_digest_tags_nothing(tmp_path: Path, ours: Registry) -> None:
    made = Layout(tmp_path / "layout")
    image = made.image("amd64", {"bin/app": b"app"})
    made.tag("team/api:1", image)
    path = made.folder / "blobs" / image["digest"].replace(":", "/")
    layer = json.loads(path.read_bytes())["layers"][0]["digest"].replace(":", "/")
    blob = made.folder / "blobs" / layer
    blob.write_bytes(bytes(len(blob.read_bytes())))
    done = imported(as_tar(made.folder, tmp_path / "oci.tar"))
    assert states(done) == {"team/api:1": "skipped"}
    assert "damaged" in note(done)
    assert ours.get("team/api", "1").status == 404


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (b"{", "index.json in the archive cannot be read"),
        (b'{"manifests": 3}', "index.json in the archive cannot be read"),
        (b'{"manifests": [{"digest": "sha256:abc"}]}', "index.json in the archive cannot be read"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested too deeply"),
    ],
)
def test_a_hostile_index_is_refused(index: bytes, words: str, tmp_path: Path) -> None:
    files = {"oci-layout": b"{}", "index.json": index}
    place = write(tmp_path / "oci.tar", tar_of(files))
    with pytest.raises(Refused, match=words), archive.open_archives([place], name=Name()):
        pass


def test_what_is_no_archive_of_images_is_refused(tmp_path: Path) -> None:
    for content, words in (
        (tar_of({"README": b"hello"}), "not an archive of images"),
        (tar_of({"repositories": b"{}"}), "Docker before 1.10"),
        (b"hello", "not an archive of images"),
    ):
        place = write(tmp_path / "file", content)
        with pytest.raises(Refused, match=words), archive.open_archives([place], name=Name()):
            pass


def test_an_image_without_a_name_gets_one(tmp_path: Path, ours: Registry) -> None:
    place = write(tmp_path / "saved.tar", tar_of(saved([BASE])))
    done = imported(place)
    assert "It has no name in the archive" in note(done)
    assert states(imported(place, name="team/api:3")) == {"team/api:3": "taken"}
    made = Layout(tmp_path / "layout")
    made.tag("3.19", made.image("amd64", {"x": b"x"}))
    made.tag("3.20", made.image("amd64", {"y": b"y"}))
    assert "only called 3.19" in str(imported(made.folder).imported.first().note)  # type: ignore[union-attr]
    assert states(imported(made.folder, name="alpine")) == {
        "alpine:3.19": "taken",
        "alpine:3.20": "taken",
    }
    with pytest.raises(Refused, match="has 2 images"):
        imported(made.folder, name="alpine:3")


def test_several_archives_are_one_import(tmp_path: Path, ours: Registry) -> None:
    one = write(tmp_path / "one.tar", tar_of(saved([BASE], "b:1")))
    two = write(tmp_path / "two.tar", tar_of(saved([BASE, APP], "a:1", "c:1")))
    assert states(imported(one, two)) == {"a:1": "taken", "b:1": "taken", "c:1": "taken"}


def test_a_dry_run_reads_and_stores_nothing(tmp_path: Path, ours: Registry) -> None:
    one = write(tmp_path / "one.tar", tar_of(saved([BASE], "b:1")))
    layout = as_tar(_layout(tmp_path).folder, tmp_path / "oci.tar")
    done = imported(one, layout, options=Options(dry_run=True))
    assert set(states(done).values()) == {"taken"}
    assert ours.catalogue() == []


def test_a_dry_run_counts_a_shared_layer_once(tmp_path: Path, ours: Registry) -> None:
    one = write(tmp_path / "one.tar", tar_of(saved([BASE], "a:1", "b:1")))
    dry, real = (imported(one, options=Options(dry_run=is_dry)) for is_dry in (True, False))
    assert dry.result["bytes"] == real.result["bytes"] > 0


def test_nothing_of_an_archive_stays_in_the_data_folder(
    tmp_path: Path, ours: Registry, settings: object
) -> None:
    settings.IMPORTS_DIR = tmp_path / "imports"  # type: ignore[attr-defined]
    content = gzip.compress(tar_of(saved([BASE], "b:1"), form=tarfile.PAX_FORMAT))
    place = write(tmp_path / "one.tar.gz", content)
    with archive.open_archives([place], name=Name()):
        archive.remove_left()
        assert len(list((tmp_path / "imports").iterdir())) == 1  # in use, so not removed
    assert list((tmp_path / "imports").iterdir()) == []
    left = tmp_path / "imports" / f"{archive.UNPACKED}killed"
    left.mkdir()
    write(left / "archive.tar", b"x")
    archive.remove_left()
    assert not left.exists()
