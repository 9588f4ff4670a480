"""What leaves the store can come back; nothing is deleted that was not in quarantine first."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from registryui.oci.digest import sha256
from registryui.registry import paths
from registryui.registry.errors import Unreachable
from registryui.registry.quarantine import FOLDER, LocalQuarantine
from tests.support.folders import other_disk

DATA = b"content"
BLOB = paths.blob_data(sha256(DATA))
LINK = paths.revision_link("team/app", sha256(DATA))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, content in ((BLOB, DATA), (LINK, sha256(DATA).encode())):
        put(tmp_path, path, content)
    return tmp_path


def put(root: Path, path: str, content: bytes) -> Path:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


def test_what_was_quarantined_comes_back_as_it_was(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))
    inode = (root / BLOB).stat().st_ino
    gone = quarantine.add([LINK, BLOB, paths.blob_data(sha256(b"none"))], run="7")
    assert [(one.path, one.size, one.run) for one in gone] == [(LINK, 71, "7"), (BLOB, 7, "7")]
    assert not (root / BLOB).exists()
    assert list(LocalQuarantine(str(root)).contents()) == gone
    assert [quarantine.restore(one) for one in gone] == [True, True]
    assert (root / BLOB).stat().st_ino == inode
    assert list(quarantine.contents()) == []
    quarantine.tidy()
    assert list((root / FOLDER).iterdir()) == []


def test_a_store_without_its_folders_gets_them_back(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))
    [one] = quarantine.add([BLOB], run="1")
    (root / BLOB).parent.rmdir()
    (root / BLOB).parent.parent.rmdir()
    assert quarantine.restore(one)
    assert (root / BLOB).read_bytes() == DATA


def test_what_came_meanwhile_is_not_touched_and_the_copy_goes(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))
    [one] = quarantine.add([BLOB], run="1")
    put(root, BLOB, DATA)
    inode = (root / BLOB).stat().st_ino
    assert not quarantine.restore(one)
    assert (root / BLOB).stat().st_ino == inode
    assert list(quarantine.contents()) == []


@pytest.mark.parametrize("odd", ["folder", "symbolic link", "another size"])
def test_something_else_in_its_place_makes_it_stay_in_quarantine(root: Path, odd: str) -> None:
    quarantine = LocalQuarantine(str(root))
    [one] = quarantine.add([BLOB], run="1")
    place = root / BLOB
    if odd == "folder":
        place.mkdir()
    elif odd == "symbolic link":
        place.symlink_to("/etc/hostname")
    else:
        place.write_bytes(b"cut")
    assert not quarantine.restore(one)
    assert quarantine.problems() == [
        f"sha256/{BLOB.split('sha256/')[1]}: something else is in its place"
    ]
    assert list(quarantine.contents()) == [one]


def test_a_folder_goes_as_one_and_comes_back_beside_what_is_new(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))
    folder = paths.repository("team/app")
    old = put(root, paths.layer_link("team/app", sha256(b"old")), b"old")
    [one] = quarantine.add([folder], run="1")
    assert one.size == 71 + 3
    assert not (root / folder).exists()
    new = put(root, paths.layer_link("team/app", sha256(b"new")), b"new")
    assert quarantine.restore(one)
    assert (old.read_bytes(), new.read_bytes()) == (b"old", b"new")
    assert (root / LINK).exists()
    assert list(quarantine.contents()) == []


def test_written_at_tells_of_a_write_after_the_quarantine(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))
    [one] = quarantine.add([paths.repository("team/app")], run="1")
    written_at = quarantine.written_at(one)
    assert written_at is not None
    assert written_at <= one.quarantined_at
    os.utime(root / FOLDER / one.id / LINK.split("team/app/")[1], (2**31, 2**31))
    assert quarantine.written_at(one) == datetime.fromtimestamp(2**31, UTC)


def test_purge_deletes_here_only_and_counts_what_it_frees(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))
    gone = quarantine.add([LINK, BLOB], run="1")
    os.link(root / FOLDER / gone[1].id, root / "also")  # as a restore that was killed
    assert [quarantine.purge(one) for one in gone] == [71, 0]
    assert (root / "also").read_bytes() == DATA
    assert quarantine.purge(gone[0]) == 0
    quarantine.tidy()
    assert list((root / FOLDER).iterdir()) == []


def test_a_symbolic_link_is_never_quarantined_nor_what_is_behind_one(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))
    link = root / paths.blob_data(sha256(b"link"))
    link.parent.mkdir(parents=True)
    link.symlink_to(root / BLOB)
    outside = root / "outside"
    put(root, "outside/_manifests/revisions/sha256/aa/link", b"x")
    (root / paths.repository("far")).symlink_to(outside)
    behind = paths.revision_link("far", "sha256:aa")
    assert quarantine.add([paths.blob_data(sha256(b"link")), behind], run="1") == []
    assert link.is_symlink()
    assert list(outside.rglob("link"))


def test_what_lies_behind_a_link_that_is_followed_goes_and_comes_back(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    disk = tmp_path_factory.mktemp("disk")
    (root / paths.repository("team")).rename(disk / "team")
    (root / paths.repository("team")).symlink_to(disk / "team")
    quarantine = LocalQuarantine(str(root))
    [one] = quarantine.add([LINK], run="1")
    assert not (root / LINK).exists()
    (root / LINK).parent.rmdir()
    assert LocalQuarantine(str(root)).restore(one)
    assert (root / LINK).exists()
    assert (root / paths.repository("team")).is_symlink()
    assert quarantine.add([paths.repository("team")], run="1") == []


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EBUSY])
def test_what_the_system_does_not_move_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A mount of the same file system, which no number of a device tells."""

    def change(self: LocalQuarantine, act: Callable[..., Any], *arguments: Any) -> Any:
        if act is os.rename and paths.ROOT in str(arguments[0]):
            raise OSError(code, os.strerror(code))
        return act(*arguments)

    quarantine = LocalQuarantine(str(root))
    monkeypatch.setattr(LocalQuarantine, "change", change)
    assert quarantine.add([LINK, BLOB], run="1") == []
    assert (root / LINK).exists()
    assert (root / BLOB).exists()
    assert list(quarantine.contents()) == []


