"""Rights at the real nginx before the real registry: who may do what where, and every way around.

The portal takes no part: nothing here runs Django but the calls that write the files.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.conf import settings
from django.utils import timezone

from registryui import proxy, sockets
from registryui.accounts import htpasswd, publish, rights, users
from registryui.mirrors import publish as mirror_files
from registryui.models import Mirror
from registryui.registry.client import RegistryClient
from registryui.setup import keys
from tests.support.instance import (
    Heard,
    Instance,
    listener,
    running_instance,
    take_portal_away,
)
from tests.support.proxy_client import (
    LAYER,
    TYPE,
    Answer,
    ask,
    connected,
    digest,
    head,
    made,
    manifest,
    push,
    sent,
    statuses_of_guesses,
)
from tests.support.waiting import LONGEST, until

SECRET = b"a layer that only other/x has"
MIRRORED = ("hub/api", "hub/x")  # in a mirror whose upstream is away
REPOSITORIES = (
    *("team/api", "team/deep/er/api", "team", "teams/api", "other/x", "single"),
    *MIRRORED,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]


@pytest.fixture(scope="module")
def filled(standing: Instance) -> Instance:
    """With something in its registry, for all tests."""
    with RegistryClient(settings.REGISTRY_URL) as client:
        for repository in REPOSITORIES:
            push(client, repository)
        for repository in ("other/x", "hub/x"):
            client.upload_blob(repository, SECRET)
    # Its row is nowhere: nginx and the service read these files alone.
    mirror_files._write(Mirror(name="hub", url="http://127.0.0.1:9"))
    standing.remember()
    return standing


@pytest.fixture
def instance(filled: Instance) -> Instance:
    filled.renew()
    return filled


# -- the table: user × action × repository ---------------------------------------------------------
USERS: dict[str, tuple[tuple[str, str], ...]] = {
    "nothing": (),
    "pull-all": (("pull", "*"),),
    "push-all": (("push", "*"),),
    "delete-all": (("delete", "*"),),
    "pull-team": (("pull", "team/*"),),
    "ci-team": (("pull", "team/*"), ("push", "team/*")),
    "one": (("pull", "team/api"), ("push", "team/api"), ("delete", "team/api")),
    "deep": (("pull", "team/deep/er/*"),),
    "sum": (("pull", "*"), ("push", "other/x"), ("delete", "single")),
    "pull-hub": (("pull", "hub/*"),),
    "all-hub": (("pull", "hub/*"), ("push", "hub/*"), ("delete", "hub/*")),
    "one-hub": (("pull", "hub/api"), ("push", "hub/api")),
    "äöü 名": (("pull", "team"),),
}

ACTIONS = {
    "pull manifest": ("GET", "/v2/{}/manifests/1", "pull"),
    "pull manifest by digest": ("GET", "/v2/{}/manifests/" + digest(manifest()), "pull"),
    "ask for manifest": ("HEAD", "/v2/{}/manifests/1", "pull or push"),
    "pull blob": ("GET", "/v2/{}/blobs/" + digest(LAYER), "pull"),
    "ask for blob": ("HEAD", "/v2/{}/blobs/" + digest(LAYER), "pull or push"),
    "list tags": ("GET", "/v2/{}/tags/list", "pull"),
    "ask for referrers": ("GET", "/v2/{}/referrers/" + digest(manifest()), "pull"),
    "begin upload": ("POST", "/v2/{}/blobs/uploads/", "push"),
    "push manifest": ("PUT", "/v2/{}/manifests/new", "push"),
    "delete blob": ("DELETE", "/v2/{}/blobs/" + digest(b"absent"), "delete"),
    "delete manifest": ("DELETE", "/v2/{}/manifests/" + digest(b"absent"), "delete"),
}


def test_the_table_of_rights(instance: Instance) -> None:
    """nginx answers for each user, action and repository as accounts/rights.py says; who may change
    something in a mirror is told that nobody can."""
    wrong = []
    over, headers = connected(), {"Content-Type": TYPE}
    for name, pairs in USERS.items():
        user = made(name, *pairs)
        for what, (method, path, needed) in ACTIONS.items():
            for repository in REPOSITORIES:
                body = manifest() if method == "PUT" else b""
                answer = ask(
                    method, path.format(repository), user, body=body, headers=headers, over=over
                )
                allowed = any(rights.may(pairs, one, repository) for one in needed.split(" or "))
                is_refused = answer.status == 403
                is_change = allowed and method not in ("GET", "HEAD") and repository in MIRRORED
                if (
                    is_refused is allowed
                    or answer.status in (401, 500, 502, 503)
                    or is_change is not (answer.status == 405)
                ):
                    wrong.append(f"{name}: {what} {repository} -> {answer.status}")
    over.close()
    assert wrong == []


def test_a_refusal_says_who_may_not_do_what_where(instance: Instance) -> None:
    user = made("puller", ("pull", "team/*"))
    pushed = ask("POST", "/v2/team/api/blobs/uploads/", user)
    assert (pushed.status, pushed.message) == (403, "puller may not push team/api")
    pulled = ask("GET", "/v2/other/x/manifests/1", user)
    assert (pulled.status, pulled.message) == (403, "puller may not pull other/x")
    deleted = ask("DELETE", f"/v2/team/api/manifests/{digest(b'')}", user)
    assert (deleted.status, deleted.message) == (403, "puller may not delete team/api")
    odd = made('quo"te\\')
    assert ask("GET", "/v2/other/x/manifests/1", odd).message == "this user may not pull other/x"


def test_the_wrong_password_is_401_and_no_right_is_403(instance: Instance) -> None:
    name, secret = made("ci")
    path = "/v2/team/api/manifests/1"
    for user in (None, (name, secret + "x"), (name, ""), ("nobody", secret), ("", "")):
        answer = ask("GET", path, user)
        assert answer.status == 401, user
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert answer.message == "authentication required"
    assert ask("GET", path, (name, secret)).status == 403
    assert ask("GET", "/v2/", (name, secret)).status == 200  # a login needs no right


def test_the_full_catalogue_is_for_those_who_may_pull_everything(instance: Instance) -> None:
    """All others are the portal's: it tells each what he may pull."""
    everything = made("everything", ("pull", "*"))
    listed = ask("GET", "/v2/_catalog?n=2", everything)
    assert json.loads(listed.body)["repositories"] == sorted(REPOSITORIES)[:2]
    assert instance.heard == []
    claimed = {"X-Boathouse-User": "everything"}
    team = made("team", ("pull", "team/*"))
    for user in (made("pusher", ("push", "*")), team):
        answer = ask("GET", "/v2/_catalog?n=2&last=a", user, headers=claimed)
        assert answer.status == 404  # the listener's
        asked = instance.heard.pop()
        assert asked.line == "GET /v2/_catalog?n=2&last=a"
        assert asked.of("x-boathouse-user") == [user[0]]
        assert asked.of("authorization") == []
    for wrong in (None, ("team", "wrong"), ("everything", team[1])):
        assert ask("GET", "/v2/_catalog", wrong, headers=claimed).status == 401
    users.rotate(users.RegistryUser.objects.get(name="team"), by="tests", overlap=timedelta(1))
    assert ask("GET", "/v2/_catalog", team).status == 404
    assert instance.heard.pop().of("x-boathouse-user") == ["team"]
    # Without the file nobody is verified, whatever name is said.
    settings.HTPASSWD_FILE.unlink()
    assert ask("GET", "/v2/_catalog", everything, headers=claimed).status == 403
    assert instance.heard == []


