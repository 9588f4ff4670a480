"""Where nginx has to ask first: the files that protections become."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from registryui import audit
from registryui.deletion import guard_files, protection
from registryui.models import AuditEvent, Protection
from registryui.oci import patterns
from registryui.refused import Refused

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]
BY = "operator:ada"
EVERY = ("team", "team/api", "team/a/b", "teams/api", "other", "a/b/c/d/e/f/g/h/i/j", "x-prod")


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.DATA = tmp_path
    return tmp_path / "guard"


def there(folder: Path) -> set[str]:
    return {str(one.relative_to(folder)) for one in folder.rglob("@*") if one.is_file()}


def is_within(repository: str, place: str) -> bool:
    """As nginx looks: the file of all, of each of eight namespaces, of the repository."""
    parts = repository.split("/")
    above = ["/".join(parts[:depth]) for depth in range(1, min(len(parts), 9))]
    return place in {"@all", *(f"{one}/@all" for one in above), f"{repository}/@one"}


def test_each_repository_that_matches_is_within_a_place(subtests: pytest.Subtests) -> None:
    table = {
        "*": {"@all"},
        "team/*": {"team/@all"},
        "team/api": {"team/api/@one"},
        "team/api other": {"team/api/@one", "other/@one"},
        "team*": {"@all"},
        "team/a*": {"team/@all"},
        "team/*/b": {"team/@all"},
        "*-prod": {"@all"},
        "a/b/c/d/e/f/g/h/i/*": {"a/b/c/d/e/f/g/h/@all"},
        "a/b/c/d/e/f/g/h/i/j": {"a/b/c/d/e/f/g/h/i/j/@one"},
        # What no repository is called; and nobody leaves the folder.
        "Team/*": set(),
        "team/": set(),
        "../../etc/*": set(),
        "..": set(),
        "/etc": set(),
        "a/../b": set(),
    }
    for text, expected in table.items():
        with subtests.test(text):
            found = guard_files.places(text)
            assert found == expected
            is_meant = patterns.matcher(text)
            for name in filter(is_meant, EVERY):
                assert any(is_within(name, place) for place in found), name


def test_adding_and_lifting_is_seen_at_once(folder: Path) -> None:
    first = protection.add("team/*", "v*", note="", by=BY)
    assert there(folder) == {"delete/team/@all"}
    second = protection.add("team/* other", "stable", note="", by=BY, is_immutable=True)
    assert there(folder) == {
        *("delete/team/@all", "delete/other/@one", "push/team/@all", "push/other/@one"),
    }
    told = json.loads((folder / "delete/team/@all").read_text())["errors"][0]
    assert told["code"] == "DENIED"
    assert "(team/*:v*, team/* other:stable)" in told["message"]
    assert "(team/* other:stable)" in (folder / "push/team/@all").read_text()
    protection.lift(second, by=BY)
    assert there(folder) == {"delete/team/@all"}
    protection.lift(first, by=BY)
    assert {one.name for one in folder.iterdir()} == {".lock", "rules.json"}


def test_what_was_lost_or_closed_comes_back(folder: Path) -> None:
    protection.add("team/a/*", "v*", note="", by=BY)
    (folder / "delete/team/a/@all").unlink()
    (folder / "delete/team/a/@one").touch()
    folder.chmod(0o700)
    guard_files.write()
    assert there(folder) == {"delete/team/a/@all"}
    for place in (folder, folder / "delete", folder / "delete/team"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o711
    assert stat.S_IMODE((folder / "delete/team/a/@all").stat().st_mode) == 0o644


def test_another_host_follows(folder: Path) -> None:
    guard_files.write()
    Protection.objects.create(repositories="team/*", tags="*")
    guard_files.catch_up()
    assert there(folder) == {"delete/team/@all"}
    Protection.objects.update(is_immutable=True)
    guard_files.catch_up()
    assert there(folder) == {"delete/team/@all", "push/team/@all"}
    Protection.objects.all().delete()
    guard_files.catch_up()
    assert there(folder) == set()


def test_a_long_list_of_rules_is_cut(folder: Path) -> None:
    Protection.objects.bulk_create(Protection(repositories="*", tags=f"v{n}") for n in range(20))
    guard_files.write()
    text = (folder / "delete/@all").read_text()
    assert "*:v7 and 12 more)" in text
    assert "*:v8" not in text


def test_nginx_that_cannot_be_told_is_said(folder: Path) -> None:
    folder.touch()
    with pytest.raises(Refused, match="nginx is not updated yet"):
        protection.add("team/*", "v*", note="", by=BY)
    assert Protection.objects.exists()
    folder.unlink()
    guard_files.write()
    assert there(folder) == {"delete/team/@all"}


# -- a database that was lost ----------------------------------------------------------------------
def keep(folder: Path) -> list[dict[str, Any]]:
    """Two protections, written beside the database, which is then lost."""
    for tags, is_immutable in (("v*", True), ("stable", False)):
        Protection.objects.create(
            repositories="team/*", tags=tags, is_immutable=is_immutable, note="releases", by=BY
        )
    guard_files.write()
    kept = list(Protection.objects.values(*guard_files._KEPT))
    Protection.objects.all().delete()
    return kept


def test_a_new_database_gets_the_protections_of_the_one_that_was_lost(folder: Path) -> None:
    kept = keep(folder)
    assert stat.S_IMODE((folder / "rules.json").stat().st_mode) == 0o600
    assert guard_files.adopt_lost() == 2
    assert list(Protection.objects.values(*guard_files._KEPT)) == kept
    assert AuditEvent.objects.filter(act="protection.add").count() == 2
    assert guard_files.adopt_lost() == 0


def test_of_the_same_patterns_the_immutable_one_comes_back(folder: Path) -> None:
    folder.mkdir()
    plain = {"repositories": "team/*", "tags": "v*", "note": "", "by": BY}
    written = [plain, {**plain, "is_immutable": True}, {**plain, "tags": "w*"}]
    (folder / "rules.json").write_text(json.dumps(written))
    assert guard_files.adopt_lost() == 2
    assert {(row.tags, row.is_immutable) for row in Protection.objects.all()} == {
        ("v*", True),
        ("w*", False),
    }


def test_what_was_lifted_does_not_come_back(folder: Path) -> None:
    keep(folder)
    guard_files.write()
    assert guard_files.adopt_lost() == 0


def test_a_database_in_use_gets_nothing(folder: Path) -> None:
    keep(folder)
    audit.record("operator.login", "ada", by=BY)
    assert guard_files.adopt_lost() == 0


@pytest.mark.parametrize("content", ["", "[", '{"a": 1}', '[{"no": "column"}]', "[1]"])
def test_damaged_rules_bring_nothing_back(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "rules.json").write_text(content)
    assert guard_files.adopt_lost() == 0
