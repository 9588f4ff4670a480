"""The pages of notifications: the list, one receiver, its form, its messages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from registryui.models import AuditEvent, Delivery, Receiver, Role
from registryui.notify import deliveries, messages, receivers, sending
from registryui.notify.receivers import Wanted
from tests.support.factories import make_operator
from tests.support.receivers import Hook, hook

pytestmark = pytest.mark.django_db
ADA = "operator:ada"
FORM = {"name": "chat", "kind": "webhook", "conditions": "warn", "language": "en"}


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, settings: Any) -> None:
    settings.MIRROR_KEY_FILE = tmp_path / "mirror-key"
    settings.MIRROR_KEY_FILE.write_text("of this test\n")
    settings.NOTIFY_LOOPBACK = True


@pytest.fixture
def there() -> Iterator[Hook]:
    with hook() as made:
        yield made


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(make_operator("ada", Role.ADMIN))
    return client


@pytest.fixture
def chat(there: Hook) -> Receiver:
    return receivers.add("chat", Wanted("webhook", there.url), by=ADA)[0]


def text_of(response: Any) -> str:
    found = re.sub(r"<[^>]+>", " ", response.content.decode())
    return " ".join(found.split())


def test_an_empty_list_teaches(admin: Client, settings: Any) -> None:
    answer = admin.get("/notifications")
    assert "Nobody is notified yet" in text_of(answer)
    assert "BOATHOUSE_SMTP_HOST=mail.example.net" in text_of(answer)
    assert answer.context["form"]["kind"] == "webhook"
    settings.SMTP_HOST = "mail.example.net"
    answer = admin.get("/notifications")
    assert "BOATHOUSE_SMTP_HOST" not in text_of(answer)
    assert answer.context["form"]["kind"] == "mail"


def test_a_webhook_is_added_and_its_secret_shown_once(admin: Client, there: Hook) -> None:
    typed = FORM | {"address": there.url, "has_pushes": "1", "repositories": "team/*"}
    answer = admin.post("/notifications/add", typed, follow=True)
    row = Receiver.objects.get()
    assert answer.redirect_chain == [(f"/notifications/{row.pk}", 302)]
    url, secret = receivers.url_and_secret(row)
    assert url == there.url
    assert secret in answer.content.decode()
    again = admin.get(f"/notifications/{row.pk}").content.decode()
    assert secret not in again
    assert "token-in-the-path" not in again
    assert "warnings and errors, pushes (team/*)" in again
    renewed = admin.post(f"/notifications/{row.pk}/change", {"act": "secret"}, follow=True)
    row.refresh_from_db()
    assert receivers.url_and_secret(row)[1] in renewed.content.decode()


def test_what_is_wrong_is_said_and_the_form_stays(
    admin: Client, chat: Receiver, subtests: pytest.Subtests
) -> None:
    for path, typed, words in [
        ("/notifications/add", {"name": "A b"}, "receiver&#39;s name"),
        ("/notifications/add", {"name": "x", "address": "x"}, "Enter the URL of a webhook"),
        ("/notifications/add", {"name": "x", "conditions": "none"}, "at least one kind"),
        ("/notifications/add", {"name": "x", "kind": "mail"}, "BOATHOUSE_SMTP_HOST"),
        (f"/notifications/{chat.pk}/change", {"act": "change", "conditions": "x"}, "Choose for"),
    ]:
        with subtests.test(words):
            form = FORM | {"address": "https://h.example/typed", "repositories": "typed/*"}
            answer = admin.post(path, form | typed)
            assert answer.status_code == 422
            assert words in answer.content.decode()
            assert "typed/*" in answer.content.decode()
    assert Receiver.objects.count() == 1


def test_a_change_keeps_the_url_and_switches_boxes(admin: Client, chat: Receiver) -> None:
    form = admin.get(f"/notifications/{chat.pk}?edit=1").context["form"]
    assert form["address"] == ""
    typed = FORM | {"act": "change", "address": "", "conditions": "bad", "has_deletes": "1"}
    assert admin.post(f"/notifications/{chat.pk}/change", typed).status_code == 302
    row = Receiver.objects.get()
    assert (row.conditions, row.has_pushes, row.has_deletes) == ("bad", False, True)
    assert row.address == chat.address


def test_buttons(admin: Client, chat: Receiver, there: Hook) -> None:
    path = f"/notifications/{chat.pk}/change"
    assert "arrived (HTTP 200, " in text_of(admin.post(path, {"act": "test"}, follow=True))
    there.status = 500
    said = text_of(admin.post(path, {"act": "test"}, follow=True))
    assert "did not arrive: HTTP status (500)." in said
    for act in ("off", "on"):
        assert admin.post(path, {"act": act}).status_code == 302
    assert "not supported" in text_of(admin.post(path, {"act": "x"}, follow=True))
    assert "Remove the receiver chat?" in text_of(admin.get(f"/notifications/{chat.pk}?remove=1"))
    assert admin.post(path, {"act": "remove"})["Location"] == "/notifications"
    acts = AuditEvent.objects.order_by("id").values_list("act", flat=True)
    assert list(acts) == [f"receiver.{one}" for one in ("add", "disable", "enable", "remove")]


def test_messages_are_shown_with_request_and_answers_and_sent_again(
    admin: Client, chat: Receiver, there: Hook
) -> None:
    there.status = 503
    deliveries.queue(chat, [messages.test("<b>")])
    sending.send_due(chat.pk)
    page = admin.get(f"/notifications/{chat.pk}")
    (one,) = page.context["deliveries"]
    assert (one.what, one.word, one.error) == ("Test message", "Waiting", "HTTP status (503)")
    assert "an answer of the receiver" in text_of(page)
    assert "&lt;b&gt;" in page.content.decode()
    assert not one.may_be_sent
    Delivery.objects.update(state=Delivery.State.FAILED)
    assert "1 failed" in text_of(admin.get(f"/notifications/{chat.pk}"))
    row = Delivery.objects.get()
    path = f"/notifications/{chat.pk}/change"
    there.status = 200
    admin.post(path, {"act": "resend", "delivery": row.pk})
    sending.send_due(chat.pk)
    assert Delivery.objects.get().state == "sent"
    assert admin.post(path, {"act": "resend", "delivery": 99}).status_code == 404
    sent = admin.get(f"/notifications/{chat.pk}?state=sent").context["deliveries"]
    assert [one.word for one in sent] == ["Delivered"]
    assert admin.get(f"/notifications/{chat.pk}?state=failed").context["deliveries"] == []
    assert admin.get("/notifications").context["rows"][0].word == "Delivered"


def test_the_messages_come_again_only_when_they_changed(admin: Client, chat: Receiver) -> None:
    token = admin.get(f"/notifications/{chat.pk}").context["token"]
    headers = {"HX-Request": "true", "HX-Target": "deliveries"}
    path = f"/notifications/{chat.pk}?seen={token}"
    assert admin.get(path, headers=headers).status_code == 204
    deliveries.queue(chat, [messages.test("ada")])
    answer = admin.get(path, headers=headers)
    assert answer.status_code == 200
    assert b"<html" not in answer.content
    assert b'id="deliveries"' in answer.content
