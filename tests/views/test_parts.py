"""The banner while a part does not respond, the mark in the menu, the processes on Health."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from registryui import outage
from registryui.models import Role
from registryui.views import kept
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db

SINCE = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
ALERT = 'role="alert"'


def note(*down: str, watcher: str = "up") -> None:
    names = ("registry", "manifests", "nginx", "web", "worker")
    parts = [outage.Seen(name, name in down, SINCE, "no answer" * (name in down)) for name in names]
    outage.write(outage.State(tuple(parts), watcher))


@pytest.fixture
def vera(
    client: Client, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Client:
    settings.RUN_DIR = settings.LOG_DIR = tmp_path
    monkeypatch.setattr(outage, "_kept", ((0, 0), outage.NOTHING))
    client.force_login(make_operator("vera", Role.VIEWER))
    note()
    return client


def test_every_page_says_what_is_down_and_what_fails(vera: Client) -> None:
    for address in ("/", "/repositories/", "/activity", "/search", "/trust", "/password"):
        assert "stopped responding" not in vera.get(address).content.decode(), address
    note("manifests")
    for address in ("/", "/repositories/", "/activity", "/search", "/trust", "/password"):
        text = vera.get(address).content.decode()
        assert text.count("stopped responding") == 1, address
        assert "Pushes and deletes fail; pulls continue." in text
        assert 'class="hidden-text">a part is down' in text


def test_the_banner_costs_no_query_and_few_bytes(
    vera: Client, django_assert_num_queries: Any
) -> None:
    vera.get("/trust")
    with django_assert_num_queries(3):  # session, operator, repositories
        well = vera.get("/trust").content
    note("registry")
    with django_assert_num_queries(3):
        ill = vera.get("/trust").content
    assert len(ill) - len(well) < 1500
    assert len(well) - len(well.replace(b'id="outage', b"")) > 0


def test_a_page_that_was_kept_is_rendered_again_when_a_part_goes_down(
    vera: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 8_000_000)
    assert "stopped responding" not in vera.get("/").content.decode()
    note("worker")
    assert "stopped responding" in vera.get("/").content.decode()
    note()
    assert "stopped responding" not in vera.get("/").content.decode()


def test_an_open_page_learns_of_it_from_its_next_request(vera: Client) -> None:
    asks = {"HX-Request": "true"}
    assert "Boathouse-Outage" not in vera.get("/", headers=asks).headers
    note("registry")
    token = vera.get("/", headers=asks).headers["Boathouse-Outage"]
    assert "Boathouse-Outage" not in vera.get("/").headers
    text = vera.get("/doctor/banner", headers=asks).content.decode()
    assert f'data-seen="{token}"' in text
    assert 'id="outage-mark" hx-swap-oob="true"' in " ".join(text.split())


def test_health_names_each_process_its_lines_and_the_command(vera: Client, tmp_path: Path) -> None:
    (tmp_path / "boathouse.log").write_text(
        "2026-02-03T04:05:06+0000 registry  | panic: <b>\n2026-02-03T04:05:06+0000 web | well\n"
    )
    note("registry")
    text = vera.get("/doctor").content.decode()
    assert "./boathouse restart registry" in text
    assert "./boathouse restart web" not in text
    assert "./boathouse logs web" in text
    assert "panic: &lt;b&gt;" in text
    note("registry", watcher="worker")
    assert "systemctl restart boathouse-registry" in vera.get("/doctor").content.decode()


def test_a_fragment_of_health_is_news_when_a_part_goes_down(vera: Client) -> None:
    asks = {"HX-Request": "true"}
    seen = vera.get("/doctor").context["token"]
    assert vera.get("/doctor", {"seen": seen}, headers=asks).status_code == 204
    note("registry")
    assert vera.get("/doctor", {"seen": seen}, headers=asks).status_code == 200
