"""What the real nginx asks the portal before it deletes or pushes, and what without a portal.

The portal here is a stand-in that notes what it is asked; tests/e2e/test_guard.py has the real one.
"""

from __future__ import annotations

import http.client
from datetime import timedelta

import pytest
from django.conf import settings

from registryui.accounts import users
from registryui.deletion import protection
from registryui.models import RegistryUser
from registryui.oci.untrusted import MANIFEST_LIMIT
from registryui.registry.client import RegistryClient
from tests.support.instance import Instance, take_portal_away
from tests.support.proxy_client import TYPE, Answer, ask, digest, made, manifest, push

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]
BY = "operator:ada"
DIGEST = digest(manifest())
OF_STANDIN = 404  # what the stand-in says to all that it does not know
ALL = (("pull", "*"), ("push", "*"), ("delete", "*"))


@pytest.fixture(scope="module")
def filled(standing: Instance) -> Instance:
    with RegistryClient(settings.REGISTRY_URL) as client:
        for name in ("team/api", "team/deep/er/api", "team", "teams/api", "single"):
            push(client, name)
    standing.remember()
    return standing


@pytest.fixture
def instance(filled: Instance) -> Instance:
    filled.renew()
    return filled


@pytest.fixture
def user(instance: Instance) -> tuple[str, str]:
    return made("ci", *ALL)


def put(path: str, user: tuple[str, str], body: bytes = b"", **headers: str) -> Answer:
    sent = {"Content-Type": TYPE, **headers}
    return ask("PUT", path, user, body=body or manifest("new"), headers=sent)


def asked(instance: Instance) -> list[str]:
    """The requests that came to the portal, and forgets them."""
    found = [one.line for one in instance.heard]
    instance.heard.clear()
    return found


def test_only_what_a_protection_may_forbid_goes_to_the_portal(
    instance: Instance, user: tuple[str, str], subtests: pytest.Subtests
) -> None:
    protection.add("team/*", "v*", note="", by=BY, is_immutable=True)
    protection.add("single", "v*", note="", by=BY)
    table = [
        ("PUT", "/v2/team/api/manifests/1", True),
        ("PUT", "/v2/team/deep/er/api/manifests/v1", True),
        ("PUT", "/v2/team/%61pi/manifests/%76%31", True),
        ("PUT", f"/v2/team/api/manifests/{digest(manifest('new'))}", False),
        ("PUT", "/v2/team/manifests/v1", False),
        ("PUT", "/v2/teams/api/manifests/v1", False),
        ("PUT", "/v2/single/manifests/v1", False),  # protected, not immutable
        ("DELETE", f"/v2/team/api/manifests/{DIGEST}", True),
        ("DELETE", f"/v2/team/api/manifests/{DIGEST.replace(':', '%3A')}", True),
        ("DELETE", "/v2/team/api/manifests/v1", True),
        ("DELETE", f"/v2/team/api/blobs/{DIGEST}", True),
        ("DELETE", f"/v2/single/manifests/{DIGEST}", True),
        ("DELETE", f"/v2/teams/api/manifests/{DIGEST}", False),
        ("GET", "/v2/team/api/manifests/1", False),
        ("HEAD", "/v2/team/api/manifests/1", False),
        ("GET", f"/v2/team/api/blobs/{DIGEST}", False),
        ("POST", "/v2/team/api/blobs/uploads/", False),
        ("GET", "/v2/team/api/tags/list", False),
    ]
    for method, path, is_asked in table:
        with subtests.test(f"{method} {path}"):
            answer = put(path, user) if method == "PUT" else ask(method, path, user)
            plain = path.replace("%61", "a").replace("%76%31", "v1").replace("%3A", ":")
            assert asked(instance) == ([f"{method} {plain}"] if is_asked else [])
            if is_asked:
                assert answer.status == OF_STANDIN


