"""One lifecycle for long work: what is written meanwhile, how it ends, what is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from registryui import audit, runs
from registryui.models import AuditEvent, Run
from registryui.refused import Refused
from registryui.registry.errors import Unreachable

from .support.waiting import until

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
KIND = Run.Kind.INTEGRITY


@dataclass(slots=True)
class Part:
    name: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Result(runs.Result):
    count: int = 0
    share: float = 0.0
    is_deep: bool = False
    known: int | None = None
    names: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    rule: dict[str, Any] = field(default_factory=dict)


def begun() -> runs.Work[Result]:
    run = runs.begin(KIND, by="test", result=Result())
    assert run is not None
    return runs.Work(run, Result())


# -- results ---------------------------------------------------------------------------------------
def test_a_result_is_read_as_it_was_written() -> None:
    written = Result("why", 7, 0.5, True, 3, ["a"], [("a", "b")], [Part("mark", 1.5)], {"x": 1})
    run = Run.objects.create(kind=KIND, state="done", result=written.facts())
    run.refresh_from_db()
    assert Result.of(run) == written
    assert run.result == written.facts()


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ([], Result()),
        (None, Result()),
        ({"x": None}, Result()),
        ({"count": "many", "share": "half", "names": 7, "rule": [], "problem": 1}, Result()),
        ({"count": -1, "share": -0.5, "known": True, "is_deep": 1}, Result()),
        ({"count": True}, Result()),
        ({"share": 3, "known": None}, Result(share=3)),
        ({"names": ["a", 1, None, "b"]}, Result(names=["a", "b"])),
        ({"pairs": [1, ["a"], ["a", 1], ["a", "b"], ["a", "b", "c"]]}, Result(pairs=[("a", "b")])),
        ({"parts": [7, {"name": "mark"}, {"seconds": "x"}]}, Result(parts=[Part("mark"), Part()])),
    ],
)
def test_what_another_version_wrote_is_read_as_far_as_it_is_known(
    stored: Any, read: Result
) -> None:
    assert Result.of(Run(kind=KIND, result=stored)) == read


# -- while it goes on ------------------------------------------------------------------------------
def test_how_far_it_is_is_one_query_at_most_every_so_often(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    work = begun()
    with django_assert_num_queries(1):
        for number in range(50):
            work.result.count = number
            work.advance(1, total=20)
    with django_assert_num_queries(1):
        work.advance(at_once=True)
    stored = Run.objects.get()
    assert (stored.done, stored.total, Result.of(stored).count) == (50, 50, 49)


def test_it_ends_when_somebody_asks_for_it() -> None:
    with begun() as work:
        runs.ask_to_stop(work.run, by="operator:vera")
        work.must_go_on = True
        work.advance(at_once=True)
        work.must_go_on = False
        work.advance(at_once=True)
        pytest.fail("it went on")
    stored = Run.objects.get()
    assert (stored.state, stored.log) == ("stopped", "Stopped by operator:vera.")


def test_one_that_was_taken_for_dead_ends_even_if_it_must_go_on() -> None:
    work = begun()
    work.must_go_on = True
    Run.objects.update(state="failed")
    assert not work.may_go_on(at_once=True)


def test_it_lives_while_nothing_can_be_counted(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BEAT", 0.01)
    with begun() as work:
        long_ago = timezone.now() - runs.STALE * 2
        Run.objects.update(heartbeat_at=long_ago)
        until(lambda: runs.is_alive(Run.objects.get()), "a heartbeat")
    Run.objects.filter(pk=work.run.pk).update(state="running", heartbeat_at=long_ago)
    assert runs.is_silent(Run.objects.get())


def test_a_silent_one_makes_room_and_a_living_one_does_not() -> None:
    first = begun().run
    assert runs.begin(KIND, by="test") is None
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=2))
    second = runs.begin(KIND, by="test")
    first.refresh_from_db()
    assert second is not None
    assert (first.state, first.log) == ("failed", runs.DIED)


# -- the end ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("error", "is_raised", "state", "problem"),
    [
        (Refused("not\nnow"), False, "failed", "not now"),
        (Unreachable("no answer"), False, "failed", "no answer"),
        (ValueError("a secret of ours"), True, "failed", "ValueError: a secret of ours"),
        (KeyboardInterrupt(), True, "stopped", ""),
    ],
)
def test_why_it_ended_is_in_the_run(
    error: BaseException, is_raised: bool, state: str, problem: str
) -> None:
    def fail() -> None:
        with begun() as work:
            work.result.count = 7
            raise error

    if is_raised:
        with pytest.raises(type(error)):
            fail()
    else:
        fail()
    stored = Run.objects.get()
    assert (stored.state, Result.of(stored)) == (state, Result(problem, count=7))
    assert stored.log == (problem or "Stopped by Ctrl-C.")


def test_lines_over_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LOG_LINES", 2)
    with begun() as work:
        for name in "abcd":
            work.note(name)
    assert Run.objects.get().log.splitlines() == ["a", "b", "and 2 more"]


class Audited(runs.Work[Result]):
    def finish(self) -> audit.Entry | None:
        return self.entry("store.collect", "store", {"count": self.result.count})


@pytest.mark.parametrize("is_well", [True, False])
def test_its_row_of_the_audit_log_says_how_it_ended(is_well: bool) -> None:
    run = runs.begin(KIND, by="operator:vera")
    assert run is not None
    with Audited(run, Result()) as work:
        work.result.count = 3
        if not is_well:
            raise Unreachable("no answer")
    row = AuditEvent.objects.get()
    assert (row.act, row.actor, row.details) == ("store.collect", "operator:vera", {"count": 3})
    assert row.result == ("done" if is_well else "failed")
