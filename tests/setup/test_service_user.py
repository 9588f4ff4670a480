"""Whose the data folder becomes when root starts `up`, and what root leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as live
from django.core.exceptions import ImproperlyConfigured

from registryui.setup import service_user
from tests.support.folders import open_folder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")

NOBODY = 65534
ALICE = 54321  # a number that no user of this machine has


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder("service-user") as one:
        yield one


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were begun as another user."""
    found: list[list[str]] = []
    monkeypatch.setattr(service_user, "NAME", "nobody")
    monkeypatch.setattr(os, "execve", lambda _program, words, _environment: found.append(words))
    return found


@pytest.fixture
def data(folder: Path, settings: Any) -> Path:
    return use(settings, folder / "data")


def use(settings: Any, data: Path) -> Path:
    settings.DATA, settings.STORE_DIR = data, data / "registry"
    settings.RUN_DIR, settings.SECRETS_DIR = data / "run", data / "secrets"
    return data


def owners(top: Path) -> set[int]:
    return {path.lstat().st_uid for path in (top, *top.rglob("*"))}


def test_a_link_to_another_disk_is_handed_over_where_it_leads_to(
    data: Path, folder: Path, begun: list[list[str]]
) -> None:
    disk = folder / "disk"
    (disk / "registry").mkdir(parents=True)
    data.symlink_to(disk)
    service_user.leave_root(["up"])
    assert owners(disk) == {NOBODY}
    assert data.lstat().st_uid == 0
    assert f"--reuid={NOBODY}" in begun[0]


@pytest.mark.parametrize("name", ["alice", ".bashrc", "etc"])
def test_a_folder_with_things_of_others_is_not_handed_over(
    data: Path, begun: list[list[str]], name: str
) -> None:
    (data / name).mkdir(parents=True)
    (data / "registry").mkdir()
    os.chown(data / name, ALICE, ALICE)
    with pytest.raises(ImproperlyConfigured, match=f"contains {name}, which is not Boathouse's"):
        service_user.leave_root(["up"])
    assert owners(data) == {0, ALICE}
    assert begun == []


def test_what_people_put_into_one_that_was_set_up_goes_with_it(
    data: Path, begun: list[list[str]]
) -> None:
    (data / "secrets").mkdir(parents=True)
    (data / "secrets" / "django-key").touch()
    (data / "notes").touch()
    service_user.leave_root(["up"])
    assert owners(data) == {NOBODY}
    assert len(begun) == 1


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo])
def test_what_is_no_folder_is_left_alone(data: Path, begun: list[list[str]], make: Any) -> None:
    make(data)
    at_once(lambda: service_user.leave_root(["up"]))
    assert data.stat().st_uid == 0
    assert begun == []


def test_root_waits_for_no_fifo_in_the_folder_of_another_user(
    data: Path, begun: list[list[str]]
) -> None:
    (data / "run").mkdir(parents=True)
    os.mkfifo(data / "run" / "up.lock")
    os.chown(data, NOBODY, NOBODY)
    at_once(lambda: service_user.leave_root(["up"]))
    assert len(begun) == 1


def test_a_huge_store_is_given_once_and_what_lies_beside_it_each_time(
    data: Path, begun: list[list[str]]
) -> None:
    (data / "registry").mkdir(parents=True)
    service_user.leave_root(["up"])
    for name in ("htpasswd", "registry/blob"):
        (data / name).touch()
    service_user.leave_root(["up"])
    assert (data / "htpasswd").stat().st_uid == NOBODY
    assert (data / "registry" / "blob").stat().st_uid == 0  # nobody looked
    assert len(begun) == 2


def test_what_is_gone_before_it_is_given_is_no_trouble(
    data: Path, begun: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two begin at once, and the parts of the first write files already."""
    data.mkdir()
    (data / "htpasswd").touch()
    look = os.stat

    def stat(path: Any, **options: Any) -> os.stat_result:
        if path == "htpasswd":
            (data / "htpasswd").unlink()
        return look(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    service_user.leave_root(["up"])
    assert owners(data) == {NOBODY}
    assert len(begun) == 1


def test_a_user_who_is_not_on_this_machine_is_one_sentence(
    data: Path, begun: list[list[str]]
) -> None:
    data.mkdir()
    os.chown(data, ALICE, ALICE)
    for command in ("up", "status"):
        with pytest.raises(ImproperlyConfigured, match=f"belongs to user {ALICE}, who does not"):
            service_user.leave_root([command])
    assert begun == []


def test_code_that_the_user_cannot_read_is_one_sentence(
    data: Path, folder: Path, begun: list[list[str]], settings: Any
) -> None:
    data.mkdir()
    os.chown(data, NOBODY, NOBODY)
    settings.BASE_DIR = folder
    (folder / "manage.py").touch(0o600)
    with pytest.raises(ImproperlyConfigured, match=r"cannot read .*/manage\.py"):
        service_user.leave_root(["status"])
    assert begun == []


@pytest.mark.parametrize("name", ["x" * 86, "data;"])
def test_a_path_that_cannot_be_used_is_refused_before_it_is_created(
    folder: Path, settings: Any, begun: list[list[str]], name: str
) -> None:
    data = use(settings, folder / "above" / name)
    with pytest.raises(ImproperlyConfigured, match="path of the data folder"):
        service_user.leave_root(["up"])
    assert not data.parent.exists()
    assert begun == []


def test_a_place_that_takes_no_folder_is_one_sentence(
    settings: Any, begun: list[list[str]]
) -> None:
    use(settings, Path("/proc/boathouse"))
    with pytest.raises(ImproperlyConfigured, match="cannot be owned by the user"):
        service_user.leave_root(["up"])
    use(settings, Path("/proc/version/boathouse"))
    service_user.leave_root(["status"])
    assert begun == []


@pytest.mark.parametrize("command", ["status", "up", "list"])
def test_who_may_not_enter_the_folder_is_told_so(folder: Path, command: str) -> None:
    data = folder / "data"
    data.mkdir(0o700)
    manage = live.BASE_DIR / "manage.py"
    done = subprocess.run(
        [sys.executable, str(manage), command, "--json"],
        env={"BOATHOUSE_DATA": str(data), "BOATHOUSE_PORT": "1"},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
    )
    if "can't open file" in done.stderr:
        pytest.skip("nobody cannot read this checkout")
    assert "Traceback" not in done.stderr
    assert "cannot access" in json.loads(done.stdout)["error"]


def at_once(act: Any) -> None:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
