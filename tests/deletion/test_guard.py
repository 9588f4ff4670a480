"""What clients may delete and push where tags are protected, decided before a real registry."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as live
from django.db import connection
from django.test import Client

from registryui import sockets, write_freeze
from registryui.deletion import guard, locks, protection, purge, restore
from registryui.index.sync import sync
from registryui.models import TagTombstone
from registryui.oci.untrusted import MANIFEST_LIMIT
from registryui.refused import Refused
from registryui.registry import forward
from registryui.registry.choose import open_source
from tests.support.fake_source import IMAGE, digest_of, encode
from tests.support.gc_runs import use
from tests.support.parts import free_port, running_registry
from tests.support.registries import Registry
from tests.support.registry_habits import habits

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
R, BY = "team/app", "operator:ada"


@pytest.fixture
def real(tmp_path: Path, settings: Any) -> Iterator[Registry]:
    settings.DATA, settings.RUN_DIR = tmp_path, tmp_path / "run"
    with running_registry(tmp_path / "registry") as url:
        use(settings, tmp_path / "registry/store", url)
        settings.UNDO_DAYS = 7
        settings.REGISTRY_PORT = urlsplit(url).port
        yield Registry(url, tmp_path / "registry/store")


def index() -> None:
    with open_source() as source:
        sync(source, by="test")


def ask(method: str, kind: str, reference: str, body: bytes = b"") -> forward.Answer:
    headers = {"Content-Type": IMAGE, "Authorization": "Basic Y2k6"}
    return guard.answer(guard.Asked(method, kind, R, reference, headers, body))


def delete(reference: str, kind: str = "manifests") -> tuple[int, str]:
    told = ask("DELETE", kind, reference)
    return told.status, said(told) if told.body else ""


def said(told: forward.Answer) -> str:
    return str(json.loads(told.body)["errors"][0]["message"])


def manifest(real: Registry, note: str) -> bytes:
    """Another one of the same image."""
    found = json.loads(real.get(R, "plain").body)
    return encode({**found, "annotations": {"note": note}})


@pytest.fixture
def filled(real: Registry) -> dict[str, str]:
    """Digests by what they are."""
    kept = real.push_image(R, "v1", layers=[b"shared", b"of v1"])
    child = real.push_image(R, layers=[b"shared", b"of the child"], architecture="arm64")
    inner = real.push_index(R, [real.child(R, child, architecture="arm64")])
    return {
        "kept": kept,
        "child": child,
        "inner": inner,
        "outer": real.push_index(R, [real.child(R, inner)], "v2"),
        "plain": real.push_image(R, "plain", layers=[b"shared", b"of plain"]),
        "loose": real.push_image(R, layers=[b"of the loose one"]),
        "sha512": real.push_image(R, "v3", layers=[b"by another name"], algorithm="sha512"),
    }


@pytest.mark.parametrize("source", ["store", "http"])
@pytest.mark.parametrize("knows", ["indexed", "just pushed"])
def test_nothing_of_a_protected_tag_is_deleted(
    real: Registry,
    filled: dict[str, str],
    settings: Any,
    subtests: pytest.Subtests,
    source: str,
    knows: str,
) -> None:
    settings.SOURCE = source
    rule = protection.add("team/*", "v*", note="", by=BY)
    if knows == "indexed":
        index()
    parts = {
        "v1": (filled["kept"], "manifests"),
        "its layer": (digest_of(b"of v1"), "blobs"),
        "a layer that others share": (digest_of(b"shared"), "blobs"),
        "v2": (filled["outer"], "manifests"),
        "a child of its child": (filled["child"], "manifests"),
        "its child": (filled["inner"], "manifests"),
        "the layer of that": (digest_of(b"of the child"), "blobs"),
        "a layer by sha512": (digest_of(b"by another name", "sha512"), "blobs"),
        "the same by sha256": (digest_of(b"by another name"), "blobs"),
    }
    for what, (digest, kind) in parts.items():
        with subtests.test(what):
            status, words = delete(digest, kind)
            assert status == 403, words
            assert str(rule) in words
    others = {
        "another tag's": (filled["plain"], "manifests"),
        "one without a tag": (filled["loose"], "manifests"),
        "a layer of nobody protected": (digest_of(b"of plain"), "blobs"),
    }
    for what, (digest, kind) in others.items():
        with subtests.test(what):
            assert delete(digest, kind) == (202, "")
    assert delete("sha256:" + "0" * 64)[0] == 404
    for tag in ("v1", "v2", "v3"):
        assert real.get(R, tag).status == 200
    protection.lift(rule, by=BY)
    assert delete(filled["kept"]) == (202, "")


def test_a_delete_by_tag(real: Registry, filled: dict[str, str]) -> None:
    """Registry 3 deletes that tag, 2.8 says that it cannot."""
    protection.add("team/*", "v*", note="", by=BY)
    assert delete("v1")[0] == 403
    assert delete("plain")[0] == (202 if habits().deletes_tags else 400)
    assert real.get(R, "v1").status == 200


def test_an_immutable_tag_stays_where_it_is(real: Registry, filled: dict[str, str]) -> None:
    rule = protection.add("team/*", "v*", note="", by=BY, is_immutable=True)
    told = ask("PUT", "manifests", "v1", manifest(real, "other"))
    assert told.status == 403
    assert f"{R}:v1 is immutable, protected by {rule}: it stays on {filled['kept']}" in said(told)
    assert real.get(R, "v1").headers["docker-content-digest"] == filled["kept"]
    again = ask("PUT", "manifests", "v1", real.get(R, "v1").body)
    assert (again.status, dict(again.headers)["Docker-Content-Digest"]) == (201, filled["kept"])
    assert ask("PUT", "manifests", "v9", manifest(real, "new")).status == 201
    assert ask("PUT", "manifests", "v9", manifest(real, "other")).status == 403
    assert ask("PUT", "manifests", "plain", manifest(real, "other")).status == 201
    assert ask("PUT", "manifests", "v10", b"no manifest").status == 400
    assert ask("PUT", "manifests", "v10", b"x" * (MANIFEST_LIMIT + 1)).status == 413
    signature = "sha256-" + filled["kept"].removeprefix("sha256:") + ".sig"
    everything = protection.add("*", "*", note="", by=BY, is_immutable=True)
    for note in ("first", "second"):  # each signature moves its tag
        assert ask("PUT", "manifests", signature, manifest(real, note)).status == 201
    protection.lift(everything, by=BY)
    protection.lift(rule, by=BY)
    assert ask("PUT", "manifests", "v1", manifest(real, "other")).status == 201


def test_of_many_first_pushes_one_wins(real: Registry, filled: dict[str, str]) -> None:
    """Locks of this host; tests/e2e/test_guard.py has them between processes."""
    raws = [manifest(real, str(number)) for number in range(8)]
    inside, most = [0], [0]

    def push(raw: bytes) -> None:
        with guard.locked_for_push(R, ["v9"]):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            real.put(R, "v9", raw, IMAGE)
            inside[0] -= 1
        connection.close()

    with ThreadPoolExecutor(len(raws)) as pool:
        list(pool.map(push, raws))
    assert most == [1]


def test_a_push_that_nobody_waits_for_any_more_is_waited_for(
    real: Registry, filled: dict[str, str], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process died, and its lock with it; the registry, slow, is at it still."""
    protection.add("team/*", "v*", note="", by=BY, is_immutable=True)
    monkeypatch.setattr(guard, "ENDING", 0.3)
    (settings.RUN_DIR / "guard").mkdir(parents=True)
    note = guard._note(f"{R}:v9")
    with socket.create_connection(
        ("127.0.0.1", settings.REGISTRY_PORT), source_address=(sockets.SOURCES["manifests"], 0)
    ):
        note.touch()
        assert ask("PUT", "manifests", "v9", manifest(real, "later")).status == 503
        assert ask("PUT", "manifests", "v8", manifest(real, "another")).status == 201
    assert ask("PUT", "manifests", "v9", manifest(real, "later")).status == 201
    assert not note.exists()
    note.touch()  # it died before it asked
    assert ask("PUT", "manifests", "v9", manifest(real, "later")).status == 201
    assert not list((settings.RUN_DIR / "guard").iterdir())


