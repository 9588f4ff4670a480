"""What the doctor says of mirrors, from the files of this host and the service itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from registryui import doctor
from registryui.doctor.mirrors import check_mirrors
from tests.support.instance import listener


@pytest.fixture
def hub(tmp_path: Path, settings: Any) -> Path:
    """The folder of an enabled mirror, and none listens."""
    settings.MIRRORS_DIR, settings.SOCKETS_DIR = tmp_path / "mirrors", tmp_path
    made = tmp_path / "mirrors" / "hub"
    made.mkdir(parents=True)
    (made / "active").touch()
    return made


def words(finding: doctor.Finding | None) -> str:
    assert finding is not None
    said = doctor.texts(finding)
    return " | ".join((said.value, said.note, said.advice))


def test_without_an_enabled_mirror_there_is_nothing_to_say(hub: Path) -> None:
    (hub / "active").unlink()
    assert check_mirrors() is None


def test_a_service_that_is_down_is_bad(hub: Path) -> None:
    finding = check_mirrors()
    assert finding is not None
    assert (finding.state, finding.code) == ("bad", "mirrors-down")
    assert "does not listen" in words(finding)


def test_an_upstream_that_is_away_is_a_warning(hub: Path, tmp_path: Path) -> None:
    with listener(tmp_path / "mirror"):
        assert words(check_mirrors()) == "1 mirror can fetch new content |  | "
        told = {"away_since": "2026-12-01T10:00:00+00:00", "error": "it refuses connections"}
        (hub / "state.json").write_text(json.dumps(told))
        finding = check_mirrors()
    assert finding is not None
    assert finding.state == "warn"
    assert "Upstreams that do not answer: hub" in words(finding)
    assert "hub: it refuses connections" in words(finding)
    assert "./boathouse mirror check hub" in words(finding)
