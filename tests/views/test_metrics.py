"""/metrics: off by default, for the token or an allowed address only."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from registryui.metrics import families
from registryui.models import Role
from tests.support.factories import make_operator

PATHS = ("/metrics", "/metrics/registry")
RIGHT = "Bearer right-token"


@pytest.fixture(autouse=True)
def _on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.METRICS, settings.METRICS_TOKEN = True, "right-token"
    settings.METRICS_REGISTRY_PORT = 1  # nobody answers there
    monkeypatch.setattr(families, "GROUPS", {"instance": families.of_instance})


def status(client: Client, path: str, authorization: str = "", address: str = "10.1.0.1") -> int:
    headers = {"Authorization": authorization} if authorization else {}
    found = client.get(path, headers=headers, REMOTE_ADDR="127.0.0.1", HTTP_X_REAL_IP=address)
    return int(found.status_code)


def test_it_is_off_by_default_whoever_asks(client: Client, settings: Settings) -> None:
    settings.METRICS = False
    settings.METRICS_NETWORKS = ["10.1.0.0/16"]
    assert [status(client, path, RIGHT) for path in PATHS] == [404, 404]
    settings.METRICS, settings.METRICS_REGISTRY_PORT = True, 0
    assert [status(client, path, RIGHT) for path in PATHS] == [200, 404]


@pytest.mark.parametrize("path", PATHS)
def test_the_token_or_an_allowed_address_lets_in(
    client: Client, settings: Settings, path: str
) -> None:
    assert status(client, path, RIGHT) == status(client, path, "bearer right-token") == 200
    for wrong in ("", "Bearer", "Bearer x", "Bearer right-tokenx", "Basic right-token", "Bearer é"):
        assert status(client, path, wrong) == 401, wrong
    assert status(client, f"{path}?token=right-token") == 401
    settings.METRICS_NETWORKS = ["10.1.0.0/16", "fd00::/8"]
    assert status(client, path) == status(client, path, address="fd00::7") == 200
    assert status(client, path, address="10.2.0.1") == 401
    assert client.post(path, headers={"Authorization": RIGHT}).status_code == 405


def test_the_answer_is_prometheus_text_that_no_cache_keeps(client: Client) -> None:
    answer = client.get("/metrics", headers={"Authorization": RIGHT})
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    assert answer["Cache-Control"] == "no-store"
    assert b"# TYPE boathouse_info gauge\n" in answer.content
    refused = client.get("/metrics")
    assert refused["WWW-Authenticate"].startswith("Bearer ")
    assert "right-token" not in refused.content.decode()


@pytest.mark.django_db
def test_the_health_page_says_whether_they_are_on_and_how_to_turn_them_on(
    client: Client, settings: Settings
) -> None:
    client.force_login(make_operator("ada", Role.ADMIN))
    settings.METRICS_NETWORKS = ["10.1.0.0/16"]
    text = client.get("/doctor").content.decode()
    for word in (f"{settings.PUBLIC_URL}/metrics", "metrics-token", "10.1.0.0/16", "port 1,"):
        assert word in text
    assert "right-token" not in text
    settings.METRICS = False
    assert "BOATHOUSE_METRICS=on ./boathouse up" in client.get("/doctor").content.decode()
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "zh-hans"
    text = client.get("/doctor").content.decode()
    assert "Prometheus 指标" in text
    assert "BOATHOUSE_METRICS=on ./boathouse up" in text
