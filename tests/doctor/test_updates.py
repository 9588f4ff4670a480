"""Security updates that wait are told of, and apt is not asked each minute."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from registryui import doctor
from registryui.doctor import updates

LISTED = """Listing...
bash/oldstable 5.2.15-2+b13 amd64 [upgradable from: 5.2.15-2+b8]
libssl3/oldstable,oldstable-security 3.0.18-1 amd64 [upgradable from: 3.0.17-1]
nginx/oldstable-security 1.22.1-9+deb12u3 amd64 [upgradable from: 1.22.1-9]
"""


@pytest.fixture
def apt(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what apt says; each time it is asked, a letter is added to `asked`."""
    listed = tmp_path / "listed"
    listed.write_text(LISTED)
    program = tmp_path / "apt"
    program.write_text(f'#!/bin/sh\nprintf x >>"{tmp_path}/asked"\ncat "{listed}"\n')
    program.chmod(0o755)
    monkeypatch.setattr(updates, "APT", str(program))
    for name in ("LISTS", "INSTALLED"):
        (tmp_path / name).touch()
        monkeypatch.setattr(updates, name, tmp_path / name)
    settings.RUN_DIR = tmp_path
    return listed


def test_only_security_updates_are_named(apt: Path) -> None:
    finding = updates.check_updates()
    assert finding is not None
    assert finding.params == {"names": ["libssl3", "nginx"]}
    words = doctor.texts(finding)
    assert words.title == "Debian packages"
    assert (words.value, words.note) == ("2 security updates", "libssl3, nginx")
    assert "apt-get upgrade" in words.advice


def test_apt_is_asked_again_only_when_something_changed(apt: Path) -> None:
    updates.check_updates()
    updates.check_updates()
    asked = apt.with_name("asked")
    assert asked.read_text() == "x"
    apt.write_text("Listing...\n")
    os.utime(updates.INSTALLED, (1, 1))
    assert updates.check_updates() is None
    assert asked.read_text() == "xx"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"state": 1}'])
def test_a_damaged_answer_is_asked_for_again(apt: Path, damage: str) -> None:
    before = updates.check_updates()
    apt.with_name(updates.ANSWER).write_text(damage)
    assert updates.check_updates() == before
    assert apt.with_name("asked").read_text() == "xx"


def test_where_no_answer_can_be_kept_apt_is_asked(apt: Path, settings: Any) -> None:
    settings.RUN_DIR = apt
    assert updates.check_updates() is not None


def test_without_apt_nothing_is_said(apt: Path) -> None:
    apt.with_name("apt").unlink()
    assert updates.check_updates() is None


def test_the_real_apt_is_understood() -> None:
    found = updates._asked()
    assert all(name and "/" not in name for name in found)
