"""Blobs: one download for all clients, which is verified, and what happens when it goes wrong."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import IncompleteRead
from pathlib import Path

import pytest

from registryui.mirror_service import downloads
from registryui.mirror_service.content import Content, _own_spool
from registryui.unix_http import Connection
from tests.support.fake_source import digest_of
from tests.support.waiting import LONGEST, until

from .conftest import World

LAYER = bytes(range(256)) * 8192  # 2 MiB
DIGEST = digest_of(LAYER)
PATH = f"/v2/hub/team/app/blobs/{DIGEST}"


@pytest.fixture
def image(world: World) -> str:
    """An image with that layer and another, whose manifest is here."""
    digest = world.upstream.push_image("team/app", "1", LAYER, b"another")
    assert world.ask("/v2/hub/team/app/manifests/1").status == 200
    return digest


def test_ten_clients_cause_one_download(world: World, image: str) -> None:
    world.upstream.holds_blobs.set()
    answers = []
    ask = threading.Thread(target=lambda: answers.extend(world.at_once(PATH, 10)))
    ask.start()
    until(lambda: world.upstream.gets(DIGEST), "the download runs")
    world.upstream.released.set()
    ask.join()
    assert {one.status for one in answers} == {200}
    assert {one.body for one in answers} == {LAYER}
    assert world.upstream.gets(DIGEST).total() == 1
    world.wait_for_blob("hub/team/app", DIGEST)
    assert world.ask(PATH).body == LAYER
    assert world.upstream.gets(DIGEST).total() == 1


def test_the_other_blobs_of_the_image_follow(world: World, image: str) -> None:
    assert world.ask(PATH).status == 200
    for blob in (b"another", b'{"os":"linux"}'):
        world.wait_for_blob("hub/team/app", digest_of(blob))
    assert set(world.upstream.gets("/blobs/").values()) == {1}
    until(lambda: not world.spooled(), "nothing is left in the spool")


def test_a_restart_between_manifest_and_layers_changes_nothing(world: World, image: str) -> None:
    with world.serving():
        assert world.ask(PATH).body == LAYER
        for blob in (b"another", b'{"os":"linux"}'):
            world.wait_for_blob("hub/team/app", digest_of(blob))


def test_content_that_was_deleted_is_fetched_again(world: World, image: str) -> None:
    assert world.ask(PATH).body == LAYER
    world.wait_for_blob("hub/team/app", DIGEST)
    world.registry.blob(DIGEST).unlink()
    assert world.registry.ask("GET", PATH).status == 404  # nginx asks the service then
    assert world.ask(PATH).body == LAYER
    world.wait_for_blob("hub/team/app", DIGEST)
    assert world.upstream.gets(DIGEST).total() == 2


def test_pulls_beside_deletes_are_complete_or_errors(world: World, image: str) -> None:
    """Each answer that is complete has its digest, whatever is deleted meanwhile."""
    is_over = threading.Event()
    store = world.folder / "store/docker/registry/v2"

    def delete() -> None:
        while not is_over.is_set():
            for pattern in ("blobs/*/*/*/data", "repositories/hub/**/link"):
                for one in store.glob(pattern):
                    one.unlink(missing_ok=True)

    deleting = threading.Thread(target=delete)
    deleting.start()
    try:
        for _number in range(10):
            for answer in world.at_once(PATH, 4):
                assert answer.status == 200
                assert digest_of(answer.body) == DIGEST
            for answer in world.at_once("/v2/hub/team/app/manifests/1", 4):
                assert answer.status == 200
                assert digest_of(answer.body) == image
    finally:
        is_over.set()
        deleting.join()
    assert world.ask(PATH).body == LAYER
    world.wait_for_blob("hub/team/app", DIGEST)


def test_the_config_alone_is_no_reason_to_fetch_layers(world: World, image: str) -> None:
    config = digest_of(b'{"os":"linux"}')
    assert world.ask(f"/v2/hub/team/app/blobs/{config}").status == 200
    world.wait_for_blob("hub/team/app", config)
    world.service.filling._waiting.join()
    assert world.upstream.gets("/blobs/").total() == 1


def test_bytes_are_sent_while_they_arrive_and_a_client_that_leaves_ends_nothing(
    world: World,
) -> None:
    world.upstream.push_image("team/app", "1", LAYER)
    world.upstream.holds_blobs.set()
    connection = Connection(world.configuration.socket, timeout=LONGEST)
    connection.request("GET", PATH)
    response = connection.getresponse()
    assert response.length == len(LAYER)
    assert response.read(100_000) == LAYER[:100_000]
    response.close()
    connection.close()
    world.upstream.released.set()
    world.wait_for_blob("hub/team/app", DIGEST)
    assert world.upstream.gets(DIGEST).total() == 1


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=1000000-", 206, 1_000_000, len(LAYER)),
        ("bytes=5-9", 206, 5, 10),
        ("bytes=0-", 200, 0, len(LAYER)),
        ("bytes=0-99999999", 200, 0, len(LAYER)),
        ("lines=1-", 200, 0, len(LAYER)),
    ],
)
@pytest.mark.parametrize("is_full", [False, True])
def test_a_range(
    world: World, asked: str, status: int, start: int, end: int, is_full: bool
) -> None:
    world.upstream.push_image("team/app", "1", LAYER)
    if is_full:
        (world.folder / "hold" / "full").touch()
    answer = world.ask(PATH, headers={"Range": asked})
    assert (answer.status, answer.body == LAYER[start:end]) == (status, True)
    if status == 206:
        told = f"bytes {start}-{end - 1}/{len(LAYER)}"
        assert answer.headers["content-range"] == told


def test_a_range_behind_the_end(world: World) -> None:
    world.upstream.push_image("team/app", "1", LAYER)
    answer = world.ask(PATH, headers={"Range": f"bytes={len(LAYER)}-"})
    assert answer.status == 416


@pytest.mark.parametrize("is_full", [False, True])
def test_wrong_bytes_are_stored_nowhere_and_no_client_gets_all(
    world: World, image: str, is_full: bool
) -> None:
    if is_full:
        (world.folder / "hold" / "full").touch()
    before = world.blobs()
    world.upstream.is_wrong = True
    with pytest.raises((IncompleteRead, ConnectionResetError)):
        world.ask(PATH)
    until(lambda: not world.spooled(), "the spool is empty")
    assert world.blobs() == before
    assert world.registry.ask("HEAD", PATH).status == 404
    state = world.state()
    assert state["refused"] >= 1  # by the download, and by the client that came after it
    assert DIGEST in state["last_refusal"]["what"]
    world.upstream.is_wrong = False
    assert world.ask(PATH).body == LAYER


def test_a_small_wrong_blob_is_an_error_with_words(world: World) -> None:
    world.upstream.push_image("team/app", "1", b"small")
    world.upstream.is_wrong = True
    with pytest.raises((IncompleteRead, ConnectionResetError)):
        world.ask(f"/v2/hub/team/app/blobs/{digest_of(b'small')}")
    assert not world.blobs()


@pytest.mark.parametrize("after", [0, 1_000_000])
def test_a_download_that_breaks_off(world: World, image: str, after: int) -> None:
    before = world.blobs()
    world.upstream.cut_at = after
    with pytest.raises((IncompleteRead, ConnectionResetError)):
        world.ask(PATH)
    until(lambda: not world.spooled(), "the spool is empty")
    assert world.blobs() == before
    assert "broke off" in world.state()["last_refusal"]["words"]
    world.upstream.cut_at = -1
    assert world.ask(PATH).body == LAYER


def test_a_disk_that_fills_up_in_the_middle(
    world: World, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, written = world.blobs(), 0

    def write(handle: int, piece: bytes) -> None:
        nonlocal written
        written += len(piece)
        if written > len(LAYER) // 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.write(handle, piece)

    monkeypatch.setattr(downloads, "_write", write)
    answers = world.at_once(PATH, 3)
    assert {one.body for one in answers} == {LAYER}
    until(lambda: not world.spooled(), "the spool is empty")
    assert world.blobs() == before
    assert world.registry.ask("HEAD", PATH).status == 404
    monkeypatch.undo()
    assert world.ask(PATH).body == LAYER
    world.wait_for_blob("hub/team/app", DIGEST)


def test_a_store_that_refuses_the_finished_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.upstream.push_image("team/app", "1", LAYER)

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Content, "put_blob", refuse)
    assert world.ask(PATH).body == LAYER
    until(lambda: not world.spooled(), "the spool is empty")
    assert not world.blobs()


@pytest.mark.parametrize("is_full", [False, True])
def test_an_upstream_that_says_no_length(world: World, is_full: bool) -> None:
    world.upstream.push_image("team/app", "1", LAYER)
    world.upstream.is_chunked = True
    if is_full:
        (world.folder / "hold" / "full").touch()
    assert world.ask(PATH).body == LAYER


def test_head_says_the_size_and_downloads_nothing(world: World, image: str) -> None:
    answer = world.ask(PATH, method="HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(LAYER)))
    assert not world.upstream.gets("/blobs/")
    missing = world.ask(f"/v2/hub/team/app/blobs/sha256:{'0' * 64}", method="HEAD")
    assert missing.status == 404


def test_head_of_what_is_here_asks_nobody(world: World) -> None:
    world.upstream.push_image("team/app", "1", LAYER)
    assert world.ask(PATH).body == LAYER
    world.wait_for_blob("hub/team/app", DIGEST)
    world.upstream.status = 503
    answer = world.ask(PATH, method="HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(LAYER)))


def test_a_blob_that_the_upstream_does_not_have(world: World) -> None:
    answer = world.ask(f"/v2/hub/team/app/blobs/sha256:{'0' * 64}")
    assert (answer.status, answer.json()["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")


def test_a_blob_named_by_sha512_has_both_links(world: World) -> None:
    world.upstream.blobs[f"team/app@{digest_of(LAYER, 'sha512')}"] = LAYER
    path = f"/v2/hub/team/app/blobs/{digest_of(LAYER, 'sha512')}"
    assert world.ask(path).body == LAYER
    world.wait_for_blob("hub/team/app", digest_of(LAYER, "sha512"))
    world.wait_for_blob("hub/team/app", DIGEST)


def test_one_repository_does_not_open_anothers_download(world: World) -> None:
    world.upstream.push_image("team/app", "1", LAYER)
    world.upstream.holds_blobs.set()
    first = threading.Thread(target=world.ask, args=(PATH,))
    first.start()
    until(lambda: world.upstream.gets(DIGEST), "the download runs")
    assert world.ask(f"/v2/hub/other/app/blobs/{DIGEST}").status == 404
    world.upstream.released.set()
    first.join()


def test_what_a_killed_service_left_is_removed_and_another_hosts_stays(world: World) -> None:
    spool = Path(world.configuration.spool)
    left = spool / "left"
    left.mkdir()
    (left / "lock").touch()
    (left / "half").write_bytes(LAYER)
    (spool / "empty").mkdir()
    mine = next(one for one in spool.iterdir() if one.name not in ("left", "empty"))
    other = Content(world.configuration)
    assert not left.exists()
    assert not (spool / "empty").exists()
    assert mine.exists()
    other.close()


def test_a_store_that_cannot_be_written_is_passed_by(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = world.upstream.push_image("team/app", "1", LAYER)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        content = Content(world.configuration)
    assert not content.may_store()
    world.service.content = world.service.manifests._content = content
    world.service.downloads._content = content
    assert digest_of(world.ask("/v2/hub/team/app/manifests/1").body) == digest
    assert world.ask(PATH).body == LAYER
    assert not world.blobs()


def test_services_that_start_at_once_on_one_store_keep_their_folders(tmp_path: Path) -> None:
    spools = tmp_path / "boathouse-mirror"
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(_own_spool, [spools] * 64))
    try:
        assert {one.folder for one in made if one} == set(spools.iterdir())
        assert len(list(spools.iterdir())) == 64
    finally:
        for one in filter(None, made):
            os.close(one.lock)
