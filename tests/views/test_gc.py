"""The pages of garbage collection read the runs and ask the worker; nothing happens by GET."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui import clock, runs, tasks
from registryui.gc import access, collector
from registryui.gc.result import Result
from registryui.models import AuditEvent, Role, Run
from registryui.refused import Refused
from registryui.views.filters import took
from tests.support.pages import HOSTILE, client_of, text
from tests.support.run_rows import COUNTS, make_run

pytestmark = pytest.mark.django_db

FRAGMENT = {"HX-Request": "true"}
PAGE = "/maintenance/gc"


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that can be written; what the page says of another is a test of its own."""
    monkeypatch.setattr(access, "obstacle", str)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the worker was asked to collect."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(collector, "run_gc", lambda **options: calls.append(options))
    return calls


def steps(answer: Any) -> dict[str, str]:
    return dict(re.findall(r'data-stage="(\w+)" data-state="(\w+)"', answer.content.decode()))


# -- the page ------------------------------------------------------------------------------------
def test_before_the_first_run_the_page_says_what_an_estimate_does() -> None:
    said = text(client_of(Role.ADMIN).get(PAGE))
    assert "No run yet" in said
    assert "reads the whole store and changes nothing" in said
    assert "Garbage collection moves unreachable content to quarantine" in said


def test_an_estimate_says_what_would_come_free_and_what_would_not() -> None:
    make_run(dry_run=True, stages=[{"name": "mark", "seconds": 58.4}])
    said = text(client_of(Role.VIEWER).get(PAGE))
    for words in (
        "reclaimable 11.6 GB",
        "unreachable blobs 700 of which 24 manifests",
        "in quarantine 11.5 GB",
        "unreachable, within the grace period 1.2 GB",
        "unfinished uploads 4 7.0 MB",
        "total in the store 34.1 GB",
        "Last run: estimate",
        "58 s",
    ):
        assert words in said, words


def test_a_run_that_is_done_shows_its_stages_with_times_and_what_came_of_them() -> None:
    run = make_run()
    answer = client_of(Role.VIEWER).get(PAGE)
    assert set(steps(answer).values()) == {"done"}
    said = text(answer)
    assert "340 manifests read; 1,180 blobs with 21.3 GB reachable" in said
    assert "725 objects, 11.6 GB" in said
    assert "3 became reachable and were restored" in said
    assert "90 objects, 2.4 GB" in said
    assert "4 unfinished uploads, 7.0 MB; 2 empty repositories" in said
    assert "1 min 1 s" in said
    assert f'href="{PAGE}/{run.pk}"' in answer.content.decode()


def test_a_run_under_way_shows_its_stage_and_the_page_asks_every_second() -> None:
    make_run(
        Run.State.RUNNING,
        minutes=1,
        stage="quarantine",
        stages=[{"name": "canary", "seconds": 1}, {"name": "mark", "seconds": 29}],
        done=350,
        total=700,
    )
    answer = client_of(Role.ADMIN).get(PAGE)
    assert steps(answer) == {
        "canary": "done",
        "mark": "done",
        "quarantine": "now",
        "review": "next",
        "purge": "next",
        "leftovers": "next",
    }
    said = text(answer)
    assert "Garbage collection is running" in said
    assert "350 steps, 11.6 GB quarantined" in said
    assert re.search(r"about (1 min \d|59|6\d).*? s left", said)
    content = answer.content.decode()
    assert 'hx-trigger="every 1s"' in content
    assert '<rect width="50.0"' in content
    assert 'id="stop"' in content
    assert re.search(r'id="run-gc" disabled', content)


def test_a_run_that_ended_badly_shows_where_and_why() -> None:
    make_run(
        Run.State.FAILED,
        stage="canary",
        stages=[],
        problem=f"the registry still sees it {HOSTILE}",
    )
    answer = client_of(Role.ADMIN).get(PAGE)
    assert steps(answer)["canary"] == "bad"
    assert steps(answer)["mark"] == "next"
    assert "Failed" in text(answer)
    assert "the registry still sees it" in text(answer)
    assert HOSTILE not in answer.content.decode()


def test_what_a_run_had_no_need_of_and_where_it_was_stopped() -> None:
    client = client_of(Role.VIEWER)
    make_run(stages=[{"name": "mark", "seconds": 1}, {"name": "purge", "seconds": 1}])
    assert list(steps(client.get(PAGE))) == ["mark", "purge"]
    make_run(Run.State.STOPPED, minutes=1, stage="quarantine", stages=COUNTS["stages"][:3])
    assert steps(client.get(PAGE))["quarantine"] == "stopped"
    # As 0.5 called that stage.
    before = [*COUNTS["stages"][:2], {"name": "hide", "seconds": 2}]
    make_run(minutes=0, stage="done", stages=before)
    assert steps(client.get(PAGE))["quarantine"] == "done"


