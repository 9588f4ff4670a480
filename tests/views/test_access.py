"""Who may open what: every route, every role, both methods, as one table."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import transaction
from django.test import Client
from django.urls import get_resolver

from registryui.models import Operator, Role

pytestmark = pytest.mark.django_db

DIGEST = "sha256:" + "0" * 64
# name: (address, the lowest role for GET, the lowest role for POST); None: nobody, "": everybody
TABLE: dict[str, tuple[str, str | None, str | None]] = {
    "dashboard": ("/", "viewer", None),
    "repositories": ("/repositories/", "viewer", None),
    "repository": ("/repositories/a/b", "viewer", None),
    "tag": ("/repositories/a/b:1", "viewer", None),
    "manifest": (f"/repositories/a/b@{DIGEST}", "viewer", None),
    "base_image": (f"/repositories/a/b@{DIGEST}/base", "viewer", None),
    "purge_manifest": (f"/repositories/a/b@{DIGEST}/delete-permanently", "admin", "admin"),
    "delete": ("/delete", None, "maintainer"),
    "delete_run": ("/delete/runs/1", "maintainer", None),
    "delete_stop": ("/delete/runs/1/stop", None, "maintainer"),
    "recently_deleted": ("/maintenance/recently-deleted", "viewer", None),
    "restore": ("/restore", None, "maintainer"),
    "compare": ("/compare", "viewer", None),
    "layer": (f"/layers/{DIGEST}", "viewer", None),
    "restore_digest": ("/restore-digest", None, "maintainer"),
    "storage": ("/storage", "viewer", None),
    "search": ("/search", "viewer", None),
    "mirrors": ("/mirrors", "viewer", None),
    "mirror": ("/mirrors/1", "viewer", None),
    "mirror_add": ("/mirrors/add", None, "admin"),
    "mirror_change": ("/mirrors/1/change", None, "admin"),
    "mirror_check": ("/mirrors/1/check", None, "maintainer"),
    "mirror_tags": ("/mirrors/1/tags", "viewer", None),
    "activity": ("/activity", "viewer", None),
    "activity_export": ("/activity/export", None, "admin"),
    "activity_verify": ("/activity/verify", None, "admin"),
    "protected": ("/maintenance/protected", "viewer", None),
    "protection_add": ("/maintenance/protected/add", None, "admin"),
    "protection_lift": ("/maintenance/protected/lift", None, "admin"),
    "password": ("/password", "viewer", "viewer"),
    "users": ("/users", "maintainer", "maintainer"),
    "users_change": ("/users/change", None, "maintainer"),
    "users_drift": ("/users/drift", None, "admin"),
    "users_measure": ("/users/measure", None, "maintainer"),
    "htpasswd_history": ("/users/htpasswd-history", "admin", None),
    "htpasswd_file": ("/users/htpasswd-history/1", "admin", "admin"),
    "user": ("/users/1", "maintainer", "maintainer"),
    "user_setup": ("/users/1/setup", "maintainer", None),
    "operators": ("/operators", "admin", None),
    "operator": ("/operators/1", "admin", None),
    "operator_add": ("/operators/add", None, "admin"),
    "operator_change": ("/operators/1/change", None, "admin"),
    "retention": ("/maintenance", "viewer", None),
    "retention_policies": ("/maintenance/policies", None, "admin"),
    "retention_policy": ("/maintenance/policies/1", None, "admin"),
    "retention_dry_run": ("/maintenance/policies/1/dry-run", None, "maintainer"),
    "retention_run": ("/maintenance/runs/1", "maintainer", None),
    "retention_stop": ("/maintenance/runs/1/stop", None, "maintainer"),
    "retention_csv": ("/maintenance/runs/1.csv", "maintainer", None),
    "components": ("/components", "viewer", None),
    "doctor": ("/doctor", "admin", None),
    "doctor_check": ("/doctor/check", None, "admin"),
    "gc": ("/maintenance/gc", "viewer", None),
    "gc_run": ("/maintenance/gc/1", "viewer", None),
    "gc_estimate": ("/maintenance/gc/estimate", None, "maintainer"),
    "gc_start": ("/maintenance/gc/start", None, "admin"),
    "gc_stop": ("/maintenance/gc/stop", None, "maintainer"),
    "gc_trust_clock": ("/maintenance/gc/trust-clock", None, "admin"),
    "gc_restore": ("/maintenance/gc/restore", None, "admin"),
    "gc_purge": ("/maintenance/gc/purge", "admin", "admin"),
    "integrity_run": ("/maintenance/integrity/1", "viewer", None),
    "integrity_start": ("/maintenance/integrity/start", None, "maintainer"),
    "integrity_stop": ("/maintenance/integrity/stop", None, "maintainer"),
    "trust": ("/trust", "", None),
    "ca": ("/ca.crt", "", None),
    "login": ("/login", "", ""),
    "logout": ("/logout", None, ""),
    "preferences": ("/preferences", None, ""),
    "healthz": ("/healthz", "", None),
    "old_address": ("/cleanup", "", None),
}
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


def test_an_operator_who_was_switched_off_is_out_at_the_next_request() -> None:
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
