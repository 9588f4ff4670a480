"""Where the files of mirrors are in tests, and upstreams on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registryui.mirrors import publish


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """Where the files are; the key is there as after `up`."""
    settings.MIRRORS_DIR = tmp_path / "mirrors"
    settings.MIRROR_KEY_FILE = tmp_path / "mirror-key"
    settings.MIRROR_KEY_FILE.write_text("of this test\n")
    return tmp_path / "mirrors"


@pytest.fixture(autouse=True)
def _always(folder: Path) -> None:
    """No test writes into the data folder of others, nor knows what they have written."""
    publish._written.clear()