def test_a_run_that_ended_badly_still_says_what_waits() -> None:
    make_run(minutes=60, in_quarantine=5, in_quarantine_bytes=5)
    make_run(
        Run.State.FAILED,
        minutes=50,
        stage="canary",
        stages=[],
        in_quarantine=9,
        in_quarantine_bytes=9,
    )
    Run.objects.create(kind=Run.Kind.GC, state=Run.State.FAILED, result={"problem": "no"})
    said = text(client_of(Role.VIEWER).get(PAGE))
    assert "9 objects in quarantine" in said
    assert "total in the store 34.1 GB" in said


def test_a_run_that_is_not_heard_of_does_not_run_any_more() -> None:
    run = make_run(Run.State.RUNNING, stage="mark", stages=[])
    Run.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=2))
    answer = client_of(Role.ADMIN).get(PAGE)
    assert "No response" in text(answer)
    assert not re.search(r'id="run-gc" disabled', answer.content.decode())


def test_an_odd_result_is_shown_as_far_as_it_is_known() -> None:
    client, run = client_of(Role.ADMIN), make_run()
    for result in (
        [],
        {"stages": 7, "in_quarantine": "many", "skipped_repositories": [1]},
        {"x": None},
    ):
        Run.objects.filter(pk=run.pk).update(result=result)
        for address in (PAGE, f"{PAGE}/{run.pk}"):
            assert client.get(address).status_code == 200


def test_a_run_that_was_killed_does_not_say_that_nothing_waits() -> None:
    make_run()
    killed = runs.begin(Run.Kind.GC, by="schedule", result=Result())
    assert killed is not None
    runs.Work(killed, Result(stage="mark")).advance(at_once=True)
    runs.close_dead(killed.pk)
    assert "725 objects in quarantine" in text(client_of(Role.VIEWER).get(PAGE))


def test_a_run_without_its_review_is_said_until_there_is_one() -> None:
    client = client_of(Role.VIEWER)
    run = make_run()
    Run.objects.filter(pk=run.pk).update(state="failed", result={**COUNTS, "reviewed": False})
    assert 'id="unreviewed"' in client.get(PAGE).content.decode()
    review = make_run()
    Run.objects.filter(pk=review.pk).update(result={**COUNTS, "reviewed": True, "is_review": True})
    page = client.get(PAGE).content.decode()
    assert 'id="unreviewed"' not in page
    shown = client.get(f"{PAGE}/{review.pk}").content.decode()
    assert re.findall(r'data-stage="(\w+)"', shown) == ["review"]


def test_a_clock_that_jumped_is_said_and_an_administrator_may_trust_it(
    tmp_path: Path, settings: Any
) -> None:
    settings.RUN_DIR = tmp_path
    client = client_of(Role.ADMIN)
    assert 'id="clock"' not in client.get(PAGE).content.decode()
    noted = clock.note()
    before = replace(noted, counted=noted.counted - 10, shown=noted.shown - 8 * 86400)
    clock._write(before)
    viewed = client_of(Role.VIEWER).get(PAGE).content.decode()
    assert 'id="clock"' in viewed
    assert 'id="trust-clock"' not in viewed
    assert 'id="trust-clock"' in client.get(PAGE).content.decode()
    assert client.post(f"{PAGE}/trust-clock", follow=True).status_code == 200
    assert 'id="clock"' not in client.get(PAGE).content.decode()
    assert AuditEvent.objects.filter(act="clock.trust").count() == 1


def test_the_fragment_is_sent_only_when_something_changed() -> None:
    client = client_of(Role.VIEWER)
    make_run()
    token = re.search(r"seen=([\w-]+)", client.get(PAGE).content.decode())
    assert token
    with CaptureQueriesContext(connection) as queries:
        same = client.get(PAGE, {"seen": token[1]}, headers=FRAGMENT)
    assert (same.status_code, same.content) == (204, b"")
    assert len(queries) == 4  # session, operator, newest runs, newest check
    make_run(dry_run=True)
    news = client.get(PAGE, {"seen": token[1]}, headers=FRAGMENT)
    assert news.status_code == 200
    assert b"<html" not in news.content


def test_runs_are_paged_and_the_page_takes_as_many_queries_as_before() -> None:
    client = client_of(Role.ADMIN)
    counts = []
    for number in (3, 25):
        for n in range(number):
            make_run(minutes=n + 5)
        with CaptureQueriesContext(connection) as queries:
            page = client.get(PAGE).content.decode()
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 12
    found = re.search(r'rel="next"[^>]*href="([^"]+)"', page)
    assert found
    second = client.get(PAGE + html.unescape(found[1])).content.decode()
    pattern = r'<td class="two-lines cell--title"><a href="/maintenance/gc/(\d+)"'
    assert len(re.findall(pattern, page)) == 10
    assert not set(re.findall(pattern, page)) & set(re.findall(pattern, second))