def test_deletes_wait_for_pushes_and_pushes_of_two_tags_do_not() -> None:
    with guard.locked_for_push(R, ["v1"]), guard.locked_for_push(R, ["v2"]):
        assert is_busy(alone=[R])
        assert is_busy(alone=[f"{R}:v2"])
        assert not is_busy(alone=["team/other"])
        assert not is_busy(shared=[R])
    with locks.locked(alone=[R]):
        assert is_busy(alone=[f"{R}:v1"], shared=[R])
    assert not is_busy(alone=[R, f"{R}:v1"])


def is_busy(**names: list[str]) -> bool:
    """Whether somebody else has these locks. On PostgreSQL they are a connection's: so another
    thread asks."""

    def ask() -> bool:
        try:
            with locks.locked(**names, seconds=0.05):
                return False
        except locks.Busy:
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result()


def test_what_cannot_be_looked_up_is_not_touched(
    real: Registry, filled: dict[str, str], settings: Any
) -> None:
    protection.add("team/*", "v*", note="", by=BY, is_immutable=True)
    settings.SOURCE = "http"
    settings.REGISTRY_URL = f"http://127.0.0.1:{free_port()}"
    assert delete(filled["plain"])[0] == 503
    assert ask("PUT", "manifests", "v7", manifest(real, "x")).status == 503


