"""Two hosts over one PostgreSQL and one bucket, as a company with an object store has them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.hosts import (
    Hosts,
    proxied,
    push_through_each,
    s3_storage,
    status,
    two_hosts,
    upload_through_both,
)
from tests.support.waiting import until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with s3_storage(tmp_path_factory.mktemp("secret")) as storage, two_hosts(storage) as both:
        yield both


@pytest.mark.usefixtures("short_form")
def test_what_is_pushed_through_one_is_pulled_and_listed_on_the_other(hosts: Hosts) -> None:
    push_through_each(hosts)


@pytest.mark.usefixtures("short_form")
def test_an_upload_begun_on_one_is_ended_on_the_other(hosts: Hosts) -> None:
    upload_through_both(hosts)


@pytest.mark.usefixtures("short_form")
def test_who_is_disabled_on_one_is_out_on_the_other(hosts: Hosts) -> None:
    login = hosts.first.add_user("out", pull=["team/*"])
    until(lambda: status(hosts.second, *login) == 200, "he is let in there")
    hosts.first.boathouse("user", "disable", "out")
    until(lambda: status(hosts.second, *login) == 401, "he is out there")


def test_either_host_reads_the_bucket_and_finds_the_index_equal_to_it(hosts: Hosts) -> None:
    digest = proxied(hosts.first, *hosts.first.user).push_image("team/verified", "1.0")
    for host in (hosts.first, hosts.second):
        until(lambda h=host: h.tag("team/verified", "1.0"), "it is listed")
        synced = json.loads(host.boathouse("sync", "--full", "--source", "store", "--json").stdout)
        assert (synced["state"], synced["errors"]) == ("done", 0)
        verified = json.loads(host.boathouse("sync", "--verify", "--json").stdout)
        assert verified["differences"] == []
        row = host.tag("team/verified", "1.0")
        assert row is not None
        assert row["digest"] == digest


def test_a_tag_deleted_on_one_comes_back_on_the_other(hosts: Hosts) -> None:
    user = proxied(hosts.first, *hosts.first.user)
    digest = user.push_image("team/undone", "1.0", "sibling")
    until(lambda: hosts.second.tag("team/undone", "sibling"), "it is listed")
    hosts.first.boathouse("tag", "delete", "team/undone:1.0", "--yes")
    there = proxied(hosts.second, *hosts.first.user)
    assert there.get("team/undone", "1.0").status == 404
    assert there.get("team/undone", "sibling").status == 200
    hosts.second.boathouse("tag", "restore", "team/undone:1.0")
    assert user.get("team/undone", "1.0").headers["docker-content-digest"] == digest


def test_of_two_gc_runs_asked_for_at_once_one_runs_at_a_time(hosts: Hosts) -> None:
    user = proxied(hosts.first, *hosts.first.user)
    user.push_image("team/collected", "1.0")
    until(lambda: hosts.second.tag("team/collected", "1.0"), "it is listed")
    with ThreadPoolExecutor(2) as pool:
        done: list[subprocess.CompletedProcess[str]] = list(
            pool.map(
                lambda host: host.boathouse("gc", "--json", check=False),
                (hosts.first, hosts.second),
            )
        )
    assert [one for one in done if one.returncode == 0], [one.stderr for one in done]
    for one in done:
        if one.returncode:
            assert "already" in one.stderr
        else:
            assert json.loads(one.stdout)["quarantined"] == 0  # all of it is young
    beside = hosts.cluster.run("psql", "-At", "boathouse", "-c", _AT_ONCE).strip()
    assert beside == "0"
    for host in (hosts.first, hosts.second):
        assert proxied(host, *hosts.first.user).get("team/collected", "1.0").status == 200


_AT_ONCE = """
    SELECT COUNT(*) FROM registryui_run one JOIN registryui_run other
    ON one.id < other.id AND one.kind = 'gc' AND other.kind = 'gc'
    AND other.started_at < one.finished_at
"""


def test_no_log_of_either_host_has_the_key_to_the_bucket(hosts: Hosts) -> None:
    """The last: all parts of both hosts wrote them meanwhile."""
    secret = Path(hosts.first.settings["BOATHOUSE_STORAGE_SECRET_FILE"]).read_bytes()
    for host in (hosts.first, hosts.second):
        logs = list((host.data / "log").iterdir())
        assert len(logs) > 1
        assert [path.name for path in logs if secret in path.read_bytes()] == []
