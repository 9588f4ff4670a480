"""The health page: shows the newest round, asks for another, waits for it."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from registryui import doctor, tasks
from registryui.models import Role, Run
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db

FRAGMENT = {"HX-Request": "true"}
FOUND = [
    doctor.Finding("registry", "ok", "registry-ok", {"ms": 12, "version": "registry/2.0"}),
    doctor.Finding(
        "htpasswd",
        "bad",
        "htpasswd-unreadable",
        {"path": "/d/htpasswd", "user": "www-data", "blocked": "/d/<b>"},
    ),
    doctor.Finding(
        "disk", "warn", "disk-low", {"free": 4_000_000_000, "total": 10**11, "path": "/d"}
    ),
]


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_operator("ada", Role.ADMIN))
    return client


def token(run: Run | None) -> str:
    return f"{run.pk if run else 0}-{doctor.worker(run).state}"


def test_every_finding_has_a_word_for_its_state_and_an_advice(admin: Client) -> None:
    doctor.record(FOUND)
    text = admin.get("/doctor").content.decode()
    for word in ("Responds in 12 ms", "nginx cannot read it", "4.0 GB of 100 GB free"):
        assert word in text
    for state in ("Healthy", "Warning", "Critical"):
        assert f"</svg>{state}" in text or f">{state}</span>" in text
    assert "chgrp www-data and chmod g+r" in text
    assert "2 systems need attention" in text
    assert "/d/&lt;b&gt;" in text
    assert "/d/<b>" not in text


def test_the_page_takes_few_queries_however_many_rounds_there_are(
    admin: Client, django_assert_num_queries: Any
) -> None:
    for _ in range(30):
        doctor.record(FOUND)
    with django_assert_num_queries(5):  # session, operator, round, history, repositories
        admin.get("/doctor")


def test_no_round_yet_is_no_error(admin: Client) -> None:
    text = admin.get("/doctor").content.decode()
    assert "Not checked yet" in text
    assert "No check completed yet" in text


def test_a_silent_worker_is_on_the_page(admin: Client) -> None:
    run = doctor.record(FOUND)
    assert run is not None
    Run.objects.update(finished_at=timezone.now() - timedelta(minutes=5))
    assert "Last check 5\xa0minutes ago" in admin.get("/doctor").content.decode()


def test_a_fragment_that_has_the_newest_round_gets_nothing(
    admin: Client, django_assert_num_queries: Any
) -> None:
    run = doctor.record(FOUND)
    with django_assert_num_queries(3):
        same = admin.get("/doctor", {"seen": token(run)}, headers=FRAGMENT)
    assert (same.status_code, same.content) == (204, b"")
    old = admin.get("/doctor", {"seen": "0-bad"}, headers=FRAGMENT)
    assert old.status_code == 200
    assert b"<html" not in old.content
    assert f"seen={token(run)}".encode() in old.content
    Run.objects.update(finished_at=timezone.now() - timedelta(minutes=5))
    silent = admin.get("/doctor", {"seen": token(run)}, headers=FRAGMENT)
    assert silent.status_code == 200  # the worker fell silent: that is news


def test_check_now_asks_the_worker_and_the_page_waits(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(tasks, "examine", lambda: asked.append(True))
    run = doctor.record(FOUND)
    answer = admin.post("/doctor/check")
    assert asked == [True]
    assert answer.status_code == 302
    assert answer["Location"].startswith(f"/doctor?seen={token(run)}&asked=")
    waiting = admin.get(answer["Location"]).content.decode()
    assert "every 1s" in waiting
    assert "The worker is checking all systems" in waiting
    assert admin.get(answer["Location"], headers=FRAGMENT).status_code == 204
    doctor.record(FOUND)
    done = admin.get(answer["Location"], headers=FRAGMENT).content.decode()
    assert "every 10s" in done
    assert "The worker is checking all systems" not in done


def test_a_worker_that_does_not_take_it_up_is_told(admin: Client) -> None:
    run = doctor.record(FOUND)
    query = {"seen": token(run), "asked": str(int(time.time()) - 30)}
    text = admin.get("/doctor", query, headers=FRAGMENT).content.decode()
    assert "has not started the check" in text
    assert "every 10s" in text


@pytest.mark.parametrize("asked", ["x", "-1", "9" * 40, "१२३", "1e9", ""])
def test_odd_times_are_no_error(admin: Client, asked: str) -> None:
    run = doctor.record(FOUND)
    assert admin.get("/doctor", {"seen": token(run), "asked": asked}).status_code == 200


def test_what_changed_is_told_with_its_time(admin: Client) -> None:
    for state, code in [("ok", "registry-ok"), ("bad", "registry-unreachable")]:
        params = {"ms": 1, "version": "", "url": "http://127.0.0.1:5000", "error": "refused"}
        doctor.record([doctor.Finding("registry", state, code, params)])
    text = admin.get("/doctor").content.decode()
    assert text.count("Does not respond") == 2  # now, and in the list of changes


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MAINTAINER])
def test_everybody_sees_it_and_administrators_check(client: Client, role: Role) -> None:
    client.force_login(make_operator("vera", role))
    assert b'id="check-now"' not in client.get("/doctor").content
    assert client.post("/doctor/check").status_code == 403
    assert not Run.objects.exists()


def test_a_check_is_asked_for_by_post_only(admin: Client) -> None:
    assert admin.get("/doctor/check").status_code == 405
