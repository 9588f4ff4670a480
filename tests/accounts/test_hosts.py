"""Several hosts in one process: each has files of its own, all have one database.

With SQLite, too, where the product never does so: nothing here depends on the database. Real
processes, real nginx and a real PostgreSQL are in tests/e2e/test_two_hosts.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as live
from django.test import override_settings
from django.utils import timezone

from registryui import doctor, hosts, tasks
from registryui.accounts import drift, htpasswd, publish, rights, users
from registryui.doctor import checks
from registryui.models import Host, Lease, Published, RegistryUser, Run
from registryui.refused import Refused

from .checks import inconsistent

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
PULL = rights.parse([("pull", "team/*")])


@contextmanager
def at(folder: Path, name: str) -> Iterator[None]:
    """While it lasts, this process is that host."""
    place = folder / name
    with override_settings(
        HOST_FILE=place / "host-id",
        HTPASSWD_FILE=place / "htpasswd",
        OVERLAP_FILE=place / "htpasswd.old",
        RIGHTS_DIR=place / "rights",
        VERSIONS_DIR=place / "versions",
    ):
        yield


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """The folder of two hosts, "one" and "two", that have started."""
    for name in ("one", "two"):
        (tmp_path / name / "rights").mkdir(parents=True)
        (tmp_path / name / "host-id").write_text(f"{name}\n")
        Host.objects.create(id=name, name=f"{name}.example")
        with at(tmp_path, name):
            publish.prepare()
            publish.write([])
            hosts.beat()
    return tmp_path


def names(folder: Path, host: str) -> list[str]:
    """Who has a line there."""
    with at(folder, host):
        return list(publish.lines())


def follow(folder: Path, host: str) -> int:
    """What the worker there does four times a second."""
    with at(folder, host):
        done = publish.catch_up()
        assert inconsistent() == []
        assert publish.catch_up() == 0
        return done


def make(folder: Path, host: str, name: str = "ci") -> RegistryUser:
    with at(folder, host):
        return users.create(name, by="tests", may=PULL).user


def test_what_is_decided_on_one_is_written_on_the_other(pair: Path) -> None:
    row = make(pair, "one")
    assert (names(pair, "one"), names(pair, "two")) == (["ci"], [])
    assert publish.count_late("two") == 1
    assert follow(pair, "two") == 1
    assert names(pair, "two") == ["ci"]
    assert (pair / "two" / "rights" / "ci" / "pull" / "team" / "@all").exists()
    with at(pair, "two"):
        users.set_active([row], is_active=False, by="tests")
    assert names(pair, "one") == ["ci"]
    assert follow(pair, "one") == 1
    assert names(pair, "one") == []
    assert not (pair / "one" / "rights" / "ci").exists()


def test_who_was_removed_while_a_host_was_away_goes_there_too(pair: Path) -> None:
    row = make(pair, "one")
    follow(pair, "two")
    with at(pair, "one"):
        users.remove([row], by="tests")
    assert publish.count_late("two") == 1
    assert follow(pair, "two") == 1
    assert names(pair, "two") == []
    assert not (pair / "two" / "rights" / "ci").exists()
    assert not Published.objects.exists()


def test_the_same_name_again_is_another_generation(pair: Path) -> None:
    first = make(pair, "one")
    follow(pair, "two")
    with at(pair, "one"):
        users.remove([first], by="tests")
    again = make(pair, "one")
    assert follow(pair, "two") == 1
    with at(pair, "two"):
        assert publish.lines() == {"ci": again.secret_hash}


def test_a_line_of_a_host_that_died_while_it_wrote_is_not_forgotten(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has written the line and not noted it, when the other one removes the user."""
    row = make(pair, "one")

    class Killed(BaseException):
        pass

    def dies(*_arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, at(pair, "two"):
        patch.setattr(publish, "_note", dies)
        with pytest.raises(Killed):
            publish.catch_up()
    assert names(pair, "two") == ["ci"]
    with at(pair, "one"):
        users.remove([row], by="tests")
    assert follow(pair, "two") == 1
    assert names(pair, "two") == []


def test_a_hands_line_is_a_difference_only_where_the_hand_was(pair: Path) -> None:
    make(pair, "one")
    follow(pair, "two")
    with at(pair, "two"):
        text = publish.read()
        live.HTPASSWD_FILE.write_bytes(htpasswd.change(text, {"ci": "{SHA}x", "hand": "{SHA}y"}))
        assert [one.name for one in drift.find()] == ["ci", "hand"]
    with at(pair, "one"):
        assert drift.find() == []
    make(pair, "one", "other")
    follow(pair, "two")
    with at(pair, "two"):
        assert [one.name for one in drift.find()] == ["ci", "hand"]
        drift.take_over(drift.find(), by="tests")
    assert follow(pair, "one") == 2
    assert sorted(names(pair, "one")) == ["ci", "hand", "other"]


def test_a_change_that_has_not_come_yet_is_no_hands_work(pair: Path) -> None:
    row = make(pair, "one")
    follow(pair, "two")
    with at(pair, "one"):
        users.remove([row], by="tests")
    with at(pair, "two"):
        assert drift.find(with_left_alone=True) == []


def test_an_end_by_the_clock_is_an_end_on_each_host(pair: Path) -> None:
    row = make(pair, "one")
    with at(pair, "one"):
        users.rotate(row, by="tests", overlap=timedelta(hours=1))
    follow(pair, "two")
    RegistryUser.objects.update(old_until=timezone.now() - timedelta(seconds=1))
    for host in ("one", "two"):
        follow(pair, host)
        assert (pair / host / "htpasswd.old").read_bytes() == b""
    RegistryUser.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for host in ("one", "two"):
        assert follow(pair, host) == 1
        assert names(pair, host) == []


def test_a_failed_write_on_one_changes_nothing_on_the_other(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = make(pair, "one")
    follow(pair, "two")

    def fails(*_arguments: object) -> None:
        follow(pair, "two")  # the other has seen the change already
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, at(pair, "one"):
        real = publish._replace
        calls = iter([fails])
        patch.setattr(publish, "_replace", lambda *a: next(calls, real)(*a))
        with pytest.raises(Refused, match="Nothing was changed"):
            users.set_active([row], is_active=False, by="tests")
    for host in ("one", "two"):
        follow(pair, host)
        assert names(pair, host) == ["ci"]


def test_a_new_host_writes_everybody(pair: Path) -> None:
    for number in range(3):
        make(pair, "one", f"user-{number}")
    (pair / "three" / "rights").mkdir(parents=True)
    (pair / "three" / "host-id").write_text("three")
    with at(pair, "three"):
        publish.prepare()
        publish.write([])
        assert len(publish.lines()) == 3
        assert publish.catch_up() == 0


# -- the lease -------------------------------------------------------------------------------------
def test_one_host_leads_until_it_is_silent(pair: Path) -> None:
    def leads(host: str) -> bool:
        with at(pair, host):
            return hosts.leads()

    assert (leads("one"), leads("two"), leads("one")) == (True, False, True)
    Lease.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert (leads("two"), leads("one")) == (True, False)


def test_the_schedule_is_for_the_one_that_leads(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(tasks.events, "prune", lambda: done.append("pruned"))
    for host in ("one", "two", "one"):
        with at(pair, host):
            tasks.prune.call_local()
    assert done == ["pruned", "pruned"]


def test_a_single_host_asks_nobody(django_assert_num_queries: Callable[[int], object]) -> None:
    with django_assert_num_queries(0):  # type: ignore[attr-defined]
        assert hosts.leads()


# -- what is said ----------------------------------------------------------------------------------
def test_the_doctor_names_hosts_that_lag_or_are_silent(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "MOMENT", 0)
    with at(pair, "one"):
        assert said()[0] == "hosts-ok"
    make(pair, "one")
    with at(pair, "one"):
        code, words = said()
        assert code == "hosts-late"
        assert "two.example, last seen 0 s ago: 1 registry users" in words
        assert "hosts --forget" in words
    follow(pair, "two")
    Host.objects.filter(id="two").update(seen_at=timezone.now() - timedelta(minutes=1))
    with at(pair, "one"):
        code, words = said()
        assert code == "hosts-silent"
        assert "two.example, last seen 60 s ago" in words
        hosts.forget("two.example")
        assert checks.check_hosts() is None
    assert not Published.objects.filter(host="two").exists()


def said() -> tuple[str, str]:
    finding = checks.check_hosts()
    assert finding
    words = doctor.texts(finding)
    assert words.value != finding.code
    return finding.code, f"{words.value} | {words.note} | {words.advice}"


def test_a_host_that_lives_is_not_forgotten(pair: Path) -> None:
    with pytest.raises(Refused, match="lives"):
        hosts.forget("two.example")
    with pytest.raises(Refused, match="no host"):
        hosts.forget("three.example")


def test_pages_of_a_host_show_its_own_round(pair: Path) -> None:
    for host in ("one", "two"):
        with at(pair, host):
            doctor.record([doctor.Finding("disk", "ok", "disk-ok", {"path": host})])
    for host in ("one", "two"):
        with at(pair, host):
            run = doctor.latest()
            assert run
            assert run.host == host
    assert Run.objects.count() == 2
