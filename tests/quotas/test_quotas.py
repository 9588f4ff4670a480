"""Limits of namespaces: what is accepted, what counts, and what nginx finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.models import AuditEvent, Manifest, Mirror, Quota, Repository, Tag
from registryui.quotas import marks, quotas, usage
from registryui.quotas.refusal import refusal
from registryui.refused import Refused
from tests.support.factories import make_image_index, make_manifest, make_repository, make_tag

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
BY = "operator:ada"
FULL = {"uploads/team/@all", "uploads/team/@one", "manifests/team/@all", "manifests/team/@one"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.DATA = tmp_path
    return tmp_path / "quota"


def there(folder: Path) -> set[str]:
    return {str(one.relative_to(folder)) for one in folder.rglob("@*") if one.is_file()}


def image(repository: str, tag: str, *layers: int) -> Manifest:
    """A tagged image; a layer of the same size is the same blob."""
    row = Repository.objects.filter(name=repository).first() or make_repository(repository)
    found = make_manifest(row, tag, layers=layers)
    make_tag(row, tag, found)
    return found


def limit(namespace: str, *, size: int | None = None, tags: int | None = None) -> Quota:
    return quotas.set_limits(namespace, limit_bytes=size, limit_tags=tags, by=BY)


def counted(namespace: str = "team") -> tuple[int, int]:
    usage.follow()
    row = Quota.objects.get(namespace=namespace)
    return row.used_bytes, row.used_tags


# -- what counts -----------------------------------------------------------------------------------
def test_distinct_blobs_of_tagged_images_count_once_in_the_namespace_and_below() -> None:
    image("team", "1", 1, 10)
    image("team/api", "1", 10, 100)
    api = Repository.objects.get(name="team/api")
    child = make_manifest(api, "child", layers=[1000])
    make_tag(api, "multi", make_image_index(api, "multi", [child]))
    make_manifest(api, "untagged", layers=[10_000])
    image("team/a/b", "1", 100_000)
    image("teams/api", "1", 1_000_000)
    image("other", "1", 2_000_000)
    make_tag(api, "sha256-0.sig", make_manifest(api, "sig", layers=[3]), refers_to="sha256:0")
    assert (limit("team", tags=9).used_bytes, counted()[1]) == (101_114, 4)
    assert limit("team/a", tags=9).used_bytes == 100_000
    assert limit("teams", tags=9).used_bytes == 1_000_000
    assert limit("none", tags=9).used_bytes == 0


def test_a_push_and_a_delete_are_counted_at_once(folder: Path) -> None:
    image("team/api", "1", 10)
    limit("team", size=100)
    assert counted() == (10, 1)
    second = image("team/web", "1", 10, 90)
    usage.follow("team/web")
    assert there(folder) == FULL
    message = json.loads((folder / "uploads/team/@all").read_bytes())["errors"][0]
    assert message["code"] == "DENIED"
    assert message["message"].startswith("the quota of namespace team is used up (100 B of 100 B);")
    Tag.objects.filter(manifest=second).delete()
    Repository.objects.filter(name="team/web").update(tag_count=0)
    Quota.objects.update(counted_seconds=0)  # the pause is over
    assert counted() == (10, 1)
    assert there(folder) == set()


def test_without_a_change_each_quota_costs_one_query() -> None:
    image("team/api", "1", 10)
    limit("team", size=100)
    limit("other", size=100)
    usage.follow()
    with CaptureQueriesContext(connection) as queries:
        usage.follow()
    # the rows, one for each of them, the rows again for nginx
    assert len(queries) == 4
    with CaptureQueriesContext(connection) as queries:
        usage.follow("elsewhere/api")
    assert len(queries) == 1


def in_a_pause() -> None:
    """As if the last complete count had taken an hour."""
    Quota.objects.update(counted_seconds=3600)


def test_between_complete_counts_new_manifests_are_added() -> None:
    image("team/api", "1", 10, 20)
    limit("team", size=1000)
    in_a_pause()
    image("team/web", "1", 20, 300)
    assert counted() == (330, 2)
    assert Quota.objects.get().is_estimate
    image("team/web", "2", 20, 300)
    assert counted() == (330, 3)
    Quota.objects.update(counted_seconds=0)
    assert counted() == (330, 3)
    assert not Quota.objects.get().is_estimate


def test_what_changed_no_number_is_counted_after_a_while() -> None:
    """An overwritten tag that is restored: as many tags and manifests as before."""
    image("team/api", "1", 10)
    row = make_manifest(Repository.objects.get(), "before", layers=[500])
    limit("team", size=1000)
    Tag.objects.update(manifest=row)
    assert counted() == (10, 1)
    Quota.objects.update(counted_at=timezone.now() - usage.OLDEST)
    assert counted() == (500, 1)


def test_an_estimate_fills_no_quota(folder: Path) -> None:
    """A complete count does, at once, also in the pause."""
    image("team/api", "1", 10)
    limit("team", size=1000)
    in_a_pause()
    make_manifest(Repository.objects.get(), "untagged", layers=[990])
    assert counted() == (10, 1)
    assert there(folder) == set()
    in_a_pause()
    image("team/api", "2", 995)
    assert counted() == (1005, 2)
    assert there(folder) == FULL


# -- what is refused -------------------------------------------------------------------------------
def test_without_bytes_only_what_the_repository_has_gets_tags() -> None:
    there = image("team/api", "1", 10)
    limit("team", size=10)
    assert refusal("team/api", "1", there.digest) == refusal("team/api", "new", there.digest) == ""
    assert refusal("team/api", there.digest, there.digest) == ""
    for repository, reference in (("team/api", "1"), ("team/web", "1"), ("team", "sha256:a")):
        assert "10 B of 10 B" in refusal(repository, reference, "sha256:a"), repository
    assert refusal("teams/api", "1", "sha256:a") == ""


def test_without_tags_those_that_exist_may_move(folder: Path) -> None:
    image("team/api", "1", 10)
    limit("team", tags=1)
    assert there(folder) == {one for one in FULL if one.startswith("manifests")}
    assert "(1 of 1 tags)" in refusal("team/api", "2", "sha256:a")
    for reference in ("1", "sha256:" + "a" * 64, f"sha256-{'a' * 64}.sig"):
        assert refusal("team/api", reference, "sha256:a") == "", reference


def test_the_widest_quota_that_is_used_up_answers() -> None:
    image("team/a/api", "1", 10)
    limit("team/a", size=5)
    assert "namespace team/a is" in refusal("team/a/api", "2", "sha256:a")
    limit("team", size=5)
    assert "namespace team is" in refusal("team/a/api", "2", "sha256:a")
    assert "namespace team is" in refusal("team/b", "2", "sha256:a")


# -- setting ---------------------------------------------------------------------------------------
def test_each_change_is_in_effect_and_in_the_audit_log(folder: Path) -> None:
    image("team/api", "1", 10)
    limit("team/*", size=10)
    assert there(folder) == FULL
    row = limit("team", size=11, tags=5)
    assert there(folder) == set()
    quotas.remove(row, by=BY)
    with pytest.raises(Refused, match="already been removed"):
        quotas.remove(row, by=BY)
    found = list(AuditEvent.objects.order_by("id").values_list("act", "target", "details"))
    old, new = ({"limit_bytes": 10, "limit_tags": None}, {"limit_bytes": 11, "limit_tags": 5})
    assert found == [
        ("quota.set", "team", old),
        ("quota.set", "team", {**new, "before": old}),
        ("quota.remove", "team", new),
    ]


def test_what_cannot_be_a_quota_is_refused(subtests: pytest.Subtests) -> None:
    Mirror.objects.create(name="hub", url="https://example.com")
    table: list[tuple[str, dict[str, int], str]] = [
        ("team", {}, "Enter a number of bytes"),
        ("", {"tags": 1}, "is not a namespace"),
        ("*", {"tags": 1}, "is not a namespace"),
        ("../etc", {"tags": 1}, "is not a namespace"),
        ("Team", {"tags": 1}, "is not a namespace"),
        ("a/b/c/d/e/f/g/h/i", {"tags": 1}, "too deep"),
        ("hub", {"tags": 1}, "belongs to a mirror"),
        ("hub/library", {"tags": 1}, "belongs to a mirror"),
    ]
    for namespace, limits, words in table:
        with subtests.test(namespace), pytest.raises(Refused, match=words):
            limit(namespace, **limits)
    for text in ("many", "-1", "0", "1e9", "9999999999999999999GB"):
        with subtests.test(text), pytest.raises(Refused, match="is not a size"):
            quotas.bytes_in(text)
        with subtests.test(f"tags {text}"), pytest.raises(Refused, match="is not a number of tags"):
            quotas.tags_in(text)
    assert (quotas.bytes_in("1.5 GB"), quotas.bytes_in(" "), quotas.tags_in("")) == (
        *(1_500_000_000, None),
        None,
    )


def test_nginx_that_cannot_be_told_is_said_and_later_told(folder: Path) -> None:
    image("team/api", "1", 10)
    folder.touch()
    with pytest.raises(Refused, match="nginx is not updated yet"):
        limit("team", size=10)
    folder.unlink()
    usage.follow()
    assert there(folder) == FULL


def test_a_database_that_lost_its_quotas_refuses_nothing(folder: Path) -> None:
    image("team/api", "1", 10)
    limit("team", size=10)
    Quota.objects.all().delete()
    marks.write()
    assert there(folder) == set()


# -- the command -----------------------------------------------------------------------------------
def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    call_command("quota", *words)
    return capsys.readouterr().out


def test_the_command_sets_shows_and_removes(capsys: pytest.CaptureFixture[str]) -> None:
    image("team/api", "1", 10)
    assert said(capsys, "list") == "No quotas.\n"
    told = said(capsys, "set", "team/*", "--bytes", "1kB", "--tags", "1")
    assert told == "team: 10 B of 1.0 kB and 1 of 1 tags used; pushes are refused.\n"
    told = said(capsys, "set", "team", "--tags", "none")
    assert told == "team: 10 B of 1.0 kB and 1 tags used; pushes are accepted.\n"
    facts = json.loads(said(capsys, "show", "team", "--json"))
    assert facts | {"counted_at": ""} == {
        "namespace": "team",
        "limit_bytes": 1000,
        "limit_tags": None,
        "used_bytes": 10,
        "used_tags": 1,
        "used_percent": 1,
        "is_full": False,
        "is_estimate": False,
        "counted_at": "",
    }
    said(capsys, "set", "other", "--tags", "5")
    rows = [line.split() for line in said(capsys, "list").splitlines()]
    assert [row[0] for row in rows] == ["NAMESPACE", "team", "other"]
    assert [row["namespace"] for row in json.loads(said(capsys, "list", "--json"))] == [
        *("team", "other"),
    ]
    assert said(capsys, "remove", "team") == "Removed the quota of team.\n"
    for words in (["show", "team"], ["remove", "team"], ["set", "x"], ["set", "x", "--tags", "x"]):
        with pytest.raises(Exception, match=r"no quota of team|Add --bytes|is not a number"):
            call_command("quota", *words)
