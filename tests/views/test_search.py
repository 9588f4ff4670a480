"""The search page: echoes the question as text, marks what matched, pages, stays cheap."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from registryui.index import search
from registryui.index.query import EXAMPLES
from registryui.models import Repository
from tests.support import pushed
from tests.support.factories import NOW, make_manifest, make_operator, make_repository, make_tag

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_operator())
    return client


def _search(client: Client, text: str, **more: str) -> str:
    return client.get("/search", {"q": text, **more}).content.decode()


def test_an_empty_question_teaches(client: Client) -> None:
    assert "Search images" in _search(client, "  ")


def test_nothing_found_says_what_was_looked_for(client: Client) -> None:
    assert "Nothing matches “zz”." in _search(client, "zz")
    assert "Nothing matches all conditions of “zz size&gt;1GB”." in _search(client, "zz size>1GB")


def test_the_help_is_made_of_links_that_are_queries(client: Client) -> None:
    page = _search(client, "")
    links = re.findall(r'<a class="chip" href="/search\?q=([^"]+)">', page)
    assert len(links) == len(EXAMPLES) + 4
    for link in links:
        assert "Search conditions" not in client.get(f"/search?q={link}").content.decode(), link


@pytest.mark.parametrize(
    ("text", "before", "part", "reason"),
    [
        ("api is:nice x", "api is:", "nice", "accepts multi-platform, signed, untagged, broken"),
        ("size>much", "size&gt;", "much", "For example: size&gt;1GB"),
        ('api "x<b>', "api ", "&#34;x&lt;b&gt;", "not closed"),
    ],
)
def test_a_wrong_text_is_marked_where_it_is_wrong(
    client: Client, text: str, before: str, part: str, reason: str
) -> None:
    page = _search(client, text)
    assert f"{before}<mark>{part}</mark>" in page
    assert reason in page
    assert 'role="alert"' in page
    assert "Search conditions" in page


def test_the_query_is_read_back_and_each_part_can_be_taken_away(client: Client) -> None:
    page = _search(client, "api -tag:dev size>1GB")
    assert "<b>not</b> <b>tag</b> dev" in page
    assert "<b>size</b> &gt;1GB" in page
    assert 'href="/search?q=api%20-tag%3Adev"' in page
    assert 'href="/search?q=api%20%20size%3E1GB"' in page


def test_a_slip_in_a_qualifier_is_pointed_out(client: Client) -> None:
    page = _search(client, "lable:x")
    assert "“lable:x” was read as a repository and a tag." in page
    assert 'href="/search?q=label%3Ax">Did you mean label:x?</a>' in page


def test_a_hit_says_why_it_was_found(client: Client) -> None:
    base = pushed.image("debian", tags=["12"], layers=[("debian", 28_000_000)])
    api = pushed.image(
        "team/api",
        tags=["2.1"],
        layers=[("debian", 28_000_000), ("api", 5_000_000)],
        config={
            "config": {"Labels": {"team": "shop"}, "Env": ["LANG=C.UTF-8"], "Cmd": ["/bin/app"]}
        },
    )
    layer = pushed.layer("api", 0)["digest"][7:19]
    text = (
        f"api label:team env:lang=c.utf-8 cmd:app base:debian:12 layer:{layer} by:ci-team size>1MB"
    )
    page = _search(client, text)
    for why in (
        "<b>label</b> <bdi><mark>team</mark>=shop</bdi>",
        "<b>env</b> <bdi><mark>lang=c.utf-8</mark></bdi>",
        "<b>cmd</b> <bdi>/bin/<mark>app</mark></bdi>",
        '<b>base</b> <bdi><mark>debian:12</mark></bdi></span><span class="small">by its layers',
        f"<b>layer</b> <bdi><mark>{layer}</mark></bdi>",
        "<b>by</b> <bdi><mark>ci-team</mark></bdi>",
        "<b>size</b> 33.0 MB",
    ):
        assert why in page, why
    assert f"<b>digest</b> <bdi><mark>{api.digest[7:19]}</mark>" in _search(client, api.digest)
    assert base.digest[7:19] not in page


def test_labels_of_an_image_index_are_shown_from_its_images(client: Client) -> None:
    child = pushed.image("a/b", config={"config": {"Labels": {"team": "shop"}}})
    pushed.image_index("a/b", [(child, "linux/arm64")], tags=["1"])
    assert "<mark>team</mark>=shop" in _search(client, "label:team")
    assert "<b>digest</b>" in _search(client, f"digest:{child.digest[7:30]}")
    assert "in its image index" in _search(client, f"digest:{child.digest[7:30]}")


def test_hostile_labels_are_text(client: Client) -> None:
    labels = {"x": "<script>alert(1)</script>\u202eabc", "<b>": "1"}
    pushed.image("a/b", tags=["1"], config={"config": {"Labels": labels}})
    page = _search(client, "label:x")
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;alert" in page
    assert "<b>:1" not in _search(client, 'label:"<b>"')


def test_what_has_no_tag_is_listed(client: Client) -> None:
    lost = pushed.image("team/web", config={"lost": 1})
    page = _search(client, "is:untagged")
    assert "Untagged images" in page
    assert f'href="/repositories/team/web@{lost.digest}"' in page


def test_a_walk_that_stops_can_go_on(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FAR", 20)
    row = make_repository("team/api")
    for number in range(70):
        make_tag(row, "qz" if number == 3 else f"v{number}", tagged_at=NOW + timedelta(number))
    url, steps = "/search?q=qz", 0
    page = client.get(url).content.decode()
    assert "None of the tags checked for this page matches." in page
    while "team/api:<wbr><mark>qz</mark>" not in page:
        following = re.search(r'rel="next" id="page-next" href="([^"]+)"', page)
        assert following is not None
        page = client.get("/search" + following[1].replace("&amp;", "&")).content.decode()
        steps += 1
    assert steps == 3


@pytest.mark.parametrize(
    ("sort", "first", "current"),
    [
        ("", "new", "sort=oldest"),
        ("oldest", "old", "sort=newest"),
        ("largest", "large", "sort=smallest"),
        ("smallest", "new", "sort=largest"),
        ("pulled", "large", "sort=unpulled"),
        ("name", "large", "sort=reverse"),
        ("reverse", "old", "sort=name"),
        ("nonsense", "new", "sort=oldest"),
    ],
)
def test_every_column_sorts(client: Client, sort: str, first: str, current: str) -> None:
    row = make_repository("team/api")
    make_tag(row, "old", tagged_at=NOW, size=20)
    make_tag(row, "new", tagged_at=NOW + timedelta(days=2), size=10)
    make_tag(row, "large", tagged_at=NOW + timedelta(days=1), size=30, pulled_at=NOW)
    page = _search(client, "team", sort=sort)
    assert re.findall(r"team</mark>/api:<wbr>(\w+)</a>", page)[0] == first
    assert re.search(rf'href="[^"]*{current}"[^>]*aria-current="true"', page)


def test_hits_are_marked_and_linked(client: Client) -> None:
    row = make_repository("team/api")
    make_tag(row, "api-2", make_manifest(row))
    page = _search(client, "API")
    assert '<a class="hit__title break" href="/repositories/team/api">' in page
    assert "team/<mark>api</mark></a>" in page
    assert '<a class="hit__title break" href="/repositories/team/api:api-2">' in page
    assert "team/<mark>api</mark>:<wbr><mark>api</mark>-2</a>" in page


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
