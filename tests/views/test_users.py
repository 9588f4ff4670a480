"""The pages of registry users: what they show, to whom, and that a refused act changes nothing."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.accounts import drift, hash_cost, htpasswd, publish, rights, users
from registryui.models import NEVER, UNKNOWN, Operator, RegistryUser, Role
from registryui.models.registry_user import State
from registryui.views.users.detail import measured_words
from registryui.views.users.words import may_words
from tests.support.factories import (
    make_event,
    make_maintainer,
    make_manifest,
    make_operator,
    make_repository,
    make_tag,
)
from tests.support.instance import running_instance

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("files")]

HOSTILE = "<script>alert(1)</script>"
SECRET = re.compile(r'class="secret".*?<code>(.*?)</code>', re.DOTALL)
NEW = {"name": "ci", "preset": "push", "end": "183", "secret": "generated"}


@pytest.fixture
def admin() -> Client:
    return client_of("ada", Role.ADMIN)


def client_of(name: str, role: Role) -> Client:
    client = Client()
    client.force_login(make_operator(name, role))
    return client


def make(name: str = "ci", *may: tuple[str, str], **options: Any) -> RegistryUser:
    return users.create(name, by="tests", may=rights.parse(may), **options).user


def adopted(name: str, line_hash: str) -> RegistryUser:
    row = users.adopt({name: line_hash}, by="tests", may=users.ADOPTED)[0]
    publish.write([row.pk])
    return row


def text_of(answer: Any) -> str:
    return html.unescape(answer.content.decode())


def listed(client: Client, address: str = "/users") -> list[str]:
    """The names in the list, in its order."""
    found = re.findall(r'<a class="repo__name" href="/users/\d+">(.*?)</a>', page(client, address))
    return [html.unescape(name) for name in found]


def page(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def act(client: Client, row: RegistryUser, name: str, **data: str) -> str:
    """Presses a button on the page of that user; the page that follows."""
    return text_of(client.post(f"/users/{row.pk}", {"act": name, **data}, follow=True))


def bulk(client: Client, rows: list[RegistryUser], name: str, **data: str) -> str:
    chosen = {"user": [row.pk for row in rows], "act": name, **data}
    return text_of(client.post("/users/change", chosen, follow=True))


def rights_of(row: RegistryUser) -> set[tuple[str, str]]:
    return set(row.rights.values_list("action", "scope"))


# -- the list ------------------------------------------------------------------------------------
def test_the_list_takes_few_queries_for_two_hundred_users(admin: Client) -> None:
    rows = [
        RegistryUser(name=f"user-{number:03}", secret_hash=htpasswd.hash_secret("x"))
        for number in range(200)
    ]
    RegistryUser.objects.bulk_create(rows)
    for row in rows:
        row.rights.create(action="pull", scope="team/*")
    for address in ("/users", "/users?q=user&state=active&sort=-used"):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            text = page(admin, address)
        assert text.count('class="repo__name"') == 50
        assert len(queries) <= 12, [one["sql"][:90] for one in queries]


def test_the_page_of_one_user_takes_few_queries(admin: Client) -> None:
    row = make("ci", *((("pull", f"team/n{number}")) for number in range(30)))
    for number in range(40):
        make_event("team/api", event_id=f"e{number}", actor="ci", tag="1")
    with CaptureQueriesContext(connection) as queries:
        page(admin, f"/users/{row.pk}")
    assert len(queries) <= 10, [one["sql"][:90] for one in queries]


@pytest.mark.parametrize("sort", ["name", "used", "ends", "made"])
def test_every_column_sorts_all_rows_over_all_pages(admin: Client, sort: str) -> None:
    now = timezone.now()
    for number in range(120):
        RegistryUser.objects.create(
            name=f"u{number * 37 % 120:03}",
            secret_hash="x",
            used_at=UNKNOWN if number % 3 else now - timedelta(hours=number),
            expires_at=NEVER if number % 2 else now + timedelta(days=number),
        )
    for direction in ("", "-"):
        seen: list[str] = []
        address = f"/users?sort={direction}{sort}"
        while True:
            text = page(admin, address)
            seen += re.findall(r'<a class="repo__name" href="/users/\d+">(.*?)</a>', text)
            found = re.search(r'id="page-next" href="([^"]+)"', text)
            if not found:
                break
            address = "/users" + html.unescape(found[1])
        assert len(seen) == len(set(seen)) == 120
        column = {"name": "name", "used": "used_at", "ends": "expires_at", "made": "made_at"}[sort]
        value = dict(RegistryUser.objects.values_list("name", column))
        values = [value[name] for name in seen]
        assert values == sorted(values, reverse=direction == "-")


def test_search_finds_names_notes_and_scopes(admin: Client) -> None:
    make("ci-api")
    make("other", note="pipeline of the API team")
    make("third", ("push", "team/api"))
    make("nothing")
    assert set(listed(admin, "/users?q=api")) == {"ci-api", "other", "third"}
    assert listed(admin, "/users?q=%00api&state=active") == ["ci-api", "other", "third"]
    assert "No registry user matches" in page(admin, "/users?q=zzz")


def test_states_are_counted_and_filter(admin: Client) -> None:
    now = timezone.now()
    make("active")
    users.set_active([make("off")], is_active=False, by="tests")
    users.expire([make("expired")], now, by="tests")
    users.expire([make("ending")], now + timedelta(days=3), by="tests")
    old = make("unused")
    RegistryUser.objects.filter(pk=old.pk).update(made_at=now - timedelta(days=91))
    text = page(admin, "/users")
    counts = re.findall(r'<a href="/users[^"]*"[^>]*>([^<]+) <span class="soft">(\d+)</span>', text)
    assert counts == [
        ("All", "5"),
        ("Active", "3"),
        ("Expires soon", "1"),
        ("Unused for 90 days", "1"),
        ("Disabled", "1"),
        ("Expired", "1"),
    ]
    for state, name in [
        ("off", "off"),
        ("expired", "expired"),
        ("ending", "ending"),
        ("unused", "unused"),
    ]:
        assert listed(admin, f"/users?state={state}") == [name]
    assert len(listed(admin, "/users?state=nonsense")) == 5


def test_without_users_the_page_teaches(admin: Client) -> None:
    text = page(admin, "/users")
    assert "No registry users yet" in text
    assert "Create one for each pipeline, cluster and person" in text


def test_the_filter_answers_with_the_list_alone(admin: Client) -> None:
    make("ci")
    answer = admin.get("/users?q=ci", headers={"HX-Request": "true", "HX-Target": "users-list"})
    assert answer.content.decode().lstrip().startswith('<div id="users-list">')


def test_weak_and_unknown_hashes_are_marked(admin: Client) -> None:
    make("good")
    make("person", password="four boats on a lake", cost=5)
    assert "Weak hash" not in page(admin, "/users")
    weak = adopted("weak", "{SHA}" + "A" * 27 + "=")
    odd = adopted("odd", "whatever")
    text = page(admin, "/users")
    assert text.count("Weak hash") == 1
    assert text.count("Unknown hash") == 1
    assert "quickly guessed from a {SHA} hash" in page(admin, f"/users/{weak.pk}")
    assert "does not support this hash" in page(admin, f"/users/{odd.pk}")
    act(admin, weak, "secret", overlap="0")
    assert "Weak hash" not in page(admin, f"/users/{weak.pk}")


# -- make ----------------------------------------------------------------------------------------
def test_the_secret_is_shown_once_and_kept_nowhere(admin: Client, caplog: Any) -> None:
    caplog.set_level("DEBUG")
    answer = admin.post("/users", {**NEW, "note": "for tests"})
    row = RegistryUser.objects.get()
    assert answer["Location"] == f"/users/{row.pk}/setup"
    assert "secret" not in str(list(Session.objects.values()))  # it waits there, encrypted
    assert admin.session["registry_user_done"]["secret"]
    shown = admin.get(answer["Location"])
    secret = SECRET.findall(shown.content.decode())[0]
    assert len(secret) == 40
    assert "no-store" in shown["Cache-Control"]
    assert htpasswd.verify(publish.lines()["ci"], secret)
    again = admin.get(answer["Location"])
    assert again["Location"] == f"/users/{row.pk}"
    for address in ("/users", f"/users/{row.pk}"):
        assert secret not in page(admin, address)
    assert "registry_user_done" not in admin.session
    assert secret not in str(admin.cookies)
    assert secret not in caplog.text
    assert secret not in str(list(RegistryUser.objects.values()))


def test_the_secret_waits_for_its_own_page_and_is_not_spent_by_a_look_ahead(admin: Client) -> None:
    other = make("other")
    address = admin.post("/users", NEW)["Location"]
    assert admin.get(f"/users/{other.pk}/setup").status_code == 302
    assert admin.head(address).status_code == 302
    assert SECRET.findall(page(admin, address))


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ({"preset": "pull"}, {("pull", "*")}),
        ({"preset": "push"}, {("pull", "*"), ("push", "*")}),
        ({"preset": "namespace", "namespace": "team"}, {("pull", "team/*"), ("push", "team/*")}),
        ({"preset": "namespace", "namespace": " a/b/* "}, {("pull", "a/b/*"), ("push", "a/b/*")}),
        (
            {
                "preset": "custom",
                "pull": "*\r\n\r\n",
                "push": "team/\nother/x",
                "delete": "team/api",
            },
            {("pull", "*"), ("push", "team/*"), ("push", "other/x"), ("delete", "team/api")},
        ),
    ],
)
def test_presets_and_scopes_become_rights(
    admin: Client, form: dict[str, str], wanted: set[tuple[str, str]]
) -> None:
    assert admin.post("/users", {**NEW, **form}).status_code == 302
    assert rights_of(RegistryUser.objects.get()) == wanted


def test_ends_are_those_that_were_chosen(admin: Client) -> None:
    now = timezone.now()
    for choice, days in (("30", 30), ("183", 183), ("365", 365)):
        admin.post("/users", {**NEW, "name": f"u{choice}", "end": choice})
        end = RegistryUser.objects.get(name=f"u{choice}").expires_at
        assert abs(end - now - timedelta(days=days)) < timedelta(minutes=1)
    admin.post("/users", {**NEW, "name": "forever", "end": "never"})
    assert RegistryUser.objects.get(name="forever").expires_at == NEVER
    day = (now + timedelta(days=7)).date()
    admin.post("/users", {**NEW, "name": "week", "end": "date", "day": day.isoformat()})
    end = RegistryUser.objects.get(name="week").expires_at
    assert timedelta(days=7) <= end - now <= timedelta(days=8, seconds=1)


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"name": ""}, "A name is 1 to 255 bytes long"),
        ({"name": "a:b"}, "A name is 1 to 255 bytes long"),
        ({"name": "a/b"}, "“a/b” is not a valid name for a registry user"),
        ({"name": "taken"}, "A registry user named taken already exists"),
        ({"name": "byhand"}, "has a line for byhand that was not created here"),
        ({"preset": ""}, "Choose what the user may do"),
        ({"preset": "namespace", "namespace": "*"}, "Enter the namespace"),
        ({"preset": "namespace", "namespace": "UP"}, "“UP/*” is not a valid scope"),
        ({"preset": "custom", "push": "a b\nok\n../x"}, "“a b” is not a valid scope"),
        ({"preset": "custom", "push": "a b\nok\n../x"}, "“../x” is not a valid scope"),
        ({"preset": "custom", "pull": "\n".join(f"a{n}" for n in range(201))}, "At most 200"),
        ({"end": "17"}, "Choose an expiry date"),
        ({"end": "now"}, "would expire immediately"),
        ({"end": "date", "day": ""}, "Choose the last day"),
        ({"end": "date", "day": "2026-13-45"}, "Choose the last day"),
        ({"end": "date", "day": "9999-12-31"}, "Choose the last day"),
        ({"end": "date", "day": "2020-01-01"}, "This date is in the past"),
        ({"secret": "own", "password": ""}, "Enter a password"),
        ({"secret": "own", "password": "short"}, "8 to 72 bytes long; this one has 5"),
        ({"secret": "own", "password": "password1"}, "too common"),
        ({"owner": "999"}, "Choose an owner from the list"),
    ],
)
def test_what_cannot_be_made_says_why_keeps_the_form_and_changes_nothing(
    admin: Client, files: Path, form: dict[str, str], sentence: str
) -> None:
    make("taken")
    (files / "htpasswd").write_bytes(publish.read() + b"byhand:{SHA}x\n")
    before = publish.read()
    answer = admin.post("/users", {**NEW, "note": "kept for me", **form})
    assert answer.status_code == 422
    assert sentence in text_of(answer)
    assert 'value="kept for me"' in text_of(answer)
    if form.get("password"):
        assert f'"{form["password"]}"' not in text_of(answer)
    assert list(RegistryUser.objects.values_list("name", flat=True)) == ["taken"]
    assert publish.read() == before


def test_who_chooses_or_has_an_own_password_is_told_what_it_costs(admin: Client) -> None:
    costs = "guesses from the same address can delay"
    form = page(admin, "/users?new=1")
    assert 'value="generated" checked' in form
    assert costs in form
    generated, own = make(), make("person", password="four boats on a lake", cost=5)
    assert 'id="own-costs"' not in page(admin, f"/users/{generated.pk}")
    assert page(admin, f"/users/{generated.pk}").count(costs) == 1  # where one can be chosen
    assert 'id="own-costs"' in page(admin, f"/users/{own.pk}")
    assert page(admin, f"/users/{own.pk}").count(costs) == 1


def test_a_persons_password_is_kept_as_bcrypt_and_not_shown(admin: Client) -> None:
    password = "four boats on a lake"
    form = {**NEW, "secret": "own", "password": password}
    text = text_of(admin.post("/users", form, follow=True))
    assert password not in text
    assert 'class="secret"' not in text
    assert "Created ci" in text
    assert htpasswd.verify(publish.lines()["ci"], password)
    assert publish.lines()["ci"].startswith("$2y$08$")


def test_a_name_like_another_is_made_and_warned_of(admin: Client) -> None:
    make("CI")
    assert "There is also a user CI" in text_of(admin.post("/users", NEW, follow=True))


def test_what_the_proxy_said_is_shown(admin: Client) -> None:
    text = text_of(admin.post("/users", NEW, follow=True))
    assert "Not verified yet, because the proxy did not respond: " in text


@pytest.mark.django_db(transaction=True)
def test_a_real_login_at_the_proxy_is_shown() -> None:
    with running_instance():
        text = text_of(client_of("ada", Role.ADMIN).post("/users", NEW, follow=True))
    assert "Written to htpasswd and verified with a login through the proxy, 0." in text


def test_a_file_that_cannot_be_written_changes_nothing(
    admin: Client, files: Path, settings: Any
) -> None:
    row = make("old", ("pull", "*"))
    settings.HTPASSWD_FILE = files / "gone" / "htpasswd"
    answer = admin.post("/users", NEW)
    assert answer.status_code == 422
    assert "Nothing was changed: the htpasswd file could not be written" in text_of(answer)
    assert not RegistryUser.objects.filter(name="ci").exists()
    assert "Nothing was changed" in act(admin, row, "off")
    assert "Nothing was changed" in bulk(admin, [row], "remove", sure="1")
    assert "Nothing was changed" in act(admin, row, "rights", pull="team/*")
    row.refresh_from_db()
    assert row.is_active
    assert rights_of(row) == {("pull", "*")}


# -- one user ------------------------------------------------------------------------------------
def test_hostile_names_notes_and_clients_are_only_text(admin: Client) -> None:
    row = make("<b>x'\"", note=HOSTILE)
    RegistryUser.objects.filter(pk=row.pk).update(used_with=HOSTILE, used_from="<i>", made_by="<u>")
    make_event("team/api", actor=row.name, client=HOSTILE, address="<i>", action="<b>")
    for address in ("/users", f"/users/{row.pk}", f"/users/{row.pk}?remove=1"):
        text = page(admin, address)
        for bad in (HOSTILE, "<b>x", "<i>", "<u>", "<b>"):
            assert bad not in text
    assert HOSTILE in html.unescape(page(admin, f"/users/{row.pk}"))


@pytest.mark.parametrize(("language", "words"), [("en", "setup"), ("zh-hans", "初始设置")])
def test_whom_the_setup_made_says_so_in_words(admin: Client, language: str, words: str) -> None:
    row = make("ci")
    RegistryUser.objects.filter(pk=row.pk).update(made_by="set-up")
    admin.cookies[settings.LANGUAGE_COOKIE_NAME] = language
    for address in ("/users", f"/users/{row.pk}"):
        text = page(admin, address)
        assert words in text
        assert "set-up" not in text


def test_the_page_shows_what_it_pushed_and_pulled_and_no_more(admin: Client) -> None:
    row = make("ci", ("push", "team/*"))
    for number in range(22):
        make_event(
            "team/api", event_id=f"e{number}", actor="ci", tag=f"1.{number}", address="10.0.0.7"
        )
    make_event("other/x", event_id="other", actor="ci2", tag="9")
    text = page(admin, f"/users/{row.pk}")
    assert text.count('href="/repositories/team/api:1.') == 20
    assert "10.0.0.7" in text
    assert "Older entries are not shown." in text
    assert "other/x" not in text


def test_rights_are_changed_and_mistakes_are_quoted(admin: Client) -> None:
    row = make("ci", ("pull", "*"))
    text = act(admin, row, "rights", pull="team/*", push="team/*\nother/x", delete="")
    assert "Changed the rights of ci." in text
    assert rights_of(row) == {("pull", "team/*"), ("push", "team/*"), ("push", "other/x")}
    answer = admin.post(f"/users/{row.pk}", {"act": "rights", "pull": "ok/*\nNOT THIS"})
    assert answer.status_code == 422
    assert "“NOT THIS” is not a valid scope" in text_of(answer)
    assert "ok/*\nNOT THIS</textarea>" in text_of(answer)
    assert ("push", "other/x") in rights_of(row)


def test_a_new_secret_is_shown_once_and_the_old_one_works_as_long_as_chosen(admin: Client) -> None:
    row = make("ci")
    old = row.secret_hash
    answer = admin.post(f"/users/{row.pk}", {"act": "secret", "overlap": "24"})
    assert answer["Location"] == f"/users/{row.pk}/setup"
    text = page(admin, answer["Location"])
    assert "New secret for ci" in text
    assert "also valid, expires" in text
    assert "never expires" in text
    row.refresh_from_db()
    assert htpasswd.verify(row.secret_hash, SECRET.findall(text)[0])
    assert row.old_hash == old
    assert timedelta(hours=23) < row.old_until - timezone.now() <= timedelta(hours=24)
    assert "The previous secret is also valid." in page(admin, f"/users/{row.pk}")
    act(admin, row, "secret", overlap="0")
    assert "The previous secret is also valid." not in page(admin, f"/users/{row.pk}")
    before = RegistryUser.objects.get().secret_hash
    for overlap in ("999", "-1", ""):
        assert "Choose how long" in act(admin, row, "secret", overlap=overlap)
    assert RegistryUser.objects.get().secret_hash == before


def test_a_password_is_set_with_its_cost(admin: Client) -> None:
    row = make("jana")
    text = act(admin, row, "password", password="four boats on a lake", cost="6")
    assert "Changed the password of jana." in text
    assert "four boats" not in text
    assert publish.lines()["jana"].startswith("$2y$06$")
    for password, cost, sentence in [
        ("four boats on a lake", "4", "The bcrypt cost must be 5 to 8"),
        ("four boats on a lake", "x", "The bcrypt cost must be 5 to 8"),
        ("a", "6", "this one has 1"),
        ("", "6", "this one has 0"),
    ]:
        assert sentence in act(admin, row, "password", password=password, cost=cost)
    assert htpasswd.verify(publish.lines()["jana"], "four boats on a lake")


def test_off_on_end_describe_and_remove(admin: Client) -> None:
    row = make("ci", ("pull", "*"))
    assert "Disabled ci." in act(admin, row, "off")
    assert "ci" not in publish.lines()
    assert "Enabled ci." in act(admin, row, "on")
    assert "ci" in publish.lines()
    assert "Changed the expiry date of" in act(admin, row, "end", end="now")
    assert RegistryUser.objects.get().state == State.EXPIRED
    assert "ci" not in publish.lines()
    assert "This date is in the past" in act(admin, row, "end", end="date", day="2020-01-01")
    act(admin, row, "end", end="never")
    owner = make_operator("mo", Role.MAINTAINER)
    assert "Changed the note and owner of ci." in act(
        admin, row, "describe", note="of the team", owner=str(owner.pk)
    )
    row.refresh_from_db()
    assert (row.note, row.owner) == ("of the team", owner)
    assert "This action is not supported" in act(admin, row, "explode")
    assert "This action is not supported" in act(admin, row, "")
    question = page(admin, f"/users/{row.pk}?remove=1")
    assert "<dialog" in question
    assert " inert" in question
    assert "Removed ci." in act(admin, row, "remove")
    assert not RegistryUser.objects.exists()
    assert "ci" not in publish.lines()


def test_measuring_says_what_a_cost_does_to_the_proxy(admin: Client) -> None:
    fragment = admin.post("/users/measure", {"cost": "5"}, headers={"HX-Request": "true"})
    assert fragment["Content-Type"].startswith("text/plain")
    assert "cost 5 takes" in text_of(fragment)
    row = make("ci")
    after = admin.post(
        "/users/measure",
        {"cost": "5", "back": f"/users/{row.pk}", "password": "not to be told"},
        follow=True,
    )
    assert after.redirect_chain[-1][0] == f"/users/{row.pk}"
    assert "cost 5 takes" in text_of(after)
    assert "not to be told" not in text_of(after)
    elsewhere = admin.post("/users/measure", {"cost": "5", "next": "//evil.test/"})
    assert elsewhere["Location"].startswith("/")
    assert not elsewhere["Location"].startswith("//")
    for cost in ("4", "31", "9999999", "x", ""):
        assert "5 to 8" in text_of(admin.post("/users/measure", {"cost": cost}, follow=True))


def test_the_measured_words_add_up() -> None:
    words = measured_words(hash_cost.HashCost(8, 0.0134, 0.0000021))
    assert "cost 8 takes 13 ms" in words
    assert "0.0021 ms" in words
    assert "at most 75 such logins per second" in words


def test_a_dearer_hash_measures_dearer() -> None:
    cheap, dear = hash_cost.measure(5), hash_cost.measure(9)
    assert dear.seconds > 4 * cheap.seconds  # 16 times, in truth
    assert cheap.quick_seconds < cheap.seconds


# -- several at once -----------------------------------------------------------------------------
def test_several_are_switched_ended_and_removed_at_once(admin: Client) -> None:
    rows = [make(name) for name in ("a", "b", "c")]
    assert "Disabled a, b." in bulk(admin, rows[:2], "off")
    assert set(publish.lines()) == {"c"}
    assert "Enabled a, b." in bulk(admin, rows[:2], "on")
    assert "Changed the expiry date of a, b, c." in bulk(admin, rows, "end", end="30")
    assert RegistryUser.objects.filter(expires_at__lt=NEVER).count() == 3
    question = admin.post("/users/change", {"user": [rows[0].pk, rows[1].pk], "act": "remove"})
    assert "Remove 2 registry users?" in text_of(question)
    assert RegistryUser.objects.count() == 3
    assert "Removed a, b." in bulk(admin, rows[:2], "remove", sure="1")
    assert set(publish.lines()) == {"c"}


def test_refused_acts_on_several_change_nothing(admin: Client) -> None:
    rows = [make(name) for name in ("a", "b")]
    before = publish.read()
    assert "Choose at least one registry user." in bulk(admin, [], "off")
    assert "This action is not supported" in bulk(admin, rows, "explode")
    assert "Choose an expiry date." in bulk(admin, rows, "end")
    odd = {"user": ["x", "-1", "9" * 30], "act": "off"}
    assert "Choose at least one" in text_of(admin.post("/users/change", odd, follow=True))
    gone = RegistryUser(pk=999, name="gone")
    assert "has been removed in the meantime" in bulk(admin, [*rows, gone], "off")
    assert publish.read() == before
    assert RegistryUser.objects.filter(is_active=True).count() == 2


# -- who may -------------------------------------------------------------------------------------
def test_a_maintainer_manages_only_their_own(admin: Client) -> None:
    client = client_of("mo", Role.MAINTAINER)
    mo = Operator.objects.get(username="mo")
    strange, own = make("strange", ("pull", "*")), make("own", owner=mo)
    before = publish.read()
    assert listed(client) == ["own"]
    assert listed(admin) == ["own", "strange"]
    assert client.get(f"/users/{strange.pk}").status_code == 404
    assert client.get(f"/users/{strange.pk}/setup").status_code == 404
    for name in ("off", "secret", "remove", "rights", "password", "end", "describe"):
        answer = client.post(f"/users/{strange.pk}", {"act": name, "overlap": "0", "end": "now"})
        assert answer.status_code == 404
    assert "has been removed in the meantime" in bulk(client, [own, strange], "off")
    assert "has been removed in the meantime" in bulk(client, [strange], "remove", sure="1")
    assert publish.read() == before
    assert rights_of(strange) == {("pull", "*")}
    assert "Disabled own." in act(client, own, "off")


def test_what_a_maintainer_makes_is_theirs_and_stays_theirs() -> None:
    client, ada = Client(), make_operator("ada", Role.ADMIN)
    client.force_login(mo := make_maintainer("mo", ("pull", "*"), ("push", "*")))
    assert client.post("/users", {**NEW, "owner": str(ada.pk)}).status_code == 302
    row = RegistryUser.objects.get()
    assert row.owner == mo
    act(client, row, "describe", note="mine", owner="")
    row.refresh_from_db()
    assert (row.owner, row.note) == (mo, "mine")
    assert 'name="owner"' not in page(client, f"/users/{row.pk}")


def test_a_maintainer_reads_what_they_may_give_and_is_refused_more(files: Path) -> None:
    client = Client()
    mo = make_maintainer("mo", ("pull", "team/*"), longest_days=90)
    client.force_login(mo)
    text = page(client, "/users")
    assert "You can grant, for at most 90 days: pull team/*." in text
    assert 'value="30"' in text
    assert 'value="183"' not in text
    assert 'value="never"' not in text
    answer = client.post("/users", {**NEW, "preset": "namespace", "namespace": "team"})
    assert answer.status_code == 422
    assert "ci would have more rights than you can grant: push team/*" in text_of(answer)
    answer = client.post("/users", {**NEW, "preset": "custom", "pull": "team/*"})
    assert "You can grant access for at most 90 days" in text_of(answer)
    answer = client.post("/users", {**NEW, "preset": "custom", "pull": "team/*", "end": "30"})
    assert answer.status_code == 302
    row = RegistryUser.objects.get()
    assert "more rights than you can grant: pull *" in act(client, row, "rights", pull="*")
    assert "at most 90 days" in act(client, row, "end", end="never")
    assert rights_of(row) == {("pull", "team/*")}
    users.set_rights(row, rights.parse([("pull", "*")]), by="tests")
    assert "would have more" in act(client, row, "secret", overlap="0")
    assert "Disabled ci." in act(client, row, "off")
    assert "would have more" in bulk(client, [row], "on")
    assert "Removed ci." in act(client, row, "remove")


def test_a_maintainer_without_a_grant_is_told_who_gives_one() -> None:
    text = page(client_of("mo", Role.MAINTAINER), "/users")
    assert "You cannot grant any rights yet: an administrator can allow it" in text


def test_a_maintainer_sees_nothing_of_the_file(files: Path) -> None:
    client = client_of("mo", Role.MAINTAINER)
    make("ci")
    (files / "htpasswd").write_bytes(publish.read() + b"byhand:{SHA}x\n")
    assert "byhand" not in page(client, "/users")
    assert "htpasswd history" not in page(client, "/users")
    assert client.get("/users/htpasswd-history").status_code == 403
    assert "edited by hand" not in page(client, "/")


def test_the_navigation_offers_the_page_to_those_who_may(admin: Client) -> None:
    assert 'href="/users"' in page(admin, "/")
    assert 'href="/users"' in page(client_of("mo", Role.MAINTAINER), "/")
    assert 'href="/users"' not in page(client_of("vera", Role.VIEWER), "/")


# -- lines to paste ------------------------------------------------------------------------------
def test_one_who_may_only_pull_gets_no_line_that_pushes(admin: Client) -> None:
    repository = make_repository("team/api")
    make_tag(repository, "2.1", make_manifest(repository))
    row = make("k8s", ("pull", "team/*"))
    text = page(admin, f"/users/{row.pk}")
    assert "docker pull localhost:8443/team/api:2.1" in text
    for line in (" push localhost", "docker tag", "docker build"):
        assert line not in text
    assert "image: localhost:8443/team/api:2.1" in text


def test_one_who_may_only_push_gets_no_line_that_pulls(admin: Client) -> None:
    row = make("ci", ("push", "team/api"))
    text = html.unescape(page(admin, f"/users/{row.pk}"))
    assert "docker push localhost:8443/team/api:1.0" in text
    assert " pull localhost" not in text
    assert "imagePullSecrets" not in text


def test_one_without_rights_is_told_so(admin: Client) -> None:
    row = make("new")
    text = page(admin, f"/users/{row.pk}")
    assert "can log in but has no rights" in text
    assert "docker login" in text
    assert " push localhost" not in text
    assert " pull localhost" not in text


def test_a_name_for_the_shell_is_quoted(admin: Client) -> None:
    row = make("$(reboot) 'x", ("pull", "*"))
    text = html.unescape(page(admin, f"/users/{row.pk}"))
    assert "--username '$(reboot) '\"'\"'x' --password-stdin" in text
    assert '''username: "$(reboot) 'x"''' in text


def test_no_line_has_the_secret(admin: Client) -> None:
    text = text_of(admin.post("/users", NEW, follow=True))
    secret = SECRET.findall(text)[0]
    assert text.count(secret) == 1


def test_rights_in_words_join_what_belongs_together() -> None:
    pairs = rights.parse(
        [("pull", "*"), ("pull", "a/x"), ("push", "a/*"), ("push", "a/b"), ("push", "c/*")]
    )
    found = [(one.words, list(one.scopes), one.more) for one in may_words(pairs, most=1)]
    assert found == [("pull", ["*"], 0), ("push", ["a/*"], 1)]


# -- edited by hand -----------------------------------------------------------------------------
@pytest.fixture
def edited(files: Path) -> Path:
    """A file in which a hand added, changed and took away a line."""
    make("changed", ("pull", "*"))
    make("removed", ("pull", "*"))
    make("same")
    assert drift.find() == []
    lines = [one for one in publish.read().decode().splitlines() if not one.startswith("removed:")]
    new = [
        "changed:{SHA}" + "A" * 27 + "=" if line.startswith("changed:") else line for line in lines
    ]
    path = files / "htpasswd"
    path.write_text("\n".join([*new, "<i>added:$apr1$abcdefgh$wVuM1PmFy7Wl4wJ3Uk8XO/", ""]))
    return path


def tokens(client: Client) -> dict[str, str]:
    """Name (or "" for all) to the token that stands for its difference."""
    text = page(client, "/users")
    found = {"": re.findall(r'name="line" value="(\w+)"', text)[0]}
    for item in re.findall(r'<strong class="mono">(.*?)</form>', text, re.DOTALL):
        name = html.unescape(item.partition("</strong>")[0])
        found[name] = re.findall(r'name="line" value="(\w+)"', item)[0]
    return found


def answer(client: Client, token: str, name: str) -> str:
    return text_of(client.post("/users/drift", {"line": token, "act": name}, follow=True))


def test_hand_edits_are_shown_without_hashes(admin: Client, edited: Path) -> None:
    text = page(admin, "/users")
    assert "3 lines of the htpasswd file were edited by hand" in text
    assert "&lt;i&gt;added" in text
    assert "<i>added" not in text
    for words in ("line added · apr1 (MD5)", "hash changed · {SHA}", "line removed"):
        assert words in text
    assert "wVuM1PmFy7Wl4wJ3Uk8XO" not in text
    assert "3 lines of the htpasswd file were edited by hand." in page(admin, "/")
    assert list(tokens(admin)) == ["", "<i>added", "changed", "removed"]


def test_one_line_is_accepted_reverted_or_ignored(admin: Client, edited: Path) -> None:
    found = tokens(admin)
    assert "Accepted the manual edit of <i>added." in answer(admin, found["<i>added"], "take")
    new = RegistryUser.objects.get(name="<i>added")
    assert rights_of(new) == set()
    assert new.made_by == "operator:ada"
    assert "Reverted the manual edit of removed." in answer(admin, found["removed"], "back")
    assert "removed" in publish.lines()
    assert "Ignored the manual edit of changed until" in answer(admin, found["changed"], "leave")
    assert "edited by hand" not in page(admin, "/users")
    assert publish.lines()["changed"].startswith("{SHA}")
    assert not RegistryUser.objects.get(name="changed").secret_hash.startswith("{SHA}")


def test_all_lines_are_taken_over_at_once(admin: Client, edited: Path) -> None:
    before = publish.lines()
    assert "Accepted the manual edit of <i>added, changed, removed." in answer(
        admin, tokens(admin)[""], "take"
    )
    assert publish.lines() == before
    assert not RegistryUser.objects.get(name="removed").is_active
    assert RegistryUser.objects.get(name="changed").secret_hash.startswith("{SHA}")
    assert "edited by hand" not in page(admin, "/users")


def test_all_lines_are_reverted_at_once(admin: Client, edited: Path) -> None:
    assert "Reverted the manual edit of <i>added, changed, removed." in answer(
        admin, tokens(admin)[""], "back"
    )
    assert set(publish.lines()) == {"changed", "removed", "same"}
    assert publish.lines()["changed"] == RegistryUser.objects.get(name="changed").secret_hash


def test_an_act_on_lines_that_have_changed_meanwhile_is_refused(
    admin: Client, edited: Path
) -> None:
    found = tokens(admin)
    edited.write_text(edited.read_text().replace("changed:{SHA}A", "changed:{SHA}B"))
    before = edited.read_bytes()
    for token in (found["changed"], found[""], "", "x", "é"):
        for name in ("take", "back", "leave"):
            assert "The file has changed since this page was loaded" in answer(admin, token, name)
    assert "This action is not supported" in answer(admin, tokens(admin)[""], "explode")
    assert edited.read_bytes() == before
    assert RegistryUser.objects.count() == 3


def test_a_line_that_no_row_can_stand_for_is_left_alone_and_the_others_taken_over(
    admin: Client, edited: Path
) -> None:
    edited.write_bytes(edited.read_bytes() + b"bad\x01name:{SHA}x\n")
    text = page(admin, "/users")
    assert "bad\\x01name" in text
    assert "cannot be accepted" in answer(admin, tokens(admin)[""], "take")
    assert not RegistryUser.objects.filter(name="<i>added").exists()
    assert "Ignored the manual edit of bad\\x01name" in answer(
        admin, tokens(admin)["bad\\x01name"], "leave"
    )
    assert "Accepted " in answer(admin, tokens(admin)[""], "take")
    assert not RegistryUser.objects.get(name="<i>added").is_pending
    assert "edited by hand" not in page(admin, "/users")


# -- versions ------------------------------------------------------------------------------------
def test_a_version_is_restored_behind_a_plan_that_names_names(admin: Client) -> None:
    ci, gone = make("ci"), make("gone")
    make("old", expires_at=timezone.now() + timedelta(hours=1))
    then = publish.lines()["ci"]
    users.remove([gone], by="tests")
    act(admin, ci, "secret", overlap="0")
    users.expire([RegistryUser.objects.get(name="old")], timezone.now(), by="tests")
    make("new", ("pull", "*"))
    text = page(admin, "/users/htpasswd-history")
    addresses = re.findall(r'href="(/users/htpasswd-history/\d+)"', text)
    wanted = next(
        one
        for one in addresses
        if re.search(r"gone</strong> can log in again, as a new user", page(admin, one))
        and "old</strong> remains expired" in page(admin, one)
    )
    plan = page(admin, wanted)
    assert "new</strong> can no longer log in" in plan
    assert "ci</strong> logs in with the secret from then" in plan
    token = re.findall(r'name="plan" value="(\w+)"', plan)[0]
    said = text_of(admin.post(wanted, {"plan": token}, follow=True))
    assert "Restored the htpasswd file of 20" in said
    assert publish.lines()["ci"] == then
    assert set(publish.lines()) == {"ci", "gone"}
    assert not RegistryUser.objects.get(name="new").is_active
    assert rights_of(RegistryUser.objects.get(name="gone")) == set()
    assert drift.find() == []


def test_one_who_is_on_again_by_a_version_keeps_the_secret_we_know(admin: Client) -> None:
    row = make("ci")
    users.set_active([row], is_active=False, by="tests")
    address = re.findall(
        r'href="(/users/htpasswd-history/\d+)"', page(admin, "/users/htpasswd-history")
    )[0]
    token = re.findall(r'name="plan" value="(\w+)"', page(admin, address))[0]
    admin.post(address, {"plan": token})
    row.refresh_from_db()
    assert row.is_active
    assert row.is_generated
    assert "Weak hash" not in page(admin, "/users")


def test_a_plan_that_is_not_true_any_more_is_refused(admin: Client) -> None:
    make("a")
    make("b")
    address = re.findall(
        r'href="(/users/htpasswd-history/\d+)"', page(admin, "/users/htpasswd-history")
    )[0]
    token = re.findall(r'name="plan" value="(\w+)"', page(admin, address))[0]
    make("c")
    before = publish.read()
    for plan in (token, "", "é"):
        said = text_of(admin.post(address, {"plan": plan}, follow=True))
        assert "The file has changed since this page was loaded" in said
    assert publish.read() == before
    assert RegistryUser.objects.filter(is_active=True).count() == 3


def test_a_version_that_is_gone_is_not_found(admin: Client) -> None:
    assert "No versions yet" in page(admin, "/users/htpasswd-history")
    for address in ("/users/htpasswd-history/1", f"/users/htpasswd-history/{'9' * 30}"):
        assert admin.get(address).status_code == 404
        assert admin.post(address, {"plan": ""}).status_code == 404


def test_forms_carry_a_token() -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_operator("ada", Role.ADMIN))
    row = make("ci")
    for address in ("/users", f"/users/{row.pk}", "/users/change", "/users/drift"):
        assert strict.post(address, {**NEW, "name": "x", "act": "off"}).status_code == 403
    assert list(RegistryUser.objects.values_list("name", "is_active")) == [("ci", True)]
