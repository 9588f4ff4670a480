"""`./boathouse retention`: every act, its words and its JSON; and it asks before it deletes."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from registryui.models import AuditEvent, RetentionPolicy, Run
from registryui.retention import runs
from tests.support.commands import Command

from .support.factories import make_manifest, make_repository, make_tag

pytestmark = pytest.mark.django_db

COMMAND = Command("retention")
said, facts, refused = COMMAND.said, COMMAND.facts, COMMAND.refused

ADD = ["add", "old builds", "--repositories", "team/*", "--keep-newest", "2"]


@pytest.fixture
def tags() -> None:
    api = make_repository("team/api")
    for number in range(5):
        pushed = timezone.now() - timedelta(days=number, minutes=1)
        image = make_manifest(api, f"{number}", layers=[number + 1])
        make_tag(api, f"v{number}", image, tagged_at=pushed)


def test_a_policy_from_its_making_to_its_end() -> None:
    assert said("list").strip() == "No retention policies: nothing is deleted."
    assert facts("list") == []
    lines = said(*ADD, "--schedule", "0 4 * * sun").splitlines()
    assert lines == [
        "old builds  (draft, does not run)",
        "    In team/*, keep the newest 2; delete all other tags.",
        "    runs: every Sunday at 04:00",
    ]
    made = facts("enable", "old builds")["policy"]
    assert (made["is_active"], made["schedule"]) == (True, "0 4 * * SUN")
    assert made["next_at"] > timezone.now().isoformat()
    assert "; next: Sun " in said("list")
    changed = facts("change", "old builds", "--schedule", "", "--rename", "builds")["policy"]
    assert (changed["name"], changed["next_at"], changed["is_active"]) == ("builds", "", True)
    changed = facts("change", "builds", "--keep-newest", "0", "--keep-tags", "v*")["policy"]
    assert (changed["keep_newest"], changed["keep_tags"]) == (None, "v*")
    assert changed["is_active"] is False  # it decides otherwise
    assert facts("remove", "builds", "--yes") == {"removed": "builds"}
    acts = list(AuditEvent.objects.values_list("act", "actor"))
    assert {actor for _act, actor in acts} == {"command line"}
    assert [act for act, _actor in acts] == [
        *("retention.add", "retention.enable", "retention.change", "retention.change"),
        "retention.remove",
    ]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["add", "x", "--repositories", "*"], "keeps nothing"),
        (["add", "x", "--repositories", "?", "--keep-newest", "1"], "the repositories"),
        (["enable", "nobody"], "There is no policy nobody"),
        (["dry-run", "nobody"], "There is no policy nobody"),
        (["run", "nobody", "--yes"], "There is no policy nobody"),
    ],
)
def test_what_is_refused_is_one_sentence(words: list[str], reason: str) -> None:
    for options in ([], ["--json"]):
        code, sentence = refused(*words, *options)
        assert code == 1
        assert reason in sentence


def test_words_that_it_does_not_know() -> None:
    with pytest.raises((CommandError, SystemExit)):
        said("add", "x")
    with pytest.raises((CommandError, SystemExit)):
        said("explode")
    assert not RetentionPolicy.objects.exists()


def test_a_dry_run_in_words(tags: None) -> None:
    said(*ADD)
    lines = said("dry-run", "old builds").splitlines()
    assert lines[0] == (
        "Would be deleted team/api:v2  pushed 2 days earlier; number 3 by push "
        "time, only the newest 2 are kept; no pull recorded"
    )
    assert lines[-1].startswith(
        "3 of 5 tags would be deleted, 12 B reclaimable by garbage collection; 0 kept"
    )
    assert len(lines) == 4
    every = said("dry-run", "old builds", "--all").splitlines()
    assert every[3] == "Kept             team/api:v0  among the newest 2"
    assert len(every) == 6


def test_a_dry_run_in_json_is_one_document_with_every_tag(tags: None) -> None:
    said(*ADD)
    found = facts("dry-run", "old builds")
    assert (found["state"], found["is_dry"], found["goes"], found["freed"]) == ("done", True, 3, 12)
    assert found["policy"]["name"] == "old builds"
    assert [one["kind"] for one in found["tags"]] == ["goes", "goes", "goes", "stays", "stays"]
    assert found["tags"][0]["reason"] == "goes"
    assert found["tags"][0]["pulled_at"] == ""
    RetentionPolicy.objects.update(repositories="none")
    assert facts("dry-run", "old builds")["tags"] == []


def test_nothing_is_deleted_or_removed_without_a_yes(tags: None) -> None:
    said(*ADD)
    said("enable", "old builds")
    for act in ("run", "remove"):
        for options in ([], ["--json"]):
            code, sentence = refused(act, "old builds", *options)
            assert code == 2
            assert "--yes" in sentence
    assert RetentionPolicy.objects.exists()
    assert not Run.objects.exists()


def test_at_a_terminal_the_tags_are_listed_before_the_question(
    tags: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said(*ADD)
    said("enable", "old builds")
    monkeypatch.setattr("registryui.management.commands.retention.FIRST", 2)
    terminal = io.StringIO("no\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    output = io.StringIO()
    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("retention", "run", "old builds", stdout=output, stderr=io.StringIO())
    lines = output.getvalue().splitlines()
    assert [line.split()[3] for line in lines[:2]] == ["team/api:v2", "team/api:v3"]
    assert lines[2] == "and 1 more: ./boathouse retention dry-run lists all"
    assert lines[3].startswith("3 of 5 tags would be deleted")
    assert [run.kind for run in Run.objects.all()] == [Run.Kind.DRY_RUN]


def test_a_draft_is_not_run(tags: None) -> None:
    said(*ADD)
    assert refused("run", "old builds", "--yes") == (
        1,
        "The policy old builds is a draft: enable it first.",
    )


def test_a_run_that_is_under_way_is_not_joined(tags: None) -> None:
    said(*ADD)
    said("enable", "old builds")
    runs.begin(RetentionPolicy.objects.get(), by="schedule", is_dry=False)
    assert "already in progress" in refused("run", "old builds", "--yes")[1]


def test_a_run_that_fails_ends_with_one(tags: None, settings: Any) -> None:
    settings.REGISTRY_URL = "http://127.0.0.1:9"
    said(*ADD)
    said("enable", "old builds")
    code, sentence = refused("run", "old builds", "--yes")
    assert code == 1
    assert "none of 3 tags of team/api could be deleted" in sentence
