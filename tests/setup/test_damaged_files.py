"""Each file of the data folder, damaged, empty, missing or a folder: what docs/operate.md says of
it is what `up` does. The database and the queue of jobs: tests/test_jobs.py, tests/e2e/."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registryui import tls
from registryui.accounts import publish
from registryui.audit import newest
from registryui.models import AuditEvent, here
from registryui.refused import Refused
from registryui.setup import configuration, data, health, keys, static, up
from tests.selection import Extent
from tests.support.instance import Instance

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]  # files, and SQLite among them

ROOT = Path(__file__).resolve().parents[2]


def damage(path: Path) -> None:
    path.write_bytes(b"\xff\xfe" + os.urandom(500))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lose(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "damaged": damage,
    "empty": empty,
    "missing": lose,
    "a folder": replace,
}
RECREATED, REFUSED = "recreated", "refused"
# What `up` does with it: in the order of DAMAGES.
ROWS: dict[str, tuple[str, str, str, str]] = {
    "secrets/django-key": (RECREATED, RECREATED, RECREATED, RECREATED),
    "secrets/hook-token": (RECREATED, RECREATED, RECREATED, RECREATED),
    "secrets/proxy-token": (RECREATED, RECREATED, RECREATED, RECREATED),
    "secrets/registry-key": (RECREATED, RECREATED, RECREATED, RECREATED),
    "secrets/metrics-token": (RECREATED, RECREATED, RECREATED, RECREATED),
    "secrets/mirror-key": (RECREATED, RECREATED, RECREATED, RECREATED),
    "tls/ca.crt": (REFUSED, REFUSED, RECREATED, REFUSED),
    "tls/server.crt": (RECREATED, RECREATED, RECREATED, REFUSED),
    "tls/server.key": (RECREATED, RECREATED, RECREATED, REFUSED),
    "config/nginx.conf": (RECREATED, RECREATED, RECREATED, REFUSED),
    "config/registry.yml": (RECREATED, RECREATED, RECREATED, REFUSED),
    "config/mirror.json": (RECREATED, RECREATED, RECREATED, REFUSED),
    "run/ports.json": (RECREATED, RECREATED, RECREATED, REFUSED),
    "run/up.lock": (RECREATED, RECREATED, RECREATED, REFUSED),
}


@pytest.fixture
def instance(transactional_db: None, standing: Instance) -> Instance:
    renew(standing)
    return standing


def renew(instance: Instance) -> None:
    """With all files that an `up` has made."""
    instance.renew()
    (instance.folder / "run" / "up.lock").touch()
    (instance.folder / "run" / "ports.json").write_text("{}")


def start() -> list[str]:
    """All that `up` does before it starts the parts; what it said. What takes long and has a test
    of its own is left out, and the parts of the fixture have the ports already."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static, "gather", lambda: False)
        patch.setattr(up, "_run", lambda *_, **__: 0)
        patch.setattr(up.ports, "check_proxy", lambda: None)
        patch.setattr(up.ports, "is_free", lambda _address, _port: True)
        up.up(say=said.append, lines=io.StringIO(), ready=lambda *_: None)
    return said


def test_up_heals_or_refuses_as_the_table_says(
    instance: Instance, subtests: Any, extent: Extent
) -> None:
    cells = [
        (name, how, hurt, wanted)
        for name, outcomes in ROWS.items()
        for (how, hurt), wanted in zip(DAMAGES.items(), outcomes, strict=True)
    ]
    for name, how, hurt, wanted in extent(cells[::3], cells):
        with subtests.test(f"{name} {how}"):
            path = instance.folder / name
            hurt(path)
            if wanted == REFUSED:
                with pytest.raises(Refused) as refusal:
                    start()
                assert path.name in str(refusal.value)
                # It says what to do.
                assert re.search(r"put back|bring|move|new authority|--new-", str(refusal.value))
            else:
                start()
                assert path.is_file()
                check_that_all_is_sound()
        if path.is_dir():
            path.rmdir()
        renew(instance)


def check_that_all_is_sound() -> None:
    for name in keys.NAMES:
        assert len(keys.read(name)) > 40
        assert keys.read(name).isascii()
    tls.check_pair(tls.server_certificate(), tls.server_key())
    assert tls.read_certificate(tls.ca_certificate() or Path()).is_ca
    assert configuration.test(configuration.nginx_file()) == ""
    assert keys.read("hook-token") in configuration.registry_file().read_text()


