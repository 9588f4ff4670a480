"""A backup, the next one, what is in it, and all of it back."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from registryui.backup import backups, state, targets
from registryui.models import AuditEvent, RegistryUser, Run
from registryui.refused import Refused
from registryui.registry import paths

from .conftest import Kept

pytestmark = pytest.mark.django_db(transaction=True)


def _tree(folder: Path) -> dict[str, bytes]:
    """All files below, with their content."""
    return {
        str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()
    }


@pytest.mark.both_databases
def test_what_is_restored_is_what_was_there(kept: Kept, tmp_path: Path, settings: Any) -> None:
    os.utime(kept.data / "registry" / paths.tag_link("team/app", "1.0"), (1_700_000_000,) * 2)
    made = kept.back_up()
    assert (made.tags, made.repositories, made.missing) == (1, 1, [])
    if settings.IS_POSTGRESQL:
        return  # its restore has a test of its own
    done = kept.restore(tmp_path / "new")
    assert (done.tags, done.blobs, done.missing) == (1, made.blobs, [])
    new = tmp_path / "new"
    assert _tree(new / "registry") == _tree(kept.data / "registry")
    link = new / "registry" / paths.tag_link("team/app", "1.0")
    assert link.stat().st_mtime == 1_700_000_000  # the time of the push
    assert (new / "tls" / "ca.key").read_text() == "a key"
    assert stat.S_IMODE((new / "tls" / "ca.key").stat().st_mode) == 0o600
    assert (new / "htpasswd").read_bytes() == (kept.data / "htpasswd").read_bytes()
    assert not (new / "log").exists()
    assert not (new / "imports").exists()
    assert not (new / ".restoring").exists()
    with sqlite3.connect(new / "index.sqlite3") as database:
        rows = database.execute("SELECT name FROM registryui_registryuser").fetchall()
    assert rows == [(backups.LOGIN,)]


def test_the_second_reads_and_adds_only_what_is_new(kept: Kept, tmp_path: Path) -> None:
    layers = tuple(os.urandom(200_000) for _ in range(10))
    kept.store.image("team/big", "1", layers=layers)
    kept.back_up()
    first = kept.size()
    kept.store.image("team/app", "1.1", layers=(b"one", b"three"))
    second = kept.back_up()
    assert second.new_blobs == 3  # manifest, config, layer
    assert second.read_bytes < 2000
    assert kept.size() - first < first / 10
    done = kept.restore(tmp_path / "new")
    assert done.tags == 3
    assert _tree(tmp_path / "new" / "registry") == _tree(kept.data / "registry")
    assert len(backups.snapshots(kept.repository)) == 2


def test_an_earlier_snapshot_is_as_it_was(kept: Kept, tmp_path: Path) -> None:
    first = kept.back_up()
    was = _tree(kept.data / "registry")
    kept.store.image("team/app", "1.1", layers=(b"three",))
    kept.store.untag("team/app", "1.0")
    kept.back_up()
    kept.restore(tmp_path / "new", id=first.snapshot)
    assert _tree(tmp_path / "new" / "registry") == was


def test_uploads_and_what_no_link_needs_are_left_out(kept: Kept, tmp_path: Path) -> None:
    was = _tree(kept.data / "registry")
    kept.store.put_file(f"{paths.uploads('team/app')}/1/data", b"half")
    kept.store.blob("", b"garbage")
    assert kept.back_up().new_blobs == 4
    kept.restore(tmp_path / "new")
    assert _tree(tmp_path / "new" / "registry") == was


def test_a_blob_that_the_store_lacks_is_named_and_the_rest_backed_up(
    kept: Kept, tmp_path: Path
) -> None:
    lost = kept.store.blob("team/app", b"lost")
    (kept.data / "registry" / paths.blob_data(lost)).unlink()
    assert kept.back_up().missing == [lost]
    assert kept.restore(tmp_path / "new").missing == []  # it lacked it then, too


def test_the_password_is_shown_once_and_is_in_a_closed_file(kept: Kept) -> None:
    run = backups.back_up(str(kept.to), by="test")
    assert run is not None
    password = run.result["password"]
    place = backups.default_password_file()
    assert place.read_text().strip() == password
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    stored = Run.objects.get(pk=run.pk)
    assert password not in json.dumps(stored.result) + stored.log
    assert not any(password in json.dumps(one.details) for one in AuditEvent.objects.all())
    again = backups.back_up(str(kept.to), by="test")
    assert again is not None
    assert again.result["password"] == ""


def test_all_files_of_a_backup_are_closed(kept: Kept) -> None:
    kept.back_up()
    for one in [kept.to, *kept.to.rglob("*"), *(kept.data / "backup").rglob("*")]:
        assert not one.stat().st_mode & 0o077, one
    assert not (kept.data / "backup" / "state").exists()


def test_without_the_note_a_new_chain_adds_next_to_nothing(kept: Kept, tmp_path: Path) -> None:
    kept.store.image("team/big", "1", layers=tuple(os.urandom(200_000) for _ in range(10)))
    made = kept.back_up()
    first = kept.size()
    next((kept.data / "backup").glob("*.chain")).write_text("{damaged")
    assert kept.back_up().new_blobs == made.new_blobs
    assert kept.size() - first < first / 10
    kept.restore(tmp_path / "new")
    assert _tree(tmp_path / "new" / "registry") == _tree(kept.data / "registry")


def test_prune_keeps_what_the_kept_ones_need(kept: Kept, tmp_path: Path) -> None:
    for number in range(3):
        kept.store.image("team/app", f"2.{number}", layers=(b"%d" % number,))
        kept.back_up()
    pruned = backups.prune(kept.repository, keep=1)
    assert (len(pruned.kept), len(pruned.removed)) == (1, 2)
    assert [one.id for one in backups.snapshots(kept.repository)] == [pruned.kept[0].id]
    kept.restore(tmp_path / "new")
    assert _tree(tmp_path / "new" / "registry") == _tree(kept.data / "registry")
    assert backups.verify(kept.repository).problems == ()


def test_prune_by_days_never_removes_the_newest(kept: Kept) -> None:
    kept.back_up()
    assert len(backups.prune(kept.repository, keep_days=1).kept) == 1


def test_verify_names_the_snapshots_that_are_damaged(kept: Kept) -> None:
    kept.store.image("team/big", "1", layers=(os.urandom(300_000),))
    made = kept.back_up()
    pack = max((kept.to / "data").rglob("*"), key=lambda one: one.stat().st_size)
    pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    data[1000] ^= 1
    pack.write_bytes(data)
    found = backups.verify(kept.repository)
    assert found.damaged == (made.snapshot[:8],)
    assert found.problems


def test_a_damaged_snapshot_is_not_restored_and_leaves_nothing(kept: Kept, tmp_path: Path) -> None:
    kept.store.image("team/big", "1", layers=(os.urandom(300_000),))
    kept.back_up()
    pack = max((kept.to / "data").rglob("*"), key=lambda one: one.stat().st_size)
    pack.unlink()
    with pytest.raises(Refused):
        kept.restore(tmp_path / "new")
    assert not (tmp_path / "new").exists()


# -- what is refused -------------------------------------------------------------------------------
def test_a_filled_folder_is_not_restored_into(kept: Kept, tmp_path: Path) -> None:
    kept.back_up()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").write_text("mine")
    with pytest.raises(Refused, match="is not empty"):
        kept.restore(tmp_path / "new")
    assert (tmp_path / "new" / "mine").read_text() == "mine"


def test_a_wrong_password(kept: Kept, tmp_path: Path) -> None:
    kept.back_up()
    (tmp_path / "wrong").write_text("wrong\n")
    with pytest.raises(Refused, match="password does not open"):
        backups.snapshots(backups.opened(str(kept.to), tmp_path / "wrong"))


def test_two_at_once(kept: Kept) -> None:
    with backups.locked(alone=[backups.ALONE]):
        assert backups.back_up(str(kept.to), by="test") is None
        with pytest.raises(Refused):
            backups.prune(kept.repository, keep=1)


def test_a_dead_run_does_not_refuse_the_next(kept: Kept) -> None:
    Run.objects.create(kind=Run.Kind.BACKUP, by="killed", heartbeat_at="2999-01-01T00:00:00Z")
    kept.back_up()


def test_a_share_that_is_not_mounted_is_no_new_start(kept: Kept) -> None:
    kept.back_up()
    kept.to.rename(kept.to.with_name("elsewhere"))
    run = backups.back_up(str(kept.to), by="test")
    assert run is not None
    assert "is the share mounted" in backups.Result.of(run).problem
    assert not kept.to.exists()


def test_a_folder_with_other_files(kept: Kept) -> None:
    kept.to.mkdir()
    (kept.to / "mine").touch()
    run = backups.back_up(str(kept.to), by="test")
    assert run is not None
    assert "contains other files" in backups.Result.of(run).problem
    assert not backups.default_password_file().exists()  # it opens nothing


def test_a_newer_snapshot(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = state.migrations()
    monkeypatch.setattr(state, "migrations", lambda: [*known, "9999_of_tomorrow"])
    kept.back_up()
    with pytest.raises(Refused, match="newer than this one"):
        kept.restore(tmp_path / "new")


@pytest.mark.parametrize(
    "text", ["", "ftp://host/x", "s3://", "s3://user:secret@bucket", "s3://Bucket/x"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(Refused):
        targets.parse(text)


def test_not_in_the_data_folder(kept: Kept) -> None:
    with pytest.raises(Refused, match="elsewhere"):
        targets.parse(str(kept.data / "backups"))


def test_a_bucket_that_does_not_answer(settings: Any) -> None:
    settings.BACKUP_ENDPOINT = "http://127.0.0.1:9"
    with pytest.raises(Refused, match="cannot be reached"):
        targets.check_reachable(targets.parse("s3://bucket/prefix"))


def test_a_full_target_says_what_to_do(kept: Kept) -> None:
    from registryui.backup.restic import trouble

    said = "Save(<data/12>) returned error: write /to/x: no space left on device"
    assert "is full" in str(trouble(targets.parse(str(kept.to)), said))


def test_it_can_be_read_without_us(kept: Kept, tmp_path: Path) -> None:
    kept.back_up()
    stream = kept.repository.snapshots("blobs")[0].id
    words = ["restic", "-r", str(kept.to), "-p", str(backups.default_password_file())]
    dumped = subprocess.run(
        [*words, "dump", stream, "/blobs.tar"], capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "-xC", str(tmp_path), "-f", "-"], input=dumped, check=True)
    found = {f"sha256:{one.name}" for one in (tmp_path / "sha256").rglob("*") if one.is_file()}
    assert found == kept.store.blobs()


def test_the_user_of_rehearsals_has_no_rights(kept: Kept) -> None:
    kept.back_up()
    user = RegistryUser.objects.get(name=backups.LOGIN)
    assert user.is_active
    assert not user.rights.exists()
