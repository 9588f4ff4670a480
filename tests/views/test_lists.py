"""Every page that lists something takes the same few queries, however much there is."""

import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver
from django.utils import timezone

from registryui import audit
from registryui.index import sizes
from registryui.models import (
    Delivery,
    Denial,
    ImportedTag,
    Mirror,
    NamespaceSize,
    Receiver,
    RegistryEvent,
    RegistryUser,
    Repository,
    Role,
    Run,
    paging,
)
from registryui.notify import messages
from tests.selection import Extent
from tests.support import pushed
from tests.support.factories import make_event, make_operator, make_tombstone

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

R = "team/app"
MOST = 16  # with the mark of the database (database_state.py), on PostgreSQL a query
# name of the route: its addresses with all that its lists can show
LISTS: dict[str, list[str]] = {
    "dashboard": ["/"],
    "repositories": [
        *(f"/repositories/?sort={sort}" for sort in ("name", "-tags", "-size", "-pulls", "pushed")),
        "/repositories/?namespace=team&q=a",
    ],
    "repository": [
        f"/repositories/{R}",
        f"/repositories/{R}?q=1*",
        *(f"/repositories/{R}?sort={sort}" for sort in ("pushed", "size", "pulled")),
        *(f"/repositories/{R}?show={show}" for show in ("readme", "referrer-tags", "untagged")),
    ],
    "tag": [
        f"/repositories/{R}:1.0?tab={tab}"
        for tab in ("layers", "dockerfile", "labels", "used", "referrers", "entries", "history")
    ],
    "manifest": [f"/repositories/{R}@{{digest}}?tab={tab}" for tab in ("layers", "history")],
    "compare": [f"/compare?a={R}:1.0&b={R}:other", f"/compare?a={R}:1.0"],
    "layer": ["/layers/{layer}"],
    "storage": ["/storage", "/storage?sort=-own&top=own"],
    "activity": ["/activity", "/activity?act=user&actor=ada&target=u&result=done"],
    "recently_deleted": [
        "/maintenance/recently-deleted",
        "/maintenance/recently-deleted?q=team&how=deleted",
    ],
    "users": ["/users", "/users?sort=-used&q=u"],
    "user": ["/users/{user}"],
    "operators": ["/operators"],
    "mirrors": ["/mirrors"],
    "imports": ["/imports"],
    "import_run": ["/imports/{run}"],
    "backups": ["/maintenance/backups"],
    "notifications": ["/notifications"],
    "receiver": ["/notifications/{receiver}"],
    "doctor": ["/doctor"],
    "quotas": ["/storage/quotas"],
}
# Pages of one thing, of a form, or of another kind of list: their own tests say what they cost.
OTHERS = {
    *("search", "password", "users_change", "users_drift", "users_measure", "htpasswd_history"),
    *(
        "htpasswd_file",
        "user_setup",
        "operator",
        "operator_add",
        "operator_change",
        "restore_digest",
    ),
    *("doctor_check", "trust", "ca", "login", "logout", "preferences", "healthz", "docker_search"),
    *("components", "metrics", "metrics_of_registry", "parts_banner"),
    *("receiver_add", "receiver_change"),
    *("catalog", "guarded", "hook", "base_image", "activity_export", "activity_verify"),
    *("quota_set", "quota_remove"),
    *("protected", "protection_add", "protection_lift"),  # each protection is counted by a query
    *("old_address", "delete", "delete_run", "delete_stop", "purge_manifest", "restore"),
    *("mirror", "mirror_add", "mirror_change", "mirror_check", "mirror_tags"),
    *("retention", "retention_policies", "retention_policy", "retention_dry_run", "retention_run"),
    *("retention_stop", "retention_csv", "gc", "gc_estimate", "gc_start"),
    *("gc_stop", "gc_trust_clock", "gc_restore", "gc_purge"),
    "gc_run",
    *("integrity_start", "integrity_stop", "integrity_run"),
    *("import_begin", "import_stop", "backup_start", "backup_stop"),
    # Uploads are folders, not rows.
    *("archives", "archive_begin", "archive_upload", "archive_piece", "archive_import"),
    *("archive_remove", "tag_archive", "tag_add", "describe", "chart", "tag_expiry"),
}


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_operator("ada", Role.ADMIN))
    return client


