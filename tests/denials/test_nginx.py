"""What the real nginx says of those whom it refuses, and what is counted of it.

The portal takes no part but in what is protected: nginx decides each reason by files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from registryui import write_freeze
from registryui.accounts import users
from registryui.denials import count
from registryui.models import Denial, RegistryUser
from registryui.registry.client import RegistryClient
from tests.support.instance import Instance, take_portal_away, wait_for
from tests.support.proxy_client import (
    TYPE,
    Answer,
    ask,
    digest,
    made,
    manifest,
    push,
    statuses_of_guesses,
)
from tests.support.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]


@pytest.fixture
def instance(standing: Instance) -> Iterator[Instance]:
    standing.renew()
    count._progress.clear()
    yield standing
    count._progress.clear()


def counted(fact: Callable[[], bool]) -> None:
    """nginx writes its line after its answer."""
    until(lambda: bool(count.count() is not None and fact()), "the refusals are counted")


def facts() -> set[tuple[str, str, str, str]]:
    return set(Denial.objects.values_list("actor", "action", "repository", "reason"))


def test_nginx_says_who_was_refused_what_and_why(instance: Instance) -> None:
    user = made("ci", ("pull", "team/*"), ("push", "other/*"))
    off, late = made("off", ("pull", "*")), made("late", ("pull", "*"))
    users.set_active([RegistryUser.objects.get(name="off")], is_active=False, by="tests")
    users.expire([RegistryUser.objects.get(name="late")], timezone.now(), by="tests")
    app = "/v2/team/app/manifests/1"
    body = {"Content-Type": TYPE}
    ask("GET", "/v2/")  # every client's first request
    ask("GET", app)
    ask("GET", app, user)  # not there, and not refused
    ask("GET", "/v2/", ("ci", "wrong"))
    ask("PUT", app, ("ci", "wrong"), body=manifest(), headers=body)
    ask("GET", app, ("my-password", "typed into the wrong field"))
    ask("GET", app, off)
    ask("GET", app, late)
    ask("GET", app, ("late", "wrong"))
    ask("PUT", app, user, body=manifest(), headers=body)
    ask("POST", "/v2/team/app/blobs/uploads/", user)
    ask("DELETE", f"/v2/team/app/manifests/{digest(b'')}", user)
    ask("GET", "/v2/other/x/tags/list", user)
    counted(lambda: ("ci", "pull", "other/x", "no-right") in facts())
    assert facts() == {
        ("ci", "login", "", "wrong-password"),
        ("ci", "push", "team/app", "wrong-password"),
        ("", "pull", "team/app", "unknown-user"),
        ("off", "pull", "team/app", "disabled"),
        ("late", "pull", "team/app", "expired"),
        ("ci", "push", "team/app", "no-right"),
        ("ci", "delete", "team/app", "no-right"),
        ("ci", "pull", "other/x", "no-right"),
    }
    assert Denial.objects.get(actor="late").count == 2
    assert Denial.objects.get(reason="no-right", action="push").count == 2
    assert set(Denial.objects.values_list("address", flat=True)) == {"127.0.0.1"}
    # Neither of the fields that a person may have mixed up is anywhere.
    log = (settings.LOG_DIR / "access.json").read_text()
    assert "my-password" not in log
    assert "typed into" not in log
    # Who is let in again, or is gone, is no longer said to be out.
    users.set_active([RegistryUser.objects.get(name="off")], is_active=True, by="tests")
    users.remove([RegistryUser.objects.get(name="late")], by="tests")
    ask("GET", "/v2/", ("off", "wrong"))
    ask("GET", "/v2/", late)
    counted(lambda: ("", "login", "", "unknown-user") in facts())
    assert ("off", "login", "", "wrong-password") in facts()


def test_what_all_are_refused_has_its_reason(instance: Instance) -> None:
    with RegistryClient(settings.REGISTRY_URL) as client:
        push(client, "team/app")
    user = made("ci", ("pull", "*"), ("push", "*"), ("delete", "*"))
    app = "/v2/team/app/manifests/2"
    body = {"Content-Type": TYPE}

    def put(path: str = app) -> Answer:
        return ask("PUT", path, user, body=manifest(), headers=body)

    gates = write_freeze.folder()
    (gates / "full").touch()
    assert put().status == 507
    (gates / "full").unlink()
    (gates / "manifests").touch()
    assert put().status == 503
    (gates / "manifests").unlink()
    mirror = settings.MIRRORS_DIR / "hub"
    mirror.mkdir(parents=True)
    mirror.chmod(0o711)
    (mirror / "refusal.json").write_text("{}")
    (mirror / "refusal.json").chmod(0o644)
    assert put("/v2/hub/app/manifests/1").status == 405
    rule = settings.DATA / "guard" / "push" / "@all"
    rule.parent.mkdir(parents=True, exist_ok=True)
    for folder in (rule.parent, rule.parent.parent):
        folder.chmod(0o711)
    rule.write_text("{}")
    rule.chmod(0o644)
    take_portal_away(instance)
    assert put().status == 403
    rule.unlink()
    assert put().status == 201
    counted(lambda: ("ci", "push", "team/app", "protected") in facts())
    assert facts() == {
        ("ci", "push", "team/app", "disk-full"),
        ("ci", "push", "team/app", "frozen"),
        ("ci", "push", "hub/app", "mirror"),
        ("ci", "push", "team/app", "protected"),
    }


def test_a_flood_is_counted_though_not_each_line_is_written(instance: Instance) -> None:
    made("ci", ("pull", "*"))
    assert 429 in statuses_of_guesses()
    counted(lambda: ("ci", "login", "", "rate-limited") in facts())
    assert ("ci", "login", "", "wrong-password") in facts()


def test_no_line_is_lost_or_counted_twice(instance: Instance) -> None:
    """Over a rotation, and a worker that begins anew."""
    user, log = made("ci"), settings.LOG_DIR / "access.json"
    renamed = log.with_name("access.json.20260131-031700")

    def refuse() -> None:
        seen = _lines(log, renamed)
        ask("GET", "/v2/team/app/manifests/1", user)
        until(lambda: _lines(log, renamed) > seen, "nginx has written its line")

    def total() -> int:
        count.count()
        return sum(Denial.objects.values_list("count", flat=True))

    refuse()
    assert total() == 1
    refuse()
    count._progress.clear()
    assert total() == 2
    refuse()
    log.rename(renamed)
    refuse()  # into the renamed file
    assert total() == 4
    instance.stop("nginx")
    instance.start_missing()
    wait_for(settings.PORT)
    refuse()
    refuse()
    until(lambda: total() == 6, "the renamed file is quiet, and the new one is counted")
    count._progress.clear()
    assert total() == 6


def _lines(*logs: object) -> int:
    found = 0
    for log in logs:
        with suppress(FileNotFoundError):
            found += Path(str(log)).read_text().count("no-right")
    return found


def test_a_line_of_the_log_is_json_of_known_words(instance: Instance) -> None:
    made("ci")
    ask("GET", "/v2/a/b/tags/list", ("ci", "x"), headers={"User-Agent": '","refused":"no-right'})
    log = settings.LOG_DIR / "access.json"
    until(lambda: "/v2/a/b/tags/list" in log.read_text(), "nginx has written its line")
    [line] = [json.loads(one) for one in log.read_text().splitlines() if "/v2/a/b" in one]
    assert {name: line[name] for name in ("refused", "claimed", "user", "stands_for")} == {
        "refused": "wrong-password",
        "claimed": "ci",
        "user": "",
        "stands_for": 1,
    }
