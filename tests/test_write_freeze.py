"""Writes held at the real nginx before the real registry."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from registryui import doctor, sockets, write_freeze
from registryui.models import AuditEvent, Host
from registryui.refused import Refused
from registryui.setup import configuration
from tests.support.proxy_client import ask, digest, manifest
from tests.support.writes_under_way import (  # noqa: F401  (tests, too)
    TYPE,
    frozen,
    give_up,
    renewed,
    test_a_slow_upload_is_waited_for,
    test_a_write_that_its_client_gave_up_counts_until_the_registry_is_done,
    test_only_what_is_under_way_now_is_waited_for,
    test_what_the_registry_has_not_answered_is_counted,
    until_under_way,
    user_with_push,
)

from .support.instance import Instance, restart_nginx
from .support.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]

SOMETHING = "sha256:" + "1" * 64
WRITES = (
    ("POST", "/v2/team/app/blobs/uploads/"),
    ("PATCH", "/v2/team/app/blobs/uploads/0b0c?_state=x"),
    ("PUT", f"/v2/team/app/blobs/uploads/0b0c?_state=x&digest={SOMETHING}"),
    ("DELETE", "/v2/team/app/blobs/uploads/0b0c?_state=x"),
    ("DELETE", f"/v2/team/app/blobs/{SOMETHING}"),
    ("PUT", "/v2/team/app/manifests/1"),
    ("DELETE", f"/v2/team/app/manifests/{SOMETHING}"),
)
READS = (
    ("GET", "/v2/"),
    ("GET", "/v2/team/app/manifests/1"),
    ("HEAD", "/v2/team/app/manifests/1"),
    ("GET", f"/v2/team/app/blobs/{digest(b'a layer')}"),
    ("GET", "/v2/team/app/tags/list"),
)


@pytest.fixture
def instance(standing: Instance, monkeypatch: pytest.MonkeyPatch) -> Instance:
    return renewed(standing, monkeypatch)


@pytest.fixture
def user(instance: Instance) -> tuple[str, str]:
    return user_with_push()


def soon(minutes: float = 5) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


def run(*words: str) -> Any:
    printed = io.StringIO()
    call_command("freeze", *words, "--json", stdout=printed)
    return json.loads(printed.getvalue())


def test_every_write_is_rejected_and_says_why_while_reads_go_on(user: tuple[str, str]) -> None:
    write_freeze.on("writes", by="tests", until=soon())
    for method, path in WRITES:
        for who in (user, None):
            answer = ask(method, path, who, body=b"x" if method[0] == "P" else b"")
            assert answer.status == 503, (method, path)
            assert answer.headers["retry-after"] == "60"
            assert json.loads(answer.body)["errors"][0]["code"] == "UNAVAILABLE"
            assert "rejected for maintenance" in answer.message
    for method, path in READS:
        assert ask(method, path, user).status == 200, (method, path)
        assert ask(method, path).status == 401
    assert write_freeze.off() == 1
    for method, path in WRITES:
        assert ask(method, path, user).status not in (401, 403, 503), (method, path)


def test_a_freeze_of_manifests_lets_blobs_through(user: tuple[str, str]) -> None:
    write_freeze.on("manifests", by="tests", until=soon())
    for method, path in WRITES:
        answer = ask(method, path, user, body=b"x" if method[0] == "P" else b"")
        assert (answer.status == 503) == ("/manifests/" in path), (method, path)
        if answer.status == 503:
            assert answer.headers["retry-after"] == "10"
            assert "while space is freed" in answer.message
    assert ask("GET", "/v2/team/app/manifests/1", user).status == 200


def test_the_proxy_opens_when_the_work_is_done_or_fails(user: tuple[str, str]) -> None:
    with write_freeze.frozen("manifests", by="tests") as frozen:
        assert ask("PUT", "/v2/team/app/manifests/1", user, body=manifest()).status == 503
        frozen.check()
        assert frozen.seconds > 0
    assert ask("PUT", "/v2/team/app/manifests/1", user, body=manifest(), headers=TYPE).status == 201
    with pytest.raises(RuntimeError), write_freeze.frozen("writes", by="tests"):
        raise RuntimeError
    assert not any(write_freeze.is_frozen(what) for what in ("writes", "manifests"))


def test_two_freezes_end_one_after_the_other(instance: Instance) -> None:
    write_freeze.on("writes", by="an admin", until=soon())
    with write_freeze.frozen("manifests", by="tests"):
        assert write_freeze.off() == 1  # by hand: not that of the work that goes on
        assert write_freeze.is_frozen("manifests")
        assert not write_freeze.is_frozen("writes")
    assert not write_freeze.is_frozen("manifests")


def test_a_killed_holder_does_not_leave_the_proxy_shut(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(settings.RUN_DIR)],
        stdout=subprocess.PIPE,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "portal.settings"},
        cwd=settings.BASE_DIR,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    (one,) = write_freeze.freezes()
    until(lambda: write_freeze.freezes()[0].heard_at > one.heard_at, "it says again that it lives")
    monkeypatch.setattr(write_freeze, "SILENT", timedelta(seconds=1))
    assert write_freeze.clear() == []
    child.kill()
    child.wait()
    assert write_freeze.is_frozen("writes")
    until(write_freeze.clear, "it is known to be gone")
    assert write_freeze.freezes() == []
    assert not any(write_freeze.is_frozen(what) for what in ("writes", "manifests"))


HOLDER = """
import sys, time, pathlib, django
django.setup()
from django.conf import settings
from registryui import write_freeze as freeze
settings.RUN_DIR = pathlib.Path(sys.argv[1])
freeze._prove, freeze.other_hosts = (lambda: None), (lambda: [])
freeze.BEAT = 0.1
with freeze.frozen("writes", by="tests"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_freeze_that_was_lost_stops_its_work(instance: Instance) -> None:
    with write_freeze.frozen("manifests", by="tests") as frozen:
        frozen.check()
        (
            write_freeze.folder() / f"{frozen.freeze.id}.json"
        ).unlink()  # as whoever cleared it, because it slept
        assert write_freeze.clear() == []
        with pytest.raises(Refused, match="ended before the work was done"):
            frozen.check()


def test_it_ends_at_its_time(instance: Instance) -> None:
    write_freeze.on("writes", by="tests", until=datetime.now(UTC) + timedelta(seconds=1))
    assert [one.by for one in until(write_freeze.clear, "it ends")] == ["tests"]
    assert not write_freeze.is_frozen("manifests")
    with pytest.raises(Refused, match="at most one day"):
        write_freeze.on("writes", by="tests", until=soon(minutes=60 * 25))


def test_an_nginx_that_does_not_look_is_noticed(instance: Instance) -> None:
    place = configuration.nginx_file()
    place.write_text(place.read_text().replace("return 512;", "set $freeze_words x;"))
    restart_nginx(instance)
    with pytest.raises(Refused, match=r"it returns 401\).*boathouse up"):
        write_freeze.on("manifests", by="tests", until=soon())
    assert not write_freeze.is_frozen("manifests")


def test_a_proxy_that_nobody_opens_is_shut(instance: Instance) -> None:
    instance.stop("nginx")
    write_freeze.on("writes", by="tests", until=soon())
    assert write_freeze.is_frozen("writes")


def test_other_hosts_cannot_be_frozen_from_here(instance: Instance) -> None:
    Host.objects.create(id="1234", name="second:8443")
    with pytest.raises(Refused, match="second:8443"), write_freeze.frozen("manifests", by="tests"):
        pass
    assert run("on", "--wait", "5")["others"] == ["second:8443"]


def test_the_command_freezes_tells_and_ends(instance: Instance, user: tuple[str, str]) -> None:
    assert run("status") == {"frozen": []}
    told = run("on", "--minutes", "5")
    assert (told["what"], told["by"], told["quiet"]) == ("writes", "command line", True)
    assert run("status")["frozen"][0]["in_flight"] == 0
    assert ask("POST", "/v2/team/app/blobs/uploads/", user).status == 503
    assert run("off") == {"ended": 1, "frozen": []}
    assert ask("POST", "/v2/team/app/blobs/uploads/", user).status == 202
    assert run("on", "--manifests")["what"] == "manifests"
    assert [row.act for row in AuditEvent.objects.filter(act__startswith="hold")] == [
        *("hold.on", "hold.off", "hold.on")
    ]
    assert run("off")["ended"] == 1
    with frozen(instance):
        give_up(user, "/v2/team/app/manifests/4", manifest("4"))
        until_under_way("manifests", 1)
        with pytest.raises(CommandError, match="1 writes are still in flight"):
            run("on", "--wait", "0")
        assert write_freeze.is_frozen("writes")
    with pytest.raises(CommandError, match="at most one day"):
        run("on", "--minutes", "0")


def test_the_folder_can_be_passed_by_nginx_alone(instance: Instance) -> None:
    assert Path(write_freeze.folder()).stat().st_mode & 0o777 == 0o711


def test_the_doctor_says_who_froze_what(instance: Instance, user: tuple[str, str]) -> None:
    assert doctor.checks.check_proxy().code == "proxy-ok"
    write_freeze.on("writes", by="vera", until=soon())
    found = doctor.checks.check_proxy()
    assert (found.state, found.code) == ("warn", "proxy-frozen"), found
    words = doctor.texts(found)
    assert words.value == "Write freeze: pushes and deletions are rejected"
    assert "Started by vera, until " in words.note
    assert "freeze off" in words.advice


PRETEND = """
import os, socket, sys
path = sys.argv[1]
os.makedirs(os.path.dirname(path))
listening, first, second = (socket.socket(socket.AF_UNIX) for _ in range(3))
listening.bind(path)
listening.listen()
first.connect(path)
accepted = listening.accept()
second.connect(path)
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_stranger_with_a_socket_of_the_same_path_holds_nobody_up(
    instance: Instance, user: tuple[str, str]
) -> None:
    """/proc/net/unix has his connections, too: one that is accepted, one that is not."""
    path = sockets.registry("manifests")
    top = Path("/", path.parts[1])
    mount = f'mount -t tmpfs none {top} && exec /usr/bin/python3 -I -c "$0" "$1"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount]
    with subprocess.Popen(
        [*command, PRETEND, str(path)],
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as stranger:
        assert stranger.stdin
        assert stranger.stdout
        try:
            if not stranger.stdout.readline():
                pytest.skip("nobody may make namespaces here")
            assert Path("/proc/net/unix").read_text().count(f" {path}\n") == 4 - bool(
                settings.REGISTRY_PORT
            )
            assert write_freeze.in_flight("manifests") == 0
            with frozen(instance):
                give_up(user, f"/v2/team/api/manifests/{SOMETHING}", b"{}")
                assert write_freeze.in_flight("manifests") == 1
        finally:
            stranger.stdin.close()
