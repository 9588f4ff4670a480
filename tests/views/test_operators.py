"""Operators: pages, rules and the command. The rules hold whoever asks."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from registryui import operators
from registryui.models import Operator, Role
from registryui.refused import Refused
from tests.support.factories import PASSWORD, make_operator

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_operator("ada", Role.ADMIN))
    return client


def change(client: Client, row: Operator, act: str, **data: str) -> str:
    """Presses a button; returns the page that follows."""
    answer = client.post(f"/operators/{row.pk}/change", {"act": act, **data}, follow=True)
    assert answer.redirect_chain
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def secret_on(text: str) -> str:
    found = re.search(r'class="secret".*?<code>(.*?)</code>', text, re.DOTALL)
    return found[1] if found else ""


# -- list and add --------------------------------------------------------------------------------
def test_the_list_takes_the_same_queries_for_one_and_for_many(
    admin: Client, django_assert_num_queries: Any
) -> None:
    for number in range(20):
        make_operator(f"op-{number}")
    with django_assert_num_queries(4):  # session, operator, list, repositories
        text = admin.get("/operators").content.decode()
    assert text.count('class="repo__name"') == 21


def test_a_new_operator_logs_in_with_the_password_that_is_shown_once(admin: Client) -> None:
    answer = admin.post("/operators/add", {"name": "vera", "role": "maintainer"})
    row = Operator.objects.get(username="vera")
    assert answer["Location"] == f"/operators/{row.pk}"
    password = secret_on(admin.get(answer["Location"]).content.decode())
    assert len(password) >= 24
    assert secret_on(admin.get(answer["Location"]).content.decode()) == ""
    assert password not in str(dict(admin.session))
    other = Client()
    other.post("/login", {"username": "vera", "password": password})
    assert other.get("/").status_code == 200
    assert row.role == Role.MAINTAINER
    assert not row.is_superuser


@pytest.mark.parametrize(
    ("name", "role", "sentence"),
    [
        ("", "viewer", "This field cannot be blank"),
        ("a b", "viewer", "Enter a valid username"),
        ("ADA", "viewer", "The operator ADA already exists"),
        ("x" * 151, "viewer", "at most 150 characters"),
        ("vera", "king", "Choose a role"),
        ("vera", "", "Choose a role"),
    ],
)
def test_what_cannot_be_added_is_one_sentence(
    admin: Client, name: str, role: str, sentence: str
) -> None:
    answer = admin.post("/operators/add", {"name": name, "role": role}, follow=True)
    assert sentence in html.unescape(answer.content.decode())
    assert Operator.objects.count() == 1


# -- change --------------------------------------------------------------------------------------
def test_role_password_and_access_are_changed(admin: Client) -> None:
    row = make_operator("vera")
    assert "Changed the role of vera to Maintainer." in change(
        admin, row, "role", role="maintainer"
    )
    password = secret_on(change(admin, row, "password"))
    assert "Disabled vera" in change(admin, row, "off")
    refused = Client().post("/login", {"username": "vera", "password": password})
    assert refused.status_code == 422
    row.refresh_from_db()
    assert (row.role, row.is_active) == (Role.MAINTAINER, False)
    assert row.check_password(password)
    assert "Enabled " in change(admin, row, "on")
    assert "Removed vera." in change(admin, row, "remove")
    assert not Operator.objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize("act", ["off", "password", "remove"])
def test_sessions_of_the_operator_end_at_once(admin: Client, act: str) -> None:
    row = make_operator("vera")
    other = Client()
    other.force_login(row)
    assert other.get("/repositories/").status_code == 200
    change(admin, row, act)
    assert other.get("/repositories/")["Location"].startswith("/login")
    fragment = other.get("/repositories/", headers={"HX-Request": "true"})
    assert fragment.status_code == 401


@pytest.mark.parametrize(
    ("act", "data"),
    [("off", {}), ("remove", {}), ("password", {}), ("role", {"role": "viewer"})],
)
def test_nobody_takes_away_their_own_access(admin: Client, act: str, data: dict[str, str]) -> None:
    make_operator("other", Role.ADMIN)
    row = Operator.objects.get(username="ada")
    before = row.password
    assert "your own" in change(admin, row, act, **data)
    row.refresh_from_db()
    assert (row.role, row.is_active, row.password) == (Role.ADMIN, True, before)


@pytest.mark.parametrize("act", ["off", "remove", "role"])
def test_the_last_active_administrator_stays(act: str) -> None:
    row = make_operator("ada", Role.ADMIN)
    make_operator("gone", Role.ADMIN, is_active=False)
    acts: dict[str, Callable[[], None]] = {
        "off": lambda: operators.set_active(row, is_active=False, by="command line"),
        "remove": lambda: operators.remove(row, by="command line"),
        "role": lambda: operators.set_role(row, Role.VIEWER, by="command line"),
    }
    with pytest.raises(Refused, match="ada is the last active administrator"):
        acts[act]()
    row.refresh_from_db()
    assert (row.role, row.is_active) == (Role.ADMIN, True)


def test_an_administrator_who_is_off_may_go() -> None:
    make_operator("ada", Role.ADMIN)
    operators.remove(make_operator("gone", Role.ADMIN, is_active=False), by="ada")
    assert list(Operator.objects.values_list("username", flat=True)) == ["ada"]


def test_an_act_that_is_none_changes_nothing(admin: Client) -> None:
    row = make_operator("vera")
    assert "This action is not supported" in change(admin, row, "promote")
    assert "Choose a role" in change(admin, row, "role", role="king")
    assert "Choose a role" in change(admin, row, "role")


def test_an_operator_who_is_gone_is_not_found(admin: Client) -> None:
    assert admin.get("/operators/999").status_code == 404
    assert admin.post("/operators/999/change", {"act": "off"}).status_code == 404


def test_removing_is_asked_twice_and_works_without_script(admin: Client) -> None:
    row = make_operator("vera")
    text = admin.get(f"/operators/{row.pk}?remove=1").content.decode()
    assert "<dialog" in text
    assert "Remove vera?" in text
    assert 'value="remove"' in text
    assert " inert" in text
    own = Operator.objects.get(username="ada")
    assert "<dialog" not in admin.get(f"/operators/{own.pk}?remove=1").content.decode()


def test_get_changes_nothing(admin: Client) -> None:
    row = make_operator("vera")
    assert admin.get("/operators/add?name=x&role=admin").status_code == 405
    assert admin.get(f"/operators/{row.pk}/change?act=remove").status_code == 405
    assert Operator.objects.count() == 2


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MAINTAINER])
def test_only_administrators_may(client: Client, role: Role) -> None:
    row = make_operator("vera", role)
    client.force_login(row)
    assert client.get("/operators").status_code == 403
    assert client.get(f"/operators/{row.pk}").status_code == 403
    promote = {"act": "role", "role": "admin"}
    assert client.post(f"/operators/{row.pk}/change", promote).status_code == 403
    assert client.post("/operators/add", {"name": "x", "role": "admin"}).status_code == 403
    row.refresh_from_db()
    assert row.role == role
    assert Operator.objects.count() == 1


def test_forms_carry_a_token(client: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_operator("ada", Role.ADMIN))
    assert strict.post("/operators/add", {"name": "x", "role": "admin"}).status_code == 403
    assert not Operator.objects.filter(username="x").exists()


# -- the command ---------------------------------------------------------------------------------
def run(*words: str) -> str:
    printed = io.StringIO()
    call_command("operator", *words, stdout=printed)
    return printed.getvalue()


def test_the_command_adds_and_prints_the_password_once() -> None:
    facts = json.loads(run("add", "ada", "--role", "admin", "--json"))
    row = Operator.objects.get()
    assert (row.username, row.role) == ("ada", Role.ADMIN)
    assert row.check_password(facts["password"])
    assert "Password  " in run("add", "vera")
    assert [one["name"] for one in json.loads(run("list", "--json"))] == ["ada", "vera"]
    assert "vera  viewer  on" in run("list")


def test_a_given_password_is_read_from_the_input_and_not_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert PASSWORD not in run("add", "vera", "--password-stdin")
    assert Operator.objects.get().check_password(PASSWORD)
    for given, sentence in [("short\n", "too short"), ("\n", "contains no password")]:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        with pytest.raises(CommandError, match=sentence):
            run("password", "vera", "--password-stdin")
    assert Operator.objects.get().check_password(PASSWORD)


def test_the_command_changes_and_removes() -> None:
    make_operator("ada", Role.ADMIN)
    run("add", "vera")
    run("role", "vera", "maintainer")
    run("disable", "vera")
    row = Operator.objects.get(username="vera")
    assert (row.role, row.is_active) == (Role.MAINTAINER, False)
    run("enable", "vera")
    password = run("password", "vera").split()[-1]
    row.refresh_from_db()
    assert row.is_active
    assert row.check_password(password)
    run("remove", "vera", "--yes")
    assert not Operator.objects.filter(username="vera").exists()


def test_the_command_refuses_with_one_sentence() -> None:
    make_operator("ada", Role.ADMIN)
    for words, sentence in [
        (("remove", "ada", "--yes"), "last active administrator"),
        (("disable", "ada"), "last active administrator"),
        (("role", "ada", "viewer"), "last active administrator"),
        (("role", "nobody", "viewer"), "There is no operator nobody"),
        (("add", "ada"), "The operator ada already exists"),
    ]:
        with pytest.raises(CommandError, match=sentence) as caught:
            run(*words)
        assert "\n" not in str(caught.value)
