"""`./boathouse import`: what it prints, its exit statuses, and users of another htpasswd file."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from registryui.accounts import htpasswd, publish, users
from registryui.models import AuditEvent, RegistryUser, Run
from tests.support.registries import Registry
from tests.support.upstreams import LOGIN, upstream

pytestmark = pytest.mark.django_db(transaction=True)
APR1 = "$apr1$n8ipfb4i$lRX9rWgZ4bAQZ4R5z3pN20"


@pytest.fixture
def files(files: Path, settings: Any) -> Path:
    """Files, and nothing that runs: the product is down."""
    settings.PORT = 1
    publish.prepare()
    return files


def run(*words: str) -> str:
    printed = io.StringIO()
    call_command("import", *words, stdout=printed, stderr=io.StringIO())
    return printed.getvalue()


# -- another registry ------------------------------------------------------------------------------
def test_an_import_is_reported_listed_and_shown(tmp_path: Path, ours: Registry) -> None:
    with upstream(tmp_path / "hub") as hub:
        hub.registry.push_image("team/app", "1", layers=[b"x" * 1000])
        said = run("registry", hub.url, "--to", "old")
        assert "imported       team/app:1 -> old/team/app:1" in said
        assert "1 tags imported" in said
        found = json.loads(run("registry", hub.url, "--to", "old", "--json"))
        assert (found["state"], found["there"], found["tags"][0]["state"]) == ("done", 1, "there")
    assert run("list").count("registry 127.0.0.1") == 2
    run_of = Run.objects.filter(kind=Run.Kind.IMPORT).order_by("pk").first()
    assert run_of
    assert "old/team/app:1" in run("show", str(run_of.pk))
    with pytest.raises(CommandError, match="no import 99999"):
        run("show", "99999")
    acts = AuditEvent.objects.filter(act__startswith="import.").values_list("act", "actor")
    assert [*acts][:2] == [("import.begin", "command line"), ("import.end", "command line")]


def test_what_fails_is_said_and_the_command_fails(tmp_path: Path, ours: Registry) -> None:
    with pytest.raises(CommandError, match="does not answer"):
        run("registry", "http://127.0.0.1:1")
    with upstream(tmp_path / "hub", auth="basic") as hub:
        with pytest.raises(CommandError, match="does not accept"):
            run("registry", hub.url)
        with pytest.raises(CommandError, match="vice versa"):
            run("registry", hub.url, "--user", LOGIN[0])
    with pytest.raises(CommandError, match="No import is in progress"):
        run("stop")


def test_the_password_comes_from_stdin(
    tmp_path: Path, ours: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with upstream(tmp_path / "hub", auth="token") as hub:
        hub.registry.push_image("team/app", "1")
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{LOGIN[1]}\n"))
        words = ("registry", hub.url, "team/app", "--user", LOGIN[0], "--password-stdin", "--json")
        assert json.loads(run(*words))["taken"] == 1


# -- htpasswd --------------------------------------------------------------------------------------
def test_users_come_with_their_hashes(files: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for flag, name in (("-B", "anna"), ("-m", "bert"), ("-s", "carl"), ("-d", "dora")):
        create = ["-c"] if name == "anna" else []
        made = ["htpasswd", "-b", *create, flag, str(other), name, f"{name}-pass"]
        subprocess.run(made, check=True, capture_output=True)
    said = run("htpasswd", str(other), "--pull", "team/*")
    assert "4 users imported" in said
    lines = publish.lines()
    for name in ("anna", "bert", "carl", "dora"):
        assert htpasswd.verify(lines[name], f"{name}-pass"), name
        row = RegistryUser.objects.get(name=name)
        assert users.rights_of(row) == {("pull", "team/*")}
    again = json.loads(run("htpasswd", str(other), "--json"))
    assert {one["state"] for one in again["users"]} == {"there"}


def test_what_cannot_be_a_user_is_listed(files: Path, tmp_path: Path) -> None:
    users.create("anna", by="command line", password="another password")
    users.create("Bert", by="command line")
    (files / "htpasswd").open("a").write(f"foreign:{APR1}\n")
    other = tmp_path / "other"
    other.write_text(
        f"anna:{APR1}\nbert:{APR1}\nforeign:{APR1}\nodd:not-a-hash\na b\n"
        f"clear:{{PLAIN}}secret word\n# comment\n{htpasswd.CANARY}:{APR1}\n"
    )
    found = json.loads(run("htpasswd", str(other), "--json"))
    states = {one["name"]: (one["state"], one["note"]) for one in found["users"]}
    assert states["bert"] == ("taken", "differs from Bert only in case")
    assert states["clear"][0] == "taken"
    assert {name for name, (state, _note) in states.items() if state == "skipped"} == {
        *("anna", "foreign", "odd", htpasswd.CANARY),
    }
    assert "another password" in states["anna"][1]
    assert "secret word" not in str(RegistryUser.objects.values())
    assert htpasswd.verify(publish.lines()["clear"], "secret word")
    assert htpasswd.verify(publish.lines()["anna"], "another password")


def test_a_dry_run_changes_nobody(files: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(f"anna:{APR1}\n")
    assert "1 users would be imported" in run("htpasswd", str(other), "--dry-run")
    assert not RegistryUser.objects.filter(name="anna").exists()
    assert "anna" not in publish.lines()


def test_a_file_without_users_is_refused(files: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing\n")
    with pytest.raises(CommandError, match="no line with a user"):
        run("htpasswd", str(tmp_path / "empty"))
