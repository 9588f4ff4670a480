"""Delete permanently, from its page, on a real registry."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from registryui.deletion import protection
from registryui.models import Role, TagTombstone
from tests.support.deletion_pages import World, bare, text_of
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> Client:
    client = Client()
    client.force_login(make_operator("ada", Role.ADMIN))
    return client


def form(text: str) -> dict[str, str]:
    found = re.search(r'name="fingerprint" value="([^"]*)"', text)
    assert found
    return {"fingerprint": found[1]}


def test_it_says_what_it_hits_and_needs_the_name_typed(world: World, ada: Client) -> None:
    digest = world.push("1.0", "stable", layer="secret")
    world.push("2.0", layer="other")
    world.sync()
    page = f"{world.page}@{digest}/delete-permanently"
    text = text_of(ada.get(page))
    assert "2 tags point to it and are deleted" in bare(text)
    for typed in ("", "views-delete", f"{world.name}x"):
        answer = ada.post(page, {**form(text), "name": typed})
        assert answer.status_code == 409
        assert "The name does not match the name of the repository" in text_of(answer)
        assert world.now("1.0") == digest
    answer = ada.post(page, {**form(text), "name": world.name}, follow=True)
    assert "Permanently deleted" in bare(text_of(answer))
    assert world.registry.manifest(world.name, digest) is None
    assert (world.now("1.0"), world.now("stable")) == ("", "")
    assert world.now("2.0")


def test_what_waits_to_be_undone_ends_with_it(world: World, ada: Client) -> None:
    digest = world.push("1.0", "stable", layer="secret")
    world.sync()
    world.delete(world.plan(tag="1.0"))
    page = f"{world.page}@{digest}/delete-permanently"
    text = text_of(ada.get(page))
    assert "1 recently deleted entry can no longer be restored" in bare(text)
    ada.post(page, {**form(text), "name": world.name})
    assert TagTombstone.objects.get(tag="1.0").ended_at is not None
    row = TagTombstone.objects.get(tag="1.0")
    answer = ada.post("/restore", {"tombstone": row.pk}, follow=True)
    assert "permanently deleted" in bare(text_of(answer))
    assert not world.now("1.0")


def test_a_page_that_is_no_longer_true_does_nothing(world: World, ada: Client) -> None:
    digest = world.push("1.0", layer="secret")
    world.sync()
    page = f"{world.page}@{digest}/delete-permanently"
    text = text_of(ada.get(page))
    world.push("2.0", layer="secret")
    world.push("1.0", layer="secret")
    world.sync()
    raw = world.registry.manifest(world.name, digest)
    assert raw is not None
    world.registry.put_manifest(world.name, "3.0", raw.raw, raw.media_type)
    world.sync()
    answer = ada.post(page, {**form(text), "name": world.name})
    assert answer.status_code == 409
    assert "The content has changed since this page was loaded" in text_of(answer)
    assert world.now("1.0") == digest


def test_a_protected_tag_on_it_has_to_be_let_go_first(world: World, ada: Client) -> None:
    digest = world.push("prod", layer="secret")
    world.sync()
    protection.add(world.name, "prod", note="", by="tests")
    page = f"{world.page}@{digest}/delete-permanently"
    text = text_of(ada.get(page))
    assert "remove the protection first" in bare(text)
    assert 'name="name"' not in text
    ada.post(page, {**form(text), "name": world.name})
    assert world.now("prod") == digest


def test_a_maintainer_is_not_offered_it(world: World, ada: Client) -> None:
    digest = world.push("1.0", layer="one")
    world.sync()
    page = f"{world.page}@{digest}"
    assert "delete-permanently" not in text_of(world.client.get(page))
    assert world.client.get(f"{page}/delete-permanently").status_code == 403
    assert "delete-permanently" in text_of(ada.get(page))


def test_a_digest_that_is_not_there_is_said(ada: Client) -> None:
    page = f"/repositories/team/none@sha256:{'0' * 64}/delete-permanently"
    assert ada.get(page).status_code == 404
    assert ada.post(page).status_code == 404
