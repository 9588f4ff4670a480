"""The page of quotas, the bars on others, the doctor's line, the metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from registryui.doctor import texts
from registryui.doctor.quotas import check_quotas
from registryui.metrics import exposition, families
from registryui.models import AuditEvent, Quota, Role
from tests.support.factories import make_manifest, make_operator, make_repository, make_tag

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.DATA = tmp_path
    return tmp_path / "quota"


def client_of(role: Role) -> Client:
    client = Client()
    client.force_login(make_operator(f"a-{role}", role))
    return client


@pytest.fixture
def admin() -> Client:
    return client_of(Role.ADMIN)


@pytest.fixture(autouse=True)
def image() -> None:
    repository = make_repository("team/api")
    make_tag(repository, "1", make_manifest(repository, layers=[900]))


def limit(client: Client, namespace: str, size: str = "", tags: str = "") -> Any:
    return client.post(
        "/storage/quotas/set", {"namespace": namespace, "bytes": size, "tags": tags}, follow=True
    )


def test_an_admin_sets_and_removes_and_others_read(admin: Client) -> None:
    page = limit(admin, "team/*", "1kB").content.decode()
    assert "Set the quota of team" in page
    assert "900 B of 1.0 kB" in page
    assert "Nearly full" in page
    viewer = client_of(Role.VIEWER)
    page = viewer.get("/storage/quotas").content.decode()
    assert "900 B of 1.0 kB" in page
    assert "/storage/quotas/set" not in page
    row = Quota.objects.get()
    for what, fields in {"set": {"namespace": "x"}, "remove": {"quota": row.pk}}.items():
        assert viewer.post(f"/storage/quotas/{what}", fields).status_code == 403
    gone = admin.post("/storage/quotas/remove", {"quota": row.pk}, follow=True)
    assert "Removed the quota of team" in gone.content.decode()
    again = admin.post("/storage/quotas/remove", {"quota": row.pk}, follow=True)
    assert "already been removed" in again.content.decode()
    rows = AuditEvent.objects.filter(act__startswith="quota").order_by("id")
    ada = "operator:a-admin"
    assert list(rows.values_list("act", "actor")) == [("quota.set", ada), ("quota.remove", ada)]


def test_a_refused_form_keeps_what_was_typed(admin: Client) -> None:
    for fields in (("team", "many"), ("Team", "1GB"), ("team",), ("team", "", "none")):
        page = limit(admin, *fields)
        assert page.status_code == 422
        assert f'value="{fields[0]}"' in page.content.decode()
    assert not Quota.objects.exists()


@pytest.mark.parametrize(
    "path",
    ["/storage", "/repositories/team/api", "/repositories/?namespace=team", "/storage/quotas"],
)
def test_each_page_of_a_namespace_shows_its_bar(admin: Client, path: str) -> None:
    limit(admin, "team", "900")
    limit(admin, "other", tags="5")
    page = admin.get(path).content.decode()
    assert "900 B of 900 B" in page
    assert "meter--bad" in page
    assert ("0 of 5" in page) == path.startswith("/storage")


def test_the_doctor_warns_of_what_is_nearly_full_and_of_what_is_full(admin: Client) -> None:
    limit(admin, "team", "1200")
    assert check_quotas() is None
    limit(admin, "team", "1100")
    found = check_quotas()
    assert found
    assert (found.state, found.code) == ("warn", "quotas-near")
    assert texts(found).value == "1 quota is nearly used up"
    assert texts(found).note == "team; the fullest is used by 81%"
    limit(admin, "team", "900")
    found = check_quotas()
    assert found
    assert texts(found).value == "1 quota is used up: pushes are refused"
    assert "./boathouse quota set team" in texts(found).advice


def test_prometheus_reads_how_full_each_is(admin: Client) -> None:
    limit(admin, "team", "1200")
    text = exposition.text(families.of_quotas()).decode()
    assert 'boathouse_quota_used_ratio{namespace="team"} 0.75' in text
