"""The list of repositories: order, filter, namespaces, pages, and what it costs."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.index import counts
from registryui.models import UNKNOWN, Repository
from registryui.views.catalogue.repositories import namespaces
from tests.support.factories import (
    make_activity,
    make_manifest,
    make_operator,
    make_repository,
    make_tag,
)

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "repositories-live"}


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_operator())
    return client


def _names(page: bytes) -> list[str]:
    """Repository names of the list, in its order."""
    found = re.findall(r'class="repo__name" href="/repositories/([^"]+)"', page.decode())
    return [name for name in found if ":" not in name]


def _make(count: int, **fields) -> None:
    for number in range(count):
        make_repository(f"team/r{number:03}", **fields)


def test_an_empty_registry_teaches_the_exact_lines(client: Client) -> None:
    page = client.get("/repositories/").content.decode()
    assert "No repositories yet" in page
    assert "docker login localhost:8443" in page
    assert "docker push localhost:8443/try/hello:1" in page
    assert 'href="/trust"' in page
    assert "<table" not in page


def test_the_first_push_turns_the_empty_page_into_the_list(client: Client) -> None:
    page = client.get("/repositories/").content.decode()
    poll = re.search(r'data-live hx-get="([^"]+)" [^>]*hx-target="#main"', page)
    assert poll
    url = "/repositories/" + poll[1].replace("&amp;", "&")
    main = {"HX-Request": "true", "HX-Target": "main"}
    assert client.get(url, headers=main).status_code == 204
    make_repository("a/b")
    answer = client.get(url, headers=main).content
    assert b'<main class="main" id="main">' in answer
    assert _names(answer) == ["a/b"]


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("", ["c", "b", "a"]),  # biggest first
        ("size", ["a", "b", "c"]),
        ("name", ["a", "b", "c"]),
        ("-name", ["c", "b", "a"]),
        ("tags", ["b", "c", "a"]),
        ("-tags", ["a", "c", "b"]),
        ("pulls", ["c", "a", "b"]),
        ("-pulls", ["b", "a", "c"]),
        ("pushed", ["b", "a", "c"]),
        ("-pushed", ["c", "a", "b"]),
        ("--size", ["c", "b", "a"]),
        ("password", ["c", "b", "a"]),
    ],
)
def test_every_column_sorts(client: Client, sort: str, names: list[str]) -> None:
    now = timezone.now()
    make_repository("a", size=1, tag_count=9, pull_count=5, pushed_at=now - timedelta(days=1))
    make_repository("b", size=2, tag_count=1, pull_count=9, pushed_at=UNKNOWN)
    make_repository("c", size=3, tag_count=5, pull_count=1, pushed_at=now)
    assert _names(client.get("/repositories/", {"sort": sort}).content) == names


def test_the_order_is_over_all_rows_and_pages_show_each_once(client: Client) -> None:
    _make(120, size=7)
    url, seen = "/repositories/?sort=-size", []
    for _ in range(3):
        page = client.get(url).content
        seen += _names(page)
        following = re.search(r'rel="next" id="page-next" href="([^"]+)"', page.decode())
        if not following:
            break
        url = "/repositories/" + following[1].replace("&amp;", "&")
    assert sorted(seen) == [f"team/r{number:03}" for number in range(120)]
    assert "seen=" not in url


def test_the_filter_finds_a_part_of_the_name_and_takes_wildcards_as_text(client: Client) -> None:
    for name in ("team/api", "team/api-v2", "a_b", "axb"):
        make_repository(name)
    assert set(_names(client.get("/repositories/?q=API").content)) == {"team/api", "team/api-v2"}
    assert _names(client.get("/repositories/?q=a_b").content) == ["a_b"]
    assert _names(client.get("/repositories/?q=%25").content) == []
    assert b"<mark>api</mark>" in client.get("/repositories/?q=api").content


def test_no_match_says_so_and_leads_on(client: Client) -> None:
    make_repository("a")
    page = client.get("/repositories/", {"q": "<b>zz", "namespace": "x"}).content.decode()
    assert "No repository matches" in page
    assert "No repository below x/ matches “&lt;b&gt;zz”." in page
    assert "<b>zz" not in page


@pytest.mark.parametrize("query", ["q=%00", "namespace=%00", "after=%00", "q=" + "x" * 5000])
def test_hostile_questions_are_answered(client: Client, query: str) -> None:
    make_repository("a")
    assert client.get(f"/repositories/?{query}").status_code == 200


def test_a_namespace_holds_what_is_below_it_at_any_depth(client: Client) -> None:
    for name in ("team", "team/a", "team/apps/b", "team/apps/x/c", "teams/d", "e"):
        make_repository(name)
    page = client.get("/repositories/?namespace=team&sort=name").content
    assert _names(page) == ["team/a", "team/apps/b", "team/apps/x/c"]
    assert _names(client.get("/repositories/?namespace=team/apps/&sort=name").content) == [
        "team/apps/b",
        "team/apps/x/c",
    ]


def test_namespaces_are_counted_one_step_down(django_assert_num_queries) -> None:
    for name in ("team/a", "team/apps/b", "team/apps/x/c", "team/ops/d", "teams/e", "f"):
        make_repository(name)
    counted = counts.by_namespace()
    with django_assert_num_queries(0):
        found = namespaces("", counted)
    assert [(one.path, one.count) for one in found] == [("team", 4), ("teams", 1)]
    with django_assert_num_queries(1):
        found = namespaces("team", counted)
    assert [(one.path, one.label, one.count) for one in found] == [
        ("team/apps", "apps", 2),
        ("team/ops", "ops", 1),
    ]
    assert namespaces("team/apps/x", counted) == []


def test_an_open_page_gets_only_what_changed(client: Client) -> None:
    make_repository("a")
    page = client.get("/repositories/?sort=name").content.decode()
    poll = re.search(r'id="repositories-live" data-live hx-get="([^"]+)"', page)
    assert poll
    url = "/repositories/" + poll[1].replace("&amp;", "&")
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(url, headers=HTMX)
    assert (answer.status_code, answer.content) == (204, b"")
    assert len(queries) <= 4  # session, operator, numbers, newest change
    make_tag(make_repository("b"), "1")
    answer = client.get(url, headers=HTMX)
    assert answer.status_code == 200
    assert b"<html" not in answer.content
    assert _names(answer.content) == ["a", "b"]
    assert b'hx-swap-oob="true"' in answer.content  # the chips follow


def test_a_history_restore_gets_the_full_page(client: Client) -> None:
    make_repository("a")
    answer = client.get("/repositories/", headers={**HTMX, "HX-History-Restore-Request": "true"})
    assert b"<html" in answer.content


def test_everything_works_as_plain_links_and_forms(client: Client) -> None:
    make_repository("team/a")
    page = client.get("/repositories/?namespace=team&sort=-tags").content.decode()
    assert '<form class="toolbar" id="filter" action="/repositories/"' in page
    # what the form sends along stands in the fragment, and belongs to the form by its id
    assert '<input type="hidden" name="namespace" value="team" form="filter">' in page
    assert '<input type="hidden" name="sort" value="-tags" form="filter">' in page


def test_names_that_a_client_made_up_are_escaped(client: Client) -> None:
    hostile = '<img src=x onerror="alert(1)">'
    make_tag(make_repository("a"), "1", tagged_by=hostile)
    page = client.get("/repositories/").content.decode()
    assert "<img" not in page
    assert "&lt;img" in page


@pytest.mark.parametrize("query", ["", "?q=r&sort=name", "?namespace=team"])
def test_the_number_of_queries_does_not_grow_with_the_rows(client: Client, query: str) -> None:
    counts = []
    for size in (5, 500):
        Repository.objects.all().delete()
        _make(size)
        for row in Repository.objects.all()[:50]:
            make_activity(row, timezone.now().date(), pulls=3)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(f"/repositories/{query}").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[0] <= 12


def test_pulls_of_thirty_days_are_drawn(client: Client) -> None:
    row = make_repository("a", pull_count=1234)
    make_manifest(row)
    make_activity(row, timezone.now().date() - timedelta(days=2), pulls=8)
    make_activity(row, timezone.now().date() - timedelta(days=90), pulls=10**6)
    page = client.get("/repositories/").content.decode()
    assert "1,234" in page
    assert '<path d="M0.0,28.0' in page
    assert "93.1,2.0" in page  # the only day with pulls is the top of its own scale
