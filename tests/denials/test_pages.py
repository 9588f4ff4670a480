"""Denials on pages and in the command; counting them with the database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from registryui.denials import count, lines
from registryui.denials.access_log import Position
from registryui.models import Denial, Operator, RegistryUser, Right, Role
from tests.support import pushed
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db
R = "team/app"


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_operator("ada", Role.ADMIN))
    return client


@pytest.fixture
def ci() -> RegistryUser:
    user: RegistryUser = RegistryUser.objects.create(name="ci")
    Right.objects.create(user=user, action="pull", scope="team/*")
    return user


def refused(actor: str = "ci", **given: Any) -> None:
    """As if nginx had logged it a minute ago."""
    values: dict[str, Any] = {
        "at": timezone.now().replace(microsecond=0) - timedelta(minutes=1),
        "actor": actor,
        "repository": R,
        "action": "push",
        "reason": "no-right",
        "address": "10.0.0.5",
        "client": "skopeo/1",
    }
    position = Position(*_counted())
    one = lines.Refusal(**{**values, **given})
    assert count._write("", [one], position, Position("a", position.offset + 1))


def _counted() -> tuple[str, int]:
    from registryui.models import LogPosition

    return LogPosition.objects.values_list("file", "offset").first() or ("", 0)


@pytest.mark.both_databases
def test_rows_add_up_and_go_after_30_days() -> None:
    now = timezone.now().replace(microsecond=0)
    refused(at=now, client="new")
    refused(at=now - timedelta(seconds=1), client="old", count=16)
    row = Denial.objects.get()
    same_day = row.day == (now - timedelta(seconds=1)).astimezone(UTC).date()
    assert not same_day or (row.count, row.client, row.at) == (17, "new", now)
    assert not same_day or row.first_at == now - timedelta(seconds=1)
    # Of two workers of a host, one counts.
    assert not count._write("", [], Position("b", 5), Position("b", 9))
    Denial.objects.update(day=datetime.now(UTC).date() - timedelta(days=31))
    refused()
    count.prune()
    assert Denial.objects.count() == 1


def test_the_page_of_a_user_says_who_was_refused_and_what_helps(
    admin: Client, ci: RegistryUser
) -> None:
    empty = admin.get(f"/users/{ci.pk}").content.decode()
    assert "Nobody was refused in the last 30 days." in empty
    refused(count=3)
    refused(address="10.0.0.6", at=timezone.now())
    refused(reason="wrong-password", action="login", repository="")
    page = admin.get(f"/users/{ci.pk}").content.decode()
    assert "no right" in page
    assert "Give ci the right to push to team/app, if this is intended." in page
    assert "10.0.0.6" in page
    assert "and 1 more" in page
    assert "× 4" in page
    assert "Log in again with the current secret" in page


def test_access_of_a_repository_says_who_may_and_who_was_refused(
    admin: Client, ci: RegistryUser, client: Client
) -> None:
    pushed.image(R, tags=["1"])
    other = RegistryUser.objects.create(name="other")
    Right.objects.create(user=other, action="pull", scope="team/application")
    for scope, name in (("*", "all"), ("team/*", "below"), (R, "one")):
        user = RegistryUser.objects.create(name=name, is_active=name != "all")
        Right.objects.create(user=user, action="push", scope=scope)
    page = admin.get(f"/repositories/{R}?show=access")
    assert [row.user.name for row in page.context["rows"]] == ["all", "below", "ci", "one"]
    assert "Nobody was refused" in page.content.decode()
    refused("other", reason="frozen")
    refused("", reason="unknown-user", repository=R)
    refused("ci", repository="team/another")
    found = admin.get(f"/repositories/{R}?show=access")
    assert {one.user for one in found.context["denials"]} == {"other", "unknown user"}
    text = found.content.decode()
    assert f'href="/users/{other.pk}"' in text
    assert "Try again after the write freeze." in text
    # A maintainer sees their own users; a viewer none, but the tags.
    vera = make_operator("vera", Role.MAINTAINER)
    RegistryUser.objects.filter(name="ci").update(owner=Operator.objects.get(username="vera"))
    client.force_login(vera)
    mine = client.get(f"/repositories/{R}?show=access").context
    assert [row.user.name for row in mine["rows"]] == ["ci"]
    assert mine["denials"] == []
    client.force_login(make_operator("victor", Role.VIEWER))
    page = client.get(f"/repositories/{R}?show=access")
    assert page.context["show"] == "tags"
    assert ">Access</a>" not in page.content.decode()


def test_an_open_page_shows_a_new_denial(admin: Client, ci: RegistryUser) -> None:
    pushed.image(R, tags=["1"])
    place = f"/repositories/{R}?show=access"
    seen = admin.get(place).context["token"]
    headers = {"HX-Request": "true", "HX-Target": "list"}
    assert admin.get(f"{place}&seen={seen}", headers=headers).status_code == 204
    refused()
    assert admin.get(f"{place}&seen={seen}", headers=headers).status_code == 200


def test_activity_shows_them_when_asked(admin: Client, ci: RegistryUser) -> None:
    refused()
    refused(action="login", repository="", reason="expired")
    refused("", action="", repository="", address="", reason="no-right")
    assert _shown(admin) == []
    assert set(_shown(admin, act="denial")) == {"denial.push", "denial.login", "denial.others"}
    assert _shown(admin, act="denial.push") == ["denial.push"]
    assert _shown(admin, act="denial.push", target="TEAM/a") == ["denial.push"]
    assert _shown(admin, act="denial", actor="nobody") == []
    assert len(_shown(admin, result="refused")) == 3
    assert _shown(admin, act="denial", result="done") == []
    assert _shown(admin, act="user", result="refused") == []
    assert _shown(admin, act="denial", until="2020-01-01") == []
    page = admin.get("/activity", {"act": "denial"}).content.decode()
    assert 'href="/repositories/team/app"' in page
    assert "no right" in page
    assert "Export as CSV" not in page


def _shown(client: Client, **asked: str) -> list[str]:
    return [one.row.act for one in client.get("/activity", asked).context["rows"]]


def test_the_command_says_what_to_type(ci: RegistryUser) -> None:
    assert _printed() == "Nobody was refused in the last 30 days.\n"
    refused(count=2)
    refused("", reason="unknown-user", action="login", repository="")
    text = _printed("ci")
    assert "./boathouse user rights ci --pull 'team/*' --push 'team/app'" in text
    assert "unknown-user" not in text
    assert "unknown-user" in _printed()
    [one] = json.loads(_printed("ci", "--json"))
    assert one.pop("last_at") == one.pop("first_at")
    assert one == {
        "user": "ci",
        "action": "push",
        "repository": R,
        "reason": "no-right",
        "count": 2,
        "addresses": 1,
        "address": "10.0.0.5",
        "client": "skopeo/1",
        "told_apart": True,
    }
    Right.objects.create(user=ci, action="push", scope=R)
    assert "ci may push team/app by now." in _printed("ci")
    assert json.loads(_printed("--json", "--repository", "other/x")) == []


def _printed(*arguments: str) -> str:
    out = StringIO()
    call_command("user", "denials", *arguments, stdout=out)
    return out.getvalue()


def test_a_flood_costs_a_page_no_more_queries(
    admin: Client, ci: RegistryUser, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(20):
        admin.get(f"/users/{ci.pk}")
    for number in range(60):
        refused(repository=f"team/r{number}")
    with django_assert_max_num_queries(20):
        page = admin.get(f"/users/{ci.pk}")
    assert len(page.context["denials"]) == 20
    assert page.context["has_more_denials"]
    assert "These were too many to be told apart." in page.content.decode()