def grow(number: int) -> dict[str, str]:
    """`number` more of everything that a page lists; what its addresses need."""
    base = ("debian", 28_000_000)
    images = []
    for n in range(number):
        name = f"{number}-{n}"
        pushed.image(f"other{n % 7}/{name}", tags=["1"], layers=[base, (name, 5)])
        images.append(pushed.image(R, layers=[base, (name, 9)], architecture=f"arch{name}"))
        pushed.image(R, tags=[f"1.{name}"], layers=[base, (f"t {name}", 9)], by=f"u{n}")
        RegistryUser.objects.create(name=f"u{name}")
        make_operator(f"o{name}")
        Mirror.objects.create(name=f"m{name}", url="https://quay.io")
        audit.record("user.create", f"u{name}", by="operator:ada")
        audit.record("operator.create", f"o{name}", by="operator:ada")
        body = messages.test("ada").body
        receiver = Receiver.objects.create(name=f"n{name}", kind=Receiver.Kind.MAIL)
        for m in range(n + 1):
            Delivery.objects.create(
                receiver=receiver, key=f"{m}", kind="test", body=body, made_at=timezone.now()
            )
        make_tombstone("deleted/app", name, act=f"{number} {n // 2}")
        NamespaceSize.objects.get_or_create(namespace=f"n{name}")
        Run.objects.create(kind=Run.Kind.DOCTOR, state=Run.State.DONE, result={"findings": []})
        Run.objects.create(kind=Run.Kind.BACKUP, state=Run.State.DONE)
        run = Run.objects.create(kind=Run.Kind.IMPORT, state=Run.State.DONE)
        for m in range(n + 1):
            ImportedTag.objects.create(
                run=run, state="taken", repository=R, tag="1", target=R, target_tag=f"{m}"
            )
    listed = [(one, f"linux/arch{number}-{n}") for n, one in enumerate(images)]
    index = pushed.image_index(R, listed, tags=["1.0", *(f"alias{n}" for n in range(number))])
    other = pushed.image(R, tags=["other"], layers=[base, ("other", 5)])
    now = timezone.now()
    for n in range(number):
        subject = {"mediaType": "x", "digest": index.digest, "size": 1}
        pushed.artifact(R, artifactType=f"application/x{n}", subject=subject)
        hexadecimal = f"{n:064x}"
        pushed.artifact(R, files=[(f"sig{n}", 5)], tags=[f"sha256-{hexadecimal}.sig"])
        pushed.image(R, layers=[base, (f"untagged {number} {n}", 7)])
        for digest in (index.digest, other.digest):
            at = now - timedelta(minutes=n)
            make_event(R, tag="1.0", digest=digest, actor=f"u{number}-{n}", at=at)
    first = RegistryUser.objects.order_by("pk")[0]
    for n in range(number):
        Denial.objects.create(
            day=now.date(),
            first_at=now,
            at=now,
            count=2,
            actor=first.name,
            repository=R,
            action=Denial.Action.PUSH,
            reason=Denial.Reason.NO_RIGHT,
            address=f"10.{number}.0.{n}",
        )
    RegistryEvent.objects.filter(actor="u3-0").update(actor=first.name)
    sizes.measure(by="test")
    layer = (
        Repository.objects.get(name=R)
        .manifests.get(digest=other.digest)
        .edges.get(role="layer", position=0)
    )
    return {
        "digest": other.digest,
        "layer": layer.blob.digest,
        "user": str(first.pk),
        "run": str(run.pk),
        "receiver": str(receiver.pk),
    }


def costs(client: Client, found: dict[str, str]) -> dict[str, int]:
    """Queries of each address, its {…} left as they are."""
    counts = {}
    for address in (one for every in LISTS.values() for one in every):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(address.format(**found))
        assert answer.status_code == 200, address
        counts[address] = len(queries)
    return counts


def test_every_list_takes_the_same_few_queries_however_long_it_is(
    client: Client, extent: Extent
) -> None:
    few = costs(client, grow(3))
    many = costs(client, grow(extent(12, 60)))
    assert {address: count for address, count in many.items() if count > MOST} == {}
    # Fewer where the first page happens to hold no image index, and needs no platforms.
    grown = {address: (few[address], count) for address, count in many.items()}
    assert {address: both for address, both in grown.items() if both[1] > both[0]} == {}


def test_every_route_is_a_list_here_or_said_to_be_none() -> None:
    names = {pattern.name for pattern in get_resolver().url_patterns}
    assert names == LISTS.keys() | OTHERS


@pytest.mark.parametrize(
    ("address", "pattern"),
    [
        ("/repositories/", r'class="repo__name" href="/repositories/([^"]+)"'),
        (f"/repositories/{R}", r'class="repo__name mono" href="./app:([^"]+)"'),
        (f"/repositories/{R}?show=untagged", r'class="repo__name mono" href="([^"]+)"'),
        (f"/repositories/{R}?show=referrer-tags", r'class="repo__name" href="([^"]+)"'),
        (f"/repositories/{R}:1.0?tab=referrers", r'class="repo__name" href="([^"]+)"'),
        (f"/repositories/{R}:1.0?tab=entries", r'<a class="mono" href="([^"]+)" title="[^"]+">'),
        ("/layers/{layer}", r'class="repo__name" href="([^"]+)"'),
        ("/maintenance/recently-deleted?q=deleted", r'name="tombstone" value="([0-9]+)"'),
        ("/operators", r'class="repo__name" href="/operators/([^"]+)"'),
        ("/activity", r"<div><dt>Row<dd>([0-9]+)<"),
        ("/users", r'class="repo__name" href="/users/([^"]+)"'),
    ],
)
def test_pages_one_after_the_other_hold_every_row_once(
    client: Client, address: str, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "SIZE", 3)
    found = grow(8)
    path = address = address.format(**found)
    path = path.partition("?")[0]
    seen: list[str] = []
    pages = 0
    while address:
        page = client.get(address).content.decode().partition('id="main"')[2]
        panel = (
            page if "/repositories/team/app:" not in path else page.partition('<nav class="tabs')[2]
        )
        seen += re.findall(pattern, panel)
        following = re.search(r'rel="next"[^>]*href="([^"]+)"', page)
        pressed = re.search(r'name="after" value="([^"]+)" id="page-next"', page)
        address = path + following[1].replace("&amp;", "&") if following else ""
        if pressed:  # where what is chosen goes along, it is a button
            address = f"{path}?{urlencode({'after': pressed[1]})}"
        pages += 1
    assert pages >= 3
    assert len(seen) == len(set(seen)) >= 8
