"""The search page: echoes the question as text, marks what matched, pages, stays cheap."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from registryui.models import Repository
from tests.factories import make_manifest, make_operator, make_repository, make_tag

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_operator())
    return client


def _search(client: Client, text: str, **more: str) -> str:
    return client.get("/search", {"q": text, **more}).content.decode()


def test_an_empty_question_teaches(client: Client) -> None:
    assert "What are you looking for?" in _search(client, "  ")


def test_nothing_found_says_what_was_looked_for(client: Client) -> None:
    assert "No repository and no tag has “zz” in its name." in _search(client, "zz")
    assert "No tag with “9” in a repository with “zz”." in _search(client, "zz:9")
    assert "No repository, tag or digest fits “abcdef0”." in _search(client, "abcdef0")


def test_hits_are_marked_and_linked(client: Client) -> None:
    row = make_repository("team/api")
    make_tag(row, "api-2", make_manifest(row))
    page = _search(client, "API")
    assert '<a class="hit__title break" href="/repositories/team/api">' in page
    assert "team/<mark>api</mark></a>" in page
    assert '<a class="hit__title break" href="/repositories/team/api:api-2">' in page
    assert "team/api:<wbr><mark>api</mark>-2</a>" in page


def test_of_a_pair_both_parts_are_marked(client: Client) -> None:
    row = make_repository("team/api")
    make_tag(row, "2.14", make_manifest(row))
    assert "team/<mark>api</mark>:<wbr>2.<mark>14</mark></a>" in _search(client, "api:14")


def test_a_digest_leads_to_its_image(client: Client) -> None:
    manifest = make_manifest(make_repository("team/api"))
    for text in (manifest.digest, manifest.digest[:15], manifest.digest[7:20].upper()):
        page = _search(client, text)
        assert f'href="/repositories/team/api@{manifest.digest}"' in page


@pytest.mark.parametrize(
    "text",
    ['"><script>alert(1)</script>', "%s%n{0}{{ x }}", "\x00", "a" * 9000, "\ud83d", "@", ":", "@:"],
)
def test_any_question_is_answered_as_text(client: Client, text: str) -> None:
    make_tag(make_repository("a"), "1")
    answer = client.get("/search", {"q": text.encode("utf-8", "replace")})
    assert answer.status_code == 200
    assert b"<script>alert" not in answer.content


def test_tags_page_by_keyset(client: Client) -> None:
    row = make_repository("team/api")
    manifest = make_manifest(row)
    for number in range(60):
        make_tag(row, f"v{number}", manifest)
    url, seen = "/search?q=v", list[str]()
    while url:
        page = client.get(url).content.decode()
        seen += re.findall(r'href="/repositories/team/api:(v\d+)"', page)
        following = re.search(r'rel="next" id="page-next" href="([^"]+)"', page)
        url = "/search" + following[1].replace("&amp;", "&") if following else ""
    assert sorted(seen) == sorted(f"v{number}" for number in range(60))


def test_htmx_gets_the_results_only(client: Client) -> None:
    make_repository("a")
    answer = client.get("/search?q=a", headers={"HX-Request": "true", "HX-Target": "results"})
    assert answer.content.decode().startswith('<div id="results"')


def test_the_number_of_queries_does_not_grow_with_the_rows(client: Client) -> None:
    counts = []
    for size in (5, 500):
        Repository.objects.all().delete()
        row = make_repository("team/r")
        manifest = make_manifest(row)
        for number in range(size):
            make_repository(f"team/r{number}")
        for number in range(min(size, 60)):
            make_tag(row, f"r{number}", manifest)
        with CaptureQueriesContext(connection) as queries:
            _search(client, "r")
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[0] <= 12
