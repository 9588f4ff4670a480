"""Two hosts over one database and one store, a folder or a bucket, and mirrors on both."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support import mirrors, upstreams
from tests.support.folders import open_folder
from tests.support.hosts import Hosts, proxied, s3_storage, two_hosts
from tests.support.mirrors import pull
from tests.support.pushing import CUT_OFF
from tests.support.upstreams import Upstream, upstream
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

MIRRORED = "hub/team/app"


@pytest.fixture(scope="module", params=["folder", "s3"])
def hosts(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with ExitStack() as stack:
        storage = None
        if request.param == "s3":
            storage = stack.enter_context(s3_storage(tmp_path_factory.mktemp("secret")))
        yield stack.enter_context(two_hosts(storage))


@pytest.fixture(scope="module")
def hub(hosts: Hosts) -> Iterator[Upstream]:
    """Added on the first host; the second one follows."""
    with open_folder("hub") as place, upstream(place, auth="token") as made:
        mirrors.add(hosts.first, "hub", made, "--fresh-minutes=0")
        until(lambda: mirrors.is_ready(hosts.second, "hub"), "the second host has the mirror")
        yield made


def layers(seed: int, count: int = 3, size: int = 400_000) -> list[bytes]:
    return [random.Random(seed * 100 + number).randbytes(size) for number in range(count)]


def broken(hosts: Hosts, number: int, tag: str) -> str:
    """What a client of one of the hosts notices."""
    host = (hosts.first, hosts.second)[number % 2]
    try:
        return pull(proxied(host, *hosts.first.user), MIRRORED, tag).broken
    except CUT_OFF as error:
        return repr(error)


def test_what_one_host_pulled_the_other_has_without_the_upstream(
    hosts: Hosts, hub: Upstream
) -> None:
    digest = hub.registry.push_image("team/app", "first", layers=layers(1))
    assert broken(hosts, 0, "first") == ""
    hub.forget()
    assert broken(hosts, 1, "first") == ""
    assert hub.count("GET", "/blobs/") == 0
    for host in (hosts.first, hosts.second):
        row = until(lambda one=host: one.tag(MIRRORED, "first"), "it is listed")
        assert row is not None
        assert (row["digest"], row["problem"]) == (digest, "")


def test_clients_of_both_that_pull_the_same_at_once_have_all_of_it(
    hosts: Hosts, hub: Upstream
) -> None:
    """Each host may ask once, and both write the same."""
    for number in range(3):
        tag = f"both{number}"
        hub.registry.push_image("team/app", tag, layers=layers(10 + number))
        hub.forget()
        with ThreadPoolExecutor(10) as pool:
            found = list(pool.map(lambda one, t=tag: broken(hosts, one, t), range(10)))
        assert [one for one in found if one] == []
        counted = [hub.count("GET", one.path) for one in hub.asked if "/blobs/" in one.path]
        assert max(counted) <= 4  # of two hosts, each with a request that was told to log in


def test_a_service_that_is_killed_harms_the_other_host_not(hosts: Hosts, hub: Upstream) -> None:
    digest = hub.registry.push_image("team/app", "killed", layers=layers(20, size=2_000_000))
    hub.fail(upstreams.slow(2_000_000))
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(broken, hosts, number, "killed") for number in range(4)]
        until(lambda: hub.count("GET", "/blobs/") > 2, "both download")
        os.kill(hosts.first.pids()["mirror"], signal.SIGKILL)
        found = [one.result() for one in waiting]
    hub.fail(None)
    assert found[1] == found[3] == ""
    until(lambda: not broken(hosts, 0, digest), "the first host has it, too", pause=0.2)


def test_a_tag_that_moved_is_the_same_on_both(hosts: Hosts, hub: Upstream) -> None:
    for number in range(4):
        digest = hub.registry.push_image("team/app", "moves", layers=layers(30 + number))
        assert broken(hosts, number, "moves") == ""
        for host in (hosts.first, hosts.second):
            found = pull(proxied(host, *hosts.first.user), MIRRORED, "moves")
            assert (found.broken, found.headers["docker-content-digest"]) == ("", digest)
    for host in (hosts.first, hosts.second):
        until(
            lambda one=host, d=digest: (one.tag(MIRRORED, "moves") or {})["digest"] == d, "listed"
        )


def test_both_serve_what_is_here_when_the_upstream_is_gone(hosts: Hosts, hub: Upstream) -> None:
    """The last: a service that starts now finds what others left, and garbage collection has left
    all that is listed."""
    hub.kill()
    hosts.first.boathouse("gc", "--json")
    hosts.second.down()
    hosts.second.up()
    tags = ["first", "both0", "both1", "both2", "killed", "moves"]
    for number in range(2 * len(tags)):
        assert broken(hosts, number, tags[number // 2]) == ""


@pytest.mark.usefixtures("hub")
def test_writes_are_refused_on_both(hosts: Hosts) -> None:
    for host in (hosts.first, hosts.second):
        answer = proxied(host, *hosts.first.user).ask("POST", f"/v2/{MIRRORED}/blobs/uploads/")
        assert (answer.status, "is a mirror of" in answer.body.decode()) == (405, True)
