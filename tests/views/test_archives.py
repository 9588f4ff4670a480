"""The page that takes archives of images: in pieces, as one form, checked while they arrive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from registryui import tasks
from registryui.imports import uploads
from registryui.imports.run import Result
from registryui.models import Role, Run
from tests.imports.conftest import ours  # noqa: F401  (a fixture)
from tests.support.archives import header, layer, saved, tar_of
from tests.support.factories import make_operator
from tests.support.registries import Registry, what_is_missing

pytestmark = pytest.mark.django_db(transaction=True)

ARCHIVE = tar_of(saved([layer(etc__base=os.urandom(40_000))], "team/api:1"))
PIECE = 16_384


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, settings: Any) -> None:
    settings.IMPORTS_DIR = tmp_path / "imports"
    settings.RUN_DIR = tmp_path / "run"


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The imports that the worker is asked for."""
    found: list[int] = []
    monkeypatch.setattr(tasks, "import_archive", lambda run, _language: found.append(run))
    return found


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(make_operator("ada", Role.ADMIN))
    return client


def begin(client: Client, size: int = len(ARCHIVE), **more: Any) -> dict[str, Any]:
    """What the script is told when a file is chosen."""
    about = {"file": "saved.tar", "size": size, "stamp": "1", **more}
    answer = client.post("/imports/archives/begin", about)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def send(client: Client, place: dict[str, Any], offset: int, data: bytes) -> Any:
    """One piece."""
    return client.post(
        f"{place['piece']}?offset={offset}", data, content_type="application/octet-stream"
    )


def test_an_archive_arrives_in_pieces_and_is_imported(
    admin: Client,
    asked: list[int],
    ours: Registry,  # noqa: F811
) -> None:
    place = begin(admin)
    for offset in range(0, len(ARCHIVE), PIECE):
        answer = send(admin, place, offset, ARCHIVE[offset : offset + PIECE])
        assert answer.json()["offset"] == min(offset + PIECE, len(ARCHIVE))
    answer = admin.post(place["import"], {"namespace": "moved"})
    run = Run.objects.get()
    assert (answer["Location"], asked) == (f"/imports/{run.pk}", [run.pk])
    uploads.carry_out(run)
    run.refresh_from_db()
    assert (run.state, Result.of(run).taken, Result.of(run).source) == ("done", 1, "saved.tar")
    assert what_is_missing(ours, "moved/team/api", "1") == ""
    assert uploads.uploads() == []


def test_an_interrupted_upload_continues_where_it_was(admin: Client) -> None:
    place = begin(admin)
    send(admin, place, 0, ARCHIVE[:PIECE])
    assert "saved.tar" in admin.get("/imports/archives").content.decode()
    again = begin(admin)
    assert again == {**place, "offset": PIECE}
    wrong = send(admin, place, 0, ARCHIVE[:PIECE])
    assert (wrong.status_code, wrong.json()) == (409, {"offset": PIECE})
    assert send(admin, place, PIECE, ARCHIVE[PIECE:]).json() == {"offset": len(ARCHIVE)}
    other = begin(admin, stamp="2")  # another file of that name
    assert (other["offset"], other["piece"] != place["piece"]) == (0, True)


def test_an_archive_that_is_not_complete_is_not_imported(admin: Client, asked: list[int]) -> None:
    place = begin(admin)
    send(admin, place, 0, ARCHIVE[:PIECE])
    answer = admin.post(place["import"])
    assert (answer.status_code, asked) == (422, [])
    assert "not complete yet" in answer.content.decode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"MZ" + bytes(5000), "not an archive of images"),
        (header("../b") + bytes(5000), "outside of it"),
        (header("disk", type=b"S") + bytes(5000), "neither a file nor a link"),
        (b"\x28\xb5\x2f\xfd" + bytes(5000), "zstd -dc"),
    ],
)
def test_what_is_no_archive_is_refused_while_it_arrives(
    content: bytes, words: str, admin: Client
) -> None:
    place = begin(admin, size=10_000_000_000)
    answer = send(admin, place, 0, content + bytes(70_000))
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert uploads.uploads() == []