def test_a_freeze_that_came_meanwhile_counts(real: Registry, filled: dict[str, str]) -> None:
    protection.add("team/*", "v*", note="", by=BY)
    write_freeze.folder().mkdir(parents=True)
    (write_freeze.folder() / "manifests").touch()
    assert delete(filled["plain"])[0] == 503
    assert delete(digest_of(b"of plain"), "blobs")[0] == 202


def test_undo_moves_no_immutable_tag(real: Registry, filled: dict[str, str]) -> None:
    index()
    old = real.get(R, "v1").headers["docker-content-digest"]
    real.put(R, "v1", manifest(real, "newer"), IMAGE)
    index()
    tombstone = TagTombstone.objects.get(tag="v1")
    now = real.get(R, "v1").headers["docker-content-digest"]
    rule = protection.add("team/*", "v*", note="", by=BY, is_immutable=True)
    with pytest.raises(Refused, match="makes the tag"):
        restore.restore(tombstone, by=BY, expected=now)
    with pytest.raises(Refused, match="makes the tag"):
        restore.restore_digest(R, "v1", old, expected=now, by=BY)
    assert real.get(R, "v1").headers["docker-content-digest"] == now
    protection.lift(rule, by=BY)
    restore.restore_digest(R, "v1", old, expected=now, by=BY)
    assert real.get(R, "v1").headers["docker-content-digest"] == old


def test_nor_is_a_part_purged(real: Registry, filled: dict[str, str]) -> None:
    index()
    protection.add("team/*", "v*", note="", by=BY)
    for part in ("kept", "inner", "child"):
        with pytest.raises(Refused, match="protected"):
            purge.purge_manifest(R, filled[part], by=BY)
    purge.purge_manifest(R, filled["plain"], by=BY)
    assert real.get(R, "v2").status == real.get(R, filled["child"]).status == 200


# -- the address that nginx asks -------------------------------------------------------------------
def test_only_who_nginx_names_gets_an_answer(real: Registry, filled: dict[str, str]) -> None:
    client, place = Client(), f"/v2/{R}/manifests/{filled['plain']}"
    assert client.delete(place).status_code == 401
    user = {"X-Boathouse-User": "ci"}
    assert client.post(place, headers=user).status_code == 405
    assert client.get(place, headers=user).status_code == 405
    assert client.put(f"/v2/{R}/blobs/{filled['plain']}", headers=user).status_code == 405
    answer = client.delete(place, headers=user)
    assert (answer.status_code, answer.headers["Docker-Distribution-Api-Version"]) == (
        *(202, "registry/2.0"),
    )
    done = client.put(
        f"/v2/{R}/manifests/again",
        real.get(R, "v1").body,
        content_type=IMAGE,
        headers=user,
    )
    assert done.status_code == 201
    assert done.headers["Location"].startswith(f"http://{live.REGISTRY_NAME}/v2/")


def test_what_came_too_late_is_not_done(real: Registry, filled: dict[str, str]) -> None:
    """The portal was frozen; nginx has told the client that nothing was changed."""
    place, user = f"/v2/{R}/manifests/{filled['plain']}", {"X-Boathouse-User": "ci"}
    late = {**user, "X-Boathouse-Began": f"{time.time() - guard.NGINX_PATIENCE:.3f}"}
    assert Client().delete(place, headers=late).status_code == 503
    assert real.get(R, filled["plain"]).status == 200
    in_time = {**user, "X-Boathouse-Began": f"{time.time():.3f}"}
    assert Client().delete(place, headers=in_time).status_code == 202


@pytest.mark.parametrize("name", ["v" * 129, "v+1", ".v", "sha256:short"])
def test_what_is_no_tag_is_no_such_address(real: Registry, name: str) -> None:
    protection.add("team/*", "v*", note="", by=BY, is_immutable=True)
    assert ask("PUT", "manifests", name, b"{}").status == 404
    assert ask("DELETE", "manifests", name).status == 404
