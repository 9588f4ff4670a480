"""A data folder for tests of what is written there."""

from pathlib import Path

import pytest
from django.conf import settings as live

from registryui import tls
from registryui.setup import data, keys


@pytest.fixture
def folder(tmp_path: Path, settings: object) -> Path:
    places = {
        "DATA": "",
        "STORE_DIR": "registry",
        "TLS_DIR": "tls",
        "SECRETS_DIR": "secrets",
        "CONFIG_DIR": "config",
        "LOG_DIR": "log",
        "RUN_DIR": "run",
        "SOCKETS_DIR": "run/sockets",
        "HTPASSWD_FILE": "htpasswd",
        "OVERLAP_FILE": "htpasswd.old",
        "RIGHTS_DIR": "rights",
        "VERSIONS_DIR": "htpasswd-versions",
    }
    for name, place in places.items():
        setattr(settings, name, tmp_path / "var" / place)
    data.make()
    keys.make()
    tls.ensure(live.TLS_DIR, names=["localhost"])
    (tmp_path / "var" / "htpasswd").touch()
    return tmp_path / "var"
