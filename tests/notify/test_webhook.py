"""Requests to webhooks: the signature, and where they may go."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from registryui.notify import webhook
from tests.support.receivers import Hook

SECRET = webhook.new_secret()


def test_a_library_of_receivers_accepts_the_signature(receiver: Hook) -> None:
    body = json.dumps({"what": "an umlaut: ä"}, ensure_ascii=False)
    done = webhook.send(f"{receiver.url}?a=b", SECRET, "push-1", body)
    assert (done.is_done, done.status, done.error) == (True, 200, "")
    assert done.answer == "an answer of the receiver"
    ((headers, sent),) = receiver.received
    assert Webhook(SECRET).verify(sent, headers) == json.loads(body)
    assert headers["webhook-id"] == "push-1"
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook.new_secret()).verify(sent, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(sent.replace("what", "that"), headers)


def test_the_example_of_the_specification() -> None:
    """standard-webhooks, libraries/python: tests."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"test": 2432232314}'
    signed = webhook.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_answer_other_than_2xx_is_none(receiver: Hook, subtests: pytest.Subtests) -> None:
    receiver.headers = {"Location": receiver.url}
    for status in (301, 307, 400, 410, 500):
        with subtests.test(status):
            receiver.status = status
            receiver.received.clear()
            done = webhook.send(receiver.url, SECRET, "a", "{}")
            assert (done.is_done, done.error) == (False, f"HTTP status {status}")
            assert len(receiver.received) == 1  # no redirect is followed


def test_a_busy_receiver_says_when_to_come_again(receiver: Hook, subtests: pytest.Subtests) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    for status, header, least, most in (
        (429, "7", 7, 7),
        (503, soon, 60, 90),
        (429, "Thu, 01 Jan 1970 00:00:00 GMT", 0, 0),
        (429, "-5", 0, 0),
        (503, "in a while", 0, 0),
        (503, "9" * 30, 0, 0),
        (500, "7", 0, 0),
        (200, "7", 0, 0),
    ):
        with subtests.test(f"{status} {header}"):
            receiver.status, receiver.headers = status, {"Retry-After": header}
            done = webhook.send(receiver.url, SECRET, "a", "{}")
            assert least <= done.retry_after <= most


def test_what_keeps_it_from_answering_is_said() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    done = webhook.send(f"http://127.0.0.1:{port}/", SECRET, "a", "{}")
    assert (done.status, done.error, done.is_done) == (0, "Connection refused", False)
    done = webhook.send("http://receiver.invalid/", SECRET, "a", "{}")
    assert not done.is_done
    assert done.error


def test_a_receiver_that_hangs_is_given_up(receiver: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver.hangs = True
    monkeypatch.setattr(webhook, "LONGEST", 0.2)
    done = webhook.send(receiver.url, SECRET, "a", "{}")
    assert (done.status, done.is_done) == (0, False)
    assert done.error


def test_this_machine_gets_no_request(
    receiver: Hook, settings: Any, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    settings.NOTIFY_LOOPBACK = False
    port = receiver.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"):
        with subtests.test(host):
            done = webhook.send(f"http://{host}:{port}", SECRET, "a", "{}")
            assert done.error == "it is an address of this machine"
    # A name that leads here, whatever it led to when it was entered.
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    done = webhook.send(f"http://hooks.example.net:{port}", SECRET, "a", "{}")
    assert done.error == "it is an address of this machine"
    assert receiver.received == []


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", False), ("::1", False), ("169.254.169.254", False), ("fe80::1", False),
        ("0.0.0.0", False), ("::", False), ("224.0.0.1", False), ("::ffff:169.254.169.254", False),
        ("10.1.2.3", True), ("192.0.2.7", True), ("2001:db8::7", True),
    ],
)  # fmt: skip
def test_which_addresses_are_allowed(address: str, expected: bool, settings: Any) -> None:
    settings.NOTIFY_LOOPBACK = False
    assert webhook.is_allowed(address) == expected


def test_metadata_services_stay_refused_with_loopback_allowed() -> None:
    assert webhook.is_allowed("127.0.0.1")
    assert not webhook.is_allowed("169.254.169.254")
