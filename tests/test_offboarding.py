"""Who lets an operator go says what becomes of the operator's registry users."""

from __future__ import annotations

import html
import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from registryui import offboarding, operators
from registryui.accounts import publish, rights, users
from registryui.models import NEVER, AuditEvent, Operator, RegistryUser, Role
from registryui.offboarding import Answer
from registryui.refused import Refused

from .support.factories import make_maintainer, make_operator

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("files"),
]


@pytest.fixture
def mo() -> Operator:
    """A maintainer with two working users, one who is off and one who is expired; another's."""
    make_operator("ada", Role.ADMIN)
    mo = make_maintainer("mo", ("pull", "*"))
    for name in ("one", "two", "off"):
        users.create(name, by=mo.actor, owner=mo, expires_at=timezone.now() + timedelta(days=30))
    users.create("over", by="tests", owner=mo, expires_at=timezone.now() + timedelta(days=1))
    RegistryUser.objects.filter(name="over").update(expires_at=timezone.now())
    publish.catch_up()
    users.set_active([RegistryUser.objects.get(name="off")], is_active=False, by="tests")
    users.create("hers", by="operator:ada")
    return mo


def run(*words: str) -> str:
    printed = io.StringIO()
    call_command("operator", *words, stdout=printed)
    return printed.getvalue()


def owners() -> dict[str, str]:
    rows = RegistryUser.objects.filter(name__in=("one", "two"))
    return {row.name: row.owner.username if row.owner else "" for row in rows}


GOING = {
    "disable": lambda row, **options: offboarding.disable(row, by="operator:ada", **options),
    "remove": lambda row, **options: offboarding.remove(row, by="operator:ada", **options),
    "role": lambda row, **options: offboarding.set_role(
        row, Role.VIEWER, by="operator:ada", **options
    ),
}


@pytest.mark.parametrize("way", GOING)
def test_it_is_asked_and_nothing_has_changed_before_the_answer(mo: Operator, way: str) -> None:
    with pytest.raises(offboarding.Ask, match="mo has active registry users: one, two"):
        GOING[way](mo)
    mo.refresh_from_db()
    assert (mo.is_active, mo.role) == (True, Role.MAINTAINER)
    for to in (None, mo, make_operator("vera")):
        with pytest.raises(Refused, match="Choose another active maintainer"):
            GOING[way](mo, answer=Answer("hand over", to))
    mo.refresh_from_db()
    assert (mo.is_active, mo.role) == (True, Role.MAINTAINER)
    assert set(publish.lines()) == {"one", "two", "hers"}


@pytest.mark.parametrize("way", GOING)
@pytest.mark.parametrize("what", ["disable", "hand over", "keep"])
def test_each_answer_is_done_with_those_who_work(mo: Operator, way: str, what: str) -> None:
    max_ = make_maintainer("max")
    answer = Answer(what, max_ if what == "hand over" else None)  # type: ignore[arg-type]
    settled = GOING[way](mo, answer=answer)
    assert [one.name for one in settled.users] == ["one", "two"]
    here = {"one", "two"} if what != "disable" else set()
    assert set(publish.lines()) == here | {"hers"}
    kept = "" if way == "remove" else "mo"
    owner = "max" if what == "hand over" else kept
    assert owners() == {"one": owner, "two": owner}
    row = AuditEvent.objects.filter(act__startswith="operator.").order_by("-id")[0]
    assert row.act == f"operator.{way}"
    said = {"disable": "disable", "hand over": "hand over to max", "keep": "keep"}[what]
    assert row.details["registry_users"] == said
    found = Operator.objects.filter(username="mo").first()
    if way == "remove":
        assert found is None
    else:
        assert found is not None
        assert found.is_active == (way == "role")


def test_who_has_nobody_goes_at_once(mo: Operator) -> None:
    RegistryUser.objects.filter(owner=mo).update(is_active=False)
    offboarding.disable(mo, by="operator:ada")
    mo.refresh_from_db()
    assert not mo.is_active


