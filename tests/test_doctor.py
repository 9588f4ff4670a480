"""The doctor against the real registry and the real nginx, broken on purpose one part at a time."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings as live
from django.core.management import call_command
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone, translation
from pytest_django.fixtures import Settings

from registryui import doctor, proxy, sockets, tls
from registryui.accounts import publish, users
from registryui.doctor import checks
from registryui.models import RegistryEvent, RegistryUser, Run, new_generation
from registryui.setup import configuration, up

from .support.authorities import make_unlimited
from .support.factories import make_event
from .support.instance import Instance, restart_nginx, running_instance
from .support.parts import free_port
from .support.registries import Registry
from .support.waiting import until

MB = 1_000_000


@pytest.fixture
def instance(
    transactional_db: None,
    standing: Instance,
    monkeypatch: pytest.MonkeyPatch,
) -> Instance:
    """A healthy instance with one registry user, on a machine without pending updates."""
    monkeypatch.setattr(checks, "check_updates", lambda: None)
    standing.renew()
    users.create("docker", by="tests")
    return standing


def of_one_host() -> list[str]:
    """The parts that are told of on one healthy host."""
    left_out = {"hosts", "integrity", "audit log", "packages", "clock", "mirrors", "backup"}
    left_out |= {"quotas", "retention"}
    left_out |= set() if live.IS_POSTGRESQL else {"database"}
    return [name for name in doctor.NAMES if name not in left_out]


def examined() -> dict[str, doctor.Finding]:
    return {one.name: one for one in doctor.examine()}


def said(finding: doctor.Finding) -> str:
    """Everything that a page shows of it, in one line."""
    words = doctor.texts(finding)
    assert "%(" not in f"{words}"
    assert words.value != finding.code, "no words for this code"
    if finding.state != "ok":
        assert words.advice, "a part that needs care says what to do"
    return " | ".join((words.title, words.value, words.note, words.advice))


# -- healthy -------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_a_healthy_instance_is_well_in_every_part(instance: Instance) -> None:
    sync_run()
    doctor.record([])
    found = examined()
    assert list(found) == of_one_host()
    codes = {name: one.code for name, one in found.items() if name != "disk"}
    assert codes.pop("database", "database-ok") == "database-ok"
    assert codes == {
        "registry": "registry-ok",
        "proxy": "proxy-ok",
        "htpasswd": "htpasswd-ok",
        "certificate": "certificate-ok",
        "events": "events-none",
        "index": "index-ok",
        "store": "store-ok",
        "gc": "gc-none",
        "worker": "worker-ok",
    }
    assert "registry/2.0" in said(found["registry"])
    assert "TLS 1.3" in said(found["proxy"])
    assert "1 registry user" in said(found["htpasswd"])
    assert json.loads(json.dumps(doctor.to_json(found.values()))) == doctor.to_json(found.values())
    assert doctor.from_json(doctor.to_json(found.values())) == list(found.values())


# -- registry and proxy --------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["manifests", "blobs"])
def test_a_registry_that_takes_no_writes_is_named(instance: Instance, name: str) -> None:
    instance.stop(name)
    finding = checks.check_registry()
    assert (finding.state, finding.code) == ("bad", "registry-unreachable")
    assert str(sockets.registry(name)) in said(finding)


@pytest.mark.django_db
def test_a_registry_on_a_port_is_open_to_the_machine() -> None:
    with running_instance(registry_port=free_port()):
        finding = checks.check_registry()
        assert (finding.state, finding.code) == ("warn", "registry-open")
        assert f"loopback port {live.REGISTRY_PORT} " in said(finding)
        assert "without a password" in said(finding)


@pytest.mark.django_db
def test_a_stopped_registry_is_named_and_the_others_are_looked_at(instance: Instance) -> None:
    instance.stop("registry")
    found = examined()
    assert (found["registry"].state, found["registry"].code) == ("bad", "registry-unreachable")
    assert "./boathouse restart" in said(found["registry"])
    # With a name that nobody has, nginx answers by itself: it is well.
    assert found["proxy"].state == "ok"
    assert found["htpasswd"].state == "ok"


def test_a_stopped_nginx_is_named(instance: Instance) -> None:
    instance.stop("nginx")
    assert checks.check_proxy().code == "proxy-closed"
    assert "No response at 127.0.0.1:" in said(checks.check_proxy())


def test_a_portal_that_does_not_answer_is_named(instance: Instance) -> None:
    path = instance.folder / "config" / "nginx.conf"
    path.write_text(path.read_text().replace(f'server "unix:{sockets.web()}" ', "server [::1]:9 "))
    restart_nginx(instance)
    finding = checks.check_proxy()
    assert (finding.state, finding.code) == ("bad", "proxy-no-portal")
    assert "Pushes and pulls are not affected" in said(finding)


def test_a_front_proxy_without_passwords_is_an_alarm(instance: Instance) -> None:
    path = instance.folder / "config" / "nginx.conf"
    text = path.read_text().replace("auth_basic_user_file", "#").replace("auth_request /_may", "#")
    path.write_text(text)
    restart_nginx(instance)
    assert checks.check_proxy().code == "proxy-open"
    assert "Allows access without a password" in said(checks.check_proxy())


def test_guessing_from_this_machine_makes_no_bad_proxy() -> None:
    """nginx then tells the doctor's own login to wait, after it has refused it."""
    waiting = proxy.Answer(429, "", "TLSv1.3", "", 0.0)
    assert checks._proxy_problem(waiting, 200) is None
    assert checks._proxy_problem(waiting, 503) == ("proxy-no-portal", 503)