def test_what_lies_on_another_file_system_stays(root: Path) -> None:
    with other_disk(root) as disk:
        place = root / paths.repository("team")
        shutil.move(place, disk / "team")
        place.symlink_to(disk / "team")
        quarantine = LocalQuarantine(str(root))
        assert [one.path for one in quarantine.add([LINK, BLOB], run="1")] == [BLOB]
        assert (root / LINK).read_bytes() == sha256(DATA).encode()


def test_what_was_moved_to_another_disk_meanwhile_comes_back_there(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))
    [one] = quarantine.add([LINK], run="1")
    place = root / paths.repository("team")
    with other_disk(root) as disk:
        shutil.move(place, disk / "team")
        place.symlink_to(disk / "team")
        after = LocalQuarantine(str(root))
        assert after.restore(one)
        assert (root / LINK).read_bytes() == sha256(DATA).encode()
        assert list((root / LINK).parent.iterdir()) == [root / LINK]
        assert list(after.contents()) == []
    assert not after.restore(one)


def test_age_is_the_newest_of_all_times(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))
    os.utime(root / BLOB, (1, 1))  # the inode changed just now
    age = quarantine.age(BLOB)
    assert age is not None
    assert datetime.now(UTC) - age < timedelta(minutes=1)
    os.utime(root / LINK, (2**31, 2**31))
    assert quarantine.age(paths.repository("team/app")) == datetime.fromtimestamp(2**31, UTC)
    assert quarantine.age(paths.blob_data(sha256(b"none"))) is None


def test_odd_records_and_strangers_are_told_of_and_stay(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))
    [one] = quarantine.add([BLOB], run="1")
    batch = root / FOLDER / one.id.partition("/")[0]
    (batch / "5").write_bytes(b"stranger")
    for name, record in (
        ("cut", b'{"number": 0, "pa'),
        (
            "outside",
            json.dumps(
                {
                    "number": 0,
                    "path": "../../etc/passwd",
                    "size": 1,
                    "at": "2026-01-01T00:00:00+00:00",
                    "run": "1",
                }
            ).encode(),
        ),
        ("none", b""),
    ):
        put(root, f"{FOLDER}/{name}/0", b"x")
        put(root, f"{FOLDER}/{name}/record", record)
    assert list(quarantine.contents()) == [one]
    told = quarantine.problems()
    assert f"{FOLDER}/{batch.name}/5: is in no record" in told
    assert f"{FOLDER}/cut/record: cannot be read" in told
    assert f"{FOLDER}/outside/record: cannot be read" in told
    quarantine.purge(one)
    quarantine.tidy()
    assert (batch / "5").exists()
    assert (root / FOLDER / "none/0").exists()


def test_a_record_without_files_is_nothing_and_is_tidied_up(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))

    class Killed(Exception):
        pass

    def die(act: object, *arguments: object) -> object:
        if act is os.rename and str(arguments[0]).endswith("data"):
            raise Killed
        return act(*arguments)  # type: ignore[operator]

    quarantine.change = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        quarantine.add([BLOB], run="1")
    assert (root / BLOB).exists()
    after = LocalQuarantine(str(root))
    assert list(after.contents()) == []
    after.tidy()
    assert list((root / FOLDER).iterdir()) == []


def test_what_the_system_refuses_is_unreachable_and_loses_nothing(root: Path) -> None:
    quarantine = LocalQuarantine(str(root))
    [one] = quarantine.add([BLOB], run="1")

    def refuse(_act: object, *_arguments: object) -> object:
        raise OSError(5, "Input/output error")

    quarantine.change = refuse  # type: ignore[method-assign]
    for act in (quarantine.restore, quarantine.purge):
        with pytest.raises(Unreachable, match="Input/output error"):
            act(one)
    assert [one] == list(LocalQuarantine(str(root)).contents())


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (BLOB, "blob"),
        (LINK, "revision"),
        (f"{paths.uploads('a/b')}/id", "upload"),
        (paths.repository("a/b"), "repository"),
        (paths.layers("a/b"), "repository"),
        (paths.tag_link("a/b", "1"), None),
        (paths.layer_link("a/b", sha256(DATA)), "layer"),
        (paths.tag("a/b", "1.0"), "tag"),
        (paths.REPOSITORIES, None),
        (paths.BLOBS, None),
        (f"{paths.REPOSITORIES}/_layers", None),
        (f"x/{BLOB}", None),
        ("etc/passwd", None),
    ],
)
def test_a_path_tells_what_it_is(path: str, kind: str | None) -> None:
    place = paths.place_of(path)
    assert (place.kind if place else None) == kind
    if kind in ("blob", "revision"):
        assert place is not None
        assert place.digest == sha256(DATA)
