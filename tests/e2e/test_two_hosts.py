"""Two hosts over one PostgreSQL and one folder of images: what one does, the other follows."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.hosts import (
    Hosts,
    proxied,
    push_through_each,
    status,
    two_hosts,
    upload_through_both,
)
from tests.support.portal import TOKEN, Visitor
from tests.support.product import Product
from tests.support.racing import race
from tests.support.waiting import until

from .conftest import LOOPBACK

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with two_hosts() as both:
        yield both


def test_the_second_host_knows_the_accounts_of_the_first(hosts: Hosts) -> None:
    assert status(hosts.second, *hosts.first.user) == 200
    assert hosts.second.facts["fingerprint"] == hosts.first.facts["fingerprint"]
    visitor = Visitor(hosts.second)
    visitor.login()
    cookies = dict(visitor.cookies)
    elsewhere = Visitor(hosts.first, cookies)  # as a load balancer would send it
    assert elsewhere.get("/users").status == 200


def test_a_user_made_on_one_pushes_through_the_other_and_both_show_it(hosts: Hosts) -> None:
    push_through_each(hosts)


def test_an_upload_begun_on_one_is_ended_on_the_other(hosts: Hosts) -> None:
    upload_through_both(hosts)


def test_pushes_of_a_new_tag_through_both_overwrite_nothing(hosts: Hosts) -> None:
    rule = "race/*:v*"
    hosts.first.boathouse("protect", "add", rule, "--immutable")
    told = hosts.second.data / "guard" / "push" / "race" / "@all"
    until(told.exists, "the other host knows the rule")
    user = hosts.first.add_user("racer", pull=["race/*"], push=["race/*"], delete=["race/*"])
    until(lambda: status(hosts.second, *user) == 200, "he is let in there")
    race([hosts.first, hosts.second], user, "race/app", 2000, rule)
    hosts.first.boathouse("protect", "lift", rule)
    until(lambda: not told.exists(), "the other host lets it go")


def test_who_is_disabled_is_out_on_the_other_host(hosts: Hosts) -> None:
    """Measured from the answer to the click until nginx has another file to look at.

    A refused login says so too, but is held up as a guess, which is not what is measured.
    """
    login = hosts.first.add_user("in-and-out", pull=["team/*"])
    until(lambda: status(hosts.second, *login) == 200, "he is let in there")
    visitor = Visitor(hosts.first)
    visitor.login()
    page = re.search(r'href="(/users/\d+)">in-and-out<', visitor.get("/users").text)
    assert page
    file, seconds = hosts.second.data / "htpasswd", []
    for _ in range(30):
        assert visitor.post(page[1], act="off").status == 302
        began = time.monotonic()
        until(lambda: b"\nin-and-out:" not in file.read_bytes(), "he is out", pause=0.005)
        seconds.append(time.monotonic() - began)
        assert status(hosts.second, *login) == 401
        assert visitor.post(page[1], act="on").status == 302
        until(lambda: status(hosts.second, *login) == 200, "he is in again", pause=0.01)
    p95 = statistics.quantiles(seconds, n=20)[-1]
    print(
        f"revocation on the other host: median {statistics.median(seconds):.3f} s, p95 {p95:.3f} s"
    )


def test_an_operator_who_is_out_on_one_host_is_out_on_the_other_at_once(hosts: Hosts) -> None:
    """Each web process there has kept the rows of session and operator; none lets one more in."""
    first, page = Visitor(hosts.first), "/repositories/"
    for end in ("log-out", "disable"):
        first.login()
        other = Visitor(hosts.second, dict(first.cookies))
        assert {other.get(page).status for _time in range(40)} == {200}
        if end == "log-out":
            token = TOKEN.search(first.get(page).text)
            assert token
            assert first.send("/logout", csrfmiddlewaretoken=token[1]).status == 302
        else:
            name = hosts.first.operator[0]
            hosts.first.boathouse("operator", "add", "deputy", "--role", "admin")
            hosts.first.boathouse("operator", "disable", name, "--registry-users", "keep")
        assert {other.get(page).status for _time in range(40)} == {302}
    hosts.first.boathouse("operator", "enable", hosts.first.operator[0])


def test_a_secret_that_was_replaced_ends_on_both(hosts: Hosts) -> None:
    name, old = hosts.first.add_user("turned", pull=["team/*"])
    until(lambda: status(hosts.second, name, old) == 200, "he is let in there")
    hosts.second.boathouse("user", "rotate", name)
    assert status(hosts.second, name, old) == 401
    until(lambda: status(hosts.first, name, old) == 401, "the old one ends there")
    hosts.first.boathouse("user", "remove", name, "--yes")
    for host in (hosts.first, hosts.second):
        lines, rights = host.data / "htpasswd", host.data / "rights" / name
        until(lambda f=lines: f"{name}:" not in f.read_text(), "the line is gone")
        until(lambda f=rights: not f.exists(), "and after it the rights")


def test_a_host_that_was_away_writes_what_it_missed_before_it_lets_anybody_in(hosts: Hosts) -> None:
    gone = hosts.first.add_user("gone-meanwhile", pull=["team/*"])
    off = hosts.first.add_user("off-meanwhile", pull=["team/*"])
    until(lambda: status(hosts.second, *off) == 200, "it knows them")
    hosts.second.down()
    hosts.first.boathouse("user", "remove", gone[0], "--yes")
    hosts.first.boathouse("user", "disable", off[0])
    new = hosts.first.add_user("new-meanwhile", pull=["team/*"])
    findings = {one["name"]: one for one in doctor(hosts.first)}
    assert findings["hosts"]["code"] == "hosts-late"
    assert findings["hosts"]["params"]["count"] == 3
    hosts.second.up()
    assert [status(hosts.second, *one) for one in (gone, off, new)] == [401, 401, 200]
    for host in (hosts.first, hosts.second):
        until(
            lambda one=host: [row for row in doctor(one) if row["code"] == "hosts-ok"],
            "the other host is heard of",
        )


def doctor(host: Product) -> list[dict[str, Any]]:
    """What ./boathouse doctor finds there."""
    said = host.boathouse("doctor", "--json", check=False).stdout
    found: list[dict[str, Any]] = json.loads(said)["findings"]
    return found


def test_the_other_host_goes_on_with_the_schedule_of_one_that_dies(hosts: Hosts) -> None:
    def holder() -> str:
        return hosts.cluster.run(
            *("psql", "-At", "boathouse", "-c"),
            "SELECT host FROM registryui_lease WHERE until > now()",
        ).strip()

    ids = {(one.data / "host-id").read_text().strip(): one for one in (hosts.first, hosts.second)}
    leader = ids[until(holder, "somebody leads")]
    other = hosts.second if leader is hosts.first else hosts.first
    # Its `up` is frozen, so that it does not start the worker again.
    worker = leader.pids()["worker"]
    parent = psutil.Process(worker).parent()
    assert parent
    assert "up" in parent.cmdline()
    parent.send_signal(signal.SIGSTOP)
    try:
        os.kill(worker, signal.SIGKILL)
        taken = until(lambda: ids.get(holder()) is other, "the other one leads", pause=0.2)
        assert taken
        # What was pushed through the one without a worker is on the page of the other.
        digest = proxied(leader, *leader.user).push_image("team/orphan", "1.0")
        row = until(lambda: other.tag("team/orphan", "1.0"), "it is listed")
        assert row is not None
        assert row["digest"] == digest
        findings = {one["name"]: one for one in doctor(other)}
        assert findings["hosts"]["code"] == "hosts-silent"
    finally:
        parent.send_signal(signal.SIGCONT)
    until(lambda: leader.status()["parts"]["worker"]["health"] == "ok", "it is back")


def test_a_database_that_was_away_is_found_again_by_itself(hosts: Hosts) -> None:
    visitor = Visitor(hosts.first)
    visitor.login()
    login = hosts.first.add_user("steady", pull=["team/*"], push=["team/*"])
    hosts.cluster.stop()
    try:
        page = visitor.get("/")
        assert page.status == 503
        assert "The database does not respond" in page.text
        said = hosts.first.boathouse("doctor", check=False).stdout
        assert "Database" in said
        assert "Does not respond" in said
        assert "Traceback" not in said
        # Nobody in the data path needs it.
        assert status(hosts.first, *login) == 200
        digest = proxied(hosts.first, *login).push_image("team/meanwhile", "1.0")
    finally:
        hosts.cluster.start()
    assert until(lambda: visitor.get("/").status == 200, "the pages are back")
    row = until(lambda: hosts.second.tag("team/meanwhile", "1.0"), "it is listed")
    assert row is not None
    assert row["digest"] == digest
    digest = proxied(hosts.second, *hosts.first.user).push_image("team/after", "1.0")
    until(lambda: hosts.first.tag("team/after", "1.0"), "a new push is listed")
    off = hosts.second.boathouse("user", "disable", "steady")
    assert off.returncode == 0
    until(lambda: status(hosts.first, *login) == 401, "the other follows again")
    log = (hosts.first.data / "log" / "boathouse.log").read_text()
    assert log.count("Error reading from queue") < 10, log[-3000:]


def test_a_dump_brings_everything_back(hosts: Hosts, tmp_path: Path) -> None:
    digest = proxied(hosts.first, *hosts.first.user).push_image("team/dumped", "1.0")
    until(lambda: hosts.first.tag("team/dumped", "1.0"), "it is listed")
    hosts.second.down()
    hosts.first.down()
    dump = str(tmp_path / "boathouse.dump")
    without = ("--exclude-table=huey_*", "--format=custom")
    hosts.cluster.run("pg_dump", *without, f"--file={dump}", "boathouse")
    url = hosts.cluster.create("restored")
    hosts.cluster.run("pg_restore", "--no-owner", "--dbname=restored", dump)
    for host in (hosts.first, hosts.second):
        host.settings["DATABASE_URL"] = url
        host.up()
        row = host.tag("team/dumped", "1.0")
        assert row is not None
        assert row["digest"] == digest
        assert status(host, *hosts.first.user) == 200


def test_a_copied_host_id_is_refused(hosts: Hosts, tmp_path: Path) -> None:
    third = Product(tmp_path / "data", LOOPBACK, LOOPBACK, 9, settings=hosts.first.settings)
    third.data.mkdir()
    shutil.copy2(hosts.first.data / "host-id", third.data / "host-id")
    said = third.boathouse("up", "--background", check=False)
    assert said.returncode == 1
    assert "has the same host-id" in said.stderr
