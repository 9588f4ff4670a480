"""The page of the storage shows what was measured, and waits for no sum."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.index import sizes
from registryui.models import NamespaceSize, Run, StoreDay
from tests.support.factories import make_manifest, make_operator, make_repository, make_tag

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_operator())
    return client


def text(client: Client, address: str = "/storage") -> str:
    page = client.get(address).content.decode()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_before_the_first_measurement_the_page_says_so(client: Client) -> None:
    assert "Not measured yet" in text(client)


def test_totals_repositories_and_namespaces(client: Client) -> None:
    for name, layers in (("a/x", [40_000_000, 2_000_000]), ("b/y", [40_000_000]), ("b/z", [5])):
        row = make_repository(name)
        make_tag(row, "1", make_manifest(row, layers=layers))
        row.size = sum(layers)
        row.save()
    sizes.measure(by="test")
    found = text(client)
    assert "on disk 42.0 MB" in found
    assert "in two or more images 40.0 MB" in found
    assert "saved by sharing layers 40.0 MB" in found
    assert re.search(r"a/ x 1 42\.0 MB 2\.0 MB 40\.0 MB", found)
    assert re.search(r"b/ 2 2 40\.0 MB 5 B", found)
    assert "A chart of the growth" in found
    by_own = text(client, "/storage?sort=own&top=own")
    assert by_own.index(" b/ ", by_own.index("Namespaces")) < by_own.index(
        " a/ ", by_own.index("Namespaces")
    )


def test_what_gc_would_free_is_shown_if_somebody_counted(client: Client) -> None:
    StoreDay.objects.create(day=timezone.now().date(), measured_at=timezone.now(), size=10**9)
    assert "reclaimable, according" not in text(client)
    made = {"in_quarantine": 3, "in_quarantine_bytes": 2 * 10**9, "candidate_bytes": 7 * 10**9}
    done = {"kind": Run.Kind.GC, "state": Run.State.DONE, "finished_at": timezone.now()}
    Run.objects.create(**done, result={**made, "dry_run": True})
    assert "7.0 GB reclaimable, according to the estimate of" in text(client)
    Run.objects.create(**done, result={**made, "dry_run": False})
    found = text(client)
    assert "reclaimable, according" not in found  # it is in quarantine by now
    assert "2.0 GB in quarantine, to be purged when due" in found


def test_growth_is_drawn_from_the_second_day_on(client: Client) -> None:
    today = timezone.now()
    for back, size in ((40, 10**9), (20, 3 * 10**9), (0, 4 * 10**9)):
        when = today - timedelta(days=back)
        StoreDay.objects.create(day=when.date(), measured_at=when, size=size)
    StoreDay.objects.create(day=(today - timedelta(days=50)).date(), pulls=4)  # not measured
    page = client.get("/storage").content.decode()
    assert "+3.0 GB in 41 days" in page
    assert page.count("<tr><td>20") == 41
    assert "4.0 GB" in page
    assert "chart__line" in page


def test_namespaces_are_paged_and_the_page_takes_as_many_queries_as_before(client: Client) -> None:
    counts = []
    for number in (10, 60):
        for n in range(number):
            name = f"n{number}-{n:03d}"
            NamespaceSize.objects.create(namespace=name, size=n, own_size=n // 2)
            make_repository(f"{name}/x", size=n)
        sizes.measure(by="test")
        NamespaceSize.objects.update(size=7)
        with CaptureQueriesContext(connection) as queries:
            page = client.get("/storage").content.decode()
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 12
    following = re.search(r'rel="next"[^>]*href="([^"]+)"', page)
    assert following
    second = client.get("/storage" + following[1].replace("&amp;", "&")).content.decode()
    names = set(re.findall(r"\?namespace=(n[^\"]+)", page))
    assert len(names) == 25
    assert not names & set(re.findall(r"\?namespace=(n[^\"]+)", second))
