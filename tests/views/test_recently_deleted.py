"""The list of what waits to be undone, and a tag's way back, on a real registry."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.models import Role, Tag, TagTombstone
from tests.support.deletion_pages import World, bare, text_of
from tests.support.factories import (
    digest_of,
    make_event,
    make_manifest,
    make_operator,
    make_repository,
    make_tag,
    make_tombstone,
)

pytestmark = pytest.mark.django_db

PAGE = "/maintenance/recently-deleted"
HTMX = {"HTTP_HX_REQUEST": "true"}


@pytest.fixture
def mika() -> Client:
    client = Client()
    client.force_login(make_operator("kim", Role.MAINTAINER))
    return client


def listed(client: Client, **query: str) -> list[str]:
    """`repository:tag` of each row, in order."""
    text = text_of(client.get(PAGE, query))
    rows = re.findall(r'<td class="cell--title"><div class="break">(.*?)</div>', text)
    return [bare(row).strip() for row in rows]


def test_what_waits_is_listed_newest_first_with_who_and_until_when(mika: Client) -> None:
    now = timezone.now()
    make_tombstone("team/api", "old", at=now - timedelta(hours=2))
    make_tombstone("team/api", "new")
    make_tombstone("team/api", "over", keep_until=now - timedelta(minutes=1))
    make_tombstone("team/api", "back", restored_at=now)
    make_tombstone("team/api", "ended", ended_at=now)
    assert listed(mika) == ["team/api:new", "team/api:old"]
    said = bare(text_of(mika.get(PAGE)))
    assert "ada (operator)" in said
    assert "in 3 days" in said


def test_the_list_is_filtered_by_text_and_by_what_happened(mika: Client) -> None:
    make_tombstone("team/api", "1.0")
    make_tombstone("team/web", "1.0", how=TagTombstone.How.OVERWRITTEN)
    make_tombstone("other", "api-2")
    assert listed(mika, q="api") == ["other:api-2", "team/api:1.0"]
    assert listed(mika, q="team/api:1.0") == ["team/api:1.0"]
    assert listed(mika, how="overwritten") == ["team/web:1.0"]
    assert listed(mika, how="deleted", q="web") == []
    assert "No matches" in text_of(mika.get(PAGE, {"q": "web", "how": "deleted"}))
    fragment = text_of(mika.get(PAGE, {"q": "api"}, **HTMX))
    assert "<html" not in fragment
    assert 'id="deleted-list"' in fragment


def test_what_a_client_deleted_says_from_where(mika: Client) -> None:
    make_tombstone("team/api", "1.0", by="robot", address="10.1.2.3")
    assert "robot 10.1.2.3" in bare(text_of(mika.get(PAGE)))


def test_an_empty_list_says_what_would_stand_there(mika: Client) -> None:
    assert "Nothing to restore" in text_of(mika.get(PAGE))


def test_tags_of_one_act_stand_together_with_one_button(mika: Client) -> None:
    for name in ("1", "2", "3"):
        make_tombstone("team/api", name, act="a" * 32)
    make_tombstone("team/api", "alone", act="b" * 32)
    text = text_of(mika.get(PAGE))
    assert "3 deleted together from team/api" in text
    assert text.count('name="act"') == 1
    assert text.count('name="tombstone"') == 4


def test_pages_hold_every_row_once(mika: Client) -> None:
    at = timezone.now()
    for n in range(120):
        make_tombstone("team/api", f"{n}", at=at)
    found, after = [], ""
    for _page in range(3):
        text = text_of(mika.get(PAGE, {"after": after}))
        found += listed(mika, after=after)
        more = re.search(r'rel="next"[^>]*after=([^"&]+)', text)
        after = more[1] if more else ""
    assert after == ""
    assert len(found) == len(set(found)) == 120


def test_names_that_are_no_names_are_only_text(mika: Client) -> None:
    """A row's names come from the registry; the page trusts none."""
    make_tombstone("team/<b>x</b>", "<script>alert(1)</script>", by="<i>me</i>")
    text = mika.get(PAGE).content.decode()
    assert "<script>alert" not in text
    assert "<i>me" not in text
    for q in ("<script>", "\x00", "%", "'", "a" * 999):
        assert mika.get(PAGE, {"q": q}).status_code == 200


