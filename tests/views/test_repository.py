"""The page of a repository: its tags in every order, and what keeps it live."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urljoin

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.deletion import protection
from registryui.models import Repository, Tag
from registryui.views.catalogue.repository import SORTS
from registryui.views.catalogue.tag_filter import condition
from tests.support import factories, pushed

pytestmark = pytest.mark.django_db

R = "team/api"
PAGE = f"/repositories/{R}"
HTMX = {"HTTP_HX_REQUEST": "true"}
HELM = "application/vnd.cncf.helm.config.v1+json"


@pytest.fixture
def vera(client: Client) -> Client:
    client.force_login(factories.make_operator())
    return client


def names(html: str) -> list[str]:
    """Tags in the order of the list."""
    return re.findall(r'class="repo__name mono" href="[^":]*:([^"]+)"', html)


def page(client: Client, **query: str) -> str:
    response = client.get(PAGE, query)
    assert response.status_code == 200
    return response.content.decode()


def multi(tags: list[str], version: str, platforms: int = 3, **fields: object) -> pushed.Pushed:
    children = [
        (pushed.image(R, layers=[(f"{version}{arch}", 1000)], architecture=arch), f"linux/{arch}")
        for arch in ("amd64", "arm64", "s390x", "ppc64le", "riscv64")[:platforms]
    ]
    return pushed.image_index(R, children, tags=tags, **fields)


def test_versions_come_newest_first_and_aliases_stand_together(vera: Client) -> None:
    multi(["2.9.0"], "2.9")
    multi(["2.10.0", "latest", "2.10"], "2.10")
    multi(["2.10.0-rc.1"], "rc")
    html = page(vera)
    assert names(html) == ["2.10.0", "2.10", "latest", "2.10.0-rc.1", "2.9.0"]
    assert html.count("lane--start") == 1
    assert "same image as 2.10, latest" in html


@pytest.mark.one_database  # reads SQLite's words for a plan
@pytest.mark.parametrize("sort", ["version", "moved", "size", "pulled"])
def test_every_order_is_read_from_an_index(sort: str) -> None:
    repository = factories.make_repository(R)
    order = SORTS["pushed" if sort == "moved" else sort][1]
    query = Tag.objects.filter(repository=repository, refers_to="").order_by(*order)
    plan = query[:51].explain()
    assert f"tag_{sort}" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("pushed", ["new", "big", "old"]),
        ("size", ["big", "old", "new"]),
        ("pulled", ["new", "big", "old"]),
    ],
)
def test_every_order_is_over_all_rows(vera: Client, sort: str, order: list[str]) -> None:
    repository = factories.make_repository(R)
    now = timezone.now()
    facts = {"old": (3, 20, 1), "new": (1, 10, 9), "big": (2, 30, 2)}  # days, size, pulled days
    for name, (days, size, pulled) in facts.items():
        manifest = factories.make_manifest(repository, name)
        at = now - timedelta(days=days)
        factories.make_tag(
            *(repository, name, manifest),
            tagged_at=at,
            size=size,
            pulled_at=now - timedelta(days=pulled),
        )
    assert names(page(vera, sort=sort)) == order


def test_pages_hold_every_tag_once_and_a_group_goes_on_over_the_edge(vera: Client) -> None:
    pushed.image(R, tags=[f"1.{n}" for n in range(70)])
    pushed.image(R, tags=["0.1"], layers=[("other", 5)])
    first = page(vera)
    after = re.search(r'rel="next"[^>]*after=([^"&]+)', first)
    assert after
    second = page(vera, after=after[1])
    assert len(names(first)) == 50
    assert names(first) + names(second) == [f"1.{n}" for n in range(69, -1, -1)] + ["0.1"]
    assert "lane--end" not in first
    assert "lane--start" not in second
    assert second.count("lane--end") == 1


def test_links_of_rows_lead_to_their_pages(vera: Client) -> None:
    """They are relative, to be short."""
    deep = "team/below/api"
    pushed.image_index(deep, [(pushed.image(deep), "linux/amd64")] * 2, tags=["1.0"])
    pages = [f"/repositories/{deep}", f"/repositories/{deep}?sort=size"]
    for one in pages:
        rows = vera.get(one).content.decode().partition("<tbody")[2].partition("</table>")[0]
        links = {urljoin(one, link) for link in re.findall('href="([^"]+)"', rows)}
        assert len(links) == 3
        assert {link.rstrip("0123456789abcdef") for link in links} == {
            f"/repositories/{deep}:1.",
            f"/repositories/{deep}@sha256:",
        }
        assert all(vera.get(link).status_code == 200 for link in links)


def test_platforms_open_and_attestations_are_left_out(vera: Client) -> None:
    child = pushed.image(R)
    other = pushed.image(R, layers=[("arm", 1)], architecture="arm64")
    about = pushed.artifact(R)
    pushed.image_index(
        R,
        [(child, "linux/amd64"), (other, "linux/arm64")],
        attestations=[(about, child)],
        tags=["1"],
    )
    html = page(vera)
    assert html.count('class="child"') == 2
    assert "unknown/unknown" not in html


def test_a_child_that_is_not_here_says_so(vera: Client) -> None:
    child = pushed.image(R)
    index = multi(["1"], "1", platforms=2)
    index.row.entries.filter(position=1).update(digest="sha256:" + "0" * 64)
    assert "missing" in page(vera)
    assert child.digest


def test_badges_tell_signatures_problems_old_formats_and_kinds(vera: Client) -> None:
    one = pushed.image(R, tags=["by-tag"])
    pushed.artifact(R, tags=[one.digest.replace(":", "-") + ".sig"], files=[("s", 1)])
    two = pushed.image(R, tags=["by-subject"], layers=[("two", 2)])
    subject = {"mediaType": two.media_type, "digest": two.digest, "size": two.size}
    pushed.artifact(R, artifactType="application/vnd.cncf.notary.signature", subject=subject)
    html = page(vera)
    assert html.count("Signature attached</span>") == 2
    for problem, words in (("dangling", "No manifest"), ("unreadable", "Unreadable")):
        pushed.dangling(R, problem, problem)
        assert words in page(vera)
    pushed.image(R, tags=["part"], layers=[("p", 1)], missing=["sha256:" + "0" * 64])
    pushed.schema1(R, tags=["old"])
    pushed.artifact(R, config_type="application/vnd.cncf.helm.config.v1+json", tags=["chart"])
    html = page(vera)
    for words in ("Incomplete", "Deprecated schema", "Helm chart"):
        assert words in html


def test_a_signature_or_a_provenance_of_another_kind_is_no_signature(vera: Client) -> None:
    one = pushed.image(R, tags=["1"])
    subject = {"mediaType": one.media_type, "digest": one.digest, "size": one.size}
    pushed.artifact(R, artifactType="application/spdx+json", subject=subject)
    pushed.artifact(R, tags=[one.digest.replace(":", "-") + ".sbom"], files=[("sb", 1)])
    assert "Signature attached</span>" not in page(vera)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2.13.*", {"2.13.1", "2.13.2-rc.1"}),
        ("!rc", {"2.13.1", "2.14.0", "a_b", "axb"}),
        ("2.1 !rc", {"2.13.1", "2.14.0"}),
        ("RC", {"2.13.2-rc.1"}),
        ("2.1?.0", {"2.14.0"}),
        ("a_b", {"a_b"}),
        ("a_*", {"a_b"}),
        ("%", set()),
        ("\\", set()),
        ("!", {"2.13.1", "2.13.2-rc.1", "2.14.0", "a_b", "axb"}),
        ("*" * 150, {"2.13.1", "2.13.2-rc.1", "2.14.0", "a_b", "axb"}),
        ("'; drop table", set()),
    ],
)
def test_the_filter_takes_parts_stars_and_turned_words(text: str, wanted: set[str]) -> None:
    repository = factories.make_repository(R)
    for name in ("2.13.1", "2.13.2-rc.1", "2.14.0", "a_b", "axb"):
        factories.make_tag(repository, name)
    assert set(Tag.objects.filter(condition(text)).values_list("name", flat=True)) == wanted


def test_a_filter_without_hits_says_how_to_go_on(vera: Client) -> None:
    pushed.image(R, tags=["1"])
    html = page(vera, q="<script>alert(1)</script>\0")
    assert "No tag matches" in html
    assert "<script>alert" not in html


def test_referrer_tags_and_untagged_have_their_own_lists(vera: Client) -> None:
    one = pushed.image(R, tags=["1"])
    hexes = one.digest.replace(":", "-")
    pushed.artifact(R, tags=[f"{hexes}.sig"], files=[("s", 1)])
    pushed.image_index(R, [], tags=[hexes])
    multi(["2"], "2")  # its children have no tag, and are not untagged
    lost = pushed.image(R, layers=[("lost", 3)])
    assert names(page(vera)) == ["2", "1"]
    referrer_tags = page(vera, show="referrer-tags")
    assert "Signature" in referrer_tags
    assert "Referrers list" in referrer_tags
    untagged = page(vera, show="untagged")
    assert lost.digest in untagged
    assert untagged.count("<tr>") == 2
    assert re.search(r'Untagged <span class="tabs__count">1<', untagged)


def test_an_empty_repository_shows_how_to_push(vera: Client) -> None:
    factories.make_repository(R)
    assert "docker push" in page(vera)
    for show in ("referrer-tags", "untagged"):
        assert vera.get(PAGE, {"show": show}).status_code == 200


def test_figures_count_pulls_of_thirty_days(vera: Client) -> None:
    repository = factories.make_repository(R)
    today = timezone.now().date()
    factories.make_activity(repository, today, pulls=1200)
    factories.make_activity(repository, today - timedelta(days=29), pulls=34)
    factories.make_activity(repository, today - timedelta(days=30), pulls=5000)
    assert "<dd>1,234<" in page(vera)


def test_names_from_outside_are_escaped(vera: Client) -> None:
    repository = factories.make_repository(R)
    manifest = factories.make_manifest(repository, kind="artifact", artifact_type="<b>\u202e/x")
    factories.make_tag(repository, "1", manifest, tagged_by="<script>\u202ex</script>")
    html = page(vera)
    assert "<script>\\u202e" not in html
    assert "\u202e" not in html
    assert "&lt;script&gt;\\u202ex" in html


def test_an_unknown_repository_is_404_in_words(vera: Client) -> None:
    response = vera.get("/repositories/no/such")
    assert response.status_code == 404
    assert "Repository not found" in response.content.decode()
    assert 'href="/repositories/"' in response.content.decode()
    assert "docker push localhost:8443/no/such:TAG" in response.content.decode()


def test_the_pull_command_names_a_tag_that_is_there(vera: Client) -> None:
    pushed.image(R, tags=["1.0", "latest"])
    assert "docker pull localhost:8443/team/api:latest" in page(vera)
    pushed.image("team/old", tags=["7"])
    assert (
        "docker pull localhost:8443/team/old:7"
        in vera.get("/repositories/team/old").content.decode()
    )
    pushed.artifact("team/chart", config_type=HELM, tags=["2"])
    html = vera.get("/repositories/team/chart").content.decode()
    assert "helm pull oci://localhost:8443/team/chart --version 2" in html
    factories.make_repository("team/none")
    assert "docker pull" not in vera.get("/repositories/team/none").content.decode()


def test_it_needs_a_login(client: Client) -> None:
    factories.make_repository(R)
    assert client.get(PAGE).status_code == 302
    assert client.get(PAGE, **HTMX).status_code == 401


# -- live


def seen(html: str) -> str:
    found = re.search(r"seen=([0-9.]+-[0-9]+)", html)
    assert found
    return found[1]


def test_an_open_page_hears_nothing_until_something_changed(vera: Client) -> None:
    pushed.image(R, tags=["1"])
    token = seen(page(vera, q="1"))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert vera.get(PAGE, {"q": "1", "seen": token}, **HTMX).status_code == 204
    assert len(queries) <= 3  # session, operator, and one
    pushed.image(R, tags=["1.1"], layers=[("new", 1)])
    response = vera.get(PAGE, {"q": "1", "seen": token}, **HTMX)
    html = response.content.decode()
    assert response.status_code == 200
    assert "<html" not in html
    assert names(html) == ["1.1", "1"]
    assert seen(html) != token
    assert "seen=" + token not in html
    assert 'hx-swap-oob="true"' in html
    assert "q=1" in html


@pytest.mark.parametrize(
    ("query", "has_boxes"),
    [({}, True), ({"q": "there-is-none"}, False), ({"show": "untagged"}, False)],
)
def test_an_open_page_sends_what_is_chosen_where_something_can_be(
    vera: Client, query: dict[str, str], has_boxes: bool
) -> None:
    """htmx warns in the console, every two seconds, about boxes that it cannot find."""
    pushed.image(R, tags=["1.0"])
    poll = re.search(r'<div id="list"[^>]*>', page(vera, **query))
    assert poll
    assert ("hx-include" in poll[0]) == has_boxes


def test_a_protected_tag_leads_to_its_rule_in_the_list_and_when_it_is_chosen(vera: Client) -> None:
    pushed.image(R, tags=["prod-1"])
    pushed.image(R, tags=["1.0"])
    rule = protection.add(R, "prod-*", note="", by="tests")
    link = f'href="/maintenance/protected?rule={rule.pk}"'
    assert page(vera).count(link) == 1
    chosen = {**HTMX, "HTTP_HX_TARGET": "chosen"}
    one = vera.get(PAGE, {"tag": ["1.0", "prod-1"]}, **chosen).content.decode()
    assert link in one
    assert "1 is protected and cannot be deleted" in one
    assert "protected" not in vera.get(PAGE, {"tag": "1.0"}, **chosen).content.decode()


def test_an_open_page_of_a_repository_that_is_gone_loads_anew(vera: Client) -> None:
    pushed.image(R, tags=["1"])
    token = seen(page(vera))
    Repository.objects.all().delete()
    response = vera.get(PAGE, {"seen": token}, **HTMX)
    assert response.headers["HX-Refresh"] == "true"


def test_expanders_have_names_that_stay(vera: Client) -> None:
    multi(["1"], "1")
    found = re.findall(r'<details class="expander" id="(p\d+)"', page(vera))
    assert found == re.findall(r'id="(p\d+)"', page(vera))
    assert len(found) == 1


# -- cost


def test_queries_do_not_grow_with_rows(vera: Client, subtests: pytest.Subtests) -> None:
    def count(show: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            page(vera, show=show, q="1")
        return len(queries)

    for n in range(2):
        one = multi([f"1.{n}", f"v1.{n}"], f"1.{n}")
        pushed.artifact(R, tags=[one.digest.replace(":", "-") + ".sig"], files=[(f"s{n}", 1)])
        pushed.image(R, layers=[(f"lost{n}", 1)])
    few = {show: count(show) for show in ("tags", "referrer-tags", "untagged")}
    for n in range(2, 40):
        multi([f"1.{n}", f"v1.{n}"], f"1.{n}", platforms=5)
        pushed.image(R, layers=[(f"lost{n}", 1)])
    for show, queries in few.items():
        with subtests.test(show=show):
            assert count(show) <= queries <= 15


def test_an_image_index_of_a_thousand_entries_does_not_break_the_list(vera: Client) -> None:
    child = pushed.image(R)
    pushed.image_index(R, [(child, "linux/amd64")] * 1000, tags=["1"])
    assert page(vera).count('class="child"') == 64


def test_dates_in_1970_are_unknown_and_never(vera: Client) -> None:
    pushed.image(R, tags=["1"], at=None)
    html = page(vera)
    assert "unknown" in html
    assert "never" in html
