"""A tag of the portal as an archive, and the settings as JSON."""

from __future__ import annotations

import io
import json
import os
import tarfile
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from registryui.accounts import rights, users
from registryui.exports import downloads
from registryui.models import AuditEvent, Mirror, Role
from registryui.refused import Refused
from tests.support.factories import make_operator
from tests.support.worlds import World

PULL = rights.parse([("pull", "team/*")])
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def viewer() -> Client:
    client = Client()
    client.force_login(make_operator("vera", Role.VIEWER))
    return client


def test_a_tag_is_downloaded_with_all_layers(here: World, viewer: Client) -> None:
    here.real.push_image("team/api", "1", layers=[os.urandom(3_000_000), b"app"])
    here.sync()
    answer = viewer.post("/repositories/team/api:1/archive")
    assert answer["Content-Disposition"] == 'attachment; filename="team-api-1.tar"'
    got = b"".join(answer.streaming_content)
    assert len(got) == int(answer["Content-Length"])
    with tarfile.open(fileobj=io.BytesIO(got)) as opened:
        index = json.loads(opened.extractfile("index.json").read())  # type: ignore[union-attr]
        assert len(opened.getnames()) == 3 + 4
    assert index["manifests"][0]["digest"] == here.digest("1", "team/api")
    row = AuditEvent.objects.get(act="archive.download")
    assert (row.actor, row.target) == ("operator:vera", "team/api:1")


def test_two_downloads_at_once_leave_threads_for_pages(here: World, viewer: Client) -> None:
    here.real.push_image("team/api", "1")
    here.sync()
    under_way = [downloads.tag("team/api", "1", by="test") for _ in range(downloads.AT_ONCE)]
    with pytest.raises(Refused, match="Other archives are being downloaded"):
        downloads.tag("team/api", "1", by="test")
    answer = viewer.post("/repositories/team/api:1/archive", follow=True)
    assert "Other archives are being downloaded" in answer.content.decode()
    for one in under_way:
        one.close()
    answer = viewer.post("/repositories/team/api:1/archive")
    answer.close()  # the browser went away
    downloads.tag("team/api", "1", by="test").close()


def test_what_cannot_be_downloaded_says_why_and_holds_no_place(here: World, viewer: Client) -> None:
    here.real.push_image("team/api", "1", layers=[b"lost"])
    here.sync()
    digest = here.real.get("team/api", "1").json()["layers"][0]["digest"]
    here.real.blob(digest).unlink()
    for _ in range(2 * downloads.AT_ONCE):
        answer = viewer.post("/repositories/team/api:1/archive", follow=True)
        assert f"team/api:1 cannot be downloaded: the blob {digest} is missing." in (
            answer.content.decode()
        )
    answer = viewer.post("/repositories/team/api:none/archive")
    assert answer.status_code == 302


def test_the_settings_have_what_leaving_needs_and_no_password(
    tmp_path: Path, files: Path, settings: Any
) -> None:
    end = timezone.now() + timedelta(days=3)
    done = users.create("ci", may=PULL, by="test", expires_at=end)
    Mirror.objects.create(name="hub", url="https://example.com", user="me", secret="encrypted")
    place = tmp_path / "settings.json"
    call_command("export", "settings", str(place), stdout=StringIO())
    assert place.stat().st_mode & 0o777 == 0o600
    found = json.loads(place.read_text())
    user = found["users"][0]
    assert (user["name"], user["rights"]["pull"]) == ("ci", ["team/*"])
    assert user["expires_at"] == end.isoformat(timespec="seconds")
    assert f"ci:{user['hash']}\n" in (files / "htpasswd").read_text()
    assert done.secret not in place.read_text()
    assert (found["mirrors"][0]["has_password"], "secret" in found["mirrors"][0]) == (True, False)
    assert "encrypted" not in place.read_text()
    assert [row["act"] for row in found["history"]] == ["user.create"]
    assert {"policies", "protections"} <= found.keys()
    assert AuditEvent.objects.order_by("-id")[0].act == "archive.settings"