# -- ways around -----------------------------------------------------------------------------------
PATHS = [
    "/v2/other%2Fx/manifests/1",
    "/v2/%6fther/x/manifests/1",
    "/v2/team/../other/x/manifests/1",
    "/v2/team/%2e%2e/other/x/manifests/1",
    "/v2/team/..%2fother/x/manifests/1",
    "/v2//other/x/manifests/1",
    "/v2/team//../other/x/manifests/1",
    "/v2/./other/x/manifests/1",
    "//v2/other/x/manifests/1",
    "/v2/other/x//manifests/1",
    "/v2/other/x/manifests//1",
    "/V2/other/x/manifests/1",
    "/v2/OTHER/x/manifests/1",
    "/v2/other/x/manifests/1/",
    "/v2/other/x/manifests/1%00",
    "/v2/other/x/manifests/1?x=/v2/team/api/manifests/1",
    "/v2/team/api/manifests/../../../other/x/manifests/1",
    "/v2/team/api/manifests/..%2f..%2f..%2fother%2fx%2fmanifests%2f1",
    "/v2/team/api/blobs/uploads/../../../../other/x/manifests/1",
    "/v2/other/x/manifests/1#/v2/team/api",
    "/v2/other/x/manifests/1;/v2/team/api",
    "/v2/@all/manifests/1",
    "/v2/team/@all/manifests/1",
    "/v2/other/x/manifests/%31",
    "/v2/" + "a" * 300 + "/manifests/1",
    "/v2/" + "a/" * 200 + "a/manifests/1",
    "/v2/other/x/tags/list",
    "/v2/other/x/tags/list/",
    f"/v2/other/x/referrers/{digest(manifest())}",
    f"/v2/other/x/blobs/{digest(LAYER).upper()}",
    "/v2/other/x/manifests/1%0a",
    "/v2/other/x%0a/manifests/1",
    "/v2/other/x/manifests/1%0d%0aX-A:b",
    "/v2/team/api%2f..%2f..%2fother%2fx/manifests/1",
    "/v2/team/api/..%5c..%5cother/x/manifests/1",
    "/v2/team/api/%c0%ae%c0%ae/%c0%ae%c0%ae/other/x/manifests/1",
    "/v2/%252e%252e/other/x/manifests/1",
    "/v2/other%252fx/manifests/1",
    "/x/../v2/other/x/manifests/1",
    "/v2/../v2/other/x/manifests/1",
    "/v2;/other/x/manifests/1",
    "/v2/other/x;/manifests/1",
    "/%76%32/other/x/manifests/1",
    "/v2/team/api/manifests/other/x/manifests/1",
    "/v2/other/x/manifests/team/api/manifests/1",
    "/v2/team/manifests/1/../../../other/x/manifests/1",
    "/v2/_catalog",
    "/v2/_catalog?n=1&last=other",
    "/v2/_catalog/",
    "/v2/%5fcatalog",
    "/v2//_catalog",
    "/v2/team/../_catalog",
    "/v2/_CATALOG",
    "/v2/_catalog%3fn=1",
    "/v2/@open/base",
    "/_may",
    "/@old_secret",
    "/@denied",
    "/_down",
]


@pytest.mark.parametrize(
    ("own", "other"), [("team", "other"), ("hub", "other"), ("team", "hub")], ids=str
)
def test_no_spelling_of_a_path_opens_another_repository(
    instance: Instance, own: str, other: str
) -> None:
    """Nor one of another namespace by way of a mirror, nor one of a mirror."""
    user = made("team", ("pull", f"{own}/*"), ("push", f"{own}/*"))
    wrong = []
    for spelling in PATHS:
        path = _respelled(spelling, own, other)
        for method in ("GET", "HEAD"):
            answer = ask(method, path, user)
            told = answer.body.replace(path.encode(), b"")
            told = told.replace(f"may not pull {other}/x".encode(), b"")
            is_open = b"layers" in told or other.encode() in told or other in str(answer.headers)
            # 503: a repository of the mirror that was never pulled, whose upstream is away
            fine = (302, 400, 403, 404, *([503] if own == "hub" else []))
            if answer.status not in fine or is_open:
                wrong.append((method, path, answer))
    assert wrong == []


def _respelled(text: str, own: str, other: str) -> str:
    """With these namespaces instead of team and other."""
    text = text.replace("%6fther", f"%{ord(other[0]):x}{other[1:]}")
    text = text.replace("OTHER", other.upper()).replace("other", other)
    return text.replace("team", own)


def test_the_head_of_a_list_is_for_those_who_may_pull(instance: Instance) -> None:
    """A registry may name what is in a list in the header Link, to a HEAD, too."""
    user = made("pusher", ("push", "*"))
    assert ask("HEAD", "/v2/_catalog?n=1", user).status == 404
    assert instance.heard.pop().of("x-boathouse-user") == ["pusher"]  # what it may see
    assert ask("HEAD", "/v2/other/x/tags/list?n=1", user).status == 403
    assert ask("HEAD", f"/v2/other/x/referrers/{digest(manifest())}", user).status == 403
    assert ask("HEAD", "/v2/other/x/manifests/1", user).status == 200


@pytest.mark.parametrize(
    "method", ["OPTIONS", "TRACE", "CONNECT", "PROPFIND", "PATCH", "PUT", "POST", "DELETE", "FOO"]
)
def test_a_method_is_not_a_way_around(instance: Instance, method: str) -> None:
    user = made("puller", ("pull", "*"))
    blob = f"blobs/{digest(LAYER)}"
    paths = [
        f"/v2/{name}/{rest}" for name in ("team/api", "hub/api") for rest in ("manifests/1", blob)
    ]
    for path in (*paths, "/v2/"):
        answer = ask(method, path, user)
        assert answer.status in (400, 403, 405), (method, path, answer)
    sent = ask("GET", "/v2/other/x/manifests/1", user, headers={"X-HTTP-Method-Override": "DELETE"})
    assert sent.status == 200


