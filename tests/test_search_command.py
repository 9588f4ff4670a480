"""./boathouse search: what it prints and how it ends."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from registryui.index import search

from .support import pushed
from .support.factories import make_repository, make_tag

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def _run(*arguments: str) -> tuple[int, str, str]:
    """Its end, and what it printed."""
    out, err = StringIO(), StringIO()
    try:
        call_command("search", *arguments, stdout=out, stderr=err)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    except CommandError as error:
        return error.returncode, out.getvalue(), str(error)
    return 0, out.getvalue(), err.getvalue()


def _facts(*arguments: str) -> dict[str, Any]:
    code, out, _err = _run(*arguments, "--json")
    found: dict[str, Any] = json.loads(out)
    assert code == (0 if found["tags"] or found["repositories"] or found["manifests"] else 1)
    return found


def test_what_is_found_is_printed() -> None:
    image = pushed.image("team/api", tags=["2.1"], config={"config": {"Labels": {"team": "shop"}}})
    code, out, err = _run("label:team=shop", "size>1MB")
    assert (code, err) == (0, "")
    assert out == f"team/api:2.1  {image.digest}  28.2 MB  2026-11-23T12:00:00+00:00  ci-team  -\n"
    assert _run("api")[1].splitlines()[0].split()[:3] == ["team/api", "1", "tag"]


def test_programs_get_all_as_json() -> None:
    image = pushed.image("team/api", tags=["2.1"])
    found = _facts("api 2.1")
    assert found == {
        "query": "api 2.1",
        "repositories": [],
        "manifests": [],
        "tags": [
            {
                "reference": "team/api:2.1",
                "digest": image.digest,
                "size": image.row.size,
                "pushed": "2026-11-23T12:00:00+00:00",
                "by": "ci-team",
                "problem": "",
            }
        ],
        "more": False,
    }
    lost = pushed.image("team/api", config={"lost": 1})
    assert [one["digest"] for one in _facts("is:untagged")["manifests"]] == [lost.digest]


def test_nothing_found_ends_with_1() -> None:
    assert _run("nothing-here") == (1, "", "")
    assert _facts("nothing-here")["tags"] == []


def test_a_wrong_query_ends_with_2_and_shows_where() -> None:
    code, out, err = _run("api", "is:nice", "x")
    assert (code, out) == (2, "")
    assert err.splitlines()[1:] == ["  api is:nice x", "         ^^^^"]
    assert _run("  ")[0] == 2


def test_the_limit_says_that_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FAR", 7)
    row = make_repository("team/api")
    for number in range(60):
        make_tag(row, f"v{number}" if number % 20 else f"qz{number}")
    assert len(_facts("qz")["tags"]) == 3  # walked to the end, seven by seven
    found = _facts("tag:v", "--limit", "10")
    assert (len(found["tags"]), found["more"]) == (10, True)
    assert "There are more" in _run("tag:v", "--limit", "10")[2]
    assert len(_facts("tag:v", "--limit", "1000")["tags"]) == 57
    with pytest.raises(CommandError):
        call_command("search", "v", "--limit", "0")


def test_no_name_can_steer_a_terminal() -> None:
    make_tag(make_repository("team/api"), "1", tagged_by="\x1b[31mred")
    assert "\x1b" not in _run("api")[1]
