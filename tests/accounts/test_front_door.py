"""Rights at the real nginx before the real registry: who may do what where, and every way around.

The portal takes no part: nothing here runs Django but the calls that write the files.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.conf import settings
from django.utils import timezone

from registryui import front_door
from registryui.accounts import publish, rights, users
from registryui.registry.client import RegistryClient
from tests.instance import Instance, running_instance

LAYER, CONFIG = b"a layer", b'{"os":"linux","architecture":"amd64"}'
SECRET = b"a layer that only other/x has"
TYPE = "application/vnd.oci.image.manifest.v1+json"
REPOSITORIES = ("team/api", "team/deep/er/api", "team", "teams/api", "other/x", "single")

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def message(self) -> str:
        """What Docker prints of it."""
        return str(json.loads(self.body)["errors"][0]["message"])


@pytest.fixture
def instance() -> Iterator[Instance]:
    with running_instance() as made:
        with RegistryClient(settings.REGISTRY_URL) as client:
            for repository in REPOSITORIES:
                push(client, repository)
            client.upload_blob("other/x", SECRET)
        yield made


def push(client: RegistryClient, repository: str) -> None:
    for blob in (LAYER, CONFIG):
        client.upload_blob(repository, blob)
    client.put_manifest(repository, "1", manifest(), TYPE)


def manifest(note: str = "") -> bytes:
    def descriptor(kind: str, data: bytes) -> dict[str, object]:
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": digest(data),
            "size": len(data),
        }

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": TYPE,
            "config": descriptor("config.v1+json", CONFIG),
            "layers": [descriptor("layer.v1.tar+gzip", LAYER)],
            "annotations": {"note": note},
        }
    ).encode()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def ask(
    method: str,
    path: str,
    user: tuple[str, str] | None = None,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    port: int = 0,
) -> Answer:
    """One request over TLS, the path sent as it stands."""
    connection = http.client.HTTPSConnection(
        "localhost", port or settings.PORT, context=ssl._create_unverified_context(), timeout=20
    )
    sent = {"Accept": TYPE, **(front_door.basic(*user) if user else {}), **(headers or {})}
    try:
        connection.request(method, path, body=body or None, headers=sent)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def made(name: str, *may: tuple[str, str], **options: Any) -> tuple[str, str]:
    """A user with these rights: name and secret."""
    done = users.create(name, by="tests", may=rights.parse(may), **options)
    assert done.proof.is_proved, done.proof
    return name, done.secret


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
    """nginx answers for each user, action and repository as accounts/rights.py says."""
    wrong = []
    for name, pairs in USERS.items():
        user = made(name, *pairs)
        for what, (method, path, needed) in ACTIONS.items():
            for repository in REPOSITORIES:
                body = manifest() if method == "PUT" else b""
                answer = ask(
                    method, path.format(repository), user, body=body, headers={"Content-Type": TYPE}
                )
                allowed = any(rights.may(pairs, one, repository) for one in needed.split(" or "))
                if (answer.status == 403) is allowed or answer.status in (401, 500, 502):
                    wrong.append(f"{name}: {what} {repository} -> {answer.status}")
    assert wrong == []


def test_a_refusal_says_who_may_not_do_what_where(instance: Instance) -> None:
    user = made("puller", ("pull", "team/*"))
    pushed = ask("POST", "/v2/team/api/blobs/uploads/", user)
    assert (pushed.status, pushed.message) == (403, "puller may not push team/api")
    pulled = ask("GET", "/v2/other/x/manifests/1", user)
    assert (pulled.status, pulled.message) == (403, "puller may not pull other/x")
    deleted = ask("DELETE", f"/v2/team/api/manifests/{digest(b'')}", user)
    assert (deleted.status, deleted.message) == (403, "puller may not delete team/api")
    listed = ask("GET", "/v2/_catalog", user)
    assert listed.message == "puller may not pull every repository, so not list them all"
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


def test_the_catalogue_is_for_those_who_may_pull_everything(instance: Instance) -> None:
    everything = made("everything", ("pull", "*"))
    pusher = made("pusher", ("push", "*"))
    listed = ask("GET", "/v2/_catalog?n=2", everything)
    assert json.loads(listed.body)["repositories"] == sorted(REPOSITORIES)[:2]
    assert ask("GET", "/v2/_catalog", pusher).status == 403
    assert ask("GET", "/v2/_catalog", made("team", ("pull", "team/*"))).status == 403


# -- ways around -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path",
    [
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
        "/_may",
        "/@old_secret",
    ],
)
def test_no_spelling_of_a_path_opens_another_repository(instance: Instance, path: str) -> None:
    user = made("team", ("pull", "team/*"), ("push", "team/*"))
    for method in ("GET", "HEAD"):
        answer = ask(method, path, user)
        assert answer.status in (302, 400, 403, 404), (method, answer)
        assert b"layers" not in answer.body


@pytest.mark.parametrize(
    "method", ["OPTIONS", "TRACE", "CONNECT", "PROPFIND", "PATCH", "PUT", "POST", "DELETE", "FOO"]
)
def test_a_method_is_not_a_way_around(instance: Instance, method: str) -> None:
    user = made("puller", ("pull", "*"))
    for path in ("/v2/team/api/manifests/1", f"/v2/team/api/blobs/{digest(LAYER)}", "/v2/"):
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
    {"raw": "", "form": {"mount": digest(SECRET), "from": "other/x"}},
    {"raw": "x=1", "form": {"mount": digest(SECRET), "from": "other/x"}},
]


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_a_mount_from_a_repository_one_may_not_pull_is_an_ordinary_upload(
    instance: Instance, mount: dict[str, Any]
) -> None:
    """201 would be the blob of the other repository; 202 begins an upload."""
    user = made("team", ("pull", "team/*"), ("push", "team/*"))
    query = mount.get("raw", urlencode(mount.get("query", {})))
    form = urlencode(mount.get("form", {})).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    path = "/v2/team/new/blobs/uploads/" + (f"?{query}" if query else "")
    answer = ask("POST", path, user, body=form, headers=headers)
    assert answer.status in (202, 400), answer
    assert ask("HEAD", f"/v2/team/new/blobs/{digest(SECRET)}", user).status == 404


@pytest.mark.parametrize("source", ["team/api", "team/deep/er/api"])
def test_a_mount_from_a_repository_one_may_pull_works(instance: Instance, source: str) -> None:
    user = made("team", ("pull", "team/*"), ("push", "team/*"))
    query = urlencode({"mount": digest(LAYER), "from": source})
    assert ask("POST", f"/v2/team/new/blobs/uploads/?{query}", user).status == 201
    # And for one who may push only: nothing is read.
    pusher = made("pusher", ("push", "*"))
    assert ask("POST", f"/v2/team/newer/blobs/uploads/?{query}", pusher).status == 202


def test_a_whole_blob_in_one_post_still_works(instance: Instance) -> None:
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


def raw(request: bytes) -> bytes:
    """What nginx answers to these bytes, until it closes."""
    context = ssl._create_unverified_context()
    with (
        socket.create_connection(("127.0.0.1", settings.PORT), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(request)
        answer = b""
        while piece := secure.recv(65536):
            answer += piece
        return answer


def test_http_1_0_and_smuggled_requests_are_no_way_around(instance: Instance) -> None:
    user = made("team", ("pull", "team/*"), ("push", "team/*"))
    login = f"Authorization: {front_door.basic(*user)['Authorization']}\r\n".encode()
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
    users.switch([row], is_active=False, by="tests")
    assert ask("GET", path, user).status == 401
    users.switch([row], is_active=True, by="tests")
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


def test_switching_off_ends_the_old_secret_too(instance: Instance) -> None:
    name, old = made("ci", ("pull", "*"))
    row = users.RegistryUser.objects.get(name="ci")
    users.rotate(row, by="tests", overlap=timedelta(hours=1))
    assert ask("GET", "/v2/", (name, old)).status == 200
    users.switch([row], is_active=False, by="tests")
    assert ask("GET", "/v2/", (name, old)).status == 401


def test_guessing_is_slowed_down_and_locks_out_nobody(instance: Instance) -> None:
    user = made("ci", ("pull", "*"))
    statuses = []
    for number in range(80):
        statuses.append(_quick("GET", "/v2/", ("ci", f"guess-{number}")))
        if statuses[-1] == 429:
            break
    assert set(statuses) <= {401, 429, None}
    assert statuses[-1] == 429 or None in statuses  # told to wait, or made to
    assert ask("GET", "/v2/team/api/manifests/1", user).status == 200  # from the same address
    assert ask("GET", "/v2/").status == 401  # without a name nobody guesses


def _quick(method: str, path: str, user: tuple[str, str]) -> int | None:
    """The status; None if no answer came within a moment."""
    connection = http.client.HTTPSConnection(
        "localhost", settings.PORT, context=ssl._create_unverified_context(), timeout=0.3
    )
    try:
        connection.request(method, path, headers=front_door.basic(*user))
        return connection.getresponse().status
    except TimeoutError:
        return None
    finally:
        connection.close()


def test_the_log_names_only_who_was_verified(instance: Instance) -> None:
    user = made("ci", ("pull", "team/*"))
    ask("GET", "/v2/team/api/manifests/1", user)
    ask("GET", "/v2/other/x/manifests/1", user)
    ask("GET", "/v2/other/x/tags/list", ("ci", "wrong"))
    ask("OPTIONS", "/v2/other/x/tags/list", ("ci", "wrong"))
    settings.HTPASSWD_FILE.unlink()
    ask("GET", "/v2/single/manifests/1", ("ci", "anything"))
    lines = [
        json.loads(line) for line in (settings.LOG_DIR / "access.json").read_text().splitlines()
    ]
    seen = [(line["status"], line["user"]) for line in lines if line["agent"] != "boathouse-doctor"]
    assert seen == [(200, "ci"), (403, "ci"), (401, ""), (405, ""), (403, "")]


def test_a_body_of_any_size_passes_the_check(instance: Instance) -> None:
    """nginx holds the length of the body against the limit of the check's own location, too."""
    user = made("ci", ("push", "*"))
    place = urlsplit(ask("POST", "/v2/team/api/blobs/uploads/", user).headers["location"])
    body = bytes(3_000_000)
    path = f"{place.path}?{place.query}&digest={digest(body)}"
    assert ask("PUT", path, user, body=body).status == 201


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
        assert refused.message == "without a login nobody may pull other/x"
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