def test_another_role_that_manages_users_asks_nothing(mo: Operator) -> None:
    offboarding.set_role(mo, Role.ADMIN, by="operator:ada")
    offboarding.set_role(mo, Role.MAINTAINER, by="operator:ada")


def test_an_answer_that_cannot_be_written_leaves_the_operator_off_and_the_page_asks_again(
    mo: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(publish, "_print", full)
        with pytest.raises(Refused, match="no space left"):
            offboarding.disable(mo, by="operator:ada", answer=Answer("disable"))
    mo.refresh_from_db()
    assert not mo.is_active
    client = Client()
    client.force_login(Operator.objects.get(username="ada"))
    text = client.get(f"/operators/{mo.pk}").content.decode()
    assert "mo can no longer manage them" in text
    data = {"act": "users", "users": "disable"}
    text = client.post(f"/operators/{mo.pk}/change", data, follow=True).content.decode()
    assert "Disabled 2 registry users." in text
    assert set(publish.lines()) == {"hers"}


# -- the page --------------------------------------------------------------------------------------
def test_the_page_lists_them_and_asks_without_script(mo: Operator) -> None:
    client = Client()
    client.force_login(Operator.objects.get(username="ada"))
    users.create("given-away", by=mo.actor, owner=mo, expires_at=timezone.now() + timedelta(days=1))
    RegistryUser.objects.filter(name="given-away").update(owner=None)
    place = f"/operators/{mo.pk}"
    for act, ask in (("off", "off"), ("remove", "remove"), ("role", "viewer")):
        answer = client.post(f"{place}/change", {"act": act, "role": "viewer"})
        assert answer["Location"] == f"{place}?ask={ask}"
        text = html.unescape(client.get(answer["Location"]).content.decode())
        assert "mo has 2 registry users that remain active" in text
        dialog = text[text.index("<dialog") :]
        assert ">one</a>" in dialog
        assert ">off</a>" not in dialog
        assert f'value="{act}"' in dialog
        assert "given-away" in text
    sent = {"act": "off", "users": "hand over", "to": str(mo.pk)}
    text = html.unescape(client.post(f"{place}/change", sent, follow=True).content.decode())
    assert "Choose another active maintainer" in text
    ada = Operator.objects.get(username="ada")
    sent = {"act": "off", "users": "hand over", "to": str(ada.pk)}
    text = html.unescape(client.post(f"{place}/change", sent, follow=True).content.decode())
    assert "Disabled mo and ended all sessions." in text
    assert "Transferred 2 registry users to ada: create new secrets." in text
    assert owners() == {"one": "ada", "two": "ada"}


def test_the_page_grants_and_keeps_what_was_typed_wrong(mo: Operator) -> None:
    client = Client()
    client.force_login(Operator.objects.get(username="ada"))
    place = f"/operators/{mo.pk}/change"
    sent = {"act": "grant", "pull": "team/*", "push": "team/api\nteam/b", "longest": "90"}
    text = client.post(place, sent, follow=True).content.decode()
    assert "Changed what mo may grant." in text
    assert set(mo.grants.values_list("action", "scope")) == {
        *(("pull", "team/*"), ("push", "team/api"), ("push", "team/b")),
    }
    answer = client.post(place, {**sent, "pull": "Team", "longest": "never"})
    assert answer.status_code == 422
    assert "“Team” is not a valid scope" in html.unescape(answer.content.decode())
    assert ">Team</textarea>" in answer.content.decode()
    for longest in ("", "0", "soon", "x12", "999999"):
        assert client.post(place, {**sent, "longest": longest}).status_code == 422
    mo.refresh_from_db()
    assert mo.longest_days == 90
    client.post(place, {**sent, "longest": "never"})
    mo.refresh_from_db()
    assert mo.longest_days is None


# -- the command -----------------------------------------------------------------------------------
def test_the_command_asks_and_does(mo: Operator) -> None:
    for words in (("disable", "mo"), ("remove", "mo", "--yes"), ("role", "mo", "viewer")):
        with pytest.raises(CommandError, match=r"one, two.*--registry-users disable") as caught:
            run(*words)
        assert "\n" not in str(caught.value)
    with pytest.raises(CommandError, match="There is no operator nobody"):
        run("disable", "mo", "--hand-over-to", "nobody")
    assert "Disabled: one, two." in run("disable", "mo", "--registry-users", "disable")
    assert set(publish.lines()) == {"hers"}
    assert run("remove", "mo", "--yes") == "Removed mo.\n"


def test_the_command_hands_over_and_keeps(mo: Operator) -> None:
    assert "Remain active: one, two." in run("role", "mo", "viewer", "--registry-users", "keep")
    run("role", "mo", "maintainer")
    said = run("remove", "mo", "--yes", "--hand-over-to", "ada")
    assert "Transferred to ada, who should create new secrets: one, two." in said
    assert owners() == {"one": "ada", "two": "ada"}


def test_the_command_grants_and_shows(mo: Operator) -> None:
    said = run("grant", "mo", "--pull", "team/*", "--push", "team/api", "--longest", "90d")
    assert said == "mo may grant: pull team/*, push team/api.\n"
    facts = json.loads(run("show", "mo", "--json"))
    assert facts["may_give"] == {"pull": ["team/*"], "push": ["team/api"], "delete": []}
    assert facts["longest_days"] == 90
    assert facts["registry_users"] == ["one", "two"]
    assert json.loads(run("list", "--json"))[1]["may_give"]["pull"] == ["team/*"]
    assert "pull team/*, push team/api, for at most 90 days" in run("show", "mo")
    run("grant", "mo", "--none", "--longest", "never")
    assert "nothing" in run("show", "mo")
    assert "everything, without expiry" in run("show", "ada")
    assert "applies once ada is a maintainer" in run("grant", "ada", "--pull", "*")
    for words in (("grant", "mo"), ("grant", "mo", "--none", "--pull", "*")):
        with pytest.raises(CommandError, match="or --none alone"):
            run(*words)
    make_operator("vera")
    assert "./boathouse operator grant vera" in run("role", "vera", "maintainer")


# -- the upgrade -----------------------------------------------------------------------------------
def test_maintainers_from_before_may_give_what_their_users_have() -> None:
    """Nothing stops working, and nobody gives what they could not use already."""
    from importlib import import_module

    from django.apps import apps

    mo, idle = make_maintainer("mo", longest_days=365), make_maintainer("idle", longest_days=365)
    far = timezone.now() + timedelta(days=500)
    one = users.create("one", by="x", owner=mo, may=rights.parse([("pull", "*")]), expires_at=far)
    off = users.create("off", by="x", owner=mo, may=rights.parse([("delete", "*")]))
    users.create(
        "two", by="x", owner=mo, may=rights.parse([("pull", "*"), ("push", "a/*")]), expires_at=far
    )
    users.set_active([off.user], is_active=False, by="x")
    users.create("strange", by="x", may=rights.parse([("delete", "a/*")]))
    grant = import_module("registryui.migrations.0017_grants").grant
    grant(apps, None)
    mo.refresh_from_db()
    assert set(mo.grants.values_list("action", "scope")) == {("pull", "*"), ("push", "a/*")}
    assert mo.longest_days == 500
    users.rotate(one.user, by=mo.actor)
    idle.refresh_from_db()
    assert (idle.grants.count(), idle.longest_days) == (0, 365)
    operators.set_grant(mo, [], longest_days=30, by="x")
    RegistryUser.objects.filter(name="one").update(expires_at=NEVER)
    grant(apps, None)
    mo.refresh_from_db()
    assert mo.longest_days is None
