"""The registry's notifications come with a token, and never block the ones behind them."""

import json

import pytest
from django.conf import settings
from django.test import Client

from registryui import tasks
from registryui.models import RegistryEvent
from tests.support.events import event

pytestmark = pytest.mark.django_db
RIGHT = {"Authorization": f"Bearer {settings.HOOK_TOKEN}"}


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    calls: list[bool] = []
    monkeypatch.setattr(tasks, "apply_events", lambda: calls.append(True))
    return calls


def post(body: bytes, headers: dict[str, str]) -> int:
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/hooks/registry", body, content_type="application/json", headers=headers)
    return answer.status_code


@pytest.mark.parametrize("said", ["", "Bearer ", "Bearer wrong", "Basic YTpi", "Bearer é"])
def test_a_wrong_token_stores_nothing(said: str) -> None:
    body = json.dumps({"events": [event("push", "a", tag="1")]}).encode()
    assert post(body, {"Authorization": said} if said else {}) == 401
    assert not RegistryEvent.objects.exists()


def test_events_are_stored_and_the_worker_is_asked(asked: list[bool]) -> None:
    body = json.dumps({"events": [event("push", "a", "sha256:" + "1" * 64, "1")]}).encode()
    assert post(body, RIGHT) == 202
    assert RegistryEvent.objects.get().tag == "1"
    assert asked == [True]


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"x" * (5 * 1024 * 1024)])
def test_what_cannot_be_used_is_taken_so_that_it_blocks_nothing(
    body: bytes, asked: list[bool]
) -> None:
    assert post(body, RIGHT) == 202
    assert asked == []
