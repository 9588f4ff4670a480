"""systemd's own verdict on the units, and what must and must not stand in them."""

from __future__ import annotations

import getpass
import io
import shutil
import subprocess
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from registryui.management.commands import units

NAMES = {"boathouse.target"} | {
    f"boathouse-{part}.service"
    for part in ("registry", "manifests", "blobs", "passwords", "mirror", "nginx", "web", "worker")
}


def write(folder: Path) -> dict[str, str]:
    """Name to text of the units for whoever runs the test."""
    call_command("units", str(folder), "--user", getpass.getuser(), stdout=io.StringIO())
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", ["data", "per%cent", "dollar$HOME"])
def test_systemd_accepts_the_units(tmp_path: Path, settings: Settings, name: str) -> None:
    settings.DATA = tmp_path / name
    settings.CONFIG_DIR = settings.DATA / "config"
    made = write(tmp_path / "units")
    assert made.keys() == NAMES
    files = [str(tmp_path / "units" / file) for file in sorted(made)]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_part_is_hardened_and_comes_back(tmp_path: Path, settings: Settings) -> None:
    for name, text in write(tmp_path).items():
        if name == "boathouse.target":
            continue
        lines = text.splitlines()
        for line in (
            f"User={getpass.getuser()}",
            "Restart=always",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            f"ReadWritePaths={settings.DATA}",
        ):
            assert line in lines, f"{name} lacks {line}"
        may_bind = "AmbientCapabilities=CAP_NET_BIND_SERVICE" in lines
        assert may_bind == (name in {"boathouse-nginx.service", "boathouse-worker.service"})


@pytest.mark.skipif(not shutil.which("systemctl"), reason="systemctl is not installed")
def test_enabling_the_target_starts_every_part_at_boot(tmp_path: Path) -> None:
    """As systemd itself links it; tests/e2e/test_boot.py boots with it."""
    folder = tmp_path / "etc" / "systemd" / "system"
    units = write(folder)
    root = f"--root={tmp_path}"
    subprocess.run(["systemctl", root, "enable", "boathouse.target"], check=True)
    assert (folder / "multi-user.target.wants" / "boathouse.target").is_symlink()
    wants = next(line for line in units["boathouse.target"].splitlines() if "Wants=" in line)
    assert {*wants.removeprefix("Wants=").split()} == NAMES - {"boathouse.target"}
    for name in NAMES - {"boathouse.target"}:
        # Nothing that looks enabled and does not start.
        assert "[Install]" not in units[name]
        assert "StartLimitIntervalSec=0" in units[name].splitlines()


def test_the_registry_has_one_unit_where_a_port_is_set_for_it(
    tmp_path: Path, settings: Settings
) -> None:
    units = write(tmp_path / "sockets")
    for name in ("manifests", "blobs"):
        line = f"Environment=REGISTRY_HTTP_ADDR={settings.SOCKETS_DIR}/{name}"
        assert line in units[f"boathouse-{name}.service"].splitlines()
    assert "REGISTRY_HTTP_ADDR" not in units["boathouse-registry.service"]
    settings.REGISTRY_PORT = 5000
    units = write(tmp_path / "port")
    assert units.keys() == NAMES - {"boathouse-manifests.service", "boathouse-blobs.service"}
    assert "Environment=BOATHOUSE_REGISTRY_PORT=5000" in units["boathouse-web.service"]
    assert "manifests" not in units["boathouse.target"]


def test_they_hold_the_settings_of_this_instance_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://boathouse:geheim@db/boathouse")
    monkeypatch.setenv("BOATHOUSE_STORAGE_SECRET", "geheimer")
    monkeypatch.setenv("BOATHOUSE_SYNC_MINUTES", "7")
    printed = io.StringIO()
    call_command("units", str(tmp_path), stdout=printed)
    text = "\n".join(path.read_text() for path in tmp_path.iterdir())
    assert "Environment=BOATHOUSE_SYNC_MINUTES=7" in text
    assert "Environment=OTEL_TRACES_EXPORTER=none" in text
    assert "geheim" not in text + printed.getvalue()
    assert "DATABASE_URL=… and BOATHOUSE_STORAGE_SECRET=… into" in printed.getvalue()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot be written"):
        write(tmp_path / "file")


@pytest.mark.parametrize("name", ["with space", 'qu"ote', "line\nbreak"])
def test_a_path_that_systemd_cannot_hold_is_refused(
    tmp_path: Path, settings: Settings, name: str
) -> None:
    settings.DATA = tmp_path / name
    with pytest.raises(CommandError, match="cannot be used in a systemd unit"):
        write(tmp_path / "units")


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("/usr/bin/a", "/usr/bin/a"),
        ("a b", '"a b"'),
        ("100%", "100%%"),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("A=b c", '"A=b c"'),
        ("", '""'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word: str, quoted: str) -> None:
    assert units._quoted(word) == quoted