MOUNTS = [
    {"query": {"mount": digest(SECRET), "from": "other/x"}},
    {"raw": f"mount={digest(SECRET)}&from=other/x"},
    {"raw": f"mount={digest(SECRET)}&from=other%2fx"},
    {"raw": f"mount={digest(SECRET)}&%66rom=other%2Fx"},
    {"raw": f"mount={digest(SECRET)}&FROM=team%2Fapi&from=other%2Fx"},
    {"raw": f"mount={digest(SECRET)}&from=team%2Fapi&from=other%2Fx"},
    {"raw": f"mount={digest(SECRET)}&from=other%2Fx&from=team%2Fapi"},
    {"raw": f"mount={digest(SECRET)}&from=%6fther%2Fx"},
    {"raw": f"digest=x%26mount={digest(SECRET)}%26from=other/x"},
    {"raw": f"mount={digest(SECRET)};from=other/x"},
    {"raw": f"digest={digest(LAYER)};mount={digest(SECRET)};from=other/x"},
    {"raw": f"digest=x;mount={digest(SECRET)};from=other/x"},
    {"raw": f"digest=x%00&mount={digest(SECRET)}&from=other%2Fx%00"},
    {"raw": f"mount={digest(SECRET)}&from=team%2F..%2Fother%2Fx"},
    {"raw": f"mount={digest(SECRET)}&from=other%252Fx"},
    {"raw": f"mount={digest(SECRET)}&from=%2Fother%2Fx"},
    {"raw": f"mount={digest(SECRET)}&from=other%2Fx%2F"},
    {"raw": f"mount={digest(SECRET)}&from=team%2Fapi%26from=other%2Fx"},
    {"raw": f"mount={digest(SECRET)}&from=team%2Fapi%0Afrom=other%2Fx"},
    {"raw": f"?mount={digest(SECRET)}&from=other%2Fx"},
    {"raw": f"from=other%2Fx&mount={digest(SECRET)}&mount={digest(LAYER)}"},
    {"raw": f"mount={digest(SECRET)}&from=other+x"},
    {"raw": "", "form": {"mount": digest(SECRET), "from": "other/x"}},
    {"raw": "x=1", "form": {"mount": digest(SECRET), "from": "other/x"}},
]


@pytest.mark.parametrize("other", ["other", "hub"])
def test_a_mount_from_a_repository_one_may_not_pull_is_an_ordinary_upload(
    instance: Instance, other: str
) -> None:
    """201 would be the blob of the other repository; 202 begins an upload."""
    user = made("team", ("pull", "team/*"), ("push", "team/*"))
    for mount in MOUNTS:
        assert _mount(mount, user, other=other) in (202, 400), mount
        assert ask("HEAD", f"/v2/team/new/blobs/{digest(SECRET)}", user).status == 404, mount


def _mount(
    mount: Mapping[str, Any],
    user: tuple[str, str],
    *,
    target: str = "team/new",
    other: str = "other",
) -> int:
    query = mount.get("raw", urlencode(mount.get("query", {})))
    form = urlencode(mount.get("form", {})).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    query = _respelled(query, "team", other)
    form = _respelled(form.decode(), "team", other).encode()
    path = f"/v2/{target}/blobs/uploads/" + (f"?{query}" if query else "")
    return ask("POST", path, user, body=form, headers=headers).status


@pytest.mark.parametrize("source", ["team/api", "team/deep/er/api", "hub/api"])
def test_a_mount_from_a_repository_one_may_pull_works(instance: Instance, source: str) -> None:
    user = made("team", ("pull", "team/*"), ("push", "team/*"), ("pull", "hub/*"))
    query = urlencode({"mount": digest(LAYER), "from": source})
    assert ask("POST", f"/v2/team/new/blobs/uploads/?{query}", user).status == 201
    # And for one who may push only: nothing is read.
    pusher = made("pusher", ("push", "*"))
    assert ask("POST", f"/v2/team/newer/blobs/uploads/?{query}", pusher).status == 202


def test_a_blob_in_one_post_still_works(instance: Instance) -> None:
    user = made("team", ("push", "team/*"))
    blob = b"in one go"
    path = f"/v2/team/new/blobs/uploads/?digest={digest(blob)}"
    answer = ask("POST", path, user, body=blob)
    assert answer.status in (201, 202)


def test_an_upload_belongs_to_its_repository(instance: Instance) -> None:
    """Another user's session can neither be read, continued, finished nor cancelled."""
    owner = made("owner", ("push", "other/*"), ("pull", "other/*"))
    place = urlsplit(ask("POST", "/v2/other/x/blobs/uploads/", owner).headers["location"])
    session = f"{place.path}?{place.query}"
    thief = made("thief", ("push", "team/*"), ("pull", "*"), ("delete", "*"))
    for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
        assert ask(method, session, thief).status == 403, method
        moved = session.replace("/other/x/", "/team/api/")
        assert ask(method, moved, thief).status in (400, 404), method
    assert ask("PATCH", session, owner, body=b"x").status == 202


@pytest.mark.parametrize(
    "name", ["..", ".", "a/../other", "/other", "@open", "other/pull", "", "x/"]
)
def test_a_name_that_is_a_path_has_no_rights(instance: Instance, name: str) -> None:
    """Even if a hand has written it into the file, past every check of ours."""
    made("other", ("pull", "*"))
    _name, secret = made("source")
    line = publish.lines()["source"]
    with settings.HTPASSWD_FILE.open("a") as file:
        file.write(f"{name}:{line}\n")
    answer = ask("GET", "/v2/team/api/manifests/1", (name, secret))
    assert answer.status in (401, 403)


def raw(request: bytes, address: str = "127.0.0.1") -> bytes:
    """What nginx answers to these bytes, sent from that address, until it closes."""
    with sent(request, address) as secure:
        answer = b""
        while piece := secure.recv(65536):
            answer += piece
        return answer


