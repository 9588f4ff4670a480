"""Fixtures for every test."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.parts import running_registry

# A machine may be busy: no test ends because of its time.
hypothesis.settings.register_profile("boathouse", deadline=None)
hypothesis.settings.load_profile("boathouse")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real, at first empty registry, shared by all tests: use names of your own."""
    with running_registry(tmp_path_factory.mktemp("registry")) as url:
        yield url


@pytest.fixture
def files(tmp_path: Path, settings: object) -> Path:
    """A folder for the files of registry users, with an empty one for rights; no nginx reads it."""
    for name, place in {
        "HTPASSWD_FILE": "htpasswd",
        "OVERLAP_FILE": "htpasswd.old",
        "RIGHTS_DIR": "rights",
        "VERSIONS_DIR": "htpasswd-versions",
        "TLS_DIR": "tls",
    }.items():
        setattr(settings, name, tmp_path / place)
    (tmp_path / "rights").mkdir()
    return tmp_path
