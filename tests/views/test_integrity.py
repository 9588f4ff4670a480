"""The check of all tags on the page of garbage collection, and its report."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from registryui import tasks
from registryui.gc import access
from registryui.models import Role, Run
from registryui.views.gc import integrity
from tests.support.pages import HOSTILE, client_of, text
from tests.support.run_rows import DIGEST, make_check

pytestmark = pytest.mark.django_db

PAGE = "/maintenance/gc"


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "obstacle", str)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        tasks, "integrity", lambda by, **options: calls.append({"by": by, **options})
    )
    return calls


def test_before_the_first_check_the_page_says_what_it_does(settings: Any) -> None:
    settings.INTEGRITY_SCHEDULE = "0 4 * * 6"
    said = text(client_of(Role.VIEWER).get(PAGE))
    assert "every tag down to its last layer" in said
    assert "Next scheduled check: Sat " in said
    assert ", 04:00 UTC." in said
    assert "Run check" not in said
    settings.INTEGRITY_SCHEDULE = ""
    assert "Not scheduled" in text(client_of(Role.MAINTAINER).get(PAGE))


def test_broken_tags_are_linked_and_their_names_are_harmless() -> None:
    make_check()
    answer = client_of(Role.VIEWER).get(PAGE)
    said = text(answer)
    assert "1,234 tags checked , 2 incomplete" in said or "1,234 tags checked, 2 incomplete" in said
    assert "Layer is missing" in said
    assert 'href="/repositories/team/api:1.0"' in answer.content.decode()
    assert HOSTILE not in answer.content.decode()


def test_more_than_a_few_are_found_by_the_search() -> None:
    problems = [["team/api", str(n), "layer-missing", DIGEST] for n in range(30)]
    make_check(problems=problems, broken=900)
    answer = client_of(Role.VIEWER).get(PAGE)
    assert "Show all 900 incomplete tags" in text(answer)
    assert "/search?q=is%3Abroken" in answer.content.decode()
    assert answer.content.decode().count('href="/repositories/team/api:') == 5


def test_all_well_is_said() -> None:
    make_check(problems=[], broken=0)
    assert "All tags are complete" in text(client_of(Role.VIEWER).get(PAGE))


def test_what_was_not_answered_is_not_called_well() -> None:
    make_check(Run.State.FAILED, problems=[], broken=0, errors=3)
    said = text(client_of(Role.VIEWER).get(PAGE))
    assert "3 repositories could not be checked" in said
    assert "All tags are complete" not in said


def test_a_check_under_way_is_followed_and_can_be_stopped() -> None:
    run = make_check(Run.State.RUNNING, done=617)
    client = client_of(Role.MAINTAINER)
    content = client.get(PAGE).content.decode()
    assert 'hx-trigger="every 1s"' in content
    assert '<rect width="50.0"' in content
    assert "check-all" not in content
    client.post("/maintenance/integrity/stop")
    run.refresh_from_db()
    assert run.stop_asked_by == "operator:a-maintainer"
    assert "stopping" in text(client.get(PAGE))


@pytest.mark.parametrize("deep", [False, True])
def test_the_worker_is_asked(asked: list[dict[str, Any]], deep: bool) -> None:
    make_check()
    fields = {"deep": "1"} if deep else {}
    said = text(
        client_of(Role.MAINTAINER).post("/maintenance/integrity/start", fields, follow=True)
    )
    assert asked == [{"by": "operator:a-maintainer", "deep": deep}]
    assert "The check starts in a moment" in said


def test_only_one_is_asked_for_unless_the_other_died(asked: list[dict[str, Any]]) -> None:
    run = make_check(Run.State.RUNNING)
    client = client_of(Role.MAINTAINER)
    said = text(client.post("/maintenance/integrity/start", follow=True))
    assert "A check is already in progress" in said
    assert asked == []
    Run.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=2))
    client.post("/maintenance/integrity/start")
    assert len(asked) == 1


def test_stopping_what_does_not_run_is_no_error() -> None:
    said = text(client_of(Role.MAINTAINER).post("/maintenance/integrity/stop", follow=True))
    assert "The integrity check has already ended" in said


def test_a_check_has_its_report(django_assert_num_queries: Any) -> None:
    run = make_check(broken=600, deep=True, read_bytes=10**9)
    client = client_of(Role.VIEWER)
    with django_assert_num_queries(4):  # session, operator, run, repositories
        answer = client.get(f"/maintenance/integrity/{run.pk}")
    said = text(answer)
    for words in (
        "Integrity check, every byte",
        "1.0 GB read",
        "Config differs in size from the manifest",
        "and 598 more",
        "scheduled",
        "complete again 1",
    ):
        assert words in said.replace(" ,", ",") or words in said, words
    assert HOSTILE not in answer.content.decode()
    assert not re.search("hx-trigger", answer.content.decode().partition("<main")[2])


@pytest.mark.parametrize(
    "result", [[], {"problems": [1, ["a"], ["a", "b", "c", 4]]}, {"problems": "x", "broken": "y"}]
)
def test_an_odd_result_is_no_error(client: Client, result: Any) -> None:
    run = make_check()
    Run.objects.filter(pk=run.pk).update(result=result)
    run.refresh_from_db()
    assert integrity.check(run).problems == ()
    assert client_of(Role.VIEWER).get(f"/maintenance/integrity/{run.pk}").status_code == 200


def test_runs_of_another_kind_have_no_report_here() -> None:
    run = Run.objects.create(kind=Run.Kind.GC)
    assert client_of(Role.ADMIN).get(f"/maintenance/integrity/{run.pk}").status_code == 404
