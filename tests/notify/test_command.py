"""`./boathouse notify`: every act, its words and its JSON."""

from __future__ import annotations

import io

import pytest

from registryui.models import Delivery, Receiver
from registryui.notify import receivers, sending
from tests.support.commands import Command
from tests.support.receivers import Hook, MailServer

pytestmark = pytest.mark.django_db

COMMAND = Command("notify")
said, facts, refused = COMMAND.said, COMMAND.facts, COMMAND.refused


def test_the_empty_list_says_what_to_do() -> None:
    assert said("list").startswith("No receivers: ./boathouse notify add NAME https://")
    assert facts("list") == []


def test_a_receiver_from_its_making_to_its_end(
    receiver: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{receiver.url}\n"))
    lines = said("add", "chat", "-", "--pushes", "on", "--repositories", "team/*")
    row = Receiver.objects.get()
    url, secret = receivers.url_and_secret(row)
    assert url == receiver.url
    assert secret in lines
    assert "token-in-the-path" not in lines
    for words in (("show", "chat"), ("list",), ("show", "chat", "--json")):
        assert secret not in said(*words)
    assert facts("show", "chat")["receiver"]["last"] is None

    assert "HTTP status 200" in said("test", "chat")
    receiver.status = 500
    assert refused("test", "chat")[0] == 1
    assert "did not take the message: HTTP status 500" in refused("test", "chat")[1]

    found = facts("deliveries", "chat", "--state", "failed")
    assert [one["attempts"][0]["status"] for one in found] == [500, 500]
    assert found[0]["message"]["type"] == "boathouse.test"
    receiver.status = 200
    assert facts("resend", "chat", "--failed") == {"resent": [one["id"] for one in found[::-1]]}
    sending.send_due(row.pk)
    assert set(Delivery.objects.values_list("state", flat=True)) == {"sent"}
    assert said("resend", "chat", str(found[0]["id"])).strip() == (
        "The worker sends 1 message again."
    )
    assert "test" in said("deliveries", "chat", "--limit", "1").splitlines()[1]

    changed = facts("change", "chat", "--pushes", "off", "--conditions", "errors")["receiver"]
    assert (changed["has_pushes"], changed["conditions"]) == (False, "bad")
    assert facts("secret", "chat")["secret"] != secret
    assert facts("disable", "chat")["receiver"]["is_active"] is False
    assert refused("resend", "chat", "--failed")[1].startswith("chat is disabled")
    assert facts("enable", "chat")["receiver"]["is_active"] is True
    assert refused("remove", "chat", "--json")[0] == 2
    assert facts("remove", "chat", "--yes") == {"removed": "chat"}
    assert not Receiver.objects.exists()


def test_mail(mails: MailServer) -> None:
    made = facts("add", "ops", "--mail", "a@b.example", "c@d.example", "--language", "zh-hans")
    assert "secret" not in made
    assert made["receiver"]["address"] == "a@b.example c@d.example"
    assert "took the message" in said("test", "ops")
    assert len(mails.received) == 1
    code, sentence = refused("change", "ops", "--url", "https://h.example/")
    assert (code, sentence) == (2, "ops is a receiver by mail: add another one.")


def test_what_is_refused(subtests: pytest.Subtests) -> None:
    receivers.add("chat", receivers.Wanted("webhook", "https://h.example/"), by="tests")
    for words, code, sentence in [
        (("add", "x"), 2, "Enter the URL of a webhook, or --mail"),
        (("add", "x", "https://h.example/", "--mail", "a@b.example"), 2, "not allowed with"),
        (("add", "x", "h.example"), 1, "Enter the URL"),
        (("show", "x"), 1, "There is no receiver x"),
        (("resend", "chat"), 2, "Enter IDs"),
        (("resend", "chat", "7"), 1, "chat has no message 7"),
    ]:
        with subtests.test(str(words)):
            found = refused(*words)
            assert found[0] == code
            assert sentence in found[1]