def test_http_1_0_and_smuggled_requests_are_no_way_around(instance: Instance) -> None:
    user = made("team", ("pull", "team/*"), ("push", "team/*"))
    login = f"Authorization: {proxy.basic(*user)['Authorization']}\r\n".encode()
    forbidden = b"GET /v2/other/x/manifests/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    length = str(len(forbidden)).encode()
    login += f"Accept: {TYPE}\r\n".encode()
    old = raw(b"GET /v2/other/x/manifests/1 HTTP/1.0\r\n" + login + b"\r\n")
    assert b" 403 " in old.splitlines()[0]
    named = b"Host: localhost\r\n" + login
    assert b" 403 " in raw(b"GET /v2/other/x/manifests/1 HTTP/1.0\r\n" + named + b"\r\n")
    assert b" 200 " in raw(b"GET /v2/team/api/manifests/1 HTTP/1.0\r\n" + named + b"\r\n")
    start = b"POST /v2/team/api/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for headers in (
        b"Content-Length: " + length + b"\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: " + length + b"\r\n",
        b"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n",
        b"Content-Length: 0\r\nContent-Length: " + length + b"\r\n",
        b"Content-Length : " + length + b"\r\n",
        b"Content-Length: 0\r\nX-A: b\rContent-Length: 5\r\n",
    ):
        answer = raw(start + login + headers + b"\r\n0\r\n\r\n" + forbidden)
        assert b"layers" not in answer, headers
    absolute = raw(
        b"GET https://evil/v2/other/x/manifests/1 HTTP/1.1\r\nHost: localhost\r\n"
        b"Connection: close\r\n" + login + b"\r\n"
    )
    assert b" 403 " in absolute.splitlines()[0]


# -- what the two behind nginx hear ----------------------------------------------------------------
@pytest.fixture
def heard(instance: Instance) -> Iterator[list[Heard]]:
    """All that the registry is asked. It is a listener: nothing else answers a registry's way."""
    for name in sockets.REGISTRIES:
        instance.stop(name)
    with listener(*map(sockets.registry, sockets.REGISTRIES)) as requests:
        yield requests


def test_a_mount_that_was_not_understood_is_not_passed_on(
    instance: Instance, heard: list[Heard]
) -> None:
    """Whatever another version of the registry might read in it."""
    user = made("team", ("pull", "team/*"), ("push", "team/*"))
    for mount in MOUNTS:
        _mount(mount, user)
    assert len(heard) == len(MOUNTS)
    begin = "POST /v2/team/new/blobs/uploads/"
    for one in heard:
        # Of two repositories the first counts; from that one this user may mount.
        assert one.line in (begin, f"{begin}?mount={digest(SECRET)}&from=team/api")
        assert one.of("content-type") == ["application/octet-stream"]


def test_nothing_of_a_mirror_is_changed_by_way_of_the_registry(
    instance: Instance, heard: list[Heard]
) -> None:
    """Whatever is mounted or uploaded, and however the path is written."""
    user = made("all", *((action, "*") for action in ("pull", "push", "delete")))
    for mount in MOUNTS:
        for target in ("hub/new", "hub", "hub/ever/so/deep"):
            assert _mount(mount, user, target=target) == 405, mount
    headers = {"Content-Type": TYPE}
    for path in PATHS:
        for method in ("PUT", "DELETE", "POST", "PATCH"):
            respelled = _respelled(path, "team", "hub")
            answer = ask(method, respelled, user, body=manifest(), headers=headers)
            assert answer.status >= 300, (method, respelled)
    upload = "hub/api/blobs/uploads/a?_state=b"
    for method in ("PUT", "PATCH", "DELETE", "GET", "HEAD"):
        assert ask(method, f"/v2/{upload}", user).status in (404, 405), method
    changes = [one.line for one in heard if not one.line.startswith(("GET ", "HEAD "))]
    assert [line for line in changes if line.split()[1].startswith("/v2/hub/")] == []


@pytest.fixture
def asked(instance: Instance) -> Iterator[list[Heard]]:
    """All that the mirror service is asked, which is a listener."""
    instance.stop("mirror")
    with listener(sockets.mirror()) as requests:
        yield requests


def test_the_mirror_service_hears_who_may_pull_and_no_secret(
    instance: Instance, asked: list[Heard]
) -> None:
    user, absent = made("hub", ("pull", "hub/*")), digest(b"absent")
    stranger = made("team", ("pull", "team/*"), ("push", "*"), ("delete", "*"))
    lines = [
        "GET /v2/hub/api/manifests/1",
        "HEAD /v2/hub/api/manifests/1",
        f"GET /v2/hub/api/manifests/{absent}",
        f"GET /v2/hub/api/blobs/{absent}",
        f"HEAD /v2/hub/api/blobs/{absent}",
        "GET /v2/hub/never/pulled/manifests/1",
    ]
    forged = {"X-Boathouse-User": "boss", "X-Boathouse-Proxy": "guessed", "Cookie": "a=b"}
    for line in lines:
        method, path = line.split()
        ask(method, path, user, headers=forged)
        if method == "GET":
            assert ask(method, path, stranger).status == 403
        for nobody in (None, ("hub", "wrong")):
            assert ask(method, path, nobody).status == 401
    assert [one.line for one in asked] == lines
    for one in asked:
        assert one.of("authorization") == one.of("cookie") == one.of("x-boathouse-proxy") == []
        assert one.of("x-boathouse-user") == ["hub"]
    # What is here by its digest, and what is no mirror, is the registry's alone.
    asked.clear()
    for path in (
        f"/v2/hub/api/manifests/{digest(manifest())}",
        f"/v2/hub/api/blobs/{digest(LAYER)}",
        "/v2/hub/api/tags/list",
    ):
        assert ask("GET", path, user).status == 200, path
    assert ask("GET", f"/v2/team/api/blobs/{absent}", stranger).status == 404
    assert ask("GET", "/v2/team/api/manifests/absent", stranger).status == 404
    assert asked == []


def test_a_secret_that_was_replaced_reaches_the_mirror_as_the_new_one(
    instance: Instance, asked: list[Heard]
) -> None:
    user = made("hub", ("pull", "hub/*"))
    users.rotate(users.RegistryUser.objects.get(name="hub"), by="tests", overlap=timedelta(hours=1))
    lines = [
        "GET /v2/hub/api/manifests/1",
        f"GET /v2/hub/api/blobs/{digest(b'absent')}",
        f"HEAD /v2/hub/api/manifests/{digest(b'absent')}",
    ]
    for line in lines:
        ask(*line.split(), user)
    told = [(one.line, one.of("x-boathouse-user"), one.of("authorization")) for one in asked]
    assert told == [(line, ["hub"], []) for line in lines]
    refused = ask("POST", "/v2/hub/api/blobs/uploads/", user)
    assert (refused.status, refused.message) == (403, "hub may not push hub/api")


