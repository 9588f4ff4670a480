"""The files that nginx reads: never broken, never truncated, foreign lines kept to the byte."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as live
from django.db import transaction
from django.utils import timezone

from registryui.accounts import drift, htpasswd, publish, rights, users
from registryui.models import LineLeftAlone, RegistryUser, Right
from registryui.refused import Refused

from .checks import inconsistent

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


@dataclass(frozen=True, slots=True)
class Pair:
    on: RegistryUser
    off: RegistryUser


# -- failures --------------------------------------------------------------------------------------
NO_SPACE = "no space left on device"
NOTHING_CHANGED = f"Nothing was changed: the htpasswd file could not be written ({NO_SPACE})"
ACTS: dict[str, Callable[[Pair, list[drift.Difference]], object]] = {
    "create": lambda pair, hand: make("new", may=rights.parse([("push", "*")])),
    "rotate": lambda pair, hand: users.rotate(pair.on, by="tests"),
    "rotate with overlap": lambda pair, hand: users.rotate(
        pair.on, by="tests", overlap=timedelta(hours=1)
    ),
    "own password": lambda pair, hand: users.set_password(
        pair.on, "a long one", by="tests", cost=5
    ),
    "switch off": lambda pair, hand: users.set_active([pair.on], is_active=False, by="tests"),
    "switch on": lambda pair, hand: users.set_active([pair.off], is_active=True, by="tests"),
    "end": lambda pair, hand: users.expire([pair.on], timezone.now(), by="tests"),
    "more rights": lambda pair, hand: users.set_rights(
        pair.on, rights.parse([("push", "*")]), by="tests"
    ),
    "no rights": lambda pair, hand: users.set_rights(pair.on, frozenset(), by="tests"),
    "remove": lambda pair, hand: users.remove([pair.on, pair.off], by="tests"),
    "take over": lambda pair, hand: drift.take_over(hand, by="tests"),
    "put back": lambda pair, hand: drift.restore_lines(hand, by="tests"),
    "restore": lambda pair, hand: drift.restore(publish.versions()[-1], by="tests"),
}


@pytest.fixture
def pair(files: Path) -> Pair:
    """One who is on and one who is off, both with two secrets, and a hand's line and change."""
    (files / "htpasswd").write_bytes(FOREIGN)
    made = []
    for name in ("on", "off"):
        row = make(name, may=rights.parse([("pull", "team/*"), ("delete", "team/api")]))
        made.append(users.rotate(row, by="tests", overlap=timedelta(hours=2)).user)
    users.set_active([made[1]], is_active=False, by="tests")
    theirs = htpasswd.change(publish.read(), {"on": "{SHA}x", "hand": "{SHA}y"})
    (files / "htpasswd").write_bytes(theirs)
    return Pair(*made)


def all_there_is() -> dict[str, object]:
    """Files, rows and rights; without our canary, and whether a row waits to be looked at."""
    rows = [
        {**row, "generation": None, "rights": list(Right.objects.filter(user=row["id"]).values())}
        for row in RegistryUser.objects.order_by("id").values()
    ]
    for row in rows:
        for right in row["rights"]:
            del right["id"]
    places = sorted(live.RIGHTS_DIR.rglob("*"))
    return {
        "lines": htpasswd.change(publish.read(), {htpasswd.CANARY: ""}),
        "old secrets": live.OVERLAP_FILE.read_bytes(),
        "markers": [str(path.relative_to(live.RIGHTS_DIR)) for path in places if path.is_file()],
        "rows": rows,
        "left alone": list(LineLeftAlone.objects.values()),
        "temporary files": leftovers(live.RIGHTS_DIR.parent),
    }


class Disk:
    """Counts what is asked of the disk, and fails at one call, or at all from that one on."""

    def __init__(self, patch: pytest.MonkeyPatch, *, first: int, is_full: bool) -> None:
        self.calls, self.first, self.is_full = 0, first, is_full
        # A full disk still renames and removes; and a folder can be told to be written down.
        names = ["mkdir", "open", "fsync"] if is_full else ["mkdir", "open", "fsync", "rename"]
        for name in [*names, *([] if is_full else ["unlink", "chmod", "fchmod"])]:
            patch.setattr(os, name, self.failing(name, getattr(os, name)))

    def failing(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: Any, **options: Any) -> object:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real(*arguments, **options)
            if self.is_full and self.can_be_done_when_full(name, arguments[0]):
                return real(*arguments, **options)
            self.calls += 1
            if self.calls == self.first or (self.is_full and self.calls > self.first):
                raise OSError(28, NO_SPACE)
            return real(*arguments, **options)

        return call

    @staticmethod
    def can_be_done_when_full(name: str, where: Any) -> bool:
        """What takes no room: to open what is there, and to write down a folder."""
        if name == "fsync":
            return stat.S_ISDIR(os.fstat(where).st_mode)
        return Path(where).exists()


@pytest.mark.parametrize("is_full", [False, True], ids=["once", "disk full"])
@pytest.mark.parametrize("act", ACTS)
def test_an_act_is_done_or_has_changed_nothing_wherever_the_disk_fails(
    act: str, is_full: bool, pair: Pair, tmp_path: Path
) -> None:
    before, found, refused, saved = all_there_is(), drift.find(), 0, tmp_path.with_suffix(".saved")
    shutil.copytree(tmp_path, saved)
    for first in range(1, 100):
        point = transaction.savepoint()
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, first=first, is_full=is_full)
            reason = refusal(lambda: ACTS[act](pair, found))
        if reason:
            refused += 1
            assert NOTHING_CHANGED in reason
            assert all_there_is() == before, f"call {first}"
        publish.catch_up()  # what was undone is not done later, what was done is done whole
        assert all_there_is() == before or inconsistent() == [], f"call {first}"
        transaction.savepoint_rollback(point)
        shutil.rmtree(tmp_path)
        shutil.copytree(saved, tmp_path)
        if disk.calls < first:
            break
    assert (2 if is_full else 4) <= refused < first < 99


def refusal(act: Callable[[], object]) -> str:
    """What the act is refused with; "" if it was done."""
    try:
        act()
    except Refused as reason:
        return str(reason)
    return ""


def test_a_failed_write_gives_nobody_more_rights_for_a_while(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = make("a", may=rights.parse([("pull", "team/*")]))
    with monkeypatch.context() as patched:
        Disk(patched, first=3, is_full=True)
        with pytest.raises(Refused):
            users.set_rights(row, rights.parse([("push", "*")]), by="tests")
        with pytest.raises(Refused):
            make("b", may=rights.parse([("push", "*")]))
    assert not (live.RIGHTS_DIR / "a" / "push").exists()
    assert not (live.RIGHTS_DIR / "b").exists()
    assert (live.RIGHTS_DIR / "a" / "pull" / "team" / "@all").exists()
    assert publish.catch_up() == 1
    assert inconsistent() == []