def test_the_documented_table_has_every_file(instance: Instance) -> None:
    """And says of each what ROWS says: the first word of each cell."""
    text = (ROOT / "docs" / "operate.md").read_text()
    cells = {
        found[1]: [cell.strip() for cell in found[2].split("|")]
        for found in re.finditer(r"^\| `([\w./-]+)` \|(.*)\|$", text, re.MULTILINE)
    }
    for name, outcomes in ROWS.items():
        said = cells[name]
        word = ""
        for cell, wanted in zip(said, outcomes, strict=True):
            word = word if cell == "the same" else cell
            assert wanted in word, (name, cell)
    documented = {name for name, row in cells.items() if len(row) == 4}
    start()
    found = {
        str(path.relative_to(instance.folder))
        for path in instance.folder.rglob("*")
        if path.is_file() and path.relative_to(instance.folder).parts[0] in ("tls", "secrets")
    } - {"tls/lock"}
    assert found <= documented


def test_what_is_no_secret_is_kept_beside_the_new_one(instance: Instance) -> None:
    path = instance.folder / "secrets" / "hook-token"
    before = path.read_text()
    assert start() == ["Preparing the database."]
    assert path.read_text() == before
    path.write_bytes(b"\xff\x00")
    said = start()
    assert path.read_text() != before
    (aside,) = path.parent.glob("hook-token.damaged-*")
    assert aside.read_bytes() == b"\xff\x00"
    assert any(str(aside) in sentence for sentence in said)


def test_static_files_that_are_lost_are_gathered_again(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: Any
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.css").write_text("a { color: red }")
    settings.STATIC_ROOT, settings.STATICFILES_DIRS = tmp_path / "static", [source]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
    }
    monkeypatch.setattr(static.fonts, "make", lambda: None)
    settings.STATIC_ROOT.mkdir()
    assert static.gather()
    assert not static.gather()
    manifest = settings.STATIC_ROOT / "staticfiles.json"
    names = (manifest, settings.STATIC_ROOT / ".state")
    for path in names:
        for how, hurt in DAMAGES.items():
            if how == "a folder":
                continue
            with subtests.test(f"{path.name} {how}"):
                hurt(path)
                assert static.gather()
                assert b"a.css" in manifest.read_bytes()
                assert not static.gather()


def test_a_note_of_the_audit_log_that_cannot_be_read_stops_nothing(
    settings: Any, tmp_path: Path, subtests: Any
) -> None:
    from registryui import audit

    settings.AUDIT_NOTE_FILE = tmp_path / "audit-newest"
    for how, hurt in DAMAGES.items():
        with subtests.test(how):
            if settings.AUDIT_NOTE_FILE.is_dir():
                settings.AUDIT_NOTE_FILE.rmdir()
            settings.AUDIT_NOTE_FILE.write_text("")
            hurt(settings.AUDIT_NOTE_FILE)
            assert newest.read() == []
            row = audit.record("operator.login", "vera", by="tests")
            newest.note(row, row.previous)
            if how != "a folder":
                assert newest.read() == [(row.pk, row.hash)]
    assert AuditEvent.objects.count() == len(DAMAGES)


def test_a_host_id_that_cannot_be_read_is_none(settings: Any, tmp_path: Path) -> None:
    settings.HOST_FILE = tmp_path / "host-id"
    settings.HOST_FILE.write_text("abc123\n")
    assert here() == "abc123"
    for hurt in DAMAGES.values():
        hurt(settings.HOST_FILE)
        assert here() == ""
        if settings.HOST_FILE.is_dir():
            settings.HOST_FILE.rmdir()
        settings.HOST_FILE.write_text("abc123\n")


def test_a_log_that_is_a_folder_is_one_sentence(instance: Instance) -> None:
    up.log_file().mkdir(parents=True)
    with pytest.raises(Refused, match=r"boathouse\.log cannot be used \(Is a directory\)"):
        up.up_in_background()


@pytest.mark.parametrize("name", ["htpasswd", "index.sqlite3"])
def test_a_folder_in_place_of_a_file_is_one_sentence(instance: Instance, name: str) -> None:
    path = instance.folder / name
    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.raises(Refused, match="must be a file and is a folder"):
        data.make()


def test_settings_are_read_whatever_the_files_say(tmp_path: Path, subtests: Any) -> None:
    """A command must start, or nobody learns what is wrong."""
    from portal import settings as portal

    for content in (b"", os.urandom(300), b"[]", b"7", b'{"hook": []}', b'{"hook": "x"}'):
        for name in ("run/ports.json", "secrets/django-key", "host-id"):
            with subtests.test(f"{name} {content[:10]!r}"), pytest.MonkeyPatch.context() as patch:
                path = tmp_path / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
                patch.setattr(portal, "RUN_DIR", tmp_path / "run")
                patch.setattr(portal, "HOST_FILE", tmp_path / "host-id")
                assert portal._ports() == {}
                assert portal._secret(tmp_path / "secrets" / "django-key")
                assert isinstance(portal._host_id(), str)


def test_the_lock_that_is_lost_can_be_taken_again(instance: Instance) -> None:
    shutil.rmtree(instance.folder / "run")
    data.make()
    with health.claim() as is_ours:
        assert is_ours
        assert health.is_claimed()
    publish.prepare()