def test_a_secret_that_was_replaced_changes_nothing_in_a_mirror(instance: Instance) -> None:
    user = made("all", *((action, "*") for action in ("pull", "push", "delete")))
    users.rotate(users.RegistryUser.objects.get(name="all"), by="tests", overlap=timedelta(hours=1))
    for method, path in (
        ("POST", "blobs/uploads/"),
        ("PUT", "manifests/1"),
        ("DELETE", f"manifests/{digest(manifest())}"),
        ("DELETE", f"blobs/{digest(LAYER)}"),
    ):
        body = manifest() if method == "PUT" else b""
        answer = ask(method, f"/v2/hub/api/{path}", user, body=body, headers={"Content-Type": TYPE})
        assert (answer.status, "is a mirror of" in answer.message) == (405, True), (method, answer)
    assert ask("POST", "/v2/team/api/blobs/uploads/", user).status == 202
    assert ask("GET", "/v2/hub/api/manifests/1", user).body == manifest()
    instance.stop("mirror")
    assert ask("POST", "/v2/hub/api/blobs/uploads/", user).status == 503


def test_without_the_mirror_service_what_is_here_is_pulled(instance: Instance) -> None:
    user = made("hub", ("pull", "hub/*"))
    instance.stop("mirror")
    found = ask("GET", "/v2/hub/api/manifests/1", user)
    assert (found.status, found.body) == (200, manifest())
    assert found.headers["warning"].startswith("111")
    assert ask("GET", f"/v2/hub/api/blobs/{digest(LAYER)}", user).body == LAYER
    for path in ("manifests/2", f"blobs/{digest(b'absent')}", f"manifests/{digest(b'absent')}"):
        answer = ask("GET", f"/v2/hub/api/{path}", user)
        assert (answer.status, "mirror service" in answer.message) == (503, True), path


HEADERS = [
    "X-Boathouse-Proxy: guessed",
    "X-Boathouse-Proxy: guessed\r\nX-Boathouse-User: boss",
    "Connection: close, X-Boathouse-Proxy",
    "X-Boathouse-User: boss",
    "x-boathouse-user: boss",
    "X_Boathouse_User: boss",
    "X-Boathouse_User: boss",
    "X-Boathouse-User : boss",
    " X-Boathouse-User: boss",
    "X-Boathouse-User\t: boss",
    "X-A: b\nX-Boathouse-User: boss",
    "X-A: b\r\n X-Boathouse-User: boss",
    "X-A: b\rX-Boathouse-User: boss",
    "Connection: X-Boathouse-User, close",
    "Connection: close, Authorization, X-Boathouse-User, X-Real-IP",
    "X-Forwarded-User: boss",
    "Remote-User: boss",
    "REMOTE_USER: boss",
    "SCRIPT_NAME: /v1",
    "PATH_INFO: /v1/search",
    "X-Forwarded-Host: evil",
    "X-Forwarded-Port: 1",
    "X-Forwarded-For: 203.0.113.7",
    "X-Forwarded-Proto: http",
    "X-Real-IP: 203.0.113.7",
    "Forwarded: for=203.0.113.7;host=evil;proto=http",
    "Upgrade: websocket\r\nConnection: upgrade",
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings",
    "Expect: 100-continue",
    "TE: trailers",
    "X-Original-URL: /v2/other/x/manifests/1",
    "X-Rewrite-URL: /v2/other/x/manifests/1",
    "X-HTTP-Method-Override: PUT",
    "X-Accel-Redirect: /v2/other/x/manifests/1",
    "\r\n".join(f"X-Header-{number}: {number}" for number in range(100)),
    "X-Long: " + "a" * 15_000,
]
# Only nginx says these to the two behind it.
OURS = {
    "x-real-ip": ["127.0.0.1"],
    "x-forwarded-for": ["127.0.0.1"],
    "x-forwarded-proto": ["https"],
}
NEVER = ("upgrade", "te", "expect", "forwarded", "x-forwarded-host", "x-forwarded-port")


def test_no_header_says_anything_that_nginx_did_not_check(
    instance: Instance, heard: list[Heard]
) -> None:
    user = made("team", ("pull", "team/*"), ("push", "team/*"))
    login = [proxy.basic(*user)["Authorization"]]
    for header in HEADERS:
        for target in ("/v2/team/api/manifests/1", "/v2/other/x/manifests/1"):
            raw(f"GET {target} HTTP/1.1\r\n".encode() + head(user, header))
        for target in ("/v1/search?q=a", "/page"):
            raw(f"GET {target} HTTP/1.1\r\n".encode() + head(user, header))
        for one in heard:
            assert one.line == "GET /v2/team/api/manifests/1", header
            assert one.of("authorization") == login, header
            assert one.of("x-boathouse-user") == one.of("connection") == [], header
            assert one.of("x-boathouse-proxy") == [], header
        for one in instance.heard:
            is_search = one.line == "GET /v1/search?q=a"
            assert is_search or one.line == "GET /page", header
            assert one.of("x-boathouse-user") == (["team"] if is_search else []), header
            assert one.of("x-boathouse-proxy") == [keys.read("proxy-token")], header
            assert one.of("authorization") == [], header
        for one in (*heard, *instance.heard):
            assert {name: one.of(name) for name in OURS} == OURS, header
            assert not [name for name, _value in one.headers if name in NEVER or "_" in name], (
                header
            )
        heard.clear()
        instance.heard.clear()


def test_the_host_is_no_way_to_another_server(instance: Instance, heard: list[Heard]) -> None:
    user = made("team", ("pull", "team/*"))
    team, other = "/v2/team/api/manifests/1", "/v2/other/x/manifests/1"

    def get(target: str, *hosts: str) -> bytes:
        lines = [f"GET {target} HTTP/1.1", *(f"Host: {one}" for one in hosts)]
        sent = head(user).replace(b"Host: localhost\r\n", b"")
        return raw("\r\n".join([*lines, ""]).encode() + sent)

    for host in ("evil", "evil:1", "localhost.", "127.0.0.1", "[::1]", "a" * 300):
        for start in ("", f"https://{host}", "https://another"):
            get(start + team, host)
            get(start + other, host)
        assert [one.line for one in heard] == [f"GET {team}"] * 3, host
        heard.clear()
    for hosts in ((), ("a", "b"), ("a/../b",), ("a b",), ("",), ("a\x00",)):
        assert b" 200 " not in get(other, *hosts).partition(b"\r\n")[0]
    assert heard == []