def test_nothing_arrives_below_the_floor_of_free_space(admin: Client, settings: Any) -> None:
    place = begin(admin)
    settings.FLOOR_BYTES = 10**18
    answer = send(admin, place, 0, ARCHIVE)
    assert (answer.status_code, "must stay free" in answer.json()["error"]) == (422, True)
    answer = admin.post("/imports/archives/begin", {"file": "other.tar", "size": 10, "stamp": "1"})
    assert answer.status_code == 422


def test_more_than_was_said_is_refused(admin: Client) -> None:
    place = begin(admin, size=100)
    answer = send(admin, place, 0, ARCHIVE)
    assert (answer.status_code, "More arrived" in answer.json()["error"]) == (422, True)


def test_the_form_works_without_a_script(
    admin: Client,
    asked: list[int],
    ours: Registry,  # noqa: F811
) -> None:
    file = SimpleUploadedFile("saved.tar", ARCHIVE)
    answer = admin.post("/imports/archives/upload", {"name": "team/web:2", "archive": file})
    run = Run.objects.get()
    assert answer["Location"] == f"/imports/{run.pk}"
    uploads.carry_out(run)
    assert what_is_missing(ours, "team/web", "2") == ""


def test_the_form_refuses_what_is_no_archive(admin: Client, asked: list[int]) -> None:
    for content, words in ((b"hello" * 1000, "not an archive of images"), (b"", "empty")):
        file = SimpleUploadedFile("saved.tar", content)
        answer = admin.post("/imports/archives/upload", {"archive": file, "name": "a:1"})
        assert answer.status_code == 422
        assert words in answer.content.decode()
    assert "Choose a file" in admin.post("/imports/archives/upload").content.decode()
    assert (uploads.uploads(), asked) == ([], [])


def test_the_form_needs_its_token_and_an_administrator() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_operator("ada", Role.ADMIN))
    file = SimpleUploadedFile("saved.tar", ARCHIVE)
    assert client.post("/imports/archives/upload", {"archive": file}).status_code == 403
    assert client.post("/imports/archives/begin", {"file": "a", "size": 1}).status_code == 403
    client.force_login(make_operator("mia", Role.MAINTAINER))
    file = SimpleUploadedFile("saved.tar", ARCHIVE)
    assert client.post("/imports/archives/upload", {"archive": file}).status_code == 403


def test_an_abandoned_upload_goes_and_one_in_use_stays(
    admin: Client,
    ours: Registry,  # noqa: F811
) -> None:
    kept, gone = begin(admin), begin(admin, stamp="2")
    for place in (kept, gone):
        send(admin, place, 0, ARCHIVE)
    admin.post(kept["import"])
    for one in uploads.uploads():
        os.utime(one.place, (1, 1))
    uploads.remove_abandoned()
    assert len(uploads.uploads()) == 1
    id = uploads.uploads()[0].id
    assert id in kept["piece"]
    admin.post(f"/imports/archives/{id}/remove")
    assert uploads.find(id) is not None
    uploads.carry_out(Run.objects.get())
    assert uploads.uploads() == []


def test_a_removed_upload_ends_its_import_with_a_sentence(
    admin: Client,
    ours: Registry,  # noqa: F811
) -> None:
    place = begin(admin)
    send(admin, place, 0, ARCHIVE)
    admin.post(place["import"])
    found = uploads.uploads()[0]
    for file in found.place.parent.iterdir():
        file.unlink()
    found.place.parent.rmdir()
    run = Run.objects.get()
    uploads.carry_out(run)
    run.refresh_from_db()
    assert (run.state, Result.of(run).problem) == (
        "failed",
        "The uploaded archive does not exist.",
    )
