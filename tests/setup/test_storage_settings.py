"""The registry's own storage section, and a real registry that starts from it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as live

from registryui.refused import Refused
from registryui.registry import choose
from registryui.registry.client import RegistryClient
from registryui.registry.storage import FileStore
from registryui.setup import configuration, keys, parts
from tests.support.client_push import push
from tests.support.data_folder import folder
from tests.support.instance import wait_for
from tests.support.parts import free_port, running_s3
from tests.support.waiting import LONGEST

__all__ = ["folder"]  # the fixture


def test_the_store_lies_in_the_data_folder(folder: Path) -> None:
    keys.make()
    text = configuration.render_registry(registry_port=5001, hook_port=8001)
    assert f'"filesystem": {{"rootdirectory": "{folder / "registry"}"}}' in text


def test_a_registry_on_s3_starts_from_what_is_rendered(
    folder: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    port, s3 = free_port(), free_port()
    with running_s3(s3, "images") as (key, secret):
        settings.STORAGE = "s3://images/team"
        settings.STORAGE_ENDPOINT = f"http://127.0.0.1:{s3}"
        settings.STORAGE_KEY, settings.STORAGE_SECRET = key, secret
        settings.REGISTRY_PORT = port
        keys.make()
        configuration.write(registry_port=port, hook_port=8001)
        written = configuration.registry_file()
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
        assert secret in written.read_text()
        with (folder / "log" / "registry.log").open("wb") as log:
            process = subprocess.Popen(
                parts.registry_command(),
                env=parts.registry_environment("registry"),
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(port)
            with RegistryClient(f"http://127.0.0.1:{port}") as client:
                raw, _, layer = push(client, "team/app", "1")
                assert client.blob("team/app", layer, limit=1000)  # no redirect to the service
                with choose.open_source() as store:
                    assert isinstance(store, FileStore)
                    assert list(store.repositories()) == ["team/app"]
                    stored = store.manifest("team/app", "1")
                    assert stored == client.manifest("team/app", "1")
                    assert stored
                    assert stored.raw == raw
        finally:
            process.terminate()
            process.wait(timeout=LONGEST)
    assert secret not in (folder / "log" / "registry.log").read_text()


def test_the_environment_of_the_registry_has_nothing_that_breaks_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/x")
    monkeypatch.setenv("REGISTRY_STORAGE", "inmemory")
    kept = parts.registry_environment("registry")
    assert not {"AWS_CA_BUNDLE", "REGISTRY_STORAGE"} & kept.keys()
    assert kept["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("url", ["gs://images", "azure://images"])
def test_debians_registry_is_not_started_with_a_driver_it_lacks(settings: Any, url: str) -> None:
    settings.STORAGE = url
    settings.REGISTRY_PROGRAM = ""
    with pytest.raises(Refused, match="BOATHOUSE_REGISTRY_PROGRAM"):
        configuration.wanted_storage()
    settings.REGISTRY_PROGRAM = "/usr/local/bin/registry"
    assert "images" in configuration.wanted_storage().section.values()


def test_up_refuses_what_the_registry_never_had(settings: Any) -> None:
    settings.STORAGE = "glance://images"
    with pytest.raises(Refused, match="no such driver"):
        configuration.wanted_storage()


def test_a_secret_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.settings import _secret_text

    assert _secret_text("BOATHOUSE_STORAGE_SECRET") == ""
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("BOATHOUSE_STORAGE_SECRET_FILE", str(tmp_path / "secret"))
    assert _secret_text("BOATHOUSE_STORAGE_SECRET") == "from a file"
    monkeypatch.setenv("BOATHOUSE_STORAGE_SECRET", "from the environment")
    assert _secret_text("BOATHOUSE_STORAGE_SECRET") == "from the environment"
    monkeypatch.delenv("BOATHOUSE_STORAGE_SECRET")
    monkeypatch.setenv("BOATHOUSE_STORAGE_SECRET_FILE", str(tmp_path / "gone"))
    assert _secret_text("BOATHOUSE_STORAGE_SECRET") == ""


def test_every_storage_setting_is_in_the_table() -> None:
    table = (live.BASE_DIR / "docs" / "install.md").read_text()
    code = (live.BASE_DIR / "portal" / "settings.py").read_text()
    for name in re.findall(r'"(BOATHOUSE_(?:STORAGE|SOURCE)[A-Z_]*)"', code):
        assert f"`{name}`" in table, name