def test_the_portal_hears_a_verified_name_and_no_secret(
    instance: Instance, user: tuple[str, str]
) -> None:
    protection.add("team/*", "v*", note="", by=BY, is_immutable=True)
    path = "/v2/team/api/manifests/v1"
    put(path, user, **{"X-Boathouse-User": "boss", "User-Agent": "me"})
    [one] = instance.heard
    assert one.of("x-boathouse-user") == ["ci"]
    assert one.of("authorization") == one.of("cookie") == []
    assert one.of("host") == [settings.REGISTRY_NAME]
    assert (one.of("content-type"), one.of("user-agent")) == ([TYPE], ["me"])
    assert one.of("content-length") == [str(len(manifest("new")))]
    instance.heard.clear()
    for wrong in (None, ("ci", "wrong"), ("boss", user[1])):
        assert ask("DELETE", f"/v2/team/api/manifests/{DIGEST}", wrong).status == 401
    puller = made("puller", ("pull", "*"), ("push", "other/*"))
    assert put(path, puller).message == "puller may not push team/api"
    refused = ask("DELETE", f"/v2/team/api/manifests/{DIGEST}", puller)
    assert refused.message == "puller may not delete team/api"
    assert ask("PUT", "/_guarded", user).status == 404
    assert b"team" not in ask("GET", "/_rule/push/team/@all").body
    assert not [one for one in instance.heard if one.of("x-boathouse-user")]
    # A secret that a rotation has replaced takes the same way.
    row = RegistryUser.objects.get(name="ci")
    users.rotate(row, by="tests", overlap=timedelta(hours=1))
    instance.heard.clear()
    put(path, user)
    assert [(one.line, one.of("x-boathouse-user")) for one in instance.heard] == [
        (f"PUT {path}", ["ci"])
    ]
    assert instance.heard[0].of("authorization") == []


def test_a_manifest_that_is_too_large_stays_at_nginx(
    instance: Instance, user: tuple[str, str]
) -> None:
    protection.add("*", "*", note="", by=BY, is_immutable=True)
    try:
        answer = put("/v2/team/api/manifests/v1", user, b"x" * (MANIFEST_LIMIT + 1))
    except (BrokenPipeError, ConnectionResetError, http.client.HTTPException):
        answer = None  # it had answered before all was sent
    assert answer is None or answer.status == 413
    assert asked(instance) == []


def test_what_is_lifted_goes_through_from_the_next_request_on(
    instance: Instance, user: tuple[str, str]
) -> None:
    path = f"/v2/team/api/manifests/{DIGEST}"
    row = protection.add("team/*", "v*", note="", by=BY)
    assert ask("DELETE", path, user).status == OF_STANDIN
    protection.lift(row, by=BY)
    assert ask("DELETE", path, user).status == 202


def test_without_the_portal_nothing_protected_moves_and_the_rest_goes_on(
    instance: Instance, user: tuple[str, str]
) -> None:
    take_portal_away(instance)
    protection.add("team/* single", "v*", note="", by=BY)
    protection.add("team/*", "1 2", note="", by=BY, is_immutable=True)
    refused = ask("DELETE", f"/v2/team/api/manifests/{DIGEST}", user)
    assert refused.status == 403
    assert "team/* single:v*, team/*:1 2" in refused.message
    assert refused.headers["content-type"] == "application/json"
    assert refused.headers["docker-distribution-api-version"] == "registry/2.0"
    assert ask("DELETE", f"/v2/team/api/blobs/{DIGEST}", user).status == 403
    moved = put("/v2/team/api/manifests/1", user)
    assert (moved.status, "(team/*:1 2)" in moved.message) == (403, True)
    there = ask("GET", "/v2/team/api/manifests/1", user)
    assert there.headers["docker-content-digest"] == DIGEST
    assert put("/v2/single/manifests/v1", user).status == 201
    assert put("/v2/teams/api/manifests/v1", user).status == 201
    assert ask("DELETE", f"/v2/teams/api/manifests/{DIGEST}", user).status == 202


def test_a_freeze_comes_first(instance: Instance, user: tuple[str, str]) -> None:
    protection.add("*", "*", note="", by=BY, is_immutable=True)
    gate = settings.RUN_DIR / "hold" / "manifests"
    gate.parent.mkdir(mode=0o711, exist_ok=True)
    gate.touch()
    assert ask("DELETE", f"/v2/team/api/manifests/{DIGEST}", user).status == 503
    assert asked(instance) == []
