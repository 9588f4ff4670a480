"""The htpasswd file: never broken, never truncated, foreign lines kept to the byte."""

import multiprocessing
import os
import stat
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from registryui.accounts import htpasswd, publish

FOREIGN = b"# made by hand\nold:$apr1$abcdefgh$wVuM1PmFy7Wl4wJ3Uk8XO/\n\nno colon here\nlast:{SHA}x"


@pytest.fixture
def file(tmp_path: Path, settings: object) -> Path:
    settings.HTPASSWD_FILE = tmp_path / "htpasswd"  # type: ignore[attr-defined]
    return tmp_path / "htpasswd"


@pytest.mark.parametrize(
    "name", ["", "a:b", "a\nb", "a\rb", "a\0b", " a", "a ", "a\x7f", "é" * 256]
)
def test_a_name_that_could_inject_or_confuse_is_refused(name: str, file: Path) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the text quotes the name)
        publish.add_line(name, "secret")
    assert not file.exists()


def test_foreign_lines_are_kept_byte_for_byte(file: Path) -> None:
    file.write_bytes(FOREIGN)
    publish.add_line("ci", htpasswd.new_secret())
    publish.add_line("ci", htpasswd.new_secret())
    assert file.read_bytes().startswith(FOREIGN)
    assert publish.names().count("ci") == 1
    publish.remove_line("ci")
    assert file.read_bytes().rstrip(b"\n") == FOREIGN


def test_apaches_own_htpasswd_accepts_the_hash(file: Path) -> None:
    secret = htpasswd.new_secret()
    publish.add_line("ci", secret)
    line_hash = htpasswd.parse(file.read_bytes())["ci"]
    assert secret not in file.read_text()
    assert htpasswd.verify(line_hash, secret)
    assert not htpasswd.verify(line_hash, secret + "x")
    slow = htpasswd.hash_password("correct horse battery", rounds=5)
    file.write_text(f"person:{slow}\n")
    said = subprocess.run(
        ["htpasswd", "-vb", str(file), "person", "correct horse battery"],
        capture_output=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr


def test_the_file_is_replaced_not_rewritten(file: Path) -> None:
    publish.add_line("a", htpasswd.new_secret())
    with file.open("rb") as reader:
        before = file.stat().st_ino
        publish.add_line("b", htpasswd.new_secret())
        assert file.stat().st_ino != before
        assert reader.read().count(b"\n") == 1  # who reads the old one reads it whole
    assert [path.name for path in file.parent.iterdir() if "tmp" in path.name] == []


def test_mode_and_owner_stay(file: Path) -> None:
    file.write_bytes(FOREIGN)
    file.chmod(0o604)
    publish.add_line("a", htpasswd.new_secret())
    assert stat.S_IMODE(file.stat().st_mode) == 0o604
    assert file.stat().st_uid == os.geteuid()


def test_nobody_else_may_read_a_new_file(file: Path) -> None:
    publish.add_line("a", htpasswd.new_secret())
    assert stat.S_IMODE(file.stat().st_mode) & 0o007 == 0


def _edit_ten_times(path: Path, number: int) -> None:
    settings.HTPASSWD_FILE = path
    for turn in range(10):
        publish.add_line(f"user-{number}-{turn}", htpasswd.new_secret())


def test_edits_of_many_processes_are_all_kept(file: Path) -> None:
    file.write_bytes(FOREIGN)
    forks = multiprocessing.get_context("fork")
    writers = [forks.Process(target=_edit_ten_times, args=(file, number)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    assert [writer.exitcode for writer in writers] == [0] * 6
    assert len([name for name in publish.names() if name.startswith("user-")]) == 60
    assert file.read_bytes().startswith(FOREIGN)


def test_a_write_that_fails_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(FOREIGN)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        publish.add_line("a", htpasswd.new_secret())
    assert file.read_bytes() == FOREIGN
    assert [path.name for path in file.parent.iterdir() if "tmp" in path.name] == []