def test_another_instance_on_the_port_shows_the_wrong_certificate(instance: Instance) -> None:
    tls.replace_ca(instance.folder / "tls", names=["localhost"])
    finding = checks.check_proxy()
    assert (finding.state, finding.code) == ("bad", "proxy-untrusted")
    said(finding)


@pytest.mark.parametrize(
    "mend",
    [
        configuration.reload,
        up._show_new_certificate,  # ./boathouse up, while it is up
        lambda: call_command("tls", "--renew", stdout=StringIO()),
    ],
)
def test_a_renewal_without_reload_is_seen(instance: Instance, mend: Callable[[], object]) -> None:
    tls.renew(instance.folder / "tls", names=tls.wanted_names())
    assert checks.check_proxy().code == "proxy-old-certificate"
    said(checks.check_proxy())
    mend()
    until(lambda: checks.check_proxy().code == "proxy-ok", "the proxy is seen to be healthy")


@pytest.mark.parametrize("is_hanging", [True, False])
@pytest.mark.django_db
def test_a_part_that_hangs_is_named(is_hanging: bool) -> None:
    """A port that takes connections and says nothing, or nonsense."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if not is_hanging:
            threading.Thread(target=_talk_nonsense, args=(silent,), daemon=True).start()
        with override_settings(REGISTRY_URL=f"http://127.0.0.1:{port}", PORT=port):
            found = examined()
    assert found["registry"].state == found["proxy"].state == "bad"
    said(found["registry"])
    said(found["proxy"])


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> doctor.Finding:
        raise RuntimeError("boom\nand more")

    finding = checks._safely("disk", broken)
    assert (finding.state, finding.code) == ("bad", "broken")
    assert "boom and more" in said(finding)


def test_a_configuration_that_lacks_something_is_named(instance: Instance) -> None:
    path = instance.folder / "config" / "registry.yml"
    text = path.read_text()
    for broken, code in [
        (text.replace("enabled: true", "enabled: false"), "registry-delete"),
        (text.replace("  delete:\n    enabled: true\n", ""), "registry-delete"),
        (
            text.replace("storage:", "storage:\n  cache:\n    blobdescriptor: inmemory"),
            "registry-cache",
        ),
        (text.replace("/hooks/registry", "/elsewhere"), "registry-hook"),
        (text.replace(f":{_hook_port()}/hooks", ":1/hooks"), "registry-hook"),
    ]:
        assert broken != text
        path.write_text(broken)
        finding = checks.check_registry()
        assert (finding.state, finding.code) == ("warn", code)
        said(finding)
    path.write_text("storage: [")
    assert checks.check_registry().code == "registry-unconfigured"
    path.unlink()
    assert checks.check_registry().code == "registry-unconfigured"
    said(checks.check_registry())


def test_a_configuration_is_read_however_its_yaml_is_written(settings: Settings) -> None:
    settings.HOOK_PORT = 8001
    hook = "{url: 'http://127.0.0.1:8001/hooks/registry'}"
    text = f"storage: {{delete: {{enabled: yes}}}}\nnotifications:\n  endpoints: [{hook}]\n"
    assert checks.configuration_lacks(text) == ""
    assert checks.configuration_lacks(text.replace("8001", "8002")) == "hook"
    assert checks.configuration_lacks("") == "delete"


# -- password file -------------------------------------------------------------------------------
def test_a_missing_password_file_is_found_by_both(instance: Instance) -> None:
    (instance.folder / "htpasswd").unlink()
    assert checks.check_htpasswd().code == "htpasswd-missing"
    assert checks.check_proxy().code == "proxy-no-passwords"
    said(checks.check_htpasswd())
    said(checks.check_proxy())


def test_a_password_file_that_nginx_may_not_read_is_found(instance: Instance) -> None:
    (instance.folder / "htpasswd").chmod(0)
    if checks.nginx_user().uid == 0:
        pytest.skip("nginx's workers run as root here, who may read everything")
    assert checks.check_htpasswd().code == "htpasswd-unreadable"
    assert f"may not open {instance.folder / 'htpasswd'}" in said(checks.check_htpasswd())


def test_a_closed_folder_above_the_password_file_is_named(instance: Instance) -> None:
    user = checks.User("www-data", 33, frozenset({33}))
    path = instance.folder / "htpasswd"
    path.chmod(0o644)
    assert checks.unreadable_part(path, user) is None
    instance.folder.chmod(0o700)
    assert checks.unreadable_part(path, user) == instance.folder
    instance.folder.chmod(0o710)
    assert checks.unreadable_part(path, user) == instance.folder
    os.chown(instance.folder, -1, os.getegid())
    assert checks.unreadable_part(path, checks.User("x", 33, frozenset({os.getegid()}))) is None


def test_lines_that_let_nobody_in_are_counted(instance: Instance) -> None:
    path = instance.folder / "htpasswd"
    good = path.read_bytes()
    path.write_bytes(good + b"# a comment\n\nno colon\n:nameless\nplain:text\nempty:\n")
    finding = checks.check_htpasswd()
    assert (finding.state, finding.params["lines"]) == ("warn", [5, 6, 7, 8])
    assert "Lines: 5, 6, 7, 8" in said(finding)
    path.write_bytes(b"# nobody\n")
    assert checks.check_htpasswd().code == "htpasswd-empty"
    said(checks.check_htpasswd())


# -- password file and tables --------------------------------------------------------------------
def htpasswd_finding() -> doctor.Finding:
    return checks.with_tables(checks.check_htpasswd())


def heal() -> None:
    call_command("user", "publish", stdout=StringIO())
    assert htpasswd_finding().code == "htpasswd-ok"
    assert checks.check_proxy().code == "proxy-ok"


def test_a_hand_edit_is_told_until_somebody_has_looked(instance: Instance) -> None:
    path = instance.folder / "htpasswd"
    with path.open("a") as file:
        file.write("hand:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")
    finding = htpasswd_finding()
    assert (finding.state, finding.code) == ("warn", "htpasswd-drift")
    assert "1 line was edited by hand | hand | ./boathouse user drift" in said(finding)
    call_command("user", "drift", "--ignore", "hand", stdout=StringIO())
    assert htpasswd_finding().code == "htpasswd-ok"


def test_a_file_without_its_lines_is_an_alarm_and_mended_by_one_command(
    instance: Instance,
) -> None:
    stranger = b"stranger:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n"
    for content in (stranger, b"\x00\xff junk\n", b""):
        (instance.folder / "htpasswd").write_bytes(content)
        finding = htpasswd_finding()
        assert (finding.state, finding.code) == ("bad", "htpasswd-lost")
        assert "Nobody can log in: docker" in said(finding)
        assert "./boathouse user publish" in said(finding)
    heal()


def test_a_missing_file_is_mended_by_one_command(instance: Instance) -> None:
    (instance.folder / "htpasswd").unlink()
    assert htpasswd_finding().code == "htpasswd-missing"
    heal()


def test_a_write_that_failed_is_named_while_it_lasts(instance: Instance) -> None:
    RegistryUser.objects.update(generation=new_generation())
    finding = htpasswd_finding()
    assert (finding.state, finding.code) == ("bad", "htpasswd-pending")
    assert "docker" in said(finding)
    heal()
    past = timezone.now() - timedelta(minutes=3)
    RegistryUser.objects.update(expires_at=past)  # and no worker that takes the line away
    assert htpasswd_finding().code == "htpasswd-pending"


def test_a_change_on_its_way_is_no_illness(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    RegistryUser.objects.update(generation=new_generation())
    monkeypatch.setattr(time, "sleep", lambda seconds: publish.catch_up())
    assert htpasswd_finding().code == "htpasswd-ok"


def test_lost_rights_are_named_and_mended_by_one_command(instance: Instance) -> None:
    users.set_rights(RegistryUser.objects.get(), users.ADOPTED, by="tests")
    shutil.rmtree(instance.folder / "rights" / "docker")
    finding = htpasswd_finding()
    assert (finding.state, finding.code) == ("bad", "rights-lost")
    assert "The rights files of 1 registry user are missing | docker" in said(finding)
    heal()
    shutil.rmtree(instance.folder / "rights")
    assert htpasswd_finding().code == "rights-missing"
    assert "Nobody can pull or push" in said(htpasswd_finding())
    heal()
    assert (instance.folder / "rights" / "docker" / "push" / "@all").exists()


def test_rights_that_nginx_may_not_see_are_named(instance: Instance) -> None:
    if checks.nginx_user().uid == 0:
        pytest.skip("nginx's workers run as root here, who may read everything")
    (instance.folder / "rights").chmod(0)
    assert htpasswd_finding().code == "rights-unreadable"
    assert f"may not open {instance.folder / 'rights'}" in said(htpasswd_finding())
    heal()
    (instance.folder / "htpasswd").chmod(0)
    assert htpasswd_finding().code == "htpasswd-unreadable"
    heal()


def test_a_missing_file_of_replaced_secrets_is_named(instance: Instance) -> None:
    (instance.folder / "htpasswd.old").unlink()
    finding = htpasswd_finding()
    assert (finding.state, finding.code) == ("warn", "htpasswd-old-missing")
    said(finding)
    heal()


def test_the_round_looks_at_the_tables_too(instance: Instance) -> None:
    RegistryUser.objects.update(generation=new_generation())
    assert examined()["htpasswd"].code == "htpasswd-pending"


@pytest.mark.parametrize(
    "line_hash",
    [
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "{SSHA}yI4oEp5fFsCB24vKrDAyi4l2ORbCkwy3",
        "$apr1$xxxxxxxx$dxHfLAsjHkDRmG83UXe8K0",
        "$2y$08$KIXQxRr4c8CKvNVN4fx5qe0j3rH3tq1Y6NHnVvUuRlZoE7VVuO4Wq",
        "$5$rounds=1000$saltsalt$abc",
        "rl0uE2DzQKZW2",
    ],
)
def test_every_kind_of_hash_that_nginx_knows_is_a_user(line_hash: str) -> None:
    assert checks.read_lines(f"name:{line_hash}:comment\r\n".encode()) == (1, [])


def test_any_bytes_are_counted() -> None:
    assert checks.read_lines(b"\xff\x00:\xfe\n\n:\n") == (0, [1, 3])


# -- certificate ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("days", "state", "code"),
    [
        (5.5, "bad", "certificate-ends"),
        (20.5, "warn", "certificate-ends"),
        (100.5, "ok", "certificate-ok"),
        (-2.5, "bad", "certificate-expired"),
    ],
)
def test_a_certificate_says_its_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float, state: str, code: str
) -> None:
    monkeypatch.setattr(tls, "LEAF_DAYS", days)
    if days < 0:  # a leaf must begin before it ends
        monkeypatch.setattr(tls, "_BACKDATE", timedelta(days=10))
        monkeypatch.setattr(tls, "LEAF_DAYS", 10 + days)
    tls.ensure(tmp_path, names=["localhost"])
    with override_settings(TLS_DIR=tmp_path, HOST="localhost", TLS_CERTIFICATE=""):
        finding = checks.check_certificate()
    assert (finding.state, finding.code) == (state, code)
    assert f"{abs(int(days))} day" in said(finding) or code == "certificate-expired"


def test_a_certificate_for_another_name_or_with_an_open_key_is_named(tmp_path: Path) -> None:
    tls.ensure(tmp_path, names=["other.example.net"])
    with override_settings(TLS_DIR=tmp_path, HOST="localhost", TLS_CERTIFICATE=""):
        assert "not for localhost" in said(checks.check_certificate())
    tls.replace_ca(tmp_path, names=["localhost"])
    (tmp_path / "server.key").chmod(0o644)
    with override_settings(TLS_DIR=tmp_path, HOST="localhost", TLS_CERTIFICATE=""):
        assert checks.check_certificate().code == "certificate-key"
        said(checks.check_certificate())
        (tmp_path / "server.crt").write_text("junk")
        assert checks.check_certificate().code == "certificate-unreadable"
        said(checks.check_certificate())


def test_an_authority_without_limits_is_mentioned_and_no_warning(tmp_path: Path) -> None:
    tls.ensure(tmp_path, names=["localhost"])
    with override_settings(TLS_DIR=tmp_path, HOST="localhost", TLS_CERTIFICATE=""):
        assert "any name" not in said(checks.check_certificate())
        make_unlimited(tmp_path)
        tls.renew(tmp_path, names=["localhost"])
        finding = checks.check_certificate()
    assert finding.state == "ok"
    assert "--new-authority" in said(finding)


def test_an_authority_near_its_end_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days, state in [(100, "warn"), (10, "bad")]:
        monkeypatch.setattr(tls, "CA_DAYS", days)
        tls.ensure(tmp_path / str(days), names=["localhost"])
        with override_settings(TLS_DIR=tmp_path / str(days), HOST="localhost", TLS_CERTIFICATE=""):
            finding = checks.check_certificate()
        assert (finding.state, finding.code) == (state, "certificate-authority")
        assert "--new-authority" in said(finding)


def test_a_certificate_of_ones_own_is_renewed_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LEAF_DAYS", 5)
    tls.ensure(tmp_path, names=["localhost"])
    own = {"TLS_CERTIFICATE": str(tmp_path / "server.crt"), "TLS_KEY": str(tmp_path / "server.key")}
    with override_settings(**own, HOST="localhost"):
        assert "from its issuer" in said(checks.check_certificate())


# -- events, index, disk, worker -----------------------------------------------------------------
def sync_run(*, minutes: int = 0, state: str = "done", **fields: Any) -> Run:
    """A sync that ended so many minutes ago."""
    when = timezone.now() - timedelta(minutes=minutes)
    run = Run.objects.create(
        kind=Run.Kind.SYNC, state=state, finished_at=when, heartbeat_at=when, **fields
    )
    Run.objects.filter(pk=run.pk).update(started_at=when)
    return run


@pytest.mark.django_db
@pytest.mark.parametrize(("seconds", "state"), [(10, "ok"), (90, "warn"), (900, "bad")])
def test_events_that_wait_are_counted(seconds: int, state: str) -> None:
    event = make_event("a/b", error="the registry is away")
    RegistryEvent.objects.filter(pk=event.pk).update(
        received_at=timezone.now() - timedelta(seconds=seconds)
    )
    finding = checks.check_events()
    assert finding.state == state
    assert ("the registry is away" in said(finding)) == (state != "ok")


@pytest.mark.django_db
def test_changes_that_no_event_told_of_are_an_alarm() -> None:
    sync_run(minutes=30, result={"added": 5, "moved": 0})
    assert checks.check_events().state == "ok"  # the first sync finds everything by itself
    sync_run(minutes=15, result={"added": 2, "moved": 1})
    finding = checks.check_events()
    assert (finding.state, finding.code, finding.params["changes"]) == ("bad", "events-silent", 3)
    said(finding)
    make_event("a/b", applied_at=timezone.now())
    assert checks.check_events().code == "events-ok"
    said(checks.check_events())


@pytest.mark.django_db
def test_the_age_of_the_index_is_judged_by_its_schedule() -> None:
    assert checks.check_index().code == "index-never"
    said(checks.check_index())
    with override_settings(SYNC_MINUTES=10):
        for minutes, state in [(45, "bad"), (25, "warn"), (12, "ok")]:
            sync_run(minutes=minutes)
            finding = checks.check_index()
            assert finding.state == state
            assert f"{minutes}\xa0minutes ago" in said(finding)


@pytest.mark.django_db
def test_a_failed_or_running_sync_is_told() -> None:
    sync_run(minutes=5)
    sync_run(state="failed", log="a/b: fine\nrepositories: no answer")
    finding = checks.check_index()
    assert (finding.state, finding.params["error"]) == ("bad", "repositories: no answer")
    said(finding)
    Run.objects.create(kind=Run.Kind.SYNC, heartbeat_at=timezone.now(), done=7)
    assert "7 tags read so far" in said(checks.check_index())


@pytest.mark.parametrize(
    ("free", "total", "state"),
    [
        (184 * MB, 209 * MB, "ok"),  # a small disk that is nearly empty
        (90 * MB, 209 * MB, "bad"),
        (2_000 * MB, 10_000 * MB, "warn"),
        (6_000 * MB, 10_000 * MB, "ok"),
        (6_000 * MB, 100_000 * MB, "warn"),
        (900 * MB, 100_000 * MB, "bad"),
        (60_000 * MB, 4_000_000 * MB, "ok"),  # a small share of a huge one
        (30_000 * MB, 4_000_000 * MB, "bad"),
    ],
)
def test_the_disk_is_judged_in_proportion(
    free: int, total: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=free, total=total)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with override_settings(DATA=tmp_path):
        finding = checks.check_disk()
    assert finding.state == state
    assert "B free" in said(finding)


@pytest.mark.django_db
def test_a_disk_that_fills_says_in_how_many_days() -> None:
    now = timezone.now()
    disk = doctor.Finding("disk", "ok", "disk-ok", {"free": 300, "total": 1000, "path": "/"})
    assert "days" not in checks._with_days(disk).params
    run = doctor.record([doctor.Finding("disk", "ok", "disk-ok", {**disk.params, "free": 500})])
    assert run is not None
    Run.objects.filter(pk=run.pk).update(started_at=now - timedelta(days=4))
    soon = checks._with_days(disk, now=now)
    assert (soon.state, soon.code, soon.params["days"]) == ("warn", "disk-soon", 6)
    assert "full in about 6 days" in said(soon)
    Run.objects.filter(pk=run.pk).update(started_at=now - timedelta(hours=4))
    assert checks._with_days(disk, now=now) == disk


@pytest.mark.django_db
def test_a_worker_that_falls_silent_is_named() -> None:
    assert doctor.current()[-1].code == "worker-never"
    run = doctor.record([doctor.Finding("disk", "ok", "disk-ok")])
    assert run is not None
    assert [one.name for one in doctor.current()] == ["disk", "worker"]
    assert doctor.current()[-1].state == "ok"
    late = doctor.current(now=timezone.now() + timedelta(minutes=4))[-1]
    assert (late.state, late.code) == ("bad", "worker-silent")
    assert "Does not respond" in said(late)


# -- the book of rounds --------------------------------------------------------------------------
@pytest.mark.django_db
def test_old_rounds_are_forgotten_but_one_of_each_day() -> None:
    now = timezone.now()
    Run.objects.bulk_create(Run(kind=Run.Kind.DOCTOR, state="done") for _ in range(320))
    rows = list(Run.objects.order_by("pk"))
    for number, row in enumerate(rows):  # ten a day for 32 days, the newest first
        row.started_at = now - timedelta(days=number // 10, minutes=number % 10)
    Run.objects.bulk_update(rows, ["started_at"])
    doctor.record([])
    kept = Run.objects.filter(kind=Run.Kind.DOCTOR).count()
    assert 100 + 18 <= kept <= 100 + 22
    assert doctor.latest() == Run.objects.latest("pk")


@pytest.mark.django_db
def test_the_history_tells_when_a_part_changed() -> None:
    for state in ("ok", "ok", "bad", "bad", "ok"):
        code = "registry-ok" if state == "ok" else "registry-unreachable"
        doctor.record([doctor.Finding("registry", state, code)])
    assert [finding.state for _, finding in doctor.history()] == ["ok", "bad"]
    assert [finding.state for _, finding in doctor.history(length=1)] == ["ok"]


@pytest.mark.parametrize(
    "stored", [None, {}, [1], [{}], [{"name": "x", "state": "ok", "code": "", "params": {}}]]
)
def test_a_round_of_another_version_is_no_error(stored: Any) -> None:
    assert doctor.from_json(stored) == []


def test_a_round_that_an_older_version_stored_has_the_names_of_now() -> None:
    stored = [{"name": "front door", "state": "ok", "code": "proxy-ok", "params": {}}]
    assert doctor.from_json(stored) == [doctor.Finding("proxy", "ok", "proxy-ok")]


def test_words_are_there_in_the_language_of_the_reader() -> None:
    from registryui.doctor.words import _SAY

    for code in _SAY:
        with translation.override("zh-hans"):
            assert doctor.texts(doctor.Finding("disk", "bad", code, {})).title
    strange = doctor.texts(doctor.Finding("disk", "bad", "of-tomorrow", {"a": 1}))
    assert strange.value == "of-tomorrow"


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_every_sentence_is_filled_in(language: str) -> None:
    """What cannot be filled in would be said by its code alone."""
    from registryui.doctor.words import _SAY

    at = "2026-11-24T12:30:00+00:00"
    words = "address by error package place path blocked protocol trouble url user version why"
    numbers = "bytes changes count count_hosts days done entries every free freed ms percent port"
    params: dict[str, Any] = {
        name: f"<{name}>" for name in [*words.split(), "driver", "name", "what"]
    }
    params |= dict.fromkeys([*numbers.split(), "seconds", "status", "total", "users", "waiting"], 3)
    params |= dict.fromkeys(("at", "believed", "due_at", "next", "shown", "until"), at)
    params |= {"names": ["a", "b"], "lines": [1, 2]}
    with translation.override(language):
        for code in _SAY:
            until = {"until": "2026-12-24"} if code.startswith("certificate") else {}
            said = doctor.texts(doctor.Finding("disk", "bad", code, {**params, **until}))
            assert said.value != code
            assert "%(" not in f"{said.value}{said.note}{said.advice}"


# -- store ---------------------------------------------------------------------------------------
def test_a_store_is_well_when_it_is_read_directly(instance: Instance) -> None:
    finding = checks.check_store()
    assert (finding.state, finding.code) == ("ok", "store-ok")
    assert f"filesystem: {instance.folder / 'registry'}" in said(finding)


def test_a_store_that_the_registry_cannot_write_is_an_alarm(instance: Instance) -> None:
    """As after a disk was mounted read-only; whether it is seen does not hang on how we read it."""
    if os.geteuid() != 0:
        pytest.skip("To mount a folder read-only needs root.")
    registry = Registry(live.REGISTRY_URL, instance.folder / "registry")
    registry.push_image("some/app", "1")
    store = str(instance.folder / "registry")
    before = sorted(path for path in Path(store).rglob("*"))
    assert checks.check_store().code == "store-ok"
    assert sorted(path for path in Path(store).rglob("*")) == before  # a round leaves nothing
    assert checks.check_store(is_thorough=True).code == "store-ok"
    subprocess.run(["mount", "--bind", "-o", "ro", store, store], check=True)
    try:
        finding = checks.check_store()
        assert (finding.state, finding.code) == ("bad", "store-unwritable")
        assert store in said(finding)
        for source in ("store", "http"):  # the registry itself says so, too
            with override_settings(SOURCE=source):
                finding = checks.check_store(is_thorough=True)
            assert (finding.state, finding.code) == ("bad", "store-unwritten")
        assert "500" in said(finding)
        assert "mounted read-only" in said(finding)
    finally:
        subprocess.run(["umount", store], check=True)
    assert checks.check_store().code == "store-ok"


def test_a_store_that_is_read_over_http_says_why(instance: Instance, settings: Any) -> None:
    settings.STORE_DIR = instance.folder / "gone"
    finding = checks.check_store()
    assert (finding.state, finding.code) == ("warn", "store-unreadable")
    assert "Read over HTTP" in said(finding)
    assert str(instance.folder / "gone") in said(finding)
    settings.SOURCE = "store"
    assert checks.check_store().state == "bad"
    settings.SOURCE = "http"
    assert (checks.check_store().state, checks.check_store().code) == ("ok", "store-unwanted")
    assert "BOATHOUSE_SOURCE" in said(checks.check_store())
    settings.SOURCE = "nonsense"
    assert "'nonsense'" in said(checks.check_store())


def test_an_object_store_that_does_not_answer_is_an_alarm_without_its_secret(settings: Any) -> None:
    settings.STORAGE, settings.STORAGE_ENDPOINT = "s3://images", "http://127.0.0.1:9"
    settings.STORAGE_KEY, settings.STORAGE_SECRET = "AKIA", "the-secret-of-the-tests"
    finding = checks.check_store()
    assert (finding.state, finding.code) == ("bad", "store-silent")
    assert "the-secret-of-the-tests" not in f"{said(finding)} {finding}"


@pytest.mark.parametrize("url", ["gs://images", "azure://images", "swift://images", "glance://x"])
def test_a_store_without_a_driver_says_what_to_do(settings: Any, url: str) -> None:
    settings.STORAGE = url
    finding = checks.check_store()
    assert finding.state == "warn"
    said(finding)


# -- the command ---------------------------------------------------------------------------------
@pytest.mark.django_db
def test_the_command_prints_a_table_and_ends_with_one_if_anything_is_bad(
    instance: Instance,
) -> None:
    instance.stop("registry")
    printed = StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("doctor", stdout=printed)
    assert end.value.code == 1
    assert "bad   Registry            Does not respond" in printed.getvalue()
    printed = StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", "--json", stdout=printed)
    found = json.loads(printed.getvalue())
    assert found["state"] == "bad"
    assert [one["name"] for one in found["findings"]] == of_one_host()
    assert found["findings"][0]["advice"]


def _talk_nonsense(silent: socket.socket) -> None:
    with suppress(OSError):
        while True:
            with silent.accept()[0] as connection:
                connection.sendall(b"SSH-2.0-nothing\r\n" * 3)


def _hook_port() -> int:
    from django.conf import settings

    return int(settings.HOOK_PORT)


@pytest.mark.django_db
def test_a_database_that_is_away_is_the_one_thing_said_of_the_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Away:
        def cursor(self) -> None:
            raise OperationalError("connection refused")

        def close(self) -> None:
            pass

    with override_settings(IS_POSTGRESQL=True):
        monkeypatch.setattr(checks, "connection", Away())
        found = examined()
    assert found["database"].code == "database-away"
    assert "connection refused | Start PostgreSQL" in said(found["database"])
    assert not {"events", "index", "gc", "worker", "hosts"} & found.keys()