LINES = [
    b"GET /v2/other/x/manifests/1",  # HTTP/0.9: no headers, so no login
    b"GET /v2/other/x/manifests/1 HTTP/1.2",
    b"GET /v2/other/x/manifests/1 HTTP/2.0",
    b"GET  /v2/other/x/manifests/1  HTTP/1.1",
    b"get /v2/team/api/manifests/1 HTTP/1.1",
    b"GET /v2/team/api/manifests/1 /v2/other/x/manifests/1 HTTP/1.1",
    b"GET /v2/team/api/manifests/1\x00/v2/other/x/manifests/1 HTTP/1.1",
    b"GET /v2/team/api/manifests/1\t HTTP/1.1",
    b"GET /v2/team/api/manifests/1\x7f HTTP/1.1",
    b"GET \\v2\\other\\x\\manifests\\1 HTTP/1.1",
    b"GET v2/other/x/manifests/1 HTTP/1.1",
    b"GET https:///v2/other/x/manifests/1 HTTP/1.1",
    b"GET //evil/v2/other/x/manifests/1 HTTP/1.1",
    b"GET https://me:pw@evil/v2/other/x/manifests/1 HTTP/1.1",
    b"CONNECT 127.0.0.1:5000 HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"GET * HTTP/1.1",
    b"HEAD /v2/other/x/manifests/1 HTTP/1.1",
    b"POST /v2/other/x/blobs/uploads/ HTTP/1.0",
    b"GET /v1/../v2/other/x/manifests/1 HTTP/1.1",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1",
]


def test_no_request_line_reaches_what_was_not_checked(
    instance: Instance, heard: list[Heard]
) -> None:
    user = made("team", ("pull", "team/*"), ("push", "team/*"))
    for line in LINES:
        answer = raw(line + b"\r\n" + head(user))
        assert b" 200 " not in answer.partition(b"\r\n")[0], line
        assert heard == [], line
        assert not [one for one in instance.heard if one.of("x-boathouse-user")], line


def test_what_is_for_nginx_alone_is_not_there_for_others(instance: Instance) -> None:
    """Nor does it look like a fault of ours: nobody makes a 5xx by asking for it."""
    user = made("team", ("pull", "team/*"))
    for path in ("_may", "_login", "_rights", "_guarded", "_rule/@all", "_rule/", "_down"):
        assert ask("GET", f"/{path}").status == 404, path
        assert ask("DELETE", f"/%5f{path[1:]}", user).status == 404, path


