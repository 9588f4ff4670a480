"""An instance with a small store, and a place for its backups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registryui.accounts import publish
from registryui.backup import backups, restoring
from registryui.backup.restic import Repository
from registryui.models import Run
from tests.support.stores import Small


@dataclass
class Kept:
    """The instance and its backups."""

    data: Path
    to: Path
    store: Small

    def back_up(self) -> backups.Result:
        run = backups.back_up(str(self.to), by="test")
        assert run is not None
        assert run.state == Run.State.DONE, run.log
        return backups.Result.of(run)

    def size(self) -> int:
        """Bytes of all backups."""
        return sum(one.stat().st_size for one in self.to.rglob("*") if one.is_file())

    @property
    def repository(self) -> Repository:
        return backups.opened(str(self.to))

    def restore(self, data: Path, **options: Any) -> restoring.Restored:
        return restoring.restore(self.repository, data, **options)


@pytest.fixture
def kept(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """With one image, and files of which one is empty, one closed."""
    data = tmp_path / "data"
    for name, place in {
        "DATA": "",
        "STORE_DIR": "registry",
        "SECRETS_DIR": "secrets",
        "TLS_DIR": "tls",
        "RUN_DIR": "run",
        "RIGHTS_DIR": "rights",
        "VERSIONS_DIR": "htpasswd-versions",
        "HTPASSWD_FILE": "htpasswd",
        "OVERLAP_FILE": "htpasswd.old",
    }.items():
        setattr(settings, name, data / place if place else data)
    for name in ("registry", "secrets", "tls", "run", "rights"):
        (data / name).mkdir(parents=True, mode=0o700)
    settings.STORAGE, settings.SOURCE = "filesystem", "auto"
    (data / "tls" / "ca.key").write_text("a key")
    (data / "tls" / "ca.key").chmod(0o600)
    (data / "audit-newest").touch()
    (data / "log").mkdir()
    (data / "log" / "access.json").write_text("not needed")
    (data / "imports").mkdir()
    (data / "imports" / "archive").write_text("uploaded")
    publish.write([])
    store = Small(data / "registry")
    store.image("team/app", "1.0", layers=(b"one", b"two"))
    return Kept(data, tmp_path / "to", store)
