"""What may be a mirror, and what changing one does to its row, the audit log and the files."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from registryui import encryption, tasks, tls
from registryui.audit import chain
from registryui.mirrors import mirrors, presets, publish
from registryui.mirrors.mirrors import Wanted
from registryui.models import AuditEvent, Mirror
from registryui.refused import Refused
from tests.support import pushed

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
ADA = "operator:ada"
HUB = Wanted(presets.DOCKER_HUB)
LOGIN = Wanted("https://quay.io", user="robot", password="sesame opens")


def there(folder: Path) -> set[str]:
    return {
        str(one.relative_to(folder))
        for one in folder.rglob("*")
        if one.name not in (".lock", "rows.json")
    }


def upstream(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name / "upstream.json").read_text())
    return found


# -- files ---------------------------------------------------------------------------------------
def test_a_mirror_is_a_folder_that_nginx_can_pass(folder: Path) -> None:
    row = mirrors.add("hub", HUB, by=ADA)
    files = {"hub/active", "hub/refusal.json", "hub/upstream.json"}
    assert there(folder) == {"hub", *files}
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in ("", *files)}
    assert modes == {
        "": 0o711,
        "hub/active": 0o644,
        "hub/refusal.json": 0o644,
        "hub/upstream.json": 0o600,
    }
    assert upstream(folder, "hub") == {
        "name": "hub", "url": "https://registry-1.docker.io", "user": "", "secret": "",
        "allow": [], "deny": [], "fresh_seconds": 600, "is_library": True, "ca": "", "proxy": "",
    }  # fmt: skip
    said = json.loads((folder / "hub/refusal.json").read_text())["errors"][0]
    assert (said["code"], said["message"]) == (
        "UNSUPPORTED",
        "hub is a mirror of https://registry-1.docker.io: nothing can be pushed or deleted here",
    )
    mirrors.set_active(row, is_active=False, by=ADA)
    assert there(folder) == {"hub", *files} - {"hub/active"}
    mirrors.set_active(row, is_active=True, by=ADA)
    assert "hub/active" in there(folder)
    mirrors.remove(row, by=ADA)
    assert there(folder) == set()


def test_what_the_service_wrote_stays_with_the_mirror_and_goes_with_it(folder: Path) -> None:
    row = mirrors.add("hub", HUB, by=ADA)
    state = folder / "hub" / "state.json"
    state.write_text("{}")
    mirrors.change(row, replace(HUB, fresh_minutes=5), by=ADA)
    assert state.exists()
    assert upstream(folder, "hub")["fresh_seconds"] == 300
    mirrors.remove(row, by=ADA)
    assert not state.exists()


def test_the_worker_follows_what_another_host_changed(folder: Path) -> None:
    publish.write()
    assert not publish.catch_up()
    Mirror.objects.create(name="there", url="https://quay.io")
    with CaptureQueriesContext(connection) as queries:
        assert publish.catch_up()
        assert not publish.catch_up()
    assert len(queries) == 3
    assert (folder / "there/active").exists()
    Mirror.objects.all().delete()
    assert publish.catch_up()
    assert there(folder) == set()


def test_each_minute_lost_files_are_written_again(folder: Path) -> None:
    mirrors.add("hub", HUB, by=ADA)
    (folder / "hub/refusal.json").unlink()
    (folder / "left-over").mkdir()
    tasks.write_guard_files.call_local()
    assert (folder / "hub/refusal.json").exists()
    assert not (folder / "left-over").exists()


def test_a_new_database_gets_the_mirrors_of_the_lost_one(folder: Path) -> None:
    row = mirrors.add("quay", replace(LOGIN, keep_days=90, proxy="http://p:3128"), by=ADA)
    row = mirrors.set_active(mirrors.pin(row, "a/b:1", by=ADA), is_active=False, by=ADA)
    assert stat.S_IMODE((folder / "rows.json").stat().st_mode) == 0o600
    assert publish.adopt_lost() == 0
    Mirror.objects.all().delete()  # as if its file had been removed
    assert publish.adopt_lost() == 1
    found = Mirror.objects.get()
    assert mirrors.facts(found) == mirrors.facts(row)
    assert mirrors.password(found) == "sesame opens"
    for damaged in ("", "{", "[5]", '[{"unknown": 1}]'):
        Mirror.objects.all().delete()
        (folder / "rows.json").write_text(damaged)
        assert publish.adopt_lost() == 0


def test_a_disk_that_refuses_is_said_and_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(publish, "_put", raises(OSError(28, "No space left on device")))
        with pytest.raises(Refused, match="no space left on device"):
            mirrors.add("hub", HUB, by=ADA)
    assert publish.catch_up()
    assert (folder / "hub/active").exists()


def raises(error: Exception) -> Any:
    def fail(*_args: object, **_options: object) -> None:
        raise error

    return fail


# -- names and namespaces ------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["", "a/b", "A", "..", ".a", "a b", "hub/", "x" * 65, "é", "@all"])
def test_a_name_is_one_part_of_a_repository_name(name: str) -> None:
    with pytest.raises(Refused, match="one part of a repository name"):
        mirrors.add(name, HUB, by=ADA)
    assert not Mirror.objects.exists()


def test_a_namespace_with_repositories_cannot_be_a_mirror(subtests: pytest.Subtests) -> None:
    pushed.image("team/app", tags=["1"])
    pushed.image("alone", tags=["1"])
    pushed.image("gone/app")  # nothing but what waits for garbage collection
    for name, other in {"team": "team/app", "alone": "alone"}.items():
        with subtests.test(name), pytest.raises(Refused, match=f"such as {other}"):
            mirrors.add(name, HUB, by=ADA)
    for name in ("gone", "app", "tea", "teams"):
        assert mirrors.add(name, HUB, by=ADA).name == name


def test_each_name_is_used_once() -> None:
    mirrors.add("hub", HUB, by=ADA)
    pushed.image("hub/library/nginx", tags=["1"])
    with pytest.raises(Refused, match="already exists"):
        mirrors.add("hub", LOGIN, by=ADA)
    assert AuditEvent.objects.count() == 1


# -- addresses -----------------------------------------------------------------------------------
def test_addresses_in_one_spelling(subtests: pytest.Subtests) -> None:
    table = {
        "https://quay.io": "https://quay.io",
        " quay.io/ ": "https://quay.io",
        "https://QUAY.io:443/v2/": "https://quay.io",
        "docker.io": presets.DOCKER_HUB,
        "https://hub.docker.com/": presets.DOCKER_HUB,
        "https://r.example.net:5000": "https://r.example.net:5000",
        "http://127.0.0.1:5000": "http://127.0.0.1:5000",
        "http://localhost:5000": "http://localhost:5000",
        "https://[2001:db8::1]:5000": "https://[2001:db8::1]:5000",
    }
    for typed, url in table.items():
        with subtests.test(typed):
            assert mirrors.checked_url(typed, may_be_plain=False) == url


def test_what_is_no_upstream(subtests: pytest.Subtests, settings: Any) -> None:
    settings.REGISTRY_NAME = "here.example.net:8443"
    settings.NAMES, settings.PORT = ["other.example.net"], 8443
    settings.HOOK_PORT, settings.REGISTRY_PORT = 8000, 5000
    table = {
        "": "address of a registry",
        "ftp://quay.io": "address of a registry",
        "https://": "address of a registry",
        "https://quay.io/team": "without a path",
        "https://quay.io:x": "address of a registry",
        "https://quay.io:99999": "address of a registry",
        "https://a b": "address of a registry",
        "https://me:secret@quay.io": "without a user name",
        "https://quay.io?a=b": "without a user name",
        "http://quay.io": "not encrypted",
        "https://here.example.net:8443": "address of this registry",
        "https://other.example.net:8443": "address of this registry",
        "http://127.0.0.1:8000": "address of this registry",
        "http://localhost:5000": "address of this registry",
    }
    for typed, words in table.items():
        with subtests.test(typed), pytest.raises(Refused, match=words):
            mirrors.checked_url(typed, may_be_plain=False)
    assert mirrors.checked_url("http://quay.io", may_be_plain=True) == "http://quay.io"


def test_only_docker_hub_has_a_library_unless_it_is_said(subtests: pytest.Subtests) -> None:
    for number, (url, said, expected) in enumerate(
        [
            ("docker.io", None, True),
            ("quay.io", None, False),
            ("docker.io", False, False),
            ("quay.io", True, True),
        ]
    ):
        row = mirrors.add(f"m{number}", Wanted(url, is_library=said), by=ADA)
        with subtests.test(url):
            assert row.is_library is expected


# -- passwords -----------------------------------------------------------------------------------
def test_a_password_is_nowhere_in_clear(folder: Path) -> None:
    row = mirrors.add("quay", LOGIN, by=ADA)
    assert mirrors.password(row) == "sesame opens"
    assert encryption.decrypt(upstream(folder, "quay")["secret"], "of this test") == "sesame opens"
    stored = [*Mirror.objects.values_list(), *AuditEvent.objects.values_list(), repr(LOGIN)]
    stored += [path.read_text() for path in (folder / "quay").iterdir()]
    assert "sesame" not in str(stored)
    assert mirrors.facts(row)["has_password"] is True
    assert "secret" not in mirrors.facts(row)


def test_a_stored_password_goes_to_no_other_server_or_user(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    tls.ensure(tmp_path, names=["evil.example"])
    row = mirrors.add("quay", replace(LOGIN, proxy="http://p:3128"), by=ADA)
    kept = mirrors.wanted(row)
    assert mirrors.change(row, replace(kept, allow="a/*"), by=ADA).secret == row.secret
    others = (
        {"url": "https://evil.example"},
        {"user": "root"},
        {"proxy": "http://evil.example:3128"},
        {"ca": (tmp_path / "ca.crt").read_text()},
    )
    for other in others:
        with subtests.test(str(other)), pytest.raises(Refused, match="Enter the password"):
            mirrors.change(row, replace(kept, **other), by=ADA)
    row = mirrors.change(row, replace(kept, proxy=""), by=ADA)
    assert mirrors.password(row) == "sesame opens"
    changed = mirrors.change(row, replace(kept, url="https://ghcr.io", password="new"), by=ADA)
    assert mirrors.password(changed) == "new"
    assert mirrors.change(changed, replace(kept, user=""), by=ADA).secret == ""


def test_users_and_passwords_belong_together(subtests: pytest.Subtests) -> None:
    table = {
        "Enter the user name": Wanted("quay.io", password="x"),
        "Enter the password": Wanted("quay.io", user="x"),
        "cannot have a colon": Wanted("quay.io", user="a:b", password="x"),
        "control characters": Wanted("quay.io", user="a", password="x\ny"),
    }
    for words, wanted in table.items():
        with subtests.test(words), pytest.raises(Refused, match=words):
            mirrors.add("quay", wanted, by=ADA)


def test_another_key_is_said(settings: Any) -> None:
    row = mirrors.add("quay", LOGIN, by=ADA)
    settings.MIRROR_KEY_FILE.write_text("another")
    with pytest.raises(Refused, match="not the one with which it was saved"):
        mirrors.password(row)
    settings.MIRROR_KEY_FILE.unlink()
    with pytest.raises(Refused, match="boathouse up creates it"):
        mirrors.add("again", LOGIN, by=ADA)
    assert mirrors.add("anonymous", Wanted("quay.io"), by=ADA).secret == ""


# -- other fields --------------------------------------------------------------------------------
def test_fields_that_are_refused(subtests: pytest.Subtests, settings: Any) -> None:
    settings.PORT = 8443
    mirrors.add("other", Wanted("quay.io", open_port=5001, networks="10.0.0.0/8"), by=ADA)
    table: list[tuple[str, dict[str, Any]]] = [
        ("Enter patterns", {"allow": "a b$"}),
        ("Enter patterns", {"deny": "é"}),
        ("number from 0", {"fresh_minutes": -1}),
        ("number from 0", {"fresh_minutes": 10**6}),
        ("number from 1", {"keep_days": -3}),
        ("number from 1000000", {"keep_bytes": 5}),
        ("must be PEM", {"ca": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"}),
        ("must be PEM", {"ca": "x" * 100_000}),
        ("HTTP proxy", {"proxy": "socks5://a:1"}),
        ("HTTP proxy", {"proxy": "http://a/b"}),
        ("not supported", {"proxy": "http://me:secret@a:3128"}),
        ("networks that may use", {"open_port": 5002}),
        ("port that these", {"networks": "10.0.0.0/8"}),
        ("not a network", {"open_port": 5002, "networks": "0.0.0.0/0"}),
        ("not a network", {"open_port": 5002, "networks": "10.0.0.7/8"}),
        ("number from 1", {"open_port": 70000, "networks": "10.0.0.0/8"}),
        ("in use", {"open_port": 8443, "networks": "10.0.0.0/8"}),
        ("in use", {"open_port": 5001, "networks": "10.0.0.0/8"}),
    ]
    for words, some in table:
        with subtests.test(words, **some), pytest.raises(Refused, match=words):
            mirrors.add("hub", replace(HUB, **some), by=ADA)
    assert list(Mirror.objects.values_list("name", flat=True)) == ["other"]


def test_fields_in_one_spelling() -> None:
    row = mirrors.add(
        "hub",
        replace(
            HUB, allow="library/*, grafana/*", deny=" ", open_port=5001,
            networks="10.0.0.0/8,10.0.0.0/8 192.168.7.3", keep_days=0, proxy="http://p:3128/",
        ),
        by=ADA,
    )  # fmt: skip
    assert (row.allow, row.deny, row.keep_days) == ("library/* grafana/*", "", None)
    assert (row.networks, row.proxy) == ("10.0.0.0/8 192.168.7.3/32", "http://p:3128")


def test_pins(subtests: pytest.Subtests) -> None:
    row = mirrors.add("hub", HUB, by=ADA)
    row = mirrors.pin(row, "hub/library/debian:12", by=ADA)
    row = mirrors.pin(row, "library/*:lts*", by=ADA)
    assert mirrors.pins(row) == ["library/debian:12", "library/*:lts*"]
    for text in ("", "library/debian", ":", "a b:c", "a:", ":b", "a:b$"):
        with subtests.test(text), pytest.raises(Refused, match="REPOSITORY:TAG"):
            mirrors.pin(row, text, by=ADA)
    with pytest.raises(Refused, match="pinned already"):
        mirrors.pin(row, "library/debian:12", by=ADA)
    with pytest.raises(Refused, match="is not pinned"):
        mirrors.unpin(row, "library/debian:13", by=ADA)
    row = mirrors.unpin(row, "library/debian:12", by=ADA)
    assert mirrors.pins(row) == ["library/*:lts*"]
    Mirror.objects.update(pins="\n".join(f"a:{n}" for n in range(mirrors.MOST_PINS)))
    with pytest.raises(Refused, match="at most"):
        mirrors.pin(row, "b:1", by=ADA)


# -- the end -------------------------------------------------------------------------------------
def test_a_mirror_with_content_is_removed_only_as_it_is_said() -> None:
    row = mirrors.add("hub", HUB, by=ADA)
    pushed.image("hub/library/nginx", tags=["1", "2"])
    with pytest.raises(Refused, match="has 2 tags"):
        mirrors.remove(row, by=ADA)
    mirrors.remove(row, by=ADA, content=mirrors.KEEP)
    assert not Mirror.objects.exists()
    last = AuditEvent.objects.last()
    assert last is not None
    assert (last.act, last.details["tags_kept"]) == ("mirror.remove", 2)
    with pytest.raises(Refused, match="removed in the meantime"):
        mirrors.remove(row, by=ADA)
    with pytest.raises(Refused, match="removed in the meantime"):
        mirrors.set_active(row, is_active=True, by=ADA)


def test_every_change_is_in_the_audit_log() -> None:
    row = mirrors.add("hub", HUB, by=ADA)
    row = mirrors.change(row, replace(HUB, allow="library/*"), by=ADA)
    row = mirrors.set_active(row, is_active=False, by=ADA)
    row = mirrors.set_active(row, is_active=False, by=ADA)
    row = mirrors.set_active(row, is_active=True, by=ADA)
    row = mirrors.pin(row, "library/debian:12", by=ADA)
    row = mirrors.unpin(row, "library/debian:12", by=ADA)
    mirrors.remove(row, by=ADA)
    acts = ["add", "change", "disable", "enable", "pin", "unpin", "remove"]
    found = AuditEvent.objects.order_by("id").values_list("act", "target", "actor")
    assert [tuple(one) for one in found] == [(f"mirror.{act}", "hub", ADA) for act in acts]
    assert chain.verify().is_complete