# -- acts ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("estimate", {"dry_run": True, "purge_now": False}),
        ("start", {"dry_run": False, "purge_now": False}),
        ("purge", {"dry_run": False, "purge_now": True}),
    ],
)
def test_the_worker_is_asked_and_the_page_waits_for_it(
    asked: list[dict[str, Any]], address: str, options: dict[str, bool]
) -> None:
    run = make_run()
    client = client_of(Role.ADMIN)
    answer = client.post(f"{PAGE}/{address}")
    assert answer.status_code == 302
    assert [{name: call[name] for name in options} for call in asked] == [options]
    assert asked[0]["by"] == "operator:a-admin"
    assert answer["Location"].startswith(f"{PAGE}?was={run.pk}&asked=")
    waiting = client.get(answer["Location"])
    assert "The worker starts it in a moment" in text(waiting)
    assert "every 1s" in waiting.content.decode()
    make_run(minutes=0)
    assert "The worker starts it" not in text(client.get(answer["Location"]))


def test_a_worker_that_does_not_take_it_up_is_told() -> None:
    run = make_run()
    client = client_of(Role.ADMIN)
    asked_at = int(timezone.now().timestamp()) - 30
    said = text(client.get(PAGE, {"was": run.pk, "asked": asked_at}))
    assert "The worker has not started it" in said


def test_nothing_is_asked_for_while_a_run_is_under_way(asked: list[dict[str, Any]]) -> None:
    make_run(Run.State.RUNNING, stage="mark", stages=[])
    client = client_of(Role.ADMIN)
    for address in ("estimate", "start", "purge", "restore"):
        assert "A run is in progress" in text(client.post(f"{PAGE}/{address}", follow=True))
    assert asked == []


def test_a_refusal_is_a_run_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise Refused("this store cannot be written from here")

    monkeypatch.setattr(collector, "run_gc", refuse)
    client = client_of(Role.ADMIN)
    said = text(client.post(f"{PAGE}/start", follow=True))
    assert "this store cannot be written from here" in said
    assert Run.objects.get().state == Run.State.FAILED


def test_a_maintainer_stops_an_estimate_and_only_an_administrator_a_gc_run() -> None:
    maintainer, admin = client_of(Role.MAINTAINER), client_of(Role.ADMIN)
    run = make_run(Run.State.RUNNING, stage="mark", stages=[])
    said = text(maintainer.post(f"{PAGE}/stop", {"run": run.pk}, follow=True))
    assert "Only an administrator can stop garbage collection" in said
    run.refresh_from_db()
    assert run.stop_asked_by == ""
    assert "next safe point" in text(admin.post(f"{PAGE}/stop", {"run": run.pk}, follow=True))
    run.refresh_from_db()
    assert run.stop_asked_by == "operator:a-admin"
    run.result, run.stop_asked_by = {**COUNTS, "dry_run": True}, ""
    run.save()
    maintainer.post(f"{PAGE}/stop", {"run": run.pk})
    run.refresh_from_db()
    assert run.stop_asked_by == "operator:a-maintainer"


@pytest.mark.parametrize("named", ["", "x", "0", "9" * 30, "१"])
def test_stopping_what_does_not_run_is_no_error(named: str) -> None:
    said = text(client_of(Role.ADMIN).post(f"{PAGE}/stop", {"run": named}, follow=True))
    assert "The garbage collection has already ended" in said


