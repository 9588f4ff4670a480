"""What may be a receiver, and what is stored of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.utils import translation

from registryui.models import AuditEvent, Receiver
from registryui.notify import receivers
from registryui.notify.receivers import Wanted
from registryui.refused import Refused

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
ADA = "operator:ada"
URL = "https://hooks.example.net/services/a-token?key=another"
HOOK = Wanted("webhook", URL)


def test_url_and_secret_are_stored_encrypted_and_shown_nowhere() -> None:
    row, secret = receivers.add("chat", HOOK, by=ADA)
    assert secret.startswith("whsec_")
    row = Receiver.objects.get()
    assert receivers.url_and_secret(row) == (URL, secret)
    assert row.shown == "https://hooks.example.net/…"
    stored = f"{row.address} {row.secret} {AuditEvent.objects.get().details} {HOOK!r}"
    for hidden in ("a-token", "another", secret):
        assert hidden not in stored
    changed = receivers.renew_secret(row, by=ADA)
    row.refresh_from_db()
    assert receivers.url_and_secret(row) == (URL, changed)
    assert changed != secret


def test_a_change_without_an_address_keeps_it() -> None:
    row, secret = receivers.add("chat", HOOK, by=ADA)
    change = replace(receivers.wanted(row), has_pushes=True, repositories="team/*, lib/*")
    row = receivers.change(row, change, by=ADA)
    assert (row.has_pushes, row.repositories) == (True, "team/* lib/*")
    assert receivers.url_and_secret(row) == (URL, secret)


def test_another_key_is_one_sentence(settings: Any) -> None:
    row, _secret = receivers.add("chat", HOOK, by=ADA)
    settings.MIRROR_KEY_FILE.write_text("another")
    with pytest.raises(Refused, match="cannot be decrypted"):
        receivers.url_and_secret(row)


def test_what_is_refused(settings: Any, subtests: pytest.Subtests) -> None:
    settings.NOTIFY_LOOPBACK = False
    receivers.add("chat", HOOK, by=ADA)
    table = [
        ("chat", HOOK, "already exists"),
        ("A b", HOOK, "receiver's name"),
        ("x", replace(HOOK, address="hooks.example.net"), "Enter the URL"),
        ("x", replace(HOOK, address="ftp://hooks.example.net"), "Enter the URL"),
        ("x", replace(HOOK, address="https://a b"), "Enter the URL"),
        ("x", replace(HOOK, address="https://h:x/"), "Enter the URL"),
        ("x", replace(HOOK, address=f"https://h/{'x' * 2000}"), "Enter the URL"),
        ("x", replace(HOOK, address=""), "Enter the URL"),
        ("x", replace(HOOK, address="https://u:p@h.example/"), "without a user name"),
        ("x", replace(HOOK, address="http://h.example/"), "not encrypted"),
        ("x", replace(HOOK, address="http://localhost/"), "BOATHOUSE_NOTIFY_LOOPBACK"),
        ("x", replace(HOOK, address="https://[::1]/"), "BOATHOUSE_NOTIFY_LOOPBACK"),
        ("x", replace(HOOK, address="https://169.254.169.254/"), "BOATHOUSE_NOTIFY_LOOPBACK"),
        ("x", replace(HOOK, conditions=""), "at least one"),
        ("x", replace(HOOK, conditions="all"), "for which conditions"),
        ("x", replace(HOOK, repositories="$"), "Enter patterns"),
        ("x", Wanted("mail", "ops@example.net"), "BOATHOUSE_SMTP_HOST"),
    ]
    for name, wanted, words in table:
        shown = f"{words}: {wanted.address[:30]}"
        with subtests.test(shown), pytest.raises(Refused, match=words):
            receivers.add(name, wanted, by=ADA)
    settings.SMTP_HOST = "mail.example.net"
    for address in (
        "",
        "ops",
        "a@b.example\nBcc: c@d.example",
        " ".join(["a@b.example"] * 2 + ["x"]),
    ):
        with subtests.test(address), pytest.raises(Refused, match="mail addresses"):
            receivers.add("x", Wanted("mail", address), by=ADA)
    assert Receiver.objects.count() == 1


def test_there_are_not_more_than_the_worker_has_threads_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receivers, "MOST", 1)
    receivers.add("chat", HOOK, by=ADA)
    with pytest.raises(Refused, match="at most 1"):
        receivers.add("other", HOOK, by=ADA)


def test_mail_has_addresses_and_a_language(settings: Any) -> None:
    settings.SMTP_HOST = "mail.example.net"
    with translation.override("zh-hans"):
        row, secret = receivers.add("ops", Wanted("mail", "a@b.example, c@d.example"), by=ADA)
    assert (row.address, row.language, secret) == ("a@b.example c@d.example", "zh-hans", "")
    with pytest.raises(Refused, match=r"signed|签名"):
        receivers.renew_secret(row, by=ADA)


def test_every_change_is_in_the_audit_log() -> None:
    row, _secret = receivers.add("chat", HOOK, by=ADA)
    for is_active in (False, False, True):
        row = receivers.set_active(row, is_active=is_active, by=ADA)
    receivers.remove(row, by=ADA)
    acts = list(AuditEvent.objects.values_list("act", "actor"))
    assert acts == [(f"receiver.{one}", ADA) for one in ("add", "disable", "enable", "remove")]
    with pytest.raises(Refused, match="removed in the meantime"):
        receivers.set_active(row, is_active=True, by=ADA)
