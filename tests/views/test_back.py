"""After an act, or a new login, one is back where one was: filter, order and place in the list."""

from urllib.parse import parse_qs, urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client

from registryui.deletion import protection
from registryui.models import Protection, RegistryUser, Role
from registryui.retention import policies
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db

SITE = "http://testserver"
R = "team/app"


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(make_operator("ada", Role.ADMIN))
    return client


def act(client: Client, path: str, fields: dict[str, str], page: str) -> HttpResponse:
    """Sends a form that is on `page`, as browsers do."""
    return client.post(path, fields, headers={"Referer": f"{SITE}{page}"})  # type: ignore[return-value]


def test_acts_on_users_keep_the_list_as_it_was(admin: Client) -> None:
    user = RegistryUser.objects.create(name="ci", secret_hash="x")
    there = "/users?q=c&state=active&sort=-used"
    fields = {"user": str(user.pk), "act": "off"}
    assert act(admin, "/users/change", fields, there)["Location"] == there
    assert act(admin, "/users/change", {"act": "off"}, there)["Location"] == there  # refused
    asked = act(admin, "/users/change", {**fields, "act": "remove"}, there).content.decode()
    back = there.replace("&", "&amp;")
    assert f'href="{back}"' in asked  # Cancel
    assert f'name="back" value="{back}"' in asked
    sure = {**fields, "act": "remove", "sure": "1", "back": there}
    assert act(admin, "/users/change", sure, "/users/change")["Location"] == there


def test_what_only_opened_a_question_is_used_up(admin: Client) -> None:
    wanted = policies.Wanted("old", "team/*", keep_newest=2)
    row = policies.add(wanted, by="tests")
    there = f"/maintenance?after=x&remove={row.pk}"
    answer = act(admin, f"/maintenance/policies/{row.pk}", {"act": "off"}, there)
    assert answer["Location"] == "/maintenance?after=x"


def test_a_protection_is_lifted_in_its_place_and_added_with_an_empty_form(admin: Client) -> None:
    protection.add("a", "b", note="", by="tests")
    sent = {"protection": str(Protection.objects.get().pk)}
    there = "/maintenance/protected?after=x"
    assert act(admin, "/maintenance/protected/lift", sent, there)["Location"] == there
    filled = "/maintenance/protected?after=x&repositories=a&tags=v1"
    sent = {"repositories": "a", "tags": "v1"}
    assert act(admin, "/maintenance/protected/add", sent, filled)["Location"] == there


@pytest.mark.parametrize(
    "referer",
    ["", "https://evil.example/users?q=1", "//evil.example/users?q=1", f"{SITE}/users/1?q=1"],
)
def test_from_elsewhere_an_act_leads_to_its_page_alone(admin: Client, referer: str) -> None:
    answer = admin.post("/users/change", {"act": "off"}, headers={"Referer": referer})
    assert answer["Location"] == "/users"


@pytest.mark.parametrize(
    "back",
    ["https://evil.example/users", "//evil.example", "/\\evil.example", "javascript:alert(1)"],
)
def test_no_form_leads_to_a_stranger(admin: Client, back: str) -> None:
    answer = admin.post("/restore", {"back": back})
    assert answer["Location"] == "/maintenance/recently-deleted"


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("path", "sent", "referer", "following"),
    [
        ("/users/change", "act=off", "/users?q=c&after=x", "/users?q=c&after=x"),
        ("/users/change", "act=remove&sure=1&back=/users%3Fq%3Dc", "/users/change", "/users?q=c"),
        ("/users/change", "act=off", "/users/change", "/"),  # no page to go back to
        ("/restore", "", "https://evil.example/", "/"),
        (
            "/delete",
            "back=https://evil.example/",
            f"/repositories/{R}?q=1",
            f"/repositories/{R}?q=1",
        ),
    ],
)
def test_a_form_that_meets_the_login_page_is_not_sent_and_its_page_comes_after(
    path: str, sent: str, referer: str, following: str
) -> None:
    RegistryUser.objects.create(name="ci", secret_hash="x")
    client = Client()
    told = referer if "://" in referer else f"{SITE}{referer}"
    answer = client.post(path, sent, content_type=FORM, headers={"Referer": told})
    place = urlsplit(answer["Location"])
    assert place.path == "/login"
    assert parse_qs(place.query)["next"] == [following]
    make_operator("ada", Role.ADMIN)
    client.force_login(make_operator("bob", Role.ADMIN))
    page = client.get(following, follow=True).content.decode()
    assert "Your session had ended, so nothing was done." in page
    assert RegistryUser.objects.get(name="ci").is_active


def test_an_upload_that_meets_the_login_page_is_not_read() -> None:
    answer = Client().post("/imports/archives/upload", {"back": "/users"})
    assert answer["Location"] == "/login?next=/"
