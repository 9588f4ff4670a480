"""What a repository is: words of operators, their limits, and those of the newest image."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from registryui import descriptions
from registryui.audit import chain
from registryui.exports import settings as exported
from registryui.index.ingest import drop_repository
from registryui.models import AuditEvent, Description, Repository
from registryui.refused import Refused
from tests.support import pushed
from tests.support.factories import make_repository

pytestmark = pytest.mark.django_db
R = "team/api"
LABEL = "org.opencontainers.image."
LABELS = {
    f"{LABEL}description": "Prices of\neverything",
    f"{LABEL}documentation": "https://docs.example.com/api",
    f"{LABEL}source": "http://git.example.com:3000/team/api",
}


def row() -> Repository:
    return Repository.objects.get(name=R)


def run(*words: str) -> Any:
    printed = io.StringIO()
    call_command("repository", "describe", R, *words, "--json", stdout=printed)
    return json.loads(printed.getvalue())


def test_words_are_kept_by_name_audited_and_exported() -> None:
    pushed.image(R, tags=["1"])
    descriptions.describe(
        R, by="operator:mo", text="  Prices,\n fresh ", readme="# API\r\nRun it.\n"
    )
    kept = descriptions.of(R)
    assert (kept.text, kept.readme, kept.changed_by) == (
        "Prices, fresh",
        "# API\nRun it.",
        "operator:mo",
    )
    descriptions.describe(R, by="operator:mo", text="Prices, fresh")  # as it is: no act
    drop_repository(R)
    assert descriptions.of(R).text == "Prices, fresh"
    pushed.image(R, tags=["1"])
    descriptions.describe(R, by="command line", text="", readme="")
    assert not Description.objects.exists()
    acts = AuditEvent.objects.values_list("act", "target", "actor", "details")
    assert list(acts) == [
        ("repository.describe", R, by, {"description": text, "readme_characters": size})
        for by, text, size in (("operator:mo", "Prices, fresh", 13), ("command line", "", 0))
    ]
    assert chain.verify().is_complete


def test_what_does_not_fit_is_refused_and_changes_nothing(subtests: pytest.Subtests) -> None:
    pushed.image(R, tags=["1"])
    seen = descriptions.fingerprint(descriptions.of(R))
    descriptions.describe(R, by="", text="before")
    wrong = {
        "no such": {"repository": "not/there", "text": "a"},
        "501 characters": {"text": "a" * 501},
        "100001 characters": {"readme": "a" * 100_001},
        "no text": {"readme": "a\0b"},
        "Somebody changed": {"text": "after", "seen": seen},
    }
    for name, words in wrong.items():
        with subtests.test(name), pytest.raises(Refused):
            descriptions.describe(**{"repository": R, "by": "", **words})
    assert descriptions.of(R).text == "before"
    descriptions.describe(R, by="", text="a" * 500, readme="é" * 100_000)


@pytest.mark.both_databases
def test_the_newest_image_says_what_nobody_wrote() -> None:
    assert descriptions.from_image(make_repository(R)) == descriptions.FromImage()
    old = pushed.image(
        R, tags=["1.0"], config={"config": {"Labels": {f"{LABEL}description": "old"}}}
    )
    pushed.image(R, tags=["2.0"], config={"config": {"Labels": LABELS}}, layers=[("a", 1)])
    said = descriptions.from_image(row())
    assert (said.tag, said.text) == ("2.0", "Prices of everything")
    assert said.documentation == descriptions.Link(
        LABELS[f"{LABEL}documentation"], "docs.example.com"
    )
    assert said.source is not None
    assert said.source.host == "git.example.com"
    pushed.image_index(R, [(old, "linux/amd64")], tags=["3.0"])
    assert descriptions.from_image(row()).text == "old"
    pushed.image_index(
        R, [(old, "linux/amd64")], tags=["4.0"], annotations={f"{LABEL}description": "of the index"}
    )
    assert descriptions.from_image(row()).text == "of the index"


NO_LINKS = (
    *("", "javascript:alert(1)", "data:text/html,x", "ftp://a/b", "//a/b", "/a", "a.example.com"),
    *(
        "https://",
        "https://[",
        "https://a b/",
        "https://ä.example.com/",
        "https://a/\u202e",
        "http:a",
    ),
    f"https://a/{'a' * 2000}",
)


def test_only_web_addresses_are_links_and_their_host_is_where_they_lead() -> None:
    assert [one for one in NO_LINKS if descriptions.link(one)] == []
    found = descriptions.link("https://github.com@evil.example.com/x")
    assert found is not None
    assert found.host == "evil.example.com"


def test_the_command_writes_shows_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed.image(R, tags=["1"], config={"config": {"Labels": LABELS}})
    readme = tmp_path / "README.md"
    readme.write_bytes(b"\xef\xbb\xbf# API\n")
    found = run("--text", "Prices", "--readme", str(readme))
    assert (found["description"], found["readme"]) == ("Prices", "# API")
    assert found["from_image"]["source"] == LABELS[f"{LABEL}source"]
    assert run() == found
    printed = io.StringIO()
    call_command("repository", "describe", R, stdout=printed)
    assert "from 1" in printed.getvalue()
    readme.write_bytes(b"\xff\xfe#")
    with pytest.raises(CommandError, match="not text in UTF-8"):
        run("--readme", str(readme))
    with pytest.raises(CommandError, match="--clear") as ended:
        run("--clear", "--text", "a")
    assert ended.value.returncode == 2
    assert "Prices" in "".join(exported.lines())
    assert run("--clear")["changed_at"] is None
    with pytest.raises(CommandError, match="no repository not/there"):
        call_command("repository", "describe", "not/there")
