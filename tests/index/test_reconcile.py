"""What a sync with a store finds, reads and leaves alone: on files that other hands change."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management import CommandError, call_command

from registryui.index import ingest
from registryui.index.sync import sync
from registryui.index.verify import verify
from registryui.models import UNKNOWN, Manifest, Repository, Run, Tag
from registryui.registry import paths
from registryui.registry.errors import Unreachable
from registryui.registry.source import Stored, TagLink
from registryui.registry.storage import FileStore
from tests.selection import Extent
from tests.support import made_files
from tests.support.fake_source import FakeSource
from tests.support.index_rows import all_rows
from tests.support.product import ROOT
from tests.support.waiting import LONGEST, until

pytestmark = pytest.mark.django_db


@pytest.fixture
def files(tmp_path: Path) -> made_files.Files:
    return made_files.write(tmp_path / "store", 120, repositories=6)


def run(store: FileStore, **options: bool) -> Run:
    done = sync(store, by="test", **options)
    assert done is not None
    done.refresh_from_db()
    return done


def first(files: made_files.Files) -> str:
    return next(iter(files.records.repositories()))


def test_a_store_is_in_the_index_with_its_times_and_untagged_manifests(
    files: made_files.Files,
) -> None:
    result = run(files.open()).result
    assert (result["repositories"], result["tags"], result["added"]) == (6, 120, 120)
    name = first(files)
    for tag, digest, at in files.records.records(name).tags:
        row = Tag.objects.select_related("manifest").get(repository__name=name, name=tag)
        assert row.manifest is not None
        assert (row.manifest.digest, row.tagged_at) == (digest, at)
    here = Manifest.objects.filter(repository__name=name).values_list("digest", flat=True)
    assert set(here) == set(files.records.records(name).manifests)
    assert list(verify(files.open())) == []


def test_nothing_changed_reads_links_and_writes_nothing(
    files: made_files.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(files.open())
    before = all_rows(), dict(Repository.objects.values_list("name", "changed_at"))
    calls: Counter[str] = Counter()
    for method in ("read_blobs", "manifest", "revisions", "tag_links"):
        whole = getattr(FileStore, method)

        def counted(
            self: FileStore, *args: Any, _m: str = method, _w: Any = whole, **kw: Any
        ) -> Any:
            calls[_m] += 1
            return _w(self, *args, **kw)

        monkeypatch.setattr(FileStore, method, counted)
    result = run(files.open()).result
    assert calls == {"tag_links": 6}
    assert (result["added"], result["moved"], result["removed"], result["manifests"]) == (0,) * 4
    assert (all_rows(), dict(Repository.objects.values_list("name", "changed_at"))) == before


def test_an_index_that_came_over_http_gets_times_and_untagged_manifests(
    files: made_files.Files,
) -> None:
    run(files.open())
    wanted = all_rows()
    for name in files.records.repositories():
        ingest.drop_repository(name)
    plain = files.open()
    source = FakeSource()
    for name in files.records.repositories():
        source.tags_of[name] = {link.name: link.digest for link in plain.tag_links(name)}
        for digest, (raw, media_type) in files.records.records(name).manifests.items():
            source.manifests_of[name][digest] = Stored(digest, media_type, raw)
        source.blobs_of[name] = files.records.records(name).blobs
    assert sync(source, by="test") is not None
    assert not Tag.objects.exclude(tagged_at=UNKNOWN).exists()
    run(files.open())
    assert all_rows() == wanted


def test_a_moved_tag_is_found_though_no_folder_tells(files: made_files.Files) -> None:
    run(files.open())
    name = first(files)
    (one, _digest, _at), *_rest, (_other, digest, _) = files.records.records(name).tags
    files.set_tag(name, one, digest)
    done = run(files.open())
    assert done.result["moved"] == 1
    assert f"{name}:{one}: moved to {digest}" in done.log
    row = Tag.objects.select_related("manifest").get(repository__name=name, name=one)
    assert row.manifest is not None
    assert row.manifest.digest == digest
    assert list(verify(files.open())) == []


def test_hand_deletions_new_tags_and_new_manifests_are_repaired(files: made_files.Files) -> None:
    run(files.open())
    name, lost, *_rest = files.records.repositories()
    tags = [tag for tag, *_more in files.records.records(name).tags]
    files.remove_tag(name, tags[0])
    files.set_tag(name, "new", files.records.records(name).tags[3][1])
    untagged = files.put(name, "for-a-moment", b'{"schemaVersion": 2, "layers": []}')
    files.remove_tag(name, "for-a-moment")
    shutil.rmtree(files.path(paths.repository(lost)))
    told = set(verify(files.open()))
    assert told == {
        f"{name}:{tags[0]}: only in the index",
        f"{name}:new: not in the index",
        f"{name}@{untagged}: not in the index",
        f"{lost}: only in the index",
    }
    result = run(files.open()).result
    gone = len(files.records.records(lost).tags) + 1
    assert (result["added"], result["removed"], result["manifests"]) == (1, gone, 1)
    assert Manifest.objects.get(digest=untagged).untagged_at is not None
    assert not Repository.objects.filter(name=lost).exists()
    assert list(verify(files.open())) == []


def test_a_deleted_manifest_goes_with_its_tag_and_a_restored_backup_brings_them_back(
    files: made_files.Files, tmp_path: Path
) -> None:
    run(files.open())
    wanted = all_rows()
    shutil.copytree(files.root, tmp_path / "backup")
    name = first(files)
    tag, digest, _at = files.records.records(name).tags[0]
    for other, target, _moment in files.records.records(name).tags:
        if target == digest:
            files.remove_tag(name, other)
    files.path(paths.revision_link(name, digest)).unlink()
    run(files.open())
    assert not Tag.objects.filter(repository__name=name, name=tag).exists()
    assert not Manifest.objects.filter(repository__name=name, digest=digest).exists()
    shutil.rmtree(files.root)
    shutil.copytree(tmp_path / "backup", files.root)
    files.age()
    run(files.open())
    run(files.open())
    again = all_rows()
    without_stamp = [
        [column for column in row if "stamp" not in column] for row in again["Repository"]
    ]
    assert without_stamp == [
        [column for column in row if "stamp" not in column] for row in wanted["Repository"]
    ]
    for table in ("Tag", "Manifest", "ManifestBlob", "Blob", "ImageIndexEntry"):
        assert again[table] == wanted[table], table


@pytest.mark.parametrize("what", ["repositories", "tag_links", "stamp", "revisions", "read_blobs"])
def test_nothing_is_dropped_when_the_store_does_not_answer(
    files: made_files.Files, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    run(files.open())
    before = set(Tag.objects.values_list("repository__name", "name"))
    files.put(first(files), "new", b'{"schemaVersion": 2, "layers": []}')

    def broken(*_args: object, **_more: object) -> None:
        raise Unreachable("Input/output error")

    monkeypatch.setattr(FileStore, what, broken)
    done = run(files.open())
    assert set(Tag.objects.values_list("repository__name", "name")) >= before
    assert done.result["errors"] > 0
    assert (done.state == Run.State.FAILED) == (what == "repositories")


def test_an_empty_store_is_a_lost_disk_until_somebody_says_otherwise(
    files: made_files.Files,
) -> None:
    run(files.open())
    shutil.rmtree(files.root)
    files.root.mkdir()
    done = run(files.open())
    assert done.state == Run.State.FAILED
    assert "Is its disk mounted?" in done.log
    assert Tag.objects.count() == 120
    assert run(files.open(), full=True).state == Run.State.DONE
    assert Tag.objects.count() == 0


def test_a_tag_with_a_problem_heals_when_its_bytes_are_back(files: made_files.Files) -> None:
    name = first(files)
    tag, digest, _at = files.records.records(name).tags[0]
    blob = files.path(paths.blob_data(digest))
    raw = blob.read_bytes()
    blob.write_bytes(raw[:10])
    run(files.open())
    assert Tag.objects.get(repository__name=name, name=tag).problem == "unreadable"
    blob.write_bytes(raw)
    run(files.open())
    row = Tag.objects.select_related("manifest").get(repository__name=name, name=tag)
    assert (row.problem, row.manifest and row.manifest.digest) == ("", digest)


def test_full_reads_what_no_time_tells(files: made_files.Files) -> None:
    """A child that somebody took out of the blobs leaves every folder of the repository alone."""
    run(files.open())
    entry = Manifest.objects.filter(kind="image index", tags__problem="").first()
    assert entry is not None
    child = entry.entries.first()
    assert child is not None
    files.path(paths.blob_data(child.digest)).unlink()
    run(files.open())
    assert not Tag.objects.exclude(problem="").exists()
    run(files.open(), full=True)
    assert set(Tag.objects.exclude(problem="").values_list("manifest__digest", flat=True)) == {
        entry.digest
    }


def test_the_command_reads_the_store_and_verifies(
    files: made_files.Files, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.STORE_DIR = files.root
    call_command("sync", "--source", "store", "--json")
    assert json.loads(capsys.readouterr().out)["tags"] == 120
    call_command("sync", "--source", "store", "--verify")
    assert capsys.readouterr().out == "The index matches the registry.\n"
    name = first(files)
    tag = files.records.records(name).tags[0][0]
    files.remove_tag(name, tag)
    with pytest.raises(SystemExit) as ended:
        call_command("sync", "--source", "store", "--verify", "--json")
    assert ended.value.code == 1
    told = json.loads(capsys.readouterr().out)["differences"]
    assert told == [f"{name}:{tag}: only in the index"]
    assert Tag.objects.filter(repository__name=name, name=tag).exists()


def test_the_command_says_so_when_the_store_cannot_be_read(settings: Any, tmp_path: Path) -> None:
    settings.STORE_DIR = tmp_path / "nowhere"
    with pytest.raises(CommandError, match="the store cannot be read"):
        call_command("sync", "--source", "store")


def test_a_listing_that_lacks_a_tag_is_not_believed_alone(
    files: made_files.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tag is looked at again before its row goes."""
    run(files.open())
    whole = FileStore.tag_links

    def shorter(self: FileStore, repository: str) -> list[TagLink]:
        return whole(self, repository)[1:]

    monkeypatch.setattr(FileStore, "tag_links", shorter)
    run(files.open())
    assert Tag.objects.count() == 120


