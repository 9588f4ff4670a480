"""What `up` heals by itself: files of registry users that are lost, closed or from a backup."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from django.conf import settings as live

from registryui.accounts import drift, htpasswd, publish, rights, users
from registryui.models import Published, RegistryUser
from registryui.setup import data, first

pytestmark = pytest.mark.django_db

OLD = b"# made by hand\nold:$apr1$abcdefgh$wVuM1PmFy7Wl4wJ3Uk8XO/\nplain:{PLAIN}letmein\n"


def make(name: str, *may: tuple[str, str]) -> RegistryUser:
    return users.create(name, by="tests", may=rights.parse(may)).user


def may(name: str) -> rights.Rights:
    return users.rights_of(RegistryUser.objects.get(name=name))


def markers() -> set[str]:
    found = live.RIGHTS_DIR.rglob("*")
    return {str(path.relative_to(live.RIGHTS_DIR)) for path in found if path.is_file()}


OPEN = {"@open/base", "@open/search", "@open/other"}


def test_a_file_that_was_there_is_adopted_with_pull_and_push(files: Path) -> None:
    (files / "htpasswd").write_bytes(OLD)
    first.prepare_files()
    assert {row.name for row in RegistryUser.objects.all()} == {"old", "plain"}
    assert may("old") == may("plain") == users.ADOPTED
    assert publish.read().startswith(OLD.partition(b"plain:")[0])
    assert b"letmein" not in publish.read()
    assert htpasswd.verify(publish.lines()["plain"], "letmein")
    assert drift.find() == []
    assert "old/push/@all" in markers()
    assert first.registry_user() == first.Account("old", "")


def test_the_first_start_makes_no_file_and_no_user(files: Path) -> None:
    first.prepare_files()
    assert not live.HTPASSWD_FILE.exists()
    assert markers() == OPEN
    assert first.registry_user().secret
    assert list(publish.lines()) == ["docker"]


def test_a_lost_file_is_written_again_from_the_tables(files: Path) -> None:
    make("a", ("pull", "*"))
    off = make("b", ("pull", "*"))
    users.set_active([off], is_active=False, by="tests")
    before = publish.lines()
    for lost in (live.HTPASSWD_FILE, live.OVERLAP_FILE):
        lost.unlink()
    first.prepare_files()
    assert publish.lines() == before
    assert list(before) == ["a"]
    assert live.OVERLAP_FILE.read_bytes() == b""
    assert drift.find() == []


def test_a_change_of_one_user_brings_a_lost_file_back_complete(files: Path) -> None:
    """Else the others would be locked out by it."""
    make("a")
    make("b")
    live.HTPASSWD_FILE.unlink()
    make("c")
    assert list(publish.lines()) == ["a", "b", "c"]


def test_lost_and_stale_rights_are_written_anew(files: Path) -> None:
    row = make("a", ("pull", "team/*"), ("push", "team/api"))
    want = {"a/pull/team/@all", "a/push/team/api/@one", *OPEN}
    for damage in (
        lambda: shutil.rmtree(live.RIGHTS_DIR),
        lambda: shutil.rmtree(live.RIGHTS_DIR / "a"),
        lambda: (live.RIGHTS_DIR / "a" / "push" / "@all").touch(),
        lambda: make("gone", ("pull", "*")) and RegistryUser.objects.exclude(pk=row.pk).delete(),
        lambda: [path.chmod(0) for path in (live.RIGHTS_DIR / "a" / "pull", live.RIGHTS_DIR)],
        lambda: [path.chmod(0o600) for path in live.RIGHTS_DIR.rglob("*") if path.is_file()],
    ):
        damage()
        first.prepare_files()
        assert markers() == want
        modes = {(p.is_dir(), stat.S_IMODE(p.stat().st_mode)) for p in live.RIGHTS_DIR.rglob("*")}
        assert modes == {(True, 0o711), (False, 0o644)}


def test_a_lost_database_comes_back_from_file_and_rights(files: Path) -> None:
    """Nobody needs a new secret, and nobody may do more than before."""
    make("ci", ("pull", "*"), ("push", "team/*"), ("delete", "team/api"))
    make("reader", ("pull", "other/x"))
    make("nothing")
    users.set_active([make("off", ("push", "*"))], is_active=False, by="tests")
    before, kept = publish.lines(), markers()
    RegistryUser.objects.all().delete()
    first.prepare_files()
    assert publish.lines() == before
    assert markers() == kept | OPEN
    assert may("ci") == {("pull", "*"), ("push", "team/*"), ("delete", "team/api")}
    assert may("reader") == {("pull", "other/x")}
    assert may("nothing") == frozenset()
    assert drift.find() == []


def test_without_database_and_rights_nobody_gains_any(files: Path) -> None:
    make("ci", ("pull", "team/*"))
    RegistryUser.objects.all().delete()
    shutil.rmtree(live.RIGHTS_DIR)
    first.prepare_files()
    assert may("ci") == frozenset()
    assert list(publish.lines()) == ["ci"]
    assert markers() == OPEN


def test_an_older_database_sees_what_it_does_not_know(files: Path) -> None:
    """A name that it does not have keeps its login and loses its rights, and is shown."""
    old = make("old", ("pull", "*"))
    older = RegistryUser.objects.values().get(pk=old.pk)
    older_line = Published.objects.values().get(name="old")
    make("newer", ("pull", "*"))
    users.rotate(old, by="tests")
    RegistryUser.objects.filter(name="newer").delete()
    RegistryUser(**older).save()
    Published.objects.filter(name="newer").delete()
    Published(**older_line).save()
    first.prepare_files()
    assert {one.name: one.what for one in drift.find()} == {
        "newer": drift.What.ADDED,
        "old": drift.What.CHANGED,
    }
    assert markers() == {"old/pull/@all", *OPEN}


def test_an_emptied_file_stays_somebodys_decision(files: Path) -> None:
    make("a")
    live.HTPASSWD_FILE.write_bytes(b"")
    first.prepare_files()
    assert publish.read() == b""
    assert [one.what for one in drift.find()] == [drift.What.REMOVED]


def test_closed_files_are_opened_for_nginx_alone(files: Path) -> None:
    make("a")
    for path in (live.HTPASSWD_FILE, live.OVERLAP_FILE):
        path.chmod(0)
    first.prepare_files()
    for path in (live.HTPASSWD_FILE, live.OVERLAP_FILE):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o400
        assert not mode & 0o337
        if os.geteuid() == 0:
            assert mode & 0o040
            assert path.stat().st_gid == publish._nginx_group()


def test_folders_that_a_backup_brought_back_closed_are_opened(
    tmp_path: Path, settings: object
) -> None:
    folder = tmp_path / "var"
    for name, place in FOLDERS.items():
        setattr(settings, name, folder / place)
    data.make()
    open_ones = [path for path in folder.rglob("*") if stat.S_IMODE(path.stat().st_mode) == 0o711]
    assert {path.name for path in open_ones} >= {"rights", "config", "log", "run", "nginx"}
    for path in folder.rglob("*"):
        path.chmod(0o700)
    data.make()
    assert {stat.S_IMODE(path.stat().st_mode) for path in open_ones} == {0o711}
    assert stat.S_IMODE(live.VERSIONS_DIR.stat().st_mode) == 0o700


FOLDERS = {
    "DATA": "",
    "STORE_DIR": "registry",
    "TLS_DIR": "tls",
    "SECRETS_DIR": "secrets",
    "CONFIG_DIR": "config",
    "LOG_DIR": "log",
    "RUN_DIR": "run",
    "STATIC_ROOT": "static",
    "HTPASSWD_FILE": "htpasswd",
    "OVERLAP_FILE": "htpasswd.old",
    "RIGHTS_DIR": "rights",
    "VERSIONS_DIR": "htpasswd-versions",
}


@pytest.mark.parametrize(
    "scopes",
    [
        [("pull", "*")],
        [("pull", "team/*"), ("push", "team/api")],
        [("delete", "a/b/c/d/*"), ("delete", "a/b/c/d")],
        [("push", "pull/push"), ("pull", "delete/*")],
        [],
    ],
)
def test_markers_read_back_are_the_rights(scopes: list[tuple[str, str]]) -> None:
    given = rights.parse(scopes)
    strange = ["x/@all", "pull/@one", "pull/UPPER/@one", "pull", "@all", "", "pull/a/@other"]
    assert rights.from_markers([*rights.markers(given), *strange]) == given
