"""A v1 store becomes the same images at each import; what is odd in it is reported and left out."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registryui.imports import run
from registryui.imports.source import Options
from registryui.imports.target import Pace
from registryui.imports.v1.source import V1Source
from registryui.imports.v1.store import find_root
from registryui.models import ImportedTag, Run
from registryui.refused import Refused
from tests.selection import Extent
from tests.support.registries import Registry, what_is_missing
from tests.support.v1_stores import EMPTY_TAR, V1Files, full, gz, tar

# Of team/app:latest in that store, on any machine.
LATEST = "sha256:31cb5a53829ec5966f34181e17bb190d7a4a316f850d74cae8060f73f918f335"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, settings: Any) -> None:
    settings.IMPORTS_DIR = tmp_path / "imports"


def imported(folder: Path, options: Options | None = None, *, index: Path | None = None) -> Run:
    """An import of the store in that folder."""
    options = options or Options()
    with V1Source(folder, options, index_file=index) as source:
        begun = run.begin("v1", source.name, options, by="operator:ada", about={})
        return run.carry_out(begun, source, options)


def rows(done: Run) -> dict[str, ImportedTag]:
    """The report by the names in the store."""
    return {str(row): row for row in done.imported.all()}


def test_all_that_can_be_is_imported_and_the_rest_is_named(tmp_path: Path, ours: Registry) -> None:
    made, fate = full(tmp_path / "v1")
    done = imported(made.root)
    assert done.state == Run.State.DONE, done.log
    found = rows(done)
    assert found.keys() == fate.keys()
    for name, becomes in fate.items():
        row = found[name]
        if becomes == "taken":
            assert row.state == "taken", (name, row.note)
            assert what_is_missing(ours, row.target, row.target_tag) == ""
        else:
            assert (row.state, becomes in row.note) == ("skipped", True), (name, row.note)


def digests(registry: Registry, below: str = "") -> dict[str, str]:
    """Of each tag of repositories whose names begin so; all of these can be pulled."""
    found = {}
    for repository in registry.catalogue():
        if not repository.startswith(below):
            continue
        for tag in registry.tags(repository).json().get("tags") or ():
            answer = registry.get(repository, tag)
            found[f"{repository}:{tag}"] = answer.headers["docker-content-digest"]
            assert what_is_missing(registry, repository, tag) == ""
    return found


def test_names_are_those_that_clients_used_or_the_nearest_legal_ones(
    tmp_path: Path, ours: Registry
) -> None:
    made, _fate = full(tmp_path / "v1")
    found = rows(imported(made.root))
    here = {name: f"{row.target}:{row.target_tag}" for name, row in found.items() if row.target}
    assert here["ubuntu:14.04"] == "ubuntu:14.04"
    assert here["team/deep/down/app:1"] == "team/deep/down/app:1"
    assert here["Team/App__Old..:1"] == "team/app__old:1"
    assert here["team/app:_x"] == "team/app:_x"
    assert here["team/app:1+1"] == "team/app:1-1"
    assert "name was changed" in found["Team/App__Old..:1"].note
    assert "was private" in found["private/app:1"].note
    assert "ancestry file is missing or broken" in found["team/app:no-ancestry"].note
    assert "1 of its layers have no sha256 checksum" in found["team/app:y_json"].note
    assert "1 of its layers have no sha256 checksum" in found["Team/App__Old..:1"].note
    assert found["ubuntu:14.04"].note == found["team/app:latest"].note == ""


def test_each_import_gives_the_same_digests(tmp_path: Path, ours: Registry, settings: Any) -> None:
    """Also where nothing is remembered of the first. They change if another library compresses, or
    another level: then all that was imported before would be sent again."""
    made, _fate = full(tmp_path / "v1")
    imported(made.root)
    first = digests(ours)
    settings.IMPORTS_DIR = tmp_path / "forgotten"
    imported(made.root, Options(namespace="again"))
    again = digests(ours, "again/")
    assert again == {f"again/{name}": digest for name, digest in first.items()}
    assert len(again) == 10
    assert first["team/app:latest"] == LATEST


def test_a_second_import_reads_no_layer_and_sends_nothing(
    tmp_path: Path, ours: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _fate = full(tmp_path / "v1")
    good = Options(patterns=("t*", "T*", "u*", "p*"))
    imported(made.root, good)
    monkeypatch.setattr("registryui.imports.v1.source.Conversion", None)
    done = imported(made.root, good)
    assert {row.state for row in rows(done).values()} == {"there"}
    assert run.Result.of(done).bytes == 0
    log = tmp_path / "imports" / "v1-layers.jsonl"
    assert log.stat().st_mode & 0o777 == 0o600
    log.write_bytes(log.read_bytes() + b'\n["cut off')
    assert {row.state for row in rows(imported(made.root, good)).values()} == {"there"}


def test_what_is_remembered_counts_only_if_the_registry_has_it(
    tmp_path: Path, ours: Registry
) -> None:
    """A data folder that was copied to a new registry, or a layer that was deleted since."""
    made = V1Files(tmp_path / "v1")
    made.tag("team/app", "1", made.image("a", tar({"a": b"1"})))
    imported(made.root)
    digest = digests(ours)["team/app:1"]
    for layer in ours.get("team/app", "1").json()["layers"]:
        ours.ask("DELETE", f"/v2/team/app/blobs/{layer['digest']}")
    ours.delete("team/app", digest)
    assert what_is_missing(ours, "team/app", digest) != ""
    assert rows(imported(made.root))["team/app:1"].state == "taken"
    assert digests(ours) == {"team/app:1": digest}


def test_a_layer_is_converted_once_for_all_tags_that_share_it(
    tmp_path: Path, ours: Registry
) -> None:
    made = V1Files(tmp_path / "v1")
    base = made.image("base", gz(tar({"base": bytes(range(256)) * 4000})))
    for number in range(12):
        image = made.image(f"top{number}", tar({"top": b"%d" % number}), parent=base)
        made.tag(f"team/app{number % 3}", f"{number}", image)
    with V1Source(made.root, Options()) as source:
        converted = []
        upload = source._upload
        source._upload = lambda image, target: converted.append(image) or upload(image, target)  # type: ignore[method-assign,func-returns-value]
        begun = run.begin("v1", source.name, Options(), by="operator:ada", about={})
        done = run.carry_out(begun, source, Options())
    assert len(digests(ours)) == 12
    assert len(converted) == len(set(converted)) == 13
    assert {row.state for row in rows(done).values()} == {"taken"}


def test_an_image_of_a_hundred_layers(tmp_path: Path, ours: Registry) -> None:
    made = V1Files(tmp_path / "v1")
    image = ""
    for number in range(100):
        layer = gz(EMPTY_TAR) if number % 4 == 3 else tar({f"file{number}": b"x" * number})
        command = {"Cmd": ["/bin/sh", "-c", f"step {number}"]}
        image = made.image(f"{number}", layer, parent=image, container_config=command)
    made.tag("team/app", "1", image)
    imported(made.root)
    manifest = ours.get("team/app", "1").json()
    digest = manifest["config"]["digest"]
    config = ours.ask("GET", f"/v2/team/app/blobs/{digest}").json()
    assert len(manifest["layers"]) == len(config["rootfs"]["diff_ids"]) == 75
    steps = config["history"]
    assert [one["created_by"] for one in steps] == [f"/bin/sh -c step {n}" for n in range(100)]
    assert [one.get("empty_layer", False) for one in steps] == [n % 4 == 3 for n in range(100)]
    assert what_is_missing(ours, "team/app", "1") == ""


def test_a_dry_run_reports_the_same_and_writes_nothing(tmp_path: Path, ours: Registry) -> None:
    made, _fate = full(tmp_path / "v1")
    before = {path: path.lstat() for path in made.root.rglob("*")}
    done = imported(made.root, Options(dry_run=True))
    assert ours.catalogue() == []
    assert not (tmp_path / "imports").exists()
    dry = {name: row.state for name, row in rows(done).items()}
    assert run.Result.of(done).bytes > 0
    real = {name: row.state for name, row in rows(imported(made.root)).items()}
    damaged = {f"broken/app:{name}" for name in ("changed", "cut", "no-tar", "zeros")}
    assert {name for name in dry if dry[name] != real[name]} == damaged  # found by reading layers
    assert rows(imported(made.root, Options(dry_run=True)))["team/app:latest"].state == "there"
    after = {path: path.lstat() for path in made.root.rglob("*")}
    times = [
        {path: (one.st_mtime_ns, one.st_size) for path, one in x.items()} for x in (before, after)
    ]
    assert times[0] == times[1]


def test_patterns_and_a_namespace(tmp_path: Path, ours: Registry) -> None:
    made, _fate = full(tmp_path / "v1")
    done = imported(made.root, Options(patterns=("team/app:x*", "ubuntu"), namespace="old"))
    assert set(rows(done)) == {"team/app:x_json", "ubuntu:14.04"}
    assert set(digests(ours)) == {"old/team/app:x_json", "old/ubuntu:14.04"}


def test_two_names_that_become_one_are_both_in_the_report(tmp_path: Path, ours: Registry) -> None:
    made = V1Files(tmp_path / "v1")
    one, other = (made.image(name, tar({name: b"x"})) for name in ("one", "other"))
    made.tag("Team/App", "1", one)
    made.tag("team/app", "1", other)
    found = rows(imported(made.root))
    assert found["team/app:1"].state == "taken"
    assert found["Team/App:1"].state == "skipped"
    assert "team/app:1 has the same name here" in found["Team/App:1"].note


def test_stopped_anywhere_it_has_no_half_image_and_continues(
    tmp_path: Path, ours: Registry, extent: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, fate = full(tmp_path / "v1")
    waits = Pace.wait
    for at in range(0, 100, extent(16, 1)):  # which use of the registry is the last
        left = iter(range(at))

        def wait(pace: Pace, seconds: float = 0.0, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                pace.is_over.set()
            waits(pace, seconds)

        options = Options(namespace=f"at{at}")
        with monkeypatch.context() as patch:
            patch.setattr(Pace, "wait", wait)
            stopped = imported(made.root, options)
        before = digests(ours, f"at{at}/")
        assert (stopped.state == Run.State.STOPPED) == (len(before) < 10)
        done = imported(made.root, options)
        assert run.Result.of(done).there == len(before)
        after = digests(ours, f"at{at}/")
        assert before.items() <= after.items()
        assert len(after) == sum(one == "taken" for one in fate.values())


def test_the_search_database_is_compared(tmp_path: Path, ours: Registry) -> None:
    made = V1Files(tmp_path / "v1")
    image = made.image("a", tar({"a": b"1"}))
    for name in ("ubuntu", "team/deep/app", "team/new"):
        made.tag(name, "1", image)
    index = tmp_path / "index.db"
    with closing(sqlite3.connect(index)) as database, database:
        database.execute("CREATE TABLE version (id INTEGER PRIMARY KEY)")
        database.execute(
            "CREATE TABLE repository (id INTEGER PRIMARY KEY, name VARCHAR(95) NOT NULL UNIQUE,"
            " description VARCHAR(100))"
        )
        names = ("library/ubuntu", "team/deep%2Fapp", "team/gone")
        database.executemany(
            "INSERT INTO repository (name, description) VALUES (?, '')", [(one,) for one in names]
        )
    index.chmod(0o400)
    found = rows(imported(made.root, index=index))
    assert found["team/gone:"].state == "skipped"
    assert "names this repository, but the store has none" in found["team/gone:"].note
    assert "does not name the repository" in found["team/new:1"].note
    assert found["ubuntu:1"].note == found["team/deep/app:1"].note == ""
    assert sorted(path.name for path in tmp_path.glob("index*")) == ["index.db"]
    (tmp_path / "no.db").write_bytes(b"SQLite format 3\0 but not really")
    for wrong in ("no.db", "absent.db", "v1"):
        with pytest.raises(Refused, match="is not the search database"):
            imported(made.root, index=tmp_path / wrong)


def test_the_folder_is_the_store_or_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    V1Files(tmp_path / "data" / "registry")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for folder in ("data", "data/registry", "link"):
        assert find_root(tmp_path / folder) == tmp_path / "data" / "registry"
    V1Files(tmp_path / "data" / "second")
    (tmp_path / "v2" / "docker" / "registry" / "v2").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "leads" / "repositories").mkdir(parents=True)
    (tmp_path / "leads" / "images").symlink_to("/usr")
    for folder, words in {
        "data": "several v1 stores: enter one of these folders: registry, second",
        "v2": "store of a v2 registry",
        "empty": "is no v1 store: enter docker-registry's storage_path",
        "absent": "absent is missing",
        "leads": "symbolic link that leaves the store",
    }.items():
        with pytest.raises(Refused, match=words):
            find_root(tmp_path / folder)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "images")  # not as root
    with pytest.raises(Refused, match=r"registry/images cannot be read: Permission denied"):
        find_root(tmp_path / "data" / "registry")