# -- killed in the middle --------------------------------------------------------------------------


def _sync(data: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"BOATHOUSE_DATA": str(data), "BOATHOUSE_SOURCE": "store"}
    environment |= {"DJANGO_SETTINGS_MODULE": "portal.settings"}
    environment.pop("DATABASE_URL", None)
    return subprocess.Popen(
        [sys.executable, "manage.py", "sync", "--json"],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _dump(data: Path) -> str:
    script = (
        "import django; django.setup()\n"
        "from tests.support.index_rows import all_rows\n"
        "for table, rows in all_rows().items():\n"
        # A layer that images of both formats share is called by whichever was read first.
        "    for row in rows:\n"
        "        print(table, [c for c in row if table != 'Blob' or 'media_type' not in c])\n"
    )
    environment = os.environ | {"BOATHOUSE_DATA": str(data)}
    environment |= {"DJANGO_SETTINGS_MODULE": "portal.settings"}
    environment.pop("DATABASE_URL", None)
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def _prepare(data: Path, store: Path) -> None:
    data.mkdir()
    (data / "registry").symlink_to(store)
    environment = os.environ | {"BOATHOUSE_DATA": str(data)}
    environment |= {"DJANGO_SETTINGS_MODULE": "portal.settings"}
    environment.pop("DATABASE_URL", None)
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True
    )


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def test_a_build_that_is_killed_goes_on_and_makes_the_same_index(
    tmp_path: Path, extent: Extent
) -> None:
    tags, repositories, most = extent((600, 40, 1), (3000, 60, 30))
    made_files.write(tmp_path / "store", tags, repositories=repositories)
    _prepare(tmp_path / "whole", tmp_path / "store")
    shutil.copytree(tmp_path / "whole", tmp_path / "killed", symlinks=True)
    whole = _sync(tmp_path / "whole")
    assert json.loads(whole.communicate(timeout=LONGEST)[0])["tags"] == tags

    kills = 0
    readers: list[int] = []
    for _attempt in range(most + 1):
        process = _sync(tmp_path / "killed")
        began = _tags(tmp_path / "killed")
        while process.poll() is None and kills < most:
            if _tags(tmp_path / "killed") > began:
                readers += _children(process.pid)
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        process.communicate(timeout=LONGEST)
        if process.returncode == 0:
            break
        with sqlite3.connect(tmp_path / "killed" / "index.sqlite3") as database:
            database.execute("UPDATE registryui_run SET heartbeat_at = '2020-01-01 00:00:00'")
    assert process.returncode == 0
    assert kills >= extent(1, 2)
    assert _dump(tmp_path / "killed") == _dump(tmp_path / "whole")
    until(lambda: not any(psutil.pid_exists(pid) for pid in readers), "its readers have ended")


def _tags(data: Path) -> int:
    with sqlite3.connect(f"file:{data}/index.sqlite3?mode=ro", uri=True) as database:
        return int(database.execute("SELECT count(*) FROM registryui_tag").fetchone()[0])
