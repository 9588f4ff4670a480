"""When a tag expires: on its page, in the list, by the form, in the report."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from registryui import runs
from registryui.deletion import protection
from registryui.models import NEVER, Mirror, RetentionFate, Role, Run, Tag
from registryui.oci.expiry import LABEL
from registryui.retention.work import Result
from tests.support import pushed
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db

R = "team/app"
PAGE = f"/repositories/{R}:1.0"
FORM = f"{PAGE}/expiry"


@pytest.fixture
def client() -> Client:
    found = Client()
    found.force_login(make_operator("mo", Role.MAINTAINER))
    return found


def text(answer: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def push(**labels: str) -> None:
    config = {"config": {"Labels": {LABEL: labels["after"]}}} if labels else {}
    pushed.image(R, tags=["1.0"], config=config, at=timezone.now())


def test_it_is_set_changed_and_removed_on_the_page_of_the_tag(client: Client) -> None:
    push()
    assert "Expires never Set…" in text(client.get(PAGE))
    form = client.get(FORM).content.decode()
    assert 'value="2w"' in form
    assert 'value="never"' not in form
    page = client.post(FORM, {"way": "in", "duration": "3d"}, follow=True)
    assert re.search(r"team/app:1.0 expires \w+ \d+ \w+ \d{4}, \d\d:\d\d UTC\.", text(page))
    assert "Expires in 3 days Change…" in text(page)
    assert "expires in 3 days" in text(client.get(f"/repositories/{R}"))
    page = client.post(FORM, {"way": "at", "at": "2030-01-02T03:04"}, follow=True)
    assert "expires Wed 2 Jan 2030, 03:04 UTC." in text(page)
    assert 'value="2030-01-02T03:04"' in client.get(FORM).content.decode()
    page = client.post(FORM, {"way": "label"}, follow=True)
    assert "Removed the expiry of team/app:1.0." in text(page)
    assert Tag.objects.get().expires_at is None


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"way": "in", "duration": "soon"}, "Enter a duration such as 12h, 3d or 2w"),
        ({"way": "at", "at": "tomorrow"}, "Enter a date and time such as"),
        ({"way": "at", "at": "2020-01-01"}, "Enter a time in the future."),
        ({"way": "later"}, "Choose when the tag expires."),
        ({}, "Choose when the tag expires."),
    ],
)
def test_a_mistake_is_said_and_what_was_typed_stays(
    client: Client, sent: dict[str, str], reason: str
) -> None:
    push()
    page = client.post(FORM, sent)
    assert page.status_code == 409
    assert reason in text(page)
    for value in list(sent.values())[1:]:
        assert f'value="{value}"' in page.content.decode()
    assert Tag.objects.get().expires_at is None


def test_the_page_says_whether_the_label_counts(client: Client, settings: Any) -> None:
    push(after="14d")
    said = text(client.get(PAGE))
    assert "Expires never Set… The label quay.expires-after=2w of its image is not applied" in said
    assert "BOATHOUSE_EXPIRE_BY_LABEL=on" in said
    settings.EXPIRE_BY_LABEL = True
    said = text(client.get(f"{PAGE}?"))
    assert "Expires in 14 days Set… By the label quay.expires-after=2w of its image." in said
    page = client.post(FORM, {"way": "never"}, follow=True)
    assert "team/app:1.0 does not expire." in text(page)
    assert "does not count: an expiry is set for the tag." in text(page)
    assert Tag.objects.get().expires_at == NEVER
    Tag.objects.update(expires_at=None, label_expires_at=None)
    assert "the push time of the tag is unknown" in text(client.get(f"{PAGE}?"))


def test_a_protected_tag_that_expired_says_that_it_is_kept(client: Client) -> None:
    push()
    protection.add(R, "1.0", note="", by="vera")
    Tag.objects.update(expires_at=timezone.now() - timedelta(hours=3))
    assert "Expires 3 h ago kept: protected" in text(client.get(PAGE))


def test_viewers_see_it_and_mirrors_have_none(client: Client) -> None:
    push(after="1h")
    Tag.objects.update(expires_at=timezone.now() + timedelta(days=2, minutes=1))
    viewer = Client()
    viewer.force_login(make_operator("vera"))
    assert "Expires in 2 days" in text(viewer.get(PAGE))
    assert "Change…" not in text(viewer.get(PAGE))
    Mirror.objects.create(name="team", url="https://hub.example")
    assert "Expires" not in text(client.get(PAGE))
    assert "expires" not in text(client.get(f"/repositories/{R}"))
    assert "Tags of mirrors do not expire" in text(client.get(FORM, follow=True))
    assert client.get(f"/repositories/{R}:none/expiry").status_code == 404


def test_the_page_of_policies_counts_what_expires(client: Client, settings: Any) -> None:
    push(after="1h")
    said = text(client.get("/maintenance"))
    assert "Labels do not apply" in said
    assert "0 tags have an expiry set" in said
    assert "1 tag has the label With BOATHOUSE_EXPIRE_BY_LABEL=on, 0 of them would be" in said
    past = timezone.now() - timedelta(hours=1)
    Tag.objects.update(label_expires_at=past)
    assert "BOATHOUSE_EXPIRE_BY_LABEL=on, 1 of them would be" in text(client.get("/maintenance?"))
    settings.EXPIRE_BY_LABEL = True
    run = runs.begin(Run.Kind.EXPIRY, by="schedule", result=Result(goes=1, saved=1, tags=1))
    assert run is not None
    runs.end(run, Run.State.DONE)
    for kind, reason, note in (
        ("goes", "expired", f"label {past.isoformat(timespec='seconds')}"),
        ("saved", "protected", "team/app:v*"),
    ):
        RetentionFate.objects.create(
            run=run, kind=kind, repository=R, tag="v1", reason=reason, note=note
        )
    said = text(client.get("/maintenance?"))
    assert "Labels apply" in said
    assert "1 expired tag is still there" in said
    assert "1 tag deleted" in said
    said = text(client.get(f"/maintenance/runs/{run.pk}"))
    assert "Expired tags" in said
    assert "Deleted team/app: v1 expired" in said
    assert "by its label quay.expires-after" in said
    assert "Kept team/app: v1 protected: team/app:v*" in said