def test_each_of_many_requests_of_a_connection_is_checked(
    instance: Instance, heard: list[Heard]
) -> None:
    user, other = made("team", ("pull", "team/*")), made("other", ("pull", "other/*"))

    def get(path: str, who: tuple[str, str]) -> bytes:
        login = proxy.basic(*who)["Authorization"]
        return f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {login}\r\n\r\n".encode()

    team, forbidden = "/v2/team/api/manifests/1", "/v2/other/x/manifests/1"
    anonymous = f"GET {team} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    parts = [get(team, user), get(forbidden, user), anonymous, get(forbidden, other)]
    raw(b"".join(parts) + f"GET {team} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert [one.line for one in heard] == [f"GET {team}", f"GET {forbidden}"]
    assert heard[1].of("authorization") == [proxy.basic(*other)["Authorization"]]


def test_what_hangs_on_a_chunked_body_is_not_passed_on(
    instance: Instance, heard: list[Heard]
) -> None:
    user = made("team", ("push", "team/*"))
    body = (
        b"5;x=y\r\nhello\r\n0\r\nX-Boathouse-User: boss\r\nAuthorization: Basic Ym9zczp4\r\n\r\n"
        b"GET /v2/other/x/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    line = b"PATCH /v2/team/api/blobs/uploads/a?_state=b HTTP/1.1\r\n"
    raw(line + head(user, "Transfer-Encoding: chunked") + body)
    assert [one.line for one in heard] == ["PATCH /v2/team/api/blobs/uploads/a?_state=b"]
    assert "boss" not in str(heard)
    assert heard[0].of("authorization") == [proxy.basic(*user)["Authorization"]]


# -- who it is -------------------------------------------------------------------------------------
def _basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


def test_nobody_logs_in_as_somebody_else(instance: Instance, heard: list[Heard]) -> None:
    """Whatever nginx takes for a login, the registry reads the same name in it or none."""
    name, secret = made("team", ("pull", "*"))
    made("boss", ("pull", "*"), ("push", "*"))
    mine = f"{name}:{secret}".encode()
    encoded = base64.b64encode(mine).decode()
    said = [
        _basic(b"boss:" + secret.encode()),
        _basic(b"boss\x00:" + secret.encode()),
        _basic(b"boss"),
        _basic(b"boss:"),
        _basic(b":" + secret.encode()),
        _basic(mine + b":boss"),
        _basic(mine + b"\x00"),
        _basic(b" " + mine),
        _basic(b"TEAM:" + secret.encode()),
        _basic(b"boathouse-canary:" + secret.encode()),
        f"basic {encoded}",
        f"BASIC   {encoded}",
        f"Basic\t{encoded}",
        f"Basic {encoded.rstrip('=')}",
        f"Basic {encoded}==",
        f"Basic {encoded}={base64.b64encode(b'boss:x').decode()}",
        f"Basic {encoded},{base64.b64encode(b'boss:x').decode()}",
        f"Basic {encoded} {base64.b64encode(b'boss:x').decode()}",
        f"Bearer {encoded}",
        f"Negotiate {encoded}",
        "Basic",
        "Basic ",
        "Basic ====",
        "Basic \xff",
    ]
    ends = "\r\nHost: a\r\nConnection: close\r\n\r\n"
    for number, header in enumerate(said, 2):
        line = "GET /v2/team/api/manifests/1 HTTP/1.1\r\nAuthorization: "
        # From ever other addresses, so that guessing is not what refuses.
        raw((line + header + ends).encode("latin-1"), f"127.0.0.{number}")
    for both in ((encoded, "Ym9zczp4"), ("Ym9zczp4", encoded)):
        twice = "".join(f"\r\nAuthorization: Basic {one}" for one in both)
        raw(f"GET /v2/team/api/manifests/1 HTTP/1.1{twice}{ends}".encode())
    passed = [one for request in heard for one in request.of("authorization")]
    assert passed
    assert {_as_go_reads(one) for one in passed} <= {name, ""}
    lines = (settings.LOG_DIR / "access.json").read_text().splitlines()
    assert {json.loads(line)["user"] for line in lines} <= {name, "", "boathouse-canary"}


def _as_go_reads(header: str) -> str:
    """The name in it (net/http, parseBasicAuth): strict base64; "" if there is none."""
    if header[:6].lower() != "basic ":
        return ""
    try:
        text = base64.b64decode(header[6:], validate=True)
    except ValueError:
        return ""
    return text.partition(b":")[0].decode("latin-1") if b":" in text else ""


@pytest.mark.parametrize("path", ["/v2/", "/v2/team/api/manifests/1", "/v2/other/x/tags/list"])
def test_the_canary_may_nothing(instance: Instance, path: str) -> None:
    """Its line is in the file, but its secret is nowhere."""
    line = publish.read().decode()
    secret = line.partition(f"{htpasswd.CANARY}:")[2].partition("\n")[0]
    assert ask("GET", path, (htpasswd.CANARY, secret)).status == 401
    assert not (settings.RIGHTS_DIR / htpasswd.CANARY).exists()


def test_the_second_look_checks_rights_like_the_first(
    instance: Instance, heard: list[Heard]
) -> None:
    """A secret from before a rotation opens what the new one opens, and nothing else."""
    name, old = made("team", ("pull", "team/*"), ("push", "team/*"))
    users.rotate(users.RegistryUser.objects.get(name=name), by="tests", overlap=timedelta(hours=1))
    made("boss", ("pull", "*"))
    mount = f"mount={digest(SECRET)}&from=other%2Fx"
    for method, path, status in (
        ("GET", "/v2/other/x/manifests/1", 403),
        ("GET", "/v2/team/..%2fother%2fx/manifests/1", 403),
        ("DELETE", f"/v2/team/api/manifests/{digest(b'')}", 403),
        ("OPTIONS", "/v2/team/api/manifests/1", 405),
        ("GET", "/v2/team/api/unknown", 404),
        ("GET", "/v2/team/api/manifests/1", 404),
        ("POST", f"/v2/team/new/blobs/uploads/?{mount}", 404),
        ("GET", "/v1/search?q=a", 404),
    ):
        answer = ask(method, path, (name, old), headers={"X-Boathouse-User": "boss"})
        assert answer.status == status, path
        assert ask(method, path, ("boss", old)).status == (405 if status == 405 else 401)
    assert [one.line for one in heard] == [
        "GET /v2/-/",
        "GET /v2/team/api/manifests/1",
        "POST /v2/team/new/blobs/uploads/",
    ]
    [asked] = [one for one in instance.heard if one.line == "GET /v1/search?q=a"]
    assert asked.of("x-boathouse-user") == [name]


# -- Docker's search -------------------------------------------------------------------------------
def test_a_search_reaches_the_portal_through_the_check_only(instance: Instance) -> None:
    user = made("ci")
    claimed = {"X-Boathouse-User": "boss"}
    answer = ask("GET", "/v1/search?q=api&n=25", user, headers=claimed)
    assert answer.status == 404  # the listener's
    [asked] = instance.heard
    assert asked.line == "GET /v1/search?q=api&n=25"
    assert asked.of("x-boathouse-user") == ["ci"]
    assert asked.of("authorization") == asked.of("cookie") == []
    instance.heard.clear()
    for method, status in (("POST", 405), ("PUT", 405), ("DELETE", 405), ("OPTIONS", 405)):
        assert ask(method, "/v1/search?q=api", user, headers=claimed).status == status
    for wrong in (None, ("ci", "wrong"), ("boss", user[1])):
        refused = ask("GET", "/v1/search?q=api", wrong, headers=claimed)
        assert (refused.status, refused.message) == (401, "authentication required")
    for path in ("/v1/", "/v1/users", "/v1/search/", "/v1//search", "/v1/search%2f", "/v1/searchx"):
        assert ask("GET", path, user, headers=claimed).status == 404, path
    assert instance.heard == []
    for path in ("//v1/search", "/V1/search", "/v1%2fsearch?", "/x/../v1/search", "/%76%31/search"):
        ask("GET", path, headers=claimed)  # anonymous
    assert not [one for one in instance.heard if one.of("x-boathouse-user")]


def test_a_name_of_any_letters_is_told_to_the_portal(instance: Instance) -> None:
    user = made("äöü 名")
    ask("GET", "/v1/search?q=a", user)
    told = instance.heard[0].of("x-boathouse-user")
    assert [one.encode("latin-1").decode() for one in told] == ["äöü 名"]


def test_without_the_portal_only_the_search_is_gone(instance: Instance) -> None:
    user = made("ci", ("pull", "*"), ("push", "*"))
    take_portal_away(instance)
    answer = ask("GET", "/v1/search?q=a", user)
    assert answer.status == 503
    assert answer.message == ("the portal, which answers this, is starting or down; try again soon")
    scoped = made("scoped", ("pull", "team/*"))
    assert ask("GET", "/v2/_catalog", scoped).message == answer.message
    assert json.loads(ask("GET", "/v2/_catalog", user).body)["repositories"]
    assert ask("GET", "/v1/search?q=a").status == 401
    assert ask("GET", "/v2/team/api/manifests/1", user).status == 200
    assert ask("POST", "/v2/team/api/blobs/uploads/", user).status == 202


# -- changes count from the next request on --------------------------------------------------------
def test_every_change_counts_at_the_next_request(instance: Instance) -> None:
    user = made("ci", ("pull", "*"))
    row = users.RegistryUser.objects.get(name="ci")
    path = "/v2/team/api/manifests/1"
    assert ask("GET", path, user).status == 200
    users.set_rights(row, rights.parse([("pull", "other/*")]), by="tests")
    assert ask("GET", path, user).status == 403
    users.set_rights(row, rights.parse([("pull", "team/*")]), by="tests")
    assert ask("GET", path, user).status == 200
    users.set_active([row], is_active=False, by="tests")
    assert ask("GET", path, user).status == 401
    users.set_active([row], is_active=True, by="tests")
    assert ask("GET", path, user).status == 200
    users.expire([row], timezone.now(), by="tests")
    assert ask("GET", path, user).status == 401
    users.expire([row], timezone.now() + timedelta(days=1), by="tests")
    assert ask("GET", path, user).status == 200
    users.remove([row], by="tests")
    assert ask("GET", path, user).status == 401
    assert not (settings.RIGHTS_DIR / "ci").exists()


def test_old_and_new_secret_work_beside_each_other_until_the_time_is_over(
    instance: Instance,
) -> None:
    name, old = made("ci", ("pull", "team/*"), ("push", "team/*"))
    row = users.RegistryUser.objects.get(name="ci")
    new = users.rotate(row, by="tests", overlap=timedelta(hours=1)).secret
    path = "/v2/team/api/manifests/1"
    for secret in (old, new):
        assert ask("GET", path, (name, secret)).status == 200
        assert ask("GET", "/v2/other/x/manifests/1", (name, secret)).status == 403
        # A body goes through the second look whole.
        put = ask(
            "PUT",
            "/v2/team/api/manifests/2",
            (name, secret),
            body=manifest(),
            headers={"Content-Type": TYPE},
        )
        assert put.status == 201
    assert ask("GET", path, (name, "x")).status == 401
    row.refresh_from_db()
    users.RegistryUser.objects.filter(pk=row.pk).update(old_until=timezone.now())
    publish.catch_up()
    assert ask("GET", path, (name, old)).status == 401
    assert ask("GET", path, (name, new)).status == 200
    newest = users.rotate(row, by="tests").secret
    assert ask("GET", path, (name, new)).status == 401
    assert ask("GET", path, (name, newest)).status == 200


def test_who_was_ended_by_a_clock_that_was_ahead_is_let_in_again(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = timezone.now() + timedelta(hours=1)
    name, old = made("ci", ("pull", "team/*"), expires_at=end)
    row = users.RegistryUser.objects.get(name="ci")
    new = users.rotate(row, by="tests", overlap=timedelta(minutes=30)).secret
    path = "/v2/team/api/manifests/1"
    real = timezone.now
    for hours, answers in ((0, (200, 200)), (0.75, (401, 200)), (2, (401, 401)), (0, (200, 200))):
        with monkeypatch.context() as patch:
            patch.setattr(timezone, "now", lambda hours=hours: real() + timedelta(hours=hours))
            publish.catch_up()
            assert tuple(ask("GET", path, (name, one)).status for one in (old, new)) == answers


def test_switching_off_ends_the_old_secret_too(instance: Instance) -> None:
    name, old = made("ci", ("pull", "*"))
    row = users.RegistryUser.objects.get(name="ci")
    users.rotate(row, by="tests", overlap=timedelta(hours=1))
    assert ask("GET", "/v2/", (name, old)).status == 200
    users.set_active([row], is_active=False, by="tests")
    assert ask("GET", "/v2/", (name, old)).status == 401


def test_guessing_is_slowed_down_and_locks_out_nobody(instance: Instance) -> None:
    user = made("ci", ("pull", "*"))
    assert statuses_of_guesses() == {401, 429}
    assert ask("GET", "/v2/team/api/manifests/1", user).status == 200  # from the same address
    assert ask("GET", "/v1/search?q=a", user).status == 404  # answered by the listener
    row = users.RegistryUser.objects.get(name="ci")
    users.rotate(row, by="tests", overlap=timedelta(hours=1))
    assert ask("GET", "/v2/team/api/manifests/1", user).status == 200  # with the old secret
    assert ask("GET", "/v2/").status == 401  # without a name nobody guesses


def test_the_log_names_only_who_was_verified(instance: Instance) -> None:
    user = made("ci", ("pull", "team/*"))
    ask("GET", "/v2/team/api/manifests/1", user)
    ask("GET", "/v2/other/x/manifests/1", user)
    ask("GET", "/v2/other/x/tags/list", ("ci", "wrong"))
    ask("OPTIONS", "/v2/other/x/tags/list", ("ci", "wrong"))
    settings.HTPASSWD_FILE.unlink()
    ask("GET", "/v2/single/manifests/1", ("ci", "anything"))

    def seen() -> list[tuple[int, str]]:
        lines = map(json.loads, (settings.LOG_DIR / "access.json").read_text().splitlines())
        return [(one["status"], one["user"]) for one in lines if one["agent"] != "boathouse-doctor"]

    until(lambda: len(seen()) >= 5, "nginx has written its lines, each after its answer")
    assert seen() == [(200, "ci"), (403, "ci"), (401, ""), (405, ""), (403, "")]


def test_a_body_of_any_size_passes_the_check(instance: Instance) -> None:
    """nginx holds the length of the body against the limit of the check's own location, too."""
    user = made("ci", ("push", "*"))
    place = urlsplit(ask("POST", "/v2/team/api/blobs/uploads/", user).headers["location"])
    body = bytes(3_000_000)
    path = f"{place.path}?{place.query}&digest={digest(body)}"
    assert ask("PUT", path, user, body=body).status == 201


@pytest.mark.parametrize("port", ["HTTP_PORT", "PORT"])
def test_plain_http_leads_browsers_on_and_refuses_clients(instance: Instance, port: str) -> None:
    """A program that follows would go on sending its password in clear."""

    def plain(path: str) -> Answer:
        over = http.client.HTTPConnection("localhost", getattr(settings, port), timeout=LONGEST)
        return ask("GET", path, ("ci", "secret"), over=over)

    page = plain("/repositories/?q=x")
    assert (page.status, page.headers["location"]) == (
        301,
        f"{settings.PUBLIC_URL}/repositories/?q=x",
    )
    for path in ("/v2", "/v2/", "/v2/team/api/manifests/1", "/v1/search?q=x"):
        answer = plain(path)
        assert (answer.status, answer.headers.get("location")) == (403, None)
        assert "use https" in answer.message


# -- without a login -------------------------------------------------------------------------------
def test_what_is_open_to_everybody_is_pulled_on_its_own_port() -> None:
    with running_instance(anonymous=["team/*", "single"]):
        with RegistryClient(settings.REGISTRY_URL) as client:
            for repository in REPOSITORIES:
                push(client, repository)
        port = settings.ANONYMOUS_PORT
        wrong = []
        for what, (method, path, _needed) in ACTIONS.items():
            for repository in REPOSITORIES:
                is_open = method in ("GET", "HEAD") and rights.may(
                    (("pull", "team/*"), ("pull", "single")), "pull", repository
                )
                for user in (None, ("admin", "x"), ("@anonymous", ""), ("@open", "")):
                    answer = ask(method, path.format(repository), user, port=port)
                    if (answer.status == 403) is is_open:
                        wrong.append(f"{what} {repository} as {user} -> {answer.status}")
        assert wrong == []
        assert ask("GET", "/v2/", port=port).status == 200  # Docker asks for no login then
        refused = ask("GET", "/v2/other/x/manifests/1", port=port)
        assert refused.message == "anonymous users may not pull other/x"
        assert ask("GET", "/v2/_catalog", port=port).status == 403
        # On the other port a login is asked for as ever, and who has one may pull that much, too.
        assert ask("GET", "/v2/team/api/manifests/1").status == 401
        user = made("pusher", ("push", "other/*"))
        assert ask("GET", "/v2/team/api/manifests/1", user).status == 200
        assert ask("GET", "/v2/other/x/manifests/1", user).status == 403
        assert ask("PUT", "/v2/team/api/manifests/2", user, body=manifest()).status == 403


def test_nothing_is_open_to_everybody_by_default(instance: Instance) -> None:
    assert not (settings.RIGHTS_DIR / "@anonymous").exists()
    assert "@anonymous/" not in (settings.CONFIG_DIR / "nginx.conf").read_text()
