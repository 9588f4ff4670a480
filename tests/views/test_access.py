"""Who may open what: every route, every role, both methods, as one table."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import transaction
from django.test import Client
from django.urls import get_resolver

from registryui.models import Operator, Role
from tests.support.access_table import TABLE

pytestmark = pytest.mark.django_db

# A token or nginx's word instead: test_hooks.py, test_docker_search.py, test_guard.py.
NOT_FOR_PEOPLE = {"hook", "docker_search", "catalog", "guarded"}
ROLES = ["", "viewer", "maintainer", "admin"]
REFUSED = {302, 403, 405}


def test_every_route_stands_in_the_table() -> None:
    names = {pattern.name for pattern in get_resolver().url_patterns}
    assert names == TABLE.keys() | NOT_FOR_PEOPLE


@pytest.mark.parametrize("role", ROLES)
def test_a_route_opens_for_its_roles_only(subtests: pytest.Subtests, role: str) -> None:
    operator = Operator.objects.create(username=f"a-{role}", role=role) if role else None
    for name, method in itertools.product(sorted(TABLE), ("get", "post")):
        # What a route changes is taken back, so that each is asked of the same portal.
        with subtests.test(name, method=method), unchanged():
            ask(name, method, operator)


@contextmanager
def unchanged() -> Iterator[None]:
    """All that is written to the database meanwhile is taken back."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def ask(name: str, method: str, operator: Operator | None) -> None:
    """One request of somebody with that role, or of nobody: open or refused as the table says."""
    path, for_get, for_post = TABLE[name]
    lowest = for_get if method == "get" else for_post
    role = operator.role if operator else ""
    client = Client()
    if operator:
        client.force_login(operator)
    answer = getattr(client, method)(path)
    is_open = lowest is not None and ROLES.index(role) >= ROLES.index(lowest)
    if is_open:
        to_login = answer.status_code == 302 and answer["Location"].startswith("/login?")
        assert answer.status_code not in (403, 405)
        assert not to_login
    elif not role and lowest != "" and answer.status_code == 302:
        assert answer["Location"].startswith("/login?next=")
    else:
        assert answer.status_code in REFUSED


def test_an_operator_who_was_disabled_is_out_at_the_next_request() -> None:
    operator = Operator.objects.create(username="gone", role=Role.ADMIN)
    client = Client()
    client.force_login(operator)
    assert client.get("/repositories/").status_code == 200
    Operator.objects.filter(pk=operator.pk).update(is_active=False)
    assert client.get("/repositories/").status_code == 302


def test_a_fragment_without_a_session_reloads_the_page() -> None:
    answer = Client().get("/repositories/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Refresh"]) == (401, "true")


def test_forms_need_a_token_of_their_own_page() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(Operator.objects.create(username="a", role=Role.ADMIN))
    assert client.post("/doctor/check").status_code == 403
    assert client.post("/login", {"username": "a", "password": "b"}).status_code == 403


def test_pages_may_load_nothing_from_elsewhere_and_are_framed_by_nobody() -> None:
    answer = Client().get("/login")
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert not [name for name in answer.headers if name.startswith("Access-Control-")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/cleanup", "/maintenance"),
        ("/cleanup?edit=4", "/maintenance?edit=4"),
        ("/cleanup/collection/7", "/maintenance/gc/7"),
        ("/cleanup/rules/3", "/maintenance/policies/3"),
        ("/cleanup/deleted?q=a%26b", "/maintenance/recently-deleted?q=a%26b"),
        ("/cleanup/runs/12.csv", "/maintenance/runs/12.csv"),
        ("/users/versions/2", "/users/htpasswd-history/2"),
        ("/users/5/ready", "/users/5/setup"),
    ],
)
def test_a_bookmark_of_before_leads_on(old: str, new: str) -> None:
    answer = Client().get(old)
    assert (answer.status_code, answer["Location"]) == (301, new)
