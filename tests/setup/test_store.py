"""What `up` says of the folder that BOATHOUSE_STORAGE names, before it creates anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as live

from registryui.models import Repository
from registryui.refused import Refused
from registryui.registry import choose
from registryui.registry.client import RegistryClient
from registryui.setup import data, store
from tests.support.client_push import push
from tests.support.data_folder import folder
from tests.support.parts import running_registry

__all__ = ["folder"]  # the fixture


def adopt(place: Path, settings: Any) -> None:
    settings.STORAGE, settings.STORE_DIR = str(place), place


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The `rootdirectory` of a real registry, as in Harbor: called `registry`, with a tag."""
    with running_registry(tmp_path / "old") as url, RegistryClient(url) as client:
        push(client, "library/app", "1")
    (tmp_path / "harbor").mkdir()
    return (tmp_path / "old" / "store").rename(tmp_path / "harbor" / "registry")


@pytest.mark.parametrize("below", ["docker", "docker/registry", "docker/registry/v2", ".."])
def test_a_folder_near_the_store_is_refused_with_the_right_one(
    folder: Path, filled: Path, settings: Any, below: str
) -> None:
    adopt((filled / below).resolve(), settings)
    with pytest.raises(Refused, match=f"set BOATHOUSE_STORAGE={filled} instead of"):
        store.check()


def test_a_folder_that_is_no_store_is_refused(folder: Path, tmp_path: Path, settings: Any) -> None:
    adopt(tmp_path / "unmounted", settings)
    with pytest.raises(Refused, match="finds no such folder"):
        store.check()
    home = tmp_path / "home"
    home.mkdir()
    adopt(home, settings)
    store.check()  # an empty one may be filled
    (home / "lost+found").mkdir()
    store.check()
    (home / "mail.txt").touch()
    with pytest.raises(Refused, match=r"'mail\.txt' and no store"):
        store.check()


@pytest.mark.parametrize("inside", ["var/images", "."])
def test_store_and_data_folder_are_not_in_each_other(
    folder: Path, tmp_path: Path, settings: Any, inside: str
) -> None:
    adopt((tmp_path / inside).resolve(), settings)
    with pytest.raises(Refused, match="neither may be in the other"):
        store.check()


def test_the_store_in_the_data_folder_is_no_store_of_others(folder: Path) -> None:
    store.check()
    assert store.sentences() == []
    assert not store.is_adopted()


@pytest.mark.django_db
def test_a_filled_store_is_announced_until_the_index_has_it(
    folder: Path, filled: Path, settings: Any
) -> None:
    adopt(filled, settings)
    filled.chmod(0o755)
    store.check()
    data.make()
    assert filled.stat().st_mode & 0o777 == 0o755  # 0700 is for our own
    found, collection = store.sentences()
    assert found.startswith(f"{filled} contains images already")
    assert f"({live.GC_SCHEDULE})" in collection
    settings.GC_SCHEDULE = ""
    assert store.sentences() == [found]
    Repository.objects.create(name="library/app")
    assert store.sentences() == []


@pytest.mark.django_db
def test_one_that_cannot_be_written_is_used_with_a_warning(
    folder: Path, filled: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere: tests/e2e/test_adopt.py has another user for it."""
    adopt(filled, settings)
    monkeypatch.setattr(choose, "unwritable", lambda: str(filled))
    warning, found = store.sentences()
    assert f"may not write {filled}" in warning
    assert f": {filled}; to give it back: chown -R " in warning
    assert "contains images already" in found
