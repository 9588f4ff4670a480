"""What the real nginx refuses by the files of a quota, with and without the portal.

The portal here is a stand-in that notes what it is asked; tests/e2e/test_quotas.py has the real
one.
"""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.conf import settings

from registryui.accounts import users
from registryui.models import Quota, RegistryUser
from registryui.quotas import marks
from registryui.registry.client import RegistryClient
from tests.support.instance import Instance, take_portal_away
from tests.support.proxy_client import CONFIG, TYPE, Answer, ask, digest, made, manifest, push

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]
DIGEST = digest(manifest())
OF_STANDIN = 404  # what the stand-in says to all that it does not know
UPLOADS = "/v2/team/api/blobs/uploads/"


@pytest.fixture(scope="module")
def filled(standing: Instance) -> Instance:
    with RegistryClient(settings.REGISTRY_URL) as client:
        for name in ("team/api", "team", "teams/api"):
            push(client, name)
    standing.remember()
    return standing


@pytest.fixture
def instance(filled: Instance) -> Instance:
    filled.renew()
    return filled


@pytest.fixture
def user(instance: Instance) -> tuple[str, str]:
    return made("ci", ("pull", "*"), ("push", "*"), ("delete", "*"))


def full(*, size: int | None = 100, tags: int | None = None) -> None:
    """The namespace team is, of bytes or of tags."""
    Quota.objects.create(
        namespace="team", limit_bytes=size, limit_tags=tags, used_bytes=120, used_tags=7
    )
    marks.write()


def put(path: str, user: tuple[str, str], note: str = "new") -> Answer:
    return ask("PUT", path, user, body=manifest(note), headers={"Content-Type": TYPE})


def path_of(location: str) -> str:
    """Of an absolute or a relative address."""
    return "/" + location.partition("://")[2].partition("/")[2] if "://" in location else location


def is_told(answer: Answer, used: str = "120 B of 100 B") -> bool:
    """Whether it is the refusal that Docker prints."""
    words = f"the quota of namespace team is used up ({used})"
    return (
        answer.status == 403
        and b'"code": "DENIED"' in answer.body
        and answer.message.startswith(words)
        and answer.headers["content-type"] == "application/json"
        and answer.headers["docker-distribution-api-version"] == "registry/2.0"
    )


def test_without_bytes_uploads_are_refused_and_the_rest_goes_on(
    instance: Instance, user: tuple[str, str], subtests: pytest.Subtests
) -> None:
    session = path_of(ask("POST", UPLOADS, user).headers["location"])
    other = path_of(ask("POST", UPLOADS, user).headers["location"])
    take_portal_away(instance)
    full()
    digest_ = digest(CONFIG)
    table = [
        ("POST", UPLOADS, None),
        ("POST", "/v2/team/blobs/uploads/", None),
        ("POST", "/v2/team/deep/er/api/blobs/uploads/", None),
        ("POST", f"{UPLOADS}?mount={digest_}&from=teams/api", None),
        ("POST", f"{UPLOADS}?digest={digest_}", None),
        ("PATCH", session, None),
        ("PUT", f"{session}&digest={digest_}", None),
        ("GET", session, 204),
        ("DELETE", other, 204),
        ("POST", "/v2/teams/api/blobs/uploads/", 202),
        ("POST", "/v2/other/blobs/uploads/", 202),
        ("HEAD", f"/v2/team/api/blobs/{digest_}", 200),
        ("GET", "/v2/team/api/manifests/1", 200),
        ("GET", f"/v2/team/api/blobs/{digest_}", 200),
        ("PUT", "/v2/team/api/manifests/1", None),
        ("PUT", f"/v2/team/manifests/{digest(manifest('new'))}", None),
        ("PUT", "/v2/teams/api/manifests/2", 201),
        ("DELETE", f"/v2/team/api/manifests/{DIGEST}", 202),
    ]
    for method, path, status in table:
        with subtests.test(f"{method} {path}"):
            body = manifest("new") if "/manifests/" in path and method == "PUT" else b""
            answer = ask(method, path, user, body=body, headers={"Content-Type": TYPE})
            assert answer.status == status if status else is_told(answer), answer
    log = settings.LOG_DIR / "access.json"
    lines = [json.loads(line) for line in log.read_text().splitlines() if '"refused":' in line]
    found = {(one["refused"], one["user"], one["action"], one["repository"]) for one in lines}
    assert ("quota", "ci", "push", "team/api") in found


def test_a_portal_that_is_up_decides_about_manifests_only(
    instance: Instance, user: tuple[str, str]
) -> None:
    full()
    instance.heard.clear()
    assert is_told(ask("POST", UPLOADS, user))
    assert instance.heard == []
    for path in ("/v2/team/api/manifests/1", f"/v2/team/api/manifests/{DIGEST}"):
        assert put(path, user).status == OF_STANDIN
        assert [one.line for one in instance.heard] == [f"PUT {path}"]
        instance.heard.clear()
    assert put("/v2/teams/api/manifests/1", user).status == 201
    assert instance.heard == []


def test_without_tags_blobs_are_accepted(instance: Instance, user: tuple[str, str]) -> None:
    take_portal_away(instance)
    full(size=None, tags=5)
    assert ask("POST", UPLOADS, user).status == 202
    assert is_told(put("/v2/team/api/manifests/2", user), "7 of 5 tags")
    Quota.objects.all().delete()
    marks.write()
    assert put("/v2/team/api/manifests/2", user).status == 201


def test_only_who_may_push_is_told(instance: Instance, user: tuple[str, str]) -> None:
    full()
    puller = made("puller", ("pull", "*"))
    for one in (None, ("ci", "wrong"), ("nobody", "x")):
        assert ask("POST", UPLOADS, one).status == 401
    assert ask("POST", UPLOADS, puller).message == "puller may not push team/api"
    for path in ("/_over_quota", "/_quota/uploads/team/@all"):
        assert b"team" not in ask("GET", path, user).body
    # A secret that a rotation has replaced, and is still valid.
    row = RegistryUser.objects.get(name="ci")
    users.rotate(row, by="tests", overlap=timedelta(hours=1))
    assert is_told(ask("POST", UPLOADS, user))
    assert ask("POST", UPLOADS, ("ci", "wrong")).status == 401
