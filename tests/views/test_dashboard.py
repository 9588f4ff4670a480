"""The overview shows what is true, and nothing that was not measured."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui import doctor
from registryui.index import sizes
from registryui.models import UNKNOWN
from tests.support.factories import (
    digest_of,
    make_activity,
    make_image_index,
    make_manifest,
    make_operator,
    make_repository,
    make_tag,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_operator())
    return client


def _text(client: Client) -> str:
    """The page's words, without tags and doubled blanks."""
    page = client.get("/").content.decode()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_an_empty_registry_teaches_how_to_push(client: Client) -> None:
    text = _text(client)
    assert "No repositories yet" in text
    assert "docker push localhost:8443/try/hello:1" in text
    assert "Largest repositories" not in text


def test_before_the_first_check_the_page_says_so(client: Client) -> None:
    assert "No health check has run yet" in _text(client)


def test_the_sentence_on_top_names_what_needs_care(client: Client) -> None:
    fine = [
        doctor.Finding("registry", "ok", "registry-ok", {"ms": 12, "version": "2.8.2"}),
        doctor.Finding("events", "ok", "events-none", {}),
    ]
    doctor.record(fine)
    text = _text(client)
    assert "All systems healthy" in text
    assert "Responds in 12 ms" in text
    assert "Events" not in text  # a green light of these would only fill the strip
    error = "<script>alert(1)</script>"
    bad = doctor.Finding("registry", "bad", "registry-unreachable", {"url": "u", "error": error})
    doctor.record([bad, fine[1]])
    assert "One system needs attention: Registry." in _text(client)
    assert error not in client.get("/").content.decode()


def test_lights_lead_to_the_doctor(client: Client) -> None:
    doctor.record([doctor.Finding("registry", "ok", "registry-ok", {"ms": 1, "version": "2"})])
    assert '<a class="health__item" href="/doctor"' in client.get("/").content.decode()


def test_the_figures_are_those_of_the_index(client: Client) -> None:
    today = timezone.now().date()
    one, two = make_repository("team/a"), make_repository("team/b")
    shared = [30_000_000, 5_000_000]
    make_tag(one, "1", make_manifest(one, layers=shared))
    make_tag(one, "2", make_manifest(one, "other", layers=[*shared, 7_000_000]))
    make_tag(two, "1", make_manifest(two, layers=[1_000_000]))
    make_tag(two, f"sha256-{'0' * 64}.sig", size=10**12, refers_to=digest_of("x"))
    make_activity(one, today, pulls=1000, pushes=2)
    make_activity(two, today - timedelta(days=29), pulls=234, pushes=1)
    make_activity(two, today - timedelta(days=30), pulls=10**6)
    assert "Not measured yet" in _text(client)
    sizes.measure(by="test")
    text = _text(client)
    assert "repositories 2 " in text
    assert "tags 3 " in text
    assert "manifests in repositories 3 " in text
    assert "layers and configs 4 " in text
    assert "pulls in 30 days 1,234" in text
    assert "pushes in 30 days 3" in text
    assert "43.0 MB on disk" in text
    assert "Unique 8.0 MB" in text
    assert "Shared 35.0 MB" in text
    assert "All tags 78.0 MB" in text
    assert "Layer sharing saves 35.0 MB of this." in text


def test_the_latest_pushes_are_newest_first_without_referrer_tags(client: Client) -> None:
    now = timezone.now()
    row = make_repository("team/a")
    child, arm = make_manifest(row, "x"), make_manifest(row, "y", architecture="arm64")
    both = make_image_index(row, "both", [child, arm])
    make_tag(row, "old", child, tagged_at=now - timedelta(hours=3))
    make_tag(row, "new", both, tagged_at=now - timedelta(hours=1))
    make_tag(row, "adopted", child, tagged_at=UNKNOWN)
    make_tag(row, "sha256-x.sig", child, refers_to=child.digest)
    text = _text(client)
    latest = text[text.index("Recent pushes") : text.index("Largest repositories")]
    assert latest.index("new") < latest.index("old")
    assert "ci-team · 2 platforms 1 h ago" in latest
    assert "ci-team · linux/amd64 3 h ago" in latest
    assert "adopted" not in latest
    assert "sig" not in latest


def test_a_registry_that_was_adopted_says_why_no_push_is_shown(client: Client) -> None:
    make_tag(make_repository("a"), "1", tagged_at=UNKNOWN)
    assert "No pushes recorded yet." in _text(client)


def test_names_that_a_client_made_up_are_escaped(client: Client) -> None:
    row = make_repository("a")
    hostile = "<script>alert(1)</script>%s{x}"
    manifest = make_manifest(row, artifact_type=hostile, os="", architecture="", kind="artifact")
    make_tag(row, "1", manifest, tagged_by=hostile)
    page = client.get("/").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_numbers_of_the_chart_stand_in_a_table(client: Client) -> None:
    today = timezone.now().date()
    make_activity(make_repository("a"), today, pulls=4321, pushes=7)
    page = client.get("/").content.decode()
    assert f'<tr><td>{today}<td class="num">4,321<td class="num">7' in page
    assert page.count('<svg class="chart ') == 2  # a wide one and a narrow one


def test_geometry_has_decimal_points_in_every_language(client: Client) -> None:
    make_activity(make_repository("a", size=12345), timezone.now().date(), pulls=4321)
    client.post("/preferences", {"language": "zh-hans"})
    page = client.get("/").content.decode()
    assert not re.search(r' (?:x|y|width|height)="\d+,', page)


def test_an_open_page_gets_only_what_changed(client: Client) -> None:
    make_repository("a")
    page = client.get("/").content.decode()
    poll = re.search(r'id="dashboard-live"[^>]* hx-get="([^"]+)"', page)
    assert poll
    htmx = {"HX-Request": "true", "HX-Target": "dashboard-live"}
    assert client.get(f"/{poll[1]}", headers=htmx).status_code == 204
    make_repository("b")
    answer = client.get(f"/{poll[1]}", headers=htmx)
    assert answer.status_code == 200
    assert b"<html" not in answer.content


def test_the_number_of_queries_does_not_grow_with_the_rows(client: Client) -> None:
    doctor.record([doctor.Finding("registry", "ok", "registry-ok", {"ms": 1, "version": "2"})])
    counts = []
    for start, end in ((0, 8), (8, 60)):
        for number in range(start, end):
            row = make_repository(f"team/r{number}", size=number)
            make_tag(row, "1", make_manifest(row, layers=[number]))
            make_activity(row, timezone.now().date(), pulls=number)
        with CaptureQueriesContext(connection) as queries:
            client.get("/")
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[0] <= 13


def test_no_link_of_a_page_leads_nowhere(client: Client) -> None:
    row = make_repository("team/a", size=5)
    make_tag(row, "1", make_manifest(row))
    for start in ("/", "/repositories/", "/search?q=a", "/password"):
        page = client.get(start).content.decode()
        links = set(re.findall(r'<a [^>]*href="([^"]*)"', page))
        assert "" not in links
        assert "#" not in links
        for link in links:
            if link.startswith("/"):
                assert client.get(link.replace("&amp;", "&")).status_code == 200, link
