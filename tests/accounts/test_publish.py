"""The files that nginx reads: never broken, never truncated, foreign lines kept to the byte."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from django.conf import settings as live

from registryui.accounts import htpasswd, publish, rights, users
from registryui.models import RegistryUser
from registryui.refused import Refused

FOREIGN = b"# made by hand\nold:$apr1$abcdefgh$wVuM1PmFy7Wl4wJ3Uk8XO/\n\nno colon here\nlast:{SHA}x"

pytestmark = pytest.mark.django_db


def make(name: str, **options: object) -> RegistryUser:
    return users.create(name, by="tests", **options).user  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a:b",
        "a\nb",
        "a\rb",
        "a\0b",
        " a",
        "a ",
        "a\x7f",
        "é" * 128,
        "#a",
        "@a",
        "a/b",
        "..",
        ".",
    ],
)
def test_a_name_that_could_inject_or_confuse_is_refused(name: str, files: Path) -> None:
    with pytest.raises(Refused):
        make(name)
    assert not (files / "htpasswd").exists()
    assert not RegistryUser.objects.exists()


def test_foreign_lines_are_kept_byte_for_byte(files: Path) -> None:
    (files / "htpasswd").write_bytes(FOREIGN)
    row = make("ci")
    users.rotate(row, by="tests")
    assert publish.read().startswith(FOREIGN + b"\n")
    assert list(publish.lines()).count("ci") == 1
    users.remove([row], by="tests")
    publish.take([htpasswd.CANARY])
    assert htpasswd.change(publish.read(), {htpasswd.CANARY: ""}) == FOREIGN + b"\n"


def test_apaches_own_htpasswd_accepts_the_hashes(files: Path) -> None:
    done = users.create("ci", by="tests")
    line_hash = publish.lines()["ci"]
    assert done.secret not in publish.read().decode()
    assert htpasswd.verify(line_hash, done.secret)
    assert not htpasswd.verify(line_hash, done.secret + "x")
    users.create("person", by="tests", password="correct horse battery", cost=5)
    said = subprocess.run(
        ["htpasswd", "-vb", str(files / "htpasswd"), "person", "correct horse battery"],
        capture_output=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr


def test_the_file_is_replaced_not_rewritten(files: Path) -> None:
    make("a")
    with (files / "htpasswd").open("rb") as reader:
        before = (files / "htpasswd").stat().st_ino
        make("b")
        assert (files / "htpasswd").stat().st_ino != before
        assert list(htpasswd.parse(reader.read())) == ["a", htpasswd.CANARY]  # the old one, whole
    assert leftovers(files) == []


def leftovers(files: Path) -> list[str]:
    """Temporary files that a write has forgotten."""
    kept = {".htpasswd.lock", ".htpasswd.written"}
    hidden = {path.name for path in files.iterdir() if path.name.startswith(".")}
    return sorted(hidden - kept)


def test_mode_and_owner_stay(files: Path) -> None:
    file = files / "htpasswd"
    file.write_bytes(FOREIGN)
    file.chmod(0o604)
    make("a")
    assert stat.S_IMODE(file.stat().st_mode) == 0o604
    assert file.stat().st_uid == os.geteuid()


def test_nobody_else_may_read_what_is_new(files: Path) -> None:
    row = make("a")
    users.rotate(row, by="tests", overlap=users.LONGEST_OVERLAP)
    paths = [live.HTPASSWD_FILE, live.OVERLAP_FILE, *publish.versions()]
    assert len(paths) == 3
    assert [path.name for path in paths if path.stat().st_mode & 0o007] == []


def fails(handle: int) -> None:
    """os.fsync of a full disk."""
    raise OSError(28, "No space left on device")


def test_a_write_that_fails_changes_nothing(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = make("a", may=rights.parse([("pull", "team/*")]))
    before, rows = publish.read(), list(RegistryUser.objects.values())
    monkeypatch.setattr(os, "fsync", fails)
    for act in (
        lambda: make("b"),
        lambda: users.rotate(row, by="tests"),
        lambda: users.switch([row], is_active=False, by="tests"),
        lambda: users.set_rights(row, rights.parse([("push", "*")]), by="tests"),
        lambda: users.remove([row], by="tests"),
    ):
        with pytest.raises(Refused, match=r"Nothing has changed.*No space left on device"):
            act()
    assert publish.read() == before
    assert leftovers(files) == []
    now = list(RegistryUser.objects.values())
    assert [{**one, "is_pending": False} for one in now] == rows
    row = RegistryUser.objects.get()
    assert users.rights_of(row) == {("pull", "team/*")}


def test_catching_up_takes_away_what_a_failed_write_gave(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = make("a", may=rights.parse([("pull", "team/*")]))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        with pytest.raises(Refused):
            users.set_rights(row, rights.parse([("push", "*")]), by="tests")
    assert (live.RIGHTS_DIR / "a" / "push" / "@all").exists()
    assert publish.catch_up() == 1
    assert not (live.RIGHTS_DIR / "a" / "push").exists()
    assert (live.RIGHTS_DIR / "a" / "pull" / "team" / "@all").exists()
