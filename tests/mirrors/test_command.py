"""`./boathouse mirror`: every act, its words and its JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from registryui.mirrors import mirrors, state, upstream
from registryui.mirrors.upstream import Checked, Tags
from registryui.models import Mirror
from registryui.refused import Refused
from tests.support import pushed
from tests.support.commands import Command

pytestmark = pytest.mark.django_db

COMMAND = Command("mirror")
said, facts, refused = COMMAND.said, COMMAND.facts, COMMAND.refused


def test_the_empty_list_says_what_to_do() -> None:
    assert said("list").strip() == (
        "No mirrors: ./boathouse mirror add hub adds Docker Hub. "
        "Presets: hub, ghcr, quay, k8s, mcr."
    )
    assert facts("list") == []


def test_presets(subtests: pytest.Subtests) -> None:
    for words, url in {
        ("hub",): "https://registry-1.docker.io",
        ("quay",): "https://quay.io",
        ("docker", "--preset", "hub"): "https://registry-1.docker.io",
        ("other", "https://r.example.net:5000"): "https://r.example.net:5000",
    }.items():
        with subtests.test(str(words)):
            found = facts("add", *words)["mirror"]
            assert (found["name"], found["url"], found["state"]) == (words[0], url, "unused")
    for words in (("unknown",), ("boathouse",), ("ghcr", "https://x.example", "--preset", "ghcr")):
        with subtests.test(str(words)):
            code, sentence = refused("add", *words, "--json")
            assert code == 2
            assert sentence.startswith("Enter ")


def test_a_mirror_from_its_making_to_its_end(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sesame\n"))
    lines = said(
        *("add", "hub", "--user", "acme", "--password-stdin", "--allow", "library/* acme/*"),
        *("--deny", "acme/secret", "--fresh-minutes", "30", "--keep-days", "90d"),
        *("--keep-size", "500GB", "--open-port", "5001", "--networks", "10.0.0.0/8"),
    )
    assert "sesame" not in lines
    for part in (
        "Allowed            library/* acme/*",
        "Kept               90 days since the last pull; at most 500 GB",
        "Private images     who may pull from hub/* pulls those of acme",
        "Without a login    port 5001, from 10.0.0.0/8",
        "hub/library/nginx:latest",
    ):
        assert part in lines
    row = Mirror.objects.get()
    assert mirrors.password(row) == "sesame"
    found = facts("change", "hub", "--keep-size", "never", "--open-port", "none", "--no-library")
    changed = found["mirror"]
    assert (changed["keep_bytes"], changed["keep_days"]) == (None, 90)
    assert (changed["open_port"], changed["networks"], changed["is_library"]) == (None, "", False)
    assert changed["has_password"]
    assert facts("pin", "hub", "library/debian:12")["mirror"]["pins"] == ["library/debian:12"]
    assert facts("unpin", "hub", "library/debian:12")["mirror"]["pins"] == []
    assert facts("disable", "hub")["mirror"]["state"] == "disabled"
    assert "disabled: only what is stored here" in said("show", "hub")
    assert facts("enable", "hub")["mirror"]["state"] == "unused"
    assert "hub   https://registry-1.docker.io  unused" in said("list")
    assert facts("remove", "hub", "--yes") == {
        "removed": "hub", "tags_deleted": 0, "tags_kept": 0,
    }  # fmt: skip


def test_the_state_of_the_service_is_said(folder: Path) -> None:
    said("add", "hub")
    at = "2026-12-01T10:00:00+00:00"
    (folder / "hub" / "state.json").write_text(
        json.dumps(
            {
                "contact": at, "away_since": at, "error": "connection\x1b refused", "hits": 9,
                "misses": 1, "limit": {"limit": 100, "remaining": 7, "window": 21600},
                "last_refusal": {"at": at, "what": "a@sha256:1", "words": "other bytes"},
            }
        )
    )  # fmt: skip
    lines = said("show", "hub")
    assert f"upstream unavailable since {at}: connection? refused" in lines
    assert "9 of 10 requests" in lines
    assert "7 of 100 pulls left in 6 hours" in lines
    assert "other bytes" in lines
    assert facts("list")[0]["state"] == "away"


def test_a_mirror_with_tags_is_not_removed_by_accident(subtests: pytest.Subtests) -> None:
    said("add", "hub")
    pushed.image("hub/library/nginx", tags=["1", "2"])
    code, sentence = refused("remove", "hub", "--yes")
    assert (code, "--delete-content" in sentence) == (2, True)
    assert refused("remove", "hub", "--keep-content", "--json")[0] == 2  # asks, and nobody is there
    found = facts("remove", "hub", "--keep-content", "--yes")
    assert found == {"removed": "hub", "tags_deleted": 0, "tags_kept": 2}


def test_a_check_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    said("add", "hub")
    limit = state.Limit(100, 76, 21600)
    monkeypatch.setattr(upstream, "check", lambda row: Checked("", 0.04, False, limit))
    assert "in 40 ms" in said("check", "hub")
    assert facts("check", "hub")["limit"] == {"limit": 100, "remaining": 76, "window": 21600}
    monkeypatch.setattr(upstream, "check", lambda row: Checked("It is away.", 0.04, False))
    out = io.StringIO()
    with pytest.raises(CommandError, match="cannot be used: It is away"):
        call_command("mirror", "check", "hub", "--json", stdout=out)
    assert json.loads(out.getvalue())["ok"] is False


def test_tags_of_the_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    said("add", "hub")
    asked = []

    def tags(row: Mirror, repository: str) -> Tags:
        asked.append(repository)
        return Tags(("1.10", "1.9"), False)

    monkeypatch.setattr(upstream, "tags", tags)
    assert said("tags", "hub", "hub/library/nginx") == "1.10\n1.9\n"
    assert facts("tags", "hub", "library/nginx")["tags"] == ["1.10", "1.9"]
    assert asked == ["library/nginx"] * 2


def test_what_is_refused_is_one_sentence(subtests: pytest.Subtests, tmp_path: Path) -> None:
    said("add", "hub")
    table = [
        (("show", "nobody"), 1, "There is no mirror nobody"),
        (("add", "hub"), 1, "already exists"),
        (("add", "A", "https://quay.io"), 1, "one part of a repository name"),
        (("add", "x", "http://quay.io"), 1, "not encrypted"),
        (("change", "hub", "--url", "http://quay.io"), 1, "not encrypted"),
        (("pin", "hub", "x"), 1, "REPOSITORY:TAG"),
        (("add", "x", "quay.io", "--user", "a"), 1, "Enter the password"),
    ]
    for words, code, sentence in table:
        with subtests.test(str(words)):
            found = refused(*words, "--json")
            assert (found[0], sentence in found[1]) == (code, True)
    assert facts("add", "x", "http://quay.io", "--insecure")["mirror"]["url"] == "http://quay.io"
    for words in (
        ("--keep-size", "much"), ("--keep-days", "5"), ("--open-port", "x"),
        ("--ca", str(tmp_path / "none")),
    ):  # fmt: skip
        with subtests.test(str(words)), pytest.raises((CommandError, Refused)):
            said("change", "hub", *words)
