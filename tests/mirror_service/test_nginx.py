"""Mirrors behind the real nginx: rights, refused writes, and what happens without a part."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings

from registryui.accounts import users
from registryui.mirrors import publish
from registryui.models import Mirror, RegistryUser
from registryui.refused import Refused
from registryui.registry.client import RegistryClient
from registryui.setup import configuration, mirror_ports
from tests.support.fake_source import digest_of
from tests.support.instance import Instance, restart_nginx, take_portal_away, wait_for
from tests.support.parts import free_port
from tests.support.proxy_client import LAYER, ask, made, manifest, push
from tests.support.waiting import until

from .fake_upstream import FakeUpstream, fake_upstream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]
TAG = "/v2/hub/team/app/manifests/1"
BLOB = f"/v2/hub/team/app/blobs/{digest_of(LAYER)}"
ALL = (("pull", "*"), ("push", "*"), ("delete", "*"))


@pytest.fixture(scope="module")
def filled(standing: Instance) -> Instance:
    with RegistryClient(settings.REGISTRY_URL) as client:
        for name in ("team/api", "hubs/api"):
            push(client, name)
    standing.remember()
    return standing


@pytest.fixture
def instance(filled: Instance) -> Instance:
    filled.renew()
    filled.stop("mirror")  # its counters and times are of the test before
    filled.start_missing()
    return filled


@pytest.fixture
def upstream(instance: Instance) -> Iterator[FakeUpstream]:
    """What the mirror `hub` mirrors, with one image."""
    with fake_upstream() as found:
        found.push_image("team/app", "1", LAYER)
        Mirror.objects.create(name="hub", url=found.url)
        publish.write()
        yield found


@pytest.fixture
def user(instance: Instance) -> tuple[str, str]:
    return made("ci", *ALL)


def words(upstream: FakeUpstream) -> str:
    return f"hub is a mirror of {upstream.url}: nothing can be pushed or deleted here"


def test_a_pull_comes_from_the_upstream_and_then_from_the_registry(
    upstream: FakeUpstream, user: tuple[str, str], instance: Instance
) -> None:
    for _number in range(2):
        found = ask("GET", TAG, user)
        assert (found.status, found.headers["age"]) == (200, "0")
        assert ask("GET", BLOB, user).body == LAYER
        assert ask("HEAD", BLOB, user).headers["content-length"] == str(len(LAYER))
        digest = found.headers["docker-content-digest"]
        assert ask("GET", f"/v2/hub/team/app/manifests/{digest}", user).body == found.body
    assert set(upstream.gets().values()) == {1}
    assert ask("GET", "/v2/hub/team/app/tags/list", user).body.strip() == (
        b'{"name":"hub/team/app","tags":["1"]}'
    )
    for _line, headers in upstream.heard:
        assert not {"authorization", "cookie", "x-boathouse-user", "x-boathouse-proxy"} & set(
            headers
        )


def test_only_who_may_pull_the_repository_gets_it(upstream: FakeUpstream, user: object) -> None:
    puller = made("puller", ("pull", "hub/team/*"))
    stranger = made("stranger", ("pull", "team/*"))
    pusher = made("pusher", ("push", "*"))
    table = [(None, 401), (("puller", "wrong"), 401), (stranger, 403), (pusher, 403), (puller, 200)]
    for path in (TAG, BLOB):
        for who, status in table:
            assert ask("GET", path, who).status == status, (path, who)
            if status != 200:
                assert not upstream.asked
        upstream.asked.clear()
        upstream.manifests.pop("none", None)
    assert ask("GET", "/v2/hub/other/manifests/1", puller).message == (
        "puller may not pull hub/other"
    )


def test_nobody_changes_a_mirror(
    upstream: FakeUpstream, user: tuple[str, str], subtests: pytest.Subtests
) -> None:
    digest = ask("GET", TAG, user).headers["docker-content-digest"]
    mount = f"mount={digest_of(LAYER)}&from=team/api"
    table = [
        ("PUT", "/v2/hub/team/app/manifests/1"),
        ("PUT", f"/v2/hub/team/app/manifests/{digest}"),
        ("PUT", "/v2/hub/manifests/1"),
        ("PUT", "/v2/%68ub/team/app/manifests/1"),
        ("PUT", "/v2/team/../hub/team/app/manifests/1"),
        ("PUT", "/v2/team/%2e%2e/hub/team/app/manifests/1"),
        ("PUT", "/v2/hub%2Fteam/app/manifests/1"),
        ("PUT", "/v2/./hub/team/app/manifests/1"),
        ("DELETE", "/v2/hub/team/app/manifests/1"),
        ("DELETE", f"/v2/hub/team/app/manifests/{digest}"),
        ("DELETE", f"/v2/hub/team/app/manifests/{digest.replace(':', '%3A')}"),
        ("DELETE", BLOB),
        ("POST", "/v2/hub/team/app/blobs/uploads/"),
        ("POST", "/v2/hub/blobs/uploads/"),
        ("POST", f"/v2/hub/team/app/blobs/uploads/?{mount}"),
        ("POST", f"/v2/hub/team/app/blobs/uploads/?digest={digest_of(LAYER)}"),
        ("PATCH", "/v2/hub/team/app/blobs/uploads/some-session"),
        ("PUT", f"/v2/hub/team/app/blobs/uploads/some-session?digest={digest_of(LAYER)}"),
        ("DELETE", "/v2/hub/team/app/blobs/uploads/some-session"),
        ("GET", "/v2/hub/team/app/blobs/uploads/some-session"),
    ]
    log = settings.LOG_DIR / "access.json"
    before = len(log.read_bytes())
    for method, path in table:
        with subtests.test(f"{method} {path}"):
            answer = ask(method, path, user, body=manifest())
            assert answer.status == 405
            assert json.loads(answer.body)["errors"][0]["code"] == "UNSUPPORTED"
            assert answer.message == words(upstream)
    assert ask("PUT", TAG, made("weak", ("pull", "*"))).status == 403
    assert ask("PUT", TAG).status == 401

    def logged() -> list[str]:
        lines = map(json.loads, log.read_bytes()[before:].splitlines())
        return sorted(one["method"] for one in lines if one["status"] == 405)

    methods = sorted(method for method, _path in table)
    until(lambda: logged() == methods, "the log has the methods, each after its answer")
    assert ask("GET", TAG, user).headers["docker-content-digest"] == digest
    assert list((settings.STORE_DIR / "docker/registry/v2/repositories/hub").glob("_*")) == []


def test_a_secret_that_was_replaced_does_the_same(
    upstream: FakeUpstream, user: tuple[str, str]
) -> None:
    users.rotate(RegistryUser.objects.get(name="ci"), by="tests", overlap=timedelta(hours=1))
    assert ask("GET", TAG, user).status == 200
    digest = ask("HEAD", TAG, user).headers["docker-content-digest"]
    for _number in range(2):
        assert ask("GET", BLOB, user).body == LAYER
        found = ask("GET", f"/v2/hub/team/app/manifests/{digest}", user)
        assert digest_of(found.body) == digest
    assert set(upstream.gets().values()) == {1}
    for method, path in (
        ("PUT", TAG),
        ("DELETE", f"/v2/hub/team/app/manifests/{digest}"),
        ("POST", "/v2/hub/team/app/blobs/uploads/"),
        ("PATCH", "/v2/hub/team/app/blobs/uploads/some-session"),
    ):
        refused = ask(method, path, user, body=manifest())
        assert (refused.status, refused.message) == (405, words(upstream))
    assert ask("POST", "/v2/team/api/blobs/uploads/", user).status == 202
    assert not [one for _line, one in upstream.heard if "authorization" in one]


def test_names_beside_a_mirror_are_ordinary(upstream: FakeUpstream, user: tuple[str, str]) -> None:
    for path in ("/v2/hubs/api", "/v2/team/hub/x", "/v2/hub/../hubs/api", "/v2/hub-2/x"):
        assert ask("POST", f"{path}/blobs/uploads/", user).status == 202, path
    assert ask("GET", "/v2/hubs/api/manifests/1", user).status == 200
    assert not upstream.asked
    # What lies in a mirror may be mounted elsewhere by who may pull it.
    assert ask("GET", BLOB, user).status == 200
    mount = f"/v2/team/api/blobs/uploads/?mount={digest_of(LAYER)}&from=hub%2Fteam%2Fapp"
    until(lambda: ask("POST", mount, user).status == 201, "the blob is mounted")


def test_our_own_addresses_are_closed_from_outside(
    upstream: FakeUpstream, user: tuple[str, str]
) -> None:
    for path in (
        "/_mirrored_tag",
        "/_mirrored_digest",
        "/_mirror_change",
        "/_mirror_refusal/hub/refusal.json",
        "/_mirror_refusal/hub/upstream.json",
        "/@from_upstream",
    ):
        for who in (None, user):
            answer = ask("GET", path, who)
            assert answer.status in (404, 405), path
            assert b"mirror of" not in answer.body
            assert b"fresh_seconds" not in answer.body
    assert not upstream.asked


def test_mirrors_go_on_without_the_portal(
    upstream: FakeUpstream, user: tuple[str, str], instance: Instance
) -> None:
    take_portal_away(instance)
    assert ask("GET", TAG, user).status == 200
    assert ask("GET", BLOB, user).body == LAYER
    refused = ask("PUT", TAG, user, body=manifest())
    assert (refused.status, refused.message) == (405, words(upstream))


def test_what_was_pulled_is_served_without_the_mirror_service(
    upstream: FakeUpstream, user: tuple[str, str], instance: Instance
) -> None:
    whole = ask("GET", TAG, user)
    until(lambda: ask("GET", BLOB, user).body == LAYER, "the blob is here")
    until(lambda: len(list(_data())) >= 3, "the image is complete")
    instance.stop("mirror")
    again = ask("GET", TAG, user)
    assert (again.status, again.body) == (200, whole.body)
    assert again.headers["warning"].startswith("111 ")
    assert ask("GET", BLOB, user).body == LAYER
    for path in ("/v2/hub/team/app/manifests/2", f"/v2/hub/team/app/blobs/sha256:{'0' * 64}"):
        missing = ask("GET", path, user)
        assert (missing.status, missing.headers["retry-after"]) == (503, "5")
        assert "mirror service" in missing.message
    assert ask("PUT", TAG, user).status == 405
    assert ask("GET", "/v2/team/api/manifests/1", user).status == 200
    instance.start_missing()
    assert ask("GET", TAG, user).headers["age"] == "0"


def test_a_disabled_mirror_serves_what_is_here_and_stays_closed(
    upstream: FakeUpstream, user: tuple[str, str]
) -> None:
    whole = ask("GET", TAG, user)
    Mirror.objects.update(is_active=False)
    publish.write()
    upstream.asked.clear()
    assert ask("GET", TAG, user).body == whole.body
    assert ask("GET", "/v2/hub/team/app/manifests/2", user).status == 404
    assert ask("PUT", TAG, user).message == words(upstream)
    assert not upstream.asked


@pytest.fixture
def port(upstream: FakeUpstream, instance: Instance) -> int:
    """Of the mirror, without a login, for this machine."""
    port = free_port()
    Mirror.objects.update(open_port=port, networks="127.0.0.0/8")
    mirror_ports.follow()
    wait_for(port)
    return port


def test_an_open_port_has_the_mirror_at_its_root(
    upstream: FakeUpstream, port: int, subtests: pytest.Subtests
) -> None:
    assert ask("GET", "/v2/", port=port).status == 200
    found = ask("GET", "/v2/team/app/manifests/1", port=port)
    assert (found.status, found.headers["age"]) == (200, "0")
    digest = found.headers["docker-content-digest"]
    assert ask("GET", f"/v2/team/app/manifests/{digest}", port=port).body == found.body
    blob = f"/v2/team/app/blobs/{digest_of(LAYER)}"
    assert ask("GET", blob, port=port).body == LAYER
    assert ask("HEAD", blob, port=port).headers["content-length"] == str(len(LAYER))
    table = [
        ("PUT", "/v2/team/app/manifests/1", 405),
        ("DELETE", f"/v2/team/app/manifests/{digest}", 405),
        ("DELETE", blob, 405),
        ("POST", "/v2/team/app/blobs/uploads/", 404),
        ("GET", "/v2/_catalog", 404),
        ("GET", "/v2/../team/api/manifests/1", 404),
        ("GET", "/v2/team/app/tags/list", 404),
        ("GET", "/login", 404),
        ("GET", "/", 404),
    ]
    for method, path, status in table:
        with subtests.test(f"{method} {path}"):
            assert ask(method, path, port=port).status == status
    assert ask("GET", "/v2/team/api/manifests/1", port=port).status == 404
    assert not [line for line, headers in upstream.heard if "authorization" in headers]


def test_an_open_port_is_for_its_networks_only(upstream: FakeUpstream, port: int) -> None:
    Mirror.objects.update(networks="10.0.0.0/8")
    mirror_ports.follow()
    for path in ("/v2/", "/v2/team/app/manifests/1", f"/v2/team/app/blobs/{digest_of(LAYER)}"):
        until(lambda path=path: ask("GET", path, port=port).status == 403, "others are let in")
    assert not upstream.asked


def test_an_open_port_goes_on_without_the_mirror_service(
    upstream: FakeUpstream, port: int, instance: Instance
) -> None:
    whole = ask("GET", "/v2/team/app/manifests/1", port=port)
    instance.stop("mirror")
    assert ask("GET", "/v2/team/app/manifests/1", port=port).body == whole.body
    assert ask("GET", "/v2/team/app/manifests/2", port=port).status == 503


def test_a_port_that_is_in_use_stays_closed_and_the_others_open(
    upstream: FakeUpstream, user: tuple[str, str], port: int, instance: Instance
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        Mirror.objects.create(
            name="quay", url=upstream.url, open_port=taken, networks="127.0.0.0/8"
        )
        with pytest.raises(Refused, match=f"{taken} of quay"):
            mirror_ports.follow()
        assert f":{taken} " not in configuration.mirror_ports_file().read_text()
        restart_nginx(instance)
        wait_for(port)
        assert ask("GET", TAG, user).status == 200
    Mirror.objects.filter(name="hub").delete()
    mirror_ports.follow()
    wait_for(taken)
    assert f":{port} " not in configuration.mirror_ports_file().read_text()


def _data() -> Iterator[Path]:
    repository = settings.STORE_DIR / "docker/registry/v2/repositories/hub/team/app"
    yield from repository.glob("_layers/*/*/link")
    yield from repository.glob("_manifests/revisions/*/*/link")
