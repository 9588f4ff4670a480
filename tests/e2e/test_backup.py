"""Backup, rehearsal and restore with the whole product, as somebody would type it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.parts import free_port, running_s3
from tests.support.product import IMAGES, Product, product
from tests.support.registries import Registry
from tests.support.waiting import until

from .conftest import LOOPBACK

pytestmark = pytest.mark.e2e


@pytest.fixture(params=["sqlite", "postgresql"])
def own(request: pytest.FixtureRequest, folder: Path) -> Iterator[Product]:
    """A product that a test may lose, with one image."""
    if request.param == "sqlite":
        with product(folder / "kept", LOOPBACK) as made:
            yield _filled(made)
        return
    with postgres.running_cluster() as cluster:
        settings = {"DATABASE_URL": cluster.url()}
        with product(folder / "kept", LOOPBACK, settings=settings) as made:
            yield _filled(made)


def _place(own: Product, name: str) -> Path:
    """An empty folder beside the data folder, of the user that the product runs as."""
    made = own.data.with_name(name)
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700)
    os.chown(made, own.data.stat().st_uid, -1)
    return made


def _filled(made: Product) -> Product:
    Registry(made.registry_url, made.data).push_image("team/app", "1.0", layers=(b"a" * 100_000,))
    until(lambda: made.tag("team/app", "1.0"), "the push is in the index")
    return made


@pytest.mark.usefixtures("long_proof")
def test_a_backup_is_rehearsed_and_restored(own: Product) -> None:
    to = str(_place(own, "to"))
    made = own.boathouse("backup", to)
    assert "Password of these backups: " in made.stderr
    password = (own.data / "secrets" / "backup-password").read_text().strip()
    assert password in made.stderr
    assert password not in own.boathouse("backup", to).stderr  # once
    assert len(json.loads(own.boathouse("backup", "list", to, "--json").stdout)["snapshots"]) == 2

    found = json.loads(own.boathouse("restore", to, "--rehearse", "--json").stdout)

    assert found["problems"] == []
    assert (found["tags"], found["blobs"], found["logged_in"]) == (1, 3, True)
    assert not list((own.data / "backup").glob("r-*"))  # it has removed itself
    own.boathouse("status")  # the instance itself goes on
    if "DATABASE_URL" in own.settings:
        return  # the restore into an empty database is what the rehearsal did

    tags, secret = own.listed("team/app"), own.user
    own.down()
    lost = own.data.with_name("lost")
    shutil.move(own.data, lost)
    key = lost / "secrets" / "backup-password"
    refused = own.boathouse("restore", to, check=False)
    assert refused.returncode == 2
    own.boathouse("restore", to, f"--password-file={key}")
    own.up()
    assert own.user == secret
    assert own.listed("team/app") == tags
    assert own.ask("/v2/", as_user=True).status == 200
    accept = {"Accept": IMAGES}
    answer = own.ask("/v2/team/app/manifests/1.0", headers=accept, as_user=True)
    assert answer.status == 200
    again = own.boathouse("restore", to, f"--password-file={key}", check=False)
    assert (again.returncode, "is not empty" in again.stderr) == (1, True)
    shutil.rmtree(lost)


def test_into_a_bucket(folder: Path) -> None:
    port = free_port()
    with (
        running_s3(port, "backups") as (access, secret),
        product(folder / "kept-s3", LOOPBACK) as made,
    ):
        _filled(made)
        made.settings |= {
            "BOATHOUSE_BACKUP_ENDPOINT": f"http://127.0.0.1:{port}",
            "BOATHOUSE_BACKUP_KEY": access,
            "BOATHOUSE_BACKUP_SECRET": secret,
        }
        to = "s3://backups/one"
        made.boathouse("backup", to)
        made.boathouse("backup", "verify", to)
        new, key = _place(made, "new"), made.data / "secrets" / "backup-password"
        made.boathouse("restore", to, f"--to={new}", f"--password-file={key}")
        assert (new / "index.sqlite3").exists()
        assert list((new / "registry").rglob("data"))
