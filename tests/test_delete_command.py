"""./boathouse tag, repository and manifest, on a real registry."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from registryui.deletion import protection
from registryui.models import AuditEvent
from registryui.oci.expiry import LABEL
from tests.support import pushed
from tests.support.notifications import Sink

from .support.worlds import R, World, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def here(
    tmp_path: Path,
    sink: tuple[Sink, str],
    settings: Any,
) -> Iterator[World]:
    """Tags 1 and latest on one image, pr-1 … pr-12 on others."""
    with world(tmp_path / "registry", *sink, settings) as made:
        made.real.push_image(R, "1", "latest", layers=[b"a layer"])
        for number in range(1, 13):
            made.real.push_image(R, f"pr-{number}", layers=[b"%d" % number])
        made.sync()
        yield made


def run(*words: str, ends: int = 0) -> str:
    """What it prints; it must end so."""
    out = io.StringIO()
    code: object = 0
    try:
        call_command(*words, stdout=out)
    except SystemExit as end:
        code = end.code
    assert code == ends
    return out.getvalue()


def run_json(*words: str, ends: int = 0) -> Any:
    return json.loads(run(*words, "--json", ends=ends))


def test_a_tag_is_shown_deleted_listed_and_restored(here: World) -> None:
    digest = here.digest("1")
    (plan,) = run_json("tag", "delete", f"{R}:1", "--dry-run")
    assert [one["tag"] for one in plan["going"]] == ["1"]
    assert (plan["staying"][0]["staying"], plan["freed"]) == (["latest"], 0)
    assert here.digest("1") == digest
    (done,) = run_json("tag", "delete", f"{R}:1")
    assert done["results"] == [{"tag": "1", "digest": digest, "state": "deleted", "reason": ""}]
    assert (here.digest("1"), here.digest("latest")) == ("", digest)
    (row,) = run_json("tag", "deleted")
    assert (row["tag"], row["by"], row["act"]) == ("1", "command line", done["act"])
    assert f"{R}:1" in run("tag", "deleted", R)
    assert "No recently deleted tags" in run("tag", "deleted", "team/other")
    assert run("tag", "restore", f"{R}:1") == f"Restored {R}:1 to {digest}.\n"
    assert here.digest("1") == digest
    assert AuditEvent.objects.filter(actor="command line").count() == 3


def test_several_go_and_all_of_it_comes_back(here: World) -> None:
    said = run("tag", "delete", f"{R}:pr-1", f"{R}:pr-2")
    assert f"2 deleted from {R}." in said
    act = said.rsplit("--act ", 1)[1].strip()
    assert {"pr-1", "pr-2"}.isdisjoint(here.tags())
    assert len(run_json("tag", "restore", "--act", act, "--dry-run")) == 2
    assert run("tag", "restore", "--act", act).count("restored") == 2
    assert {"pr-1", "pr-2"} <= here.tags()
    with pytest.raises(CommandError, match="Nothing to restore"):
        run("tag", "restore", "--act", act)


def test_what_was_not_done_ends_with_one(here: World) -> None:
    done = run_json("tag", "delete", f"{R}:1", f"{R}:none", ends=1)
    assert done[0]["left_out"] == [{"tag": "none", "reason": "missing"}]
    with pytest.raises(CommandError, match="no repository"):
        run("tag", "delete", "team/none:1")


def test_many_and_patterns_ask_first(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"{R}:pr-{number}" for number in range(1, 13)]
    for words in (many, [R, "--pattern", "pr-*"]):
        with pytest.raises(CommandError, match="--yes"):
            run("tag", "delete", *words)
    with pytest.raises(CommandError, match="--yes"):
        run("repository", "delete", R)
    assert len(here.tags()) == 14

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("11\n"))
    with pytest.raises(CommandError, match="Nothing was changed"):
        run("tag", "delete", *many)
    monkeypatch.setattr("sys.stdin", Terminal("12\n"))
    run("tag", "delete", R, "--pattern", "pr-*")
    assert here.tags() == {"1", "latest"}


ODD = [
    ["tag", "delete", R],
    ["tag", "delete", f"{R}:1", "--pattern", "x"],
    ["tag", "delete", "UPPER:1"],
    ["tag", "restore"],
    ["tag", "restore", R],
    ["tag", "restore", f"{R}:1"],
    ["tag", "delete", R, "--pattern", "a?"],
    ["manifest", "delete", f"{R}:1"],
    ["manifest", "delete", f"{R}@sha256:{'0' * 64}", "--permanently"],
]


def test_odd_words_are_refused(here: World, subtests: pytest.Subtests) -> None:
    for words in ODD:
        with subtests.test(words=words):
            with pytest.raises(CommandError):
                run(*words)
            assert len(here.tags()) == 14


def test_a_repository_goes_as_one_and_comes_back(here: World) -> None:
    (done,) = run_json("repository", "delete", R, "--yes")
    assert len(done["results"]) == 14
    assert here.tags() == set()
    assert run("repository", "delete", R, "--yes") == f"0 deleted from {R}.\n"
    run("tag", "restore", "--act", done["act"])
    assert len(here.tags()) == 14


def test_what_was_pushed_meanwhile_is_replaced_on_demand(here: World) -> None:
    digest = here.digest("1")
    run("tag", "delete", f"{R}:1")
    here.real.push_image(R, "1", layers=[b"newer"])
    with pytest.raises(CommandError, match="--replace"):
        run("tag", "restore", f"{R}:1")
    run("tag", "restore", f"{R}:1", "--replace")
    assert here.digest("1") == digest


def test_a_manifest_is_marked_or_purged(here: World) -> None:
    loose = here.real.push_image(R, layers=[b"loose"])
    here.hear_all()
    run("manifest", "delete", f"{R}@{loose}")
    assert here.digest(loose) == loose
    assert run("tag", "restore", f"{R}@{loose}").startswith("Restored ")
    bad = here.digest("1")
    done = run_json("manifest", "delete", f"{R}@{bad}", ends=1)
    assert done[0]["left_out"] == [{"tag": bad, "reason": "busy"}]
    shown = run("manifest", "delete", f"{R}@{bad}", "--permanently", "--dry-run")
    assert "latest" in shown
    assert here.digest("1") == bad
    with pytest.raises(CommandError, match="--yes"):
        run("manifest", "delete", f"{R}@{bad}", "--permanently")
    run("manifest", "delete", f"{R}@{bad}", "--permanently", "--yes")
    assert (here.digest(bad), here.digest("latest")) == ("", "")


def test_a_tag_is_given_a_time_to_expire(settings: Any) -> None:
    """Nothing of the registry is asked."""
    pushed.image(R, tags=["1"], config={"config": {"Labels": {LABEL: "1d"}}}, at=timezone.now())
    found = run_json("tag", "expire", f"{R}:1", "--in", "2w")
    assert (found["repository"], found["tag"], found["by"]) == (R, "1", "set")
    assert found["expires_at"] > (timezone.now() + timedelta(days=13)).isoformat()
    said = run("tag", "expire", f"{R}:1", "--at", "2030-01-02T03:04")
    assert said.strip() == f"{R}:1 expires Wed 2 Jan 2030, 03:04 UTC"
    assert run("tag", "expire", f"{R}:1", "--never").strip() == f"{R}:1 does not expire"
    assert run_json("tag", "expire", f"{R}:1", "--remove")["expires_at"] == ""
    settings.EXPIRE_BY_LABEL = True
    assert run_json("tag", "expire", f"{R}:1", "--remove")["by"] == "label"
    protection.add(R, "*", note="", by="vera")
    assert "kept while it is protected" in run("tag", "expire", f"{R}:1", "--in", "1h")
    assert AuditEvent.objects.filter(act="tag.expiry").count() == 6
    for words in (
        ("--in", "soon"),
        ("--at", "2020-01-01"),
        (),
        ("--never", "--in", "1h"),
    ):
        with pytest.raises(CommandError):
            call_command("tag", "expire", f"{R}:1", *words)
    with pytest.raises(CommandError, match="Expected REPOSITORY:TAG"):
        call_command("tag", "expire", R, "--never")
