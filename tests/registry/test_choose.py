"""What the index is built from, and where the store is, by the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registryui.registry import choose, objects, paths, storages
from registryui.registry.client import RegistryClient
from registryui.registry.errors import Unreachable
from registryui.registry.storage import FileStore
from tests.support.folders import open_folder

from . import places

SECRET = "the-secret-of-the-tests"


@pytest.fixture
def store(tmp_path: Path, settings: Any) -> Path:
    """The folder of a store on this disk."""
    settings.STORE_DIR = tmp_path
    (tmp_path / paths.REPOSITORIES).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def s3(settings: Any) -> Any:
    """Settings of a store on S3."""
    settings.STORAGE = "s3://images/deep/prefix"
    settings.STORAGE_ENDPOINT = "http://127.0.0.1:9000"
    settings.STORAGE_REGION = "eu-west-1"
    settings.STORAGE_KEY, settings.STORAGE_SECRET = "AKIA", SECRET
    return settings


# -- what is chosen ------------------------------------------------------------------------------
def test_the_store_is_read_where_it_can_be(store: Path) -> None:
    assert choose.choose() == choose.Choice("store", "")
    with choose.open_source() as source:
        assert isinstance(source, FileStore)
        assert list(source.repositories()) == []


def test_a_new_instance_has_an_empty_store(tmp_path: Path, settings: Any) -> None:
    settings.STORE_DIR = tmp_path
    assert choose.choose().kind == "store"


def test_http_is_read_by_wish(store: Path, settings: Any) -> None:
    settings.SOURCE = "http"
    assert choose.choose() == choose.Choice("http", "store-unwanted")
    with choose.open_source() as source:
        assert isinstance(source, RegistryClient)
    with choose.open_source("store") as source:
        assert isinstance(source, FileStore)
    settings.SOURCE = "store"
    with choose.open_source("http") as source:
        assert isinstance(source, RegistryClient)


def test_a_store_that_is_not_there_is_asked_for_over_http(tmp_path: Path, settings: Any) -> None:
    settings.STORE_DIR = tmp_path / "gone"
    choice = choose.choose()
    assert (choice.kind, choice.code) == ("http", "store-unreadable")
    assert choice.params == {"path": str(tmp_path / "gone")}
    with choose.open_source() as source:
        assert isinstance(source, RegistryClient)
    with pytest.raises(Unreachable, match="store-unreadable"):
        choose.open_source("store")


def test_a_store_of_another_user_is_asked_for_over_http(settings: Any) -> None:
    with open_folder("store") as folder:
        settings.STORE_DIR = folder
        inner = folder / paths.REPOSITORIES
        inner.mkdir(parents=True)
        assert places.as_nobody(lambda: choose.choose().code or "none") == "none"
        inner.chmod(0)
        told = places.as_nobody(lambda: f"{choose.choose().kind} {choose.choose().params}")
        assert told == f"http { ({'path': str(inner)}) }"
        inner.chmod(0o700)


def test_a_wrong_word_reads_over_http_and_says_so(store: Path, settings: Any) -> None:
    settings.SOURCE = "stroe"
    assert choose.choose().code == "store-setting"
    assert "'stroe'" in choose.choose().params["error"]


def test_a_store_without_a_driver_is_asked_for_over_http(settings: Any) -> None:
    settings.STORAGE = "swift://images"
    assert choose.choose() == choose.Choice("http", "store-no-driver", {"driver": "swift"})


def test_a_driver_that_is_not_installed_is_named(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose.choose() == choose.Choice("store", "")
    s3.STORAGE = "gs://images"
    told = {"driver": "gcs", "package": "gcsfs"}
    assert not objects.is_installed("gcs")
    assert choose.choose() == choose.Choice("http", "store-not-installed", told)
    s3.STORAGE = "azure://images"
    assert choose.choose().params == {"driver": "azure", "package": "adlfs"}


# -- what a setting means ------------------------------------------------------------------------
def test_s3_is_the_same_for_the_registry_and_for_our_reader(s3: Any) -> None:
    storage = storages.of_settings()
    assert (storage.driver, storage.protocol, storage.root) == ("s3", "s3", "images/deep/prefix")
    assert storage.section == {
        "bucket": "images",
        "rootdirectory": "/deep/prefix",
        "region": "eu-west-1",
        "regionendpoint": "http://127.0.0.1:9000",
        "secure": False,
        "encrypt": False,
        "v4auth": True,
        "accesskey": "AKIA",
        "secretkey": SECRET,
    }
    assert storage.options["endpoint_url"] == "http://127.0.0.1:9000"
    assert (storage.options["key"], storage.options["secret"]) == ("AKIA", SECRET)


def test_amazons_own_service_with_the_rights_of_the_machine(s3: Any) -> None:
    s3.STORAGE, s3.STORAGE_ENDPOINT, s3.STORAGE_KEY = "s3://images", "", ""
    storage = storages.of_settings()
    assert storage.section == {"bucket": "images", "region": "eu-west-1", "v4auth": True}
    assert storage.root == "images"
    assert not {"key", "secret", "endpoint_url"} & storage.options.keys()
    s3.STORAGE_ENDPOINT = "https://objects.example.net"
    assert storages.of_settings().section["secure"] is True


def test_no_secret_is_shown(s3: Any) -> None:
    with choose.open_source() as source:
        shown = f"{storages.of_settings()!r} {source!r} {choose.choose()!r}"
    assert SECRET not in shown
    assert "AKIA" not in shown


def test_the_other_services_are_rendered_for_the_registry(s3: Any) -> None:
    s3.STORAGE_SECRET_FILE = "/srv/key.json"
    s3.STORAGE = "gs://images/deep"
    keyed = {"bucket": "images", "keyfile": "/srv/key.json", "rootdirectory": "/deep"}
    assert storages.of_settings().section == keyed
    s3.STORAGE = "azure://images"
    account = {"accountname": "AKIA", "accountkey": SECRET, "container": "images"}
    assert storages.of_settings().section == account
    s3.STORAGE = "swift://images/deep"
    assert storages.of_settings().section["prefix"] == "deep"


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("glance://images", "no such driver"),
        ("elliptics", "no such driver"),
        ("ftp://images", "must be filesystem"),
        ("disk", "must be filesystem"),
        ("s3://", "must be like s3://bucket/prefix"),
        ("s3://key:secret@bucket", "have settings of their own"),
        ("s3://bucket?region=x", "must be like"),
    ],
)
def test_a_store_that_cannot_be_is_refused_with_a_sentence(
    settings: Any, url: str, word: str
) -> None:
    settings.STORAGE = url
    with pytest.raises(ValueError, match=word) as refused:
        storages.of_settings()
    assert "secret@" not in str(refused.value)
    assert choose.choose().code == "store-setting"


def test_a_secret_file_that_cannot_be_read_is_named(s3: Any) -> None:
    s3.STORAGE_SECRET, s3.STORAGE_SECRET_FILE = "", "/nowhere/secret"
    with pytest.raises(ValueError, match="/nowhere/secret"):
        storages.of_settings()