def test_everything_is_restored_and_counted_anew(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    restored: list[tuple[str, str]] = []
    monkeypatch.setattr(
        tasks.collector, "restore", lambda wanted, by: restored.append((wanted, by))
    )
    make_run()
    client_of(Role.ADMIN).post(f"{PAGE}/restore")
    assert restored == [("all", "operator:a-admin")]
    assert [call["dry_run"] for call in asked] == [True]


# -- quarantine ----------------------------------------------------------------------------------
def test_what_waits_is_said_with_its_bytes_and_when_it_is_due() -> None:
    client = client_of(Role.ADMIN)
    due = timezone.now() + timedelta(hours=20, minutes=2)
    make_run(due_at=due.isoformat())
    said = text(client.get(PAGE))
    assert "725 objects in quarantine" in said
    assert "The first are due in 20 hours; a later run purges" in said
    Run.objects.all().delete()
    make_run(due_at=(timezone.now() - timedelta(days=3)).isoformat())
    assert "The first were due 3 d ago: the next run purges" in text(client.get(PAGE))
    Run.objects.all().delete()
    make_run(in_quarantine=0, in_quarantine_bytes=0)
    answer = client.get(PAGE)
    assert "The quarantine is empty" in text(answer)
    assert "purge-now" not in answer.content.decode()


def test_purging_now_says_before_what_it_holds_and_for_how_long() -> None:
    make_run()
    answer = client_of(Role.ADMIN).get(f"{PAGE}/purge")
    said = text(answer)
    assert "Write freeze: pushes are rejected meanwhile" in said
    assert "about 59 s" in said  # mark and purge of the newest run
    assert "725 objects" in said
    assert "11.5 GB" in said
    assert 'method="post"' in answer.content.decode()


def test_purging_now_admits_that_nothing_was_measured() -> None:
    said = text(client_of(Role.ADMIN).get(f"{PAGE}/purge"))
    assert "Not measured yet" in said


# -- one run -------------------------------------------------------------------------------------
def test_a_run_has_its_report_and_log() -> None:
    run = make_run(
        freeze_seconds=1.69,
        skipped_repositories=[["team/api", f"a link is empty {HOSTILE}"], ["Odd name", ""]],
        log=f"first line\n{HOSTILE}\nlast line",
    )
    answer = client_of(Role.VIEWER).get(f"{PAGE}/{run.pk}")
    said = text(answer)
    for words in (
        "Garbage collection run Done",
        "ada (operator)",
        "Quarantined 11.6 GB 725 objects",
        "Freed 2.4 GB 90 objects",
        "Restored, because reachable again 3",
        "Write freeze 1.7 s",
        "Unfinished uploads 4 7.0 MB",
        "Skipped repositories",
        "a link is empty",
        "Odd name",
        "last line",
    ):
        assert words in said, words
    assert HOSTILE not in answer.content.decode()
    assert "hx-trigger" not in answer.content.decode().partition("<main")[2]


def test_a_run_under_way_has_a_live_report() -> None:
    run = make_run(Run.State.RUNNING, stage="mark", stages=[], log="")
    content = client_of(Role.VIEWER).get(f"{PAGE}/{run.pk}").content.decode()
    assert 'hx-trigger="every 1s"' in content
    assert "It is written when the run ends" in content


def test_runs_of_another_kind_have_no_report_here() -> None:
    run = Run.objects.create(kind=Run.Kind.SYNC)
    assert client_of(Role.ADMIN).get(f"{PAGE}/{run.pk}").status_code == 404


def test_a_report_takes_few_queries_however_long_it_is(django_assert_num_queries: Any) -> None:
    run = make_run(
        skipped_repositories=[[f"team/r{n}", "empty link"] for n in range(900)], log="x\n" * 90_000
    )
    client = client_of(Role.ADMIN)
    with django_assert_num_queries(4):  # session, operator, run, repositories
        answer = client.get(f"{PAGE}/{run.pk}")
    assert "and 700 more" in text(answer)
    assert len(answer.content) < 200_000


# -- settings ------------------------------------------------------------------------------------
def test_settings_are_said_in_words_with_the_next_run(settings: Any) -> None:
    settings.GC_GRACE = timedelta(hours=24)
    settings.QUARANTINE_TIME = timedelta(hours=36)
    settings.UPLOAD_TIME = timedelta(days=7)
    settings.GC_SCHEDULE = "0 2 * * 0"
    said = text(client_of(Role.VIEWER).get(PAGE))
    for words in ("24 hours", "36 hours", "7 days", "every Sunday at 02:00", "Next: Sun "):
        assert words in said, words
    settings.GC_SCHEDULE = ""
    assert "manual only Garbage collection runs only" in text(client_of(Role.MAINTAINER).get(PAGE))


def test_a_store_that_cannot_be_reached_has_the_commands_for_the_registrys_own_gc(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    monkeypatch.undo()
    settings.STORE_DIR = tmp_path / "gone"
    answer = client_of(Role.ADMIN).get(PAGE)
    said = text(answer)
    assert "the store cannot be read" in said
    for words in ("./boathouse freeze on", "garbage-collect", "./boathouse freeze off"):
        assert words in said
    assert "--delete-untagged" not in "".join(
        re.findall(r"<code>(.*?)</code>", answer.content.decode(), re.DOTALL)
    )
    assert re.search(r'id="run-gc" disabled', answer.content.decode())


def test_a_store_that_can_be_reached_needs_no_commands(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    monkeypatch.undo()
    settings.STORE_DIR = tmp_path
    answer = client_of(Role.ADMIN).get(PAGE)
    assert "garbage-collect" not in text(answer)
    assert not re.search(r'id="run-gc" disabled', answer.content.decode())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (192, "3 min 12 s"),
        (7500, "2 h 5 min"),
        (None, "–"),
    ],
)
def test_a_duration_is_said_as_a_clock_shows_it(seconds: float | None, words: str) -> None:
    assert took(seconds) == words
