"""`./boathouse user`: every act, what it prints, and that a refusal leaves everything as it was."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings as live
from django.core.management import CommandError, call_command
from django.utils import timezone

from registryui import proxy
from registryui.accounts import drift, htpasswd, publish, users
from registryui.management import user_arguments
from registryui.models import NEVER, Operator, RegistryUser, Role
from tests.support.commands import Command

from .support.instance import Instance
from .support.waiting import LONGEST

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def no_parts(files: Path, settings: Any) -> Path:
    """Files, and nothing that runs: the product is down."""
    settings.PORT = 1
    publish.prepare()
    return files


@pytest.fixture
def instance(standing: Instance) -> Instance:
    standing.renew()
    return standing


COMMAND = Command("user")
run, facts = COMMAND.said, COMMAND.facts


def refused(*words: str, code: int = 1) -> str:
    """The one sentence; --json says it on stdout, too."""
    with pytest.raises(CommandError) as end:
        call_command("user", *words, stdout=io.StringIO())
    assert end.value.returncode == code
    sentence = str(end.value)
    assert "\n" not in sentence
    printed = io.StringIO()
    with pytest.raises(CommandError):
        call_command("user", *words, "--json", stdout=printed)
    assert json.loads(printed.getvalue()) == {"error": sentence}
    return sentence


def typed(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))


def status(path: str, name: str, secret: str) -> int:
    """What nginx answers to that login."""
    return proxy.ask(path, proxy.basic(name, secret)).status


HERE, THERE = "/v2/team/api/tags/list", "/v2/other/x/tags/list"


# -- each act ------------------------------------------------------------------------------------
def test_add_gives_exactly_these_rights_and_proves_it(instance: Instance) -> None:
    found = facts("add", "ci", "--pull", "team/", "--push", "team/api", "--note", "builds")
    assert re.fullmatch("[0-9a-f]{40}", found["secret"])
    assert found["proof"]["proved"] is True
    assert 0 < found["proof"]["ms"] < 3000
    user = found["user"]
    assert user["rights"] == {"pull": ["team/*"], "push": ["team/api"], "delete": []}
    assert (user["name"], user["state"], user["note"]) == ("ci", "active", "builds")
    assert (user["pending"], user["expires_at"], user["made_by"]) == (False, None, "command line")
    # 404: nginx let it pass, and the registry has no such repository.
    assert status(HERE, "ci", found["secret"]) == 404
    assert status(THERE, "ci", found["secret"]) == 403
    assert "verified with a login in" in run("add", "other")


def test_rights_replace_those_before(instance: Instance) -> None:
    secret = facts("add", "ci", "--pull", "*")["secret"]
    found = facts("rights", "ci", "--pull", "other/*", "--pull", "one", "--delete", "*")
    assert found["user"]["rights"] == {"pull": ["one", "other/*"], "push": [], "delete": ["*"]}
    assert (status(HERE, "ci", secret), status(THERE, "ci", secret)) == (403, 404)
    assert "secret" not in found
    assert facts("rights", "ci", "--none")["user"]["rights"]["pull"] == []
    assert status(THERE, "ci", secret) == 403
    assert status("/v2/", "ci", secret) == 200
    for words in ([], ["--none", "--pull", "*"]):
        assert "--none alone" in refused("rights", "ci", *words, code=2)


def test_rotate_with_and_without_overlap(instance: Instance) -> None:
    first = facts("add", "ci")["secret"]
    found = facts("rotate", "ci", "--overlap", "1h")
    assert found["user"]["secret"]["old_works_until"]
    assert status("/v2/", "ci", first) == status("/v2/", "ci", found["secret"]) == 200
    assert "Old secret" in run("show", "ci")
    last = facts("rotate", "ci")["secret"]
    assert [status("/v2/", "ci", one) for one in (first, found["secret"], last)] == [401, 401, 200]


def test_a_persons_own_password_comes_from_the_input(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "correct horse battery\nanother line\n")
    found = facts("add", "ann", "--password-stdin", "--cost", "5")
    assert "secret" not in found
    assert found["user"]["secret"]["hash"] == "bcrypt"
    assert found["user"]["secret"]["generated"] is False
    assert "$05$" in publish.lines()["ann"]
    assert status("/v2/", "ann", "correct horse battery") == 200
    typed(monkeypatch, "staple battery horse\r\n")
    assert "horse" not in run("password", "ann", "--password-stdin", "--cost", "5")
    assert status("/v2/", "ann", "staple battery horse") == 200


def test_disable_enable_expire_and_remove_take_several(instance: Instance) -> None:
    secret = facts("add", "a", "--pull", "*")["secret"]
    run("add", "b")
    found = facts("disable", "b", "a")
    assert {one["name"]: one["state"] for one in found["users"]} == {"a": "off", "b": "off"}
    assert found["proof"]["proved"] is True
    assert status("/v2/", "a", secret) == 401
    assert "a is active." in run("enable", "a", "b")
    assert status("/v2/", "a", secret) == 200
    assert {one["state"] for one in facts("expire", "a", "b", "now")["users"]} == {"expired"}
    assert status("/v2/", "a", secret) == 401
    assert facts("expire", "a", "b", "never")["users"][0]["expires_at"] is None
    assert status(HERE, "a", secret) == 404
    assert facts("remove", "a", "b", "a", "--yes")["removed"] == ["a", "b"]
    assert status("/v2/", "a", secret) == 401
    assert facts("list") == []
    assert run("list") == "No registry users.\n"


def test_list_filters_and_show_says_all(no_parts: Path) -> None:
    owner = Operator.objects.create_user("max", role=Role.MAINTAINER)
    run("add", "one", "--pull", "*", "--owner", "max", "--expires", "1y")
    run("add", "two")
    run("disable", "two")
    long_ago = timezone.now() - timedelta(days=100)
    RegistryUser.objects.filter(name="one").update(made_at=long_ago)
    names = [one["name"] for one in facts("list")]
    assert names == ["one", "two"]
    assert [one["name"] for one in facts("list", "--state", "off")] == ["two"]
    assert [one["name"] for one in facts("list", "--unused", "90")] == ["one"]
    shown = facts("show", "one")
    assert shown == facts("list")[0]
    assert shown["owner"] == owner.username
    assert set(shown) == {
        *("name", "state", "rights", "note", "owner", "expires_at", "secret"),
        *("made_at", "made_by", "used_at", "used_from", "used_with", "pending"),
    }
    assert re.search(r"^one +active +\* +- +- +never +\d{4}-\d\d-\d\d$", run("list"), re.MULTILINE)
    assert "Owner          max" in run("show", "one")
    assert run("note", "one", "the cluster in Graz") == "one: the cluster in Graz\n"
    assert facts("show", "one")["owner"] == "max"
    assert run("owner", "one", "") == "The owner of one is nobody.\n"
    assert facts("show", "one")["owner"] is None
    assert run("owner", "one", "max") == "The owner of one is max.\n"
    found = facts("show", "one")
    assert (found["owner"], found["note"]) == ("max", "the cluster in Graz")


# -- the file ------------------------------------------------------------------------------------
def edit(path: Path) -> None:
    """Three lines by hand: one added, one with another hash, one gone."""
    lines = htpasswd.parse(path.read_bytes())
    path.write_bytes(
        htpasswd.change(
            path.read_bytes(),
            {"hand": htpasswd.hash_secret("hand"), "changed": lines["hand0"], "gone": ""},
        )
    )


def test_drift_is_shown_and_ended_in_three_ways(no_parts: Path) -> None:
    for name in ("changed", "gone", "hand0"):
        run("add", name)
    path = live.HTPASSWD_FILE
    assert facts("drift") == []
    assert "matches the database" in run("drift")
    edit(path)
    what = {one["name"]: one["what"] for one in facts("drift")}
    assert what == {"changed": "changed", "gone": "removed", "hand": "added"}
    assert re.search(r"^hand +line added +\{SSHA\}$", run("drift"), re.MULTILINE)
    found = facts("drift", "--ignore", "hand")
    assert [one["name"] for one in found["done"]] == ["hand"]
    assert [one["name"] for one in found["left"]] == ["changed", "gone"]
    assert "proof" not in found
    found = facts("drift", "--revert", "changed")
    assert publish.lines()["changed"] == RegistryUser.objects.get(name="changed").secret_hash
    assert "hand" in publish.lines()
    assert facts("drift", "--accept", "--all")["left"] == []
    assert facts("show", "gone")["state"] == "off"
    assert facts("drift") == []


def test_what_drift_does_not_understand_is_refused(no_parts: Path) -> None:
    run("add", "a")
    before = everything()
    assert "--all needs" in refused("drift", "--all", code=2)
    assert "names of lines, or --all" in refused("drift", "--accept", code=2)
    assert "or --all" in refused("drift", "--ignore", "a", "--all", code=2)
    assert "The line of a was not edited" in refused("drift", "--revert", "a")
    with pytest.raises(CommandError, match="not allowed with"):
        run("drift", "--accept", "a", "--ignore", "b")
    assert everything() == before


def test_a_line_that_no_row_can_stand_for_is_refused_with_all_others(no_parts: Path) -> None:
    run("add", "a")
    with live.HTPASSWD_FILE.open("ab") as file:
        file.write(b"good:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\nodd\x07:x\n")
    file_before, rows = publish.read(), list(RegistryUser.objects.values())
    assert "cannot be accepted" in refused("drift", "--accept", "--all")
    assert (publish.read(), list(RegistryUser.objects.values())) == (file_before, rows)
    # A known user's line with a hash that would break the file is no better.
    live.HTPASSWD_FILE.write_bytes(b"a:two words\n")
    assert "cannot be accepted: 'a'" in refused("drift", "--accept", "a").replace(
        " because of their name or hash", ""
    )
    assert list(RegistryUser.objects.values()) == rows


def test_versions_and_restore_say_who_gains_and_loses(instance: Instance) -> None:
    secret = facts("add", "early", "--pull", "*")["secret"]
    run("add", "over", "--expires", "30d")
    run("remove", "early", "--yes")
    run("add", "late")
    run("rotate", "over")
    RegistryUser.objects.filter(name="over").update(expires_at=timezone.now())
    publish.catch_up()
    found = facts("versions")
    assert [one["number"] for one in found] == list(range(1, len(found) + 1))
    assert set(found[0]) == {"number", "version", "at", "users"}
    with_early = next(one for one in found if one["users"] == 2 and one["number"] > 3)
    before = everything()
    dry = facts("restore", with_early["version"], "--dry-run")
    assert everything() == before
    assert dry == {
        "version": with_early["version"],
        "gains": ["early"],
        "loses": ["late"],
        "changes": [],
        "stays_out": ["over"],
        "done": False,
    }
    said = run("restore", str(with_early["number"]), "--dry-run")
    assert "Can log in: early\nCan no longer log in: late\n" in said
    done = facts("restore", with_early["version"])
    assert (done["gains"], done["done"], done["proof"]["proved"]) == (["early"], True, True)
    assert list(publish.lines()) == ["early"]
    assert status("/v2/", "early", secret) == 200
    assert facts("show", "late")["state"] == "off"
    assert facts("drift") == []
    assert "There is no version 99" in refused("restore", "99")


def test_publish_writes_all_files_again(instance: Instance) -> None:
    secret = facts("add", "ci", "--pull", "team/*")["secret"]
    for path in (live.HTPASSWD_FILE, live.OVERLAP_FILE):
        path.unlink()
    (live.RIGHTS_DIR / "ci" / "pull" / "team" / "@all").unlink()
    assert status(HERE, "ci", secret) in (403, 500)
    found = facts("publish")
    assert (found["users"], found["left"], found["proof"]["proved"]) == (1, [], True)
    assert (status(HERE, "ci", secret), status(THERE, "ci", secret)) == (404, 403)
    with live.HTPASSWD_FILE.open("ab") as file:
        file.write(b"hand:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")
    assert [one["name"] for one in facts("publish")["left"]] == ["hand"]
    assert "hand" in publish.lines()


# -- down ----------------------------------------------------------------------------------------
def test_it_works_while_the_product_is_down_and_says_so(no_parts: Path) -> None:
    found = facts("add", "ci", "--pull", "*")
    assert found["proof"]["proved"] is False
    assert found["proof"]["ms"] is None
    assert found["proof"]["reason"]
    assert list(publish.lines()) == ["ci"]
    assert htpasswd.verify(publish.lines()["ci"], found["secret"])
    assert "the files are written, but not verified with a login" in run("disable", "ci")
    assert publish.lines() == {}


def test_with_nginx_stopped_the_reason_is_named(instance: Instance) -> None:
    instance.stop("nginx")
    assert "ConnectionRefusedError" in facts("add", "ci")["proof"]["reason"]


# -- refusals ------------------------------------------------------------------------------------
def everything() -> tuple[Any, ...]:
    """Rows and files; without the canary, which is new at each write."""
    rows = [{**row, "generation": None} for row in RegistryUser.objects.values()]
    users_rights = [(row.name, users.rights_of(row)) for row in RegistryUser.objects.all()]
    markers = sorted(str(path) for path in live.RIGHTS_DIR.rglob("*") if path.is_file())
    return rows, users_rights, publish.lines(), markers, publish.versions()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["add", "a"], "A registry user named a already exists."),
        (["add", "a:b"], "without colons"),
        (["add", "x/y"], "is not a valid name for a registry user"),
        (["add", "b", "--owner", "nobody"], "There is no operator nobody"),
        (["add", "b", "--expires", "2020-01-01"], "would expire immediately"),
        (["add", "b", "--password-stdin"], "A password must be 8 to 72 bytes"),
        (["password", "a", "--password-stdin"], "A password must be 8 to 72 bytes"),
        (["show", "b"], "There is no registry user b"),
        (["rights", "b", "--none"], "There is no registry user b"),
        (["rotate", "a", "--overlap", "90d"], "at most 30 days"),
        (["rotate", "b"], "There is no registry user b"),
        (["disable", "a", "b", "c"], "There is no registry user b, c"),
        (["remove", "a", "b"], "There is no registry user b"),
        (["expire", "a", "b", "now"], "There is no registry user b"),
        (["note", "b", "text"], "There is no registry user b"),
        (["restore", "1"], "There is no version 1"),
    ],
)
def test_a_refusal_leaves_everything_as_it_was(
    no_parts: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    run("add", "a", "--pull", "*")
    before = everything()
    monkeypatch.setattr(sys, "stdin", io.StringIO("short\n" * 2))
    assert sentence in refused(*words)
    assert everything() == before


@pytest.mark.parametrize(
    "words",
    [
        ["rights", "a", "--pull", "UPPER"],
        ["add", "b", "--expires", "tomorrow"],
        ["add", "b", "--expires", "9999y"],
        ["rotate", "a", "--overlap", "soon"],
        ["password", "a"],
        ["expire", "a"],
        ["nothing"],
        [],
    ],
)
def test_unknown_words_are_a_matter_of_usage(no_parts: Path, words: list[str]) -> None:
    run("add", "a")
    before = everything()
    with pytest.raises(CommandError):
        run(*words)
    assert everything() == before


ACTS: dict[str, Callable[[], Any]] = {
    "add": lambda: refused("add", "b", "--pull", "*"),
    "rights": lambda: refused("rights", "a", "--none"),
    "rotate": lambda: refused("rotate", "a"),
    "disable": lambda: refused("disable", "a"),
    "expire": lambda: refused("expire", "a", "now"),
    "remove": lambda: refused("remove", "a", "--yes"),
    "take over": lambda: refused("drift", "--accept", "hand"),
    "publish": lambda: refused("publish"),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_full_disk_is_one_sentence_and_changes_nothing(
    no_parts: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    run("add", "a", "--pull", "*")
    with live.HTPASSWD_FILE.open("ab") as file:
        file.write(b"hand:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")
    before = everything()

    def fails(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        assert "Nothing was changed" in ACTS[act]()
    assert everything()[0] == before[0]
    assert everything()[2] == before[2]
    publish.catch_up()
    assert everything()[:4] == before[:4]
    assert [one.name for one in drift.find()] == ["hand"]


# -- times ---------------------------------------------------------------------------------------
def test_ends_as_people_write_them(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 8, 31, 12, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    settings.TIME_ZONE = "Asia/Shanghai"
    timezone.get_default_timezone.cache_clear()
    try:
        for text, wanted in {
            "12h": now + timedelta(hours=12),
            "30d": now + timedelta(days=30),
            "6mo": datetime(2027, 2, 28, 12, tzinfo=UTC),
            "1y": datetime(2027, 8, 31, 12, tzinfo=UTC),
            "now": now,
            "never": NEVER,
            "2027-05-23": datetime(2027, 5, 23, 16, tzinfo=UTC),  # midnight there
            "2027-05-23T08:00": datetime(2027, 5, 23, 0, tzinfo=UTC),
            "2027-05-23T08:00+00:00": datetime(2027, 5, 23, 8, tzinfo=UTC),
        }.items():
            assert user_arguments.end(text) == wanted, text
    finally:
        timezone.get_default_timezone.cache_clear()
    assert user_arguments.overlap("90m") == timedelta(minutes=90)
    assert user_arguments.overlap("0") == timedelta(0)


# -- no secret anywhere --------------------------------------------------------------------------
def test_no_option_takes_a_secret() -> None:
    text = (ROOT / "registryui" / "management" / "user_arguments.py").read_text()
    assert re.findall(r'"(--[a-z-]*(?:password|secret)[a-z-]*)"', text) == ["--password-stdin"]
    assert re.search(r'"--password-stdin",\s+action="store_true"', text)


def test_no_secret_is_logged(
    no_parts: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    made = facts("add", "ci")
    typed(monkeypatch, "correct horse battery\n")
    run("password", "ci", "--password-stdin")
    rotated = facts("rotate", "ci")
    hashes = RegistryUser.objects.values_list("secret_hash", flat=True)
    assert "ci" in caplog.text
    for secret in (made["secret"], rotated["secret"], "horse", *hashes):
        assert secret not in caplog.text


# -- through the script --------------------------------------------------------------------------
class Script:
    """The real ./boathouse on a data folder of its own, where nothing runs."""

    def __init__(self, data: Path) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            "BOATHOUSE_DATA": str(data),
            "BOATHOUSE_PORT": "1",
        }

    def __call__(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(ROOT / "boathouse"), *words],
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    """For all tests of it: each uses names of its own."""
    data = tmp_path_factory.mktemp("script") / "data"
    made = Script(data)
    (data / "rights").mkdir(parents=True)
    migrated = made("manage", "migrate", "--verbosity", "0")
    assert migrated.returncode == 0, migrated.stderr
    return made


def test_the_script_ends_with_0_1_or_2(script: Script) -> None:
    done = script("user", "add", "ci", "--push", "team/", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["user"]["rights"]["push"] == ["team/*"]
    again = script("user", "add", "ci")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "boathouse: A registry user named ci already exists.\n"
    odd = script("user", "add", "b", "--pull", "UPPER")
    assert (odd.returncode, odd.stdout) == (2, "")
    assert "Argument --pull: “UPPER” is not a valid scope" in odd.stderr
    assert script("user", "rights", "ci").returncode == 2
    listed = script("user", "list")
    assert re.search(r"^ci +active +- +team/\* ", listed.stdout, re.MULTILINE)
    assert "./boathouse user add NAME" in script("help").stdout
    assert script("operator", "list").returncode == 0


def test_before_the_first_up_it_says_what_is_missing(tmp_path: Path) -> None:
    done = Script(tmp_path / "nowhere")("user", "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert "./boathouse up makes one" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_the_process_list_never_shows_a_password(script: Script) -> None:
    """Whoever may look at processes while it runs sees the command, and nothing to log in with."""
    seen: list[str] = []
    is_done = threading.Event()

    def look() -> None:
        while not is_done.is_set():
            for process in psutil.process_iter():
                try:
                    words = [*process.cmdline(), *process.environ().values()]
                except psutil.Error:
                    continue
                if "user" in words and "ann" in words:
                    seen.append(" ".join(words))
            time.sleep(0.005)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        words = ("--password-stdin", "--cost", "8")
        done = script("user", "add", "ann", *words, typed="correct horse battery\n")
    finally:
        is_done.set()
        watcher.join()
    assert done.returncode == 0, done.stderr
    assert seen, "the command was never seen: the watcher is too slow to prove anything"
    assert not [line for line in seen if "horse" in line]
    assert "horse" not in done.stdout + done.stderr