def test_a_row_costs_no_query(mika: Client) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            mika.get(PAGE)
        return len(queries)

    for n in range(4):
        make_tombstone("team/api", f"{n}", act=f"{n // 2}")
    few = count()
    for n in range(40):
        make_tombstone(f"team/{n}", f"{n}", act=f"x{n // 2}")
    assert count() <= few <= 8


# -- back ----------------------------------------------------------------------------------------


def test_one_of_several_comes_back_with_its_digest_time_and_actor(world: World) -> None:
    digest = world.push("1.0", "2.0", layer="one")
    world.sync()
    tagged_at = timezone.now() - timedelta(days=30)
    Tag.objects.filter(name="1.0").update(tagged_at=tagged_at, tagged_by="ci")
    world.delete(world.plan(tag=["1.0", "2.0"]))
    row = TagTombstone.objects.get(repository=world.name, tag="1.0")
    answer = world.client.post("/restore", {"tombstone": row.pk}, follow=True)
    assert answer.redirect_chain == [(PAGE, 302)]
    assert f"Restored {world.name}:1.0 to {digest[7:19]}." in bare(text_of(answer))
    assert (world.now("1.0"), world.now("2.0")) == (digest, "")
    tag = Tag.objects.get(repository__name=world.name, name="1.0")
    assert (tag.tagged_at, tag.tagged_by) == (tagged_at, "ci")
    assert listed(world.client) == [f"{world.name}:2.0"]


def test_a_tag_that_was_pushed_meanwhile_is_asked_for(world: World) -> None:
    old = world.push("1.0", layer="one")
    world.sync()
    world.delete(world.plan(tag="1.0"))
    row = TagTombstone.objects.get(repository=world.name, tag="1.0")
    new = world.push("1.0", layer="two")
    world.sync()
    asked = world.client.post("/restore", {"tombstone": row.pk})
    text = text_of(asked)
    assert asked.status_code == 200
    assert "was pushed again" in text
    assert f'name="expected" value="{new}"' in text
    assert world.now("1.0") == new
    newest = world.push("1.0", layer="three")  # between the question and the answer
    again = world.client.post("/restore", {"tombstone": row.pk, "expected": new})
    assert again.status_code == 409
    assert "The tag was changed again" in text_of(again)
    assert world.now("1.0") == newest
    world.client.post("/restore", {"tombstone": row.pk, "expected": newest})
    assert world.now("1.0") == old
    assert f"{world.name}:1.0" in listed(world.client, how="overwritten")


def test_an_overwritten_tag_goes_back_from_the_list_and_from_its_history(world: World) -> None:
    old = world.push("latest", layer="one")
    world.sync()
    new = world.push("latest", layer="two")
    world.sync()
    assert listed(world.client, how="overwritten") == [f"{world.name}:latest"]
    row = TagTombstone.objects.get(repository=world.name, how=TagTombstone.How.OVERWRITTEN)
    assert "A push has changed" in text_of(world.client.post("/restore", {"tombstone": row.pk}))
    world.client.post("/restore", {"tombstone": row.pk, "expected": new})
    assert world.now("latest") == old


def test_history_says_until_when_an_earlier_digest_is_kept(mika: Client) -> None:
    repository = make_repository("team/api")
    old, new = (make_manifest(repository, key) for key in ("old", "new"))
    make_tag(repository, "latest", new)
    gone = digest_of("gone")
    for digest in (gone, old.digest, new.digest):
        make_event("team/api", tag="latest", digest=digest, actor="ci")
    make_tombstone("team/api", "latest", digest=old.digest, how=TagTombstone.How.OVERWRITTEN)
    row = make_tombstone("team/api", "latest", digest=gone, how=TagTombstone.How.OVERWRITTEN)
    text = text_of(mika.get("/repositories/team/api:latest", {"tab": "history"}))
    assert bare(text).count("restore period ends in 3 days") == 2
    assert text.count("restore_digest=") == 1  # the index has that manifest
    assert re.findall(r'name="tombstone" value="(\d+)"', text) == [str(row.pk)]


def test_what_is_not_there_cannot_be_restored(mika: Client) -> None:
    for fields in ({"tombstone": "1"}, {"tombstone": "9" * 30}, {}, {"act": "none"}):
        answer = mika.post("/restore", fields)
        assert answer.status_code in (302, 404)
