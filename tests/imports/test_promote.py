"""Tagging an image again, in its repository and in another one, on a real registry."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from registryui.deletion.restore import Taken
from registryui.imports.promote import add_tag
from registryui.index.sync import sync
from registryui.models import AuditEvent, Mirror, RegistryEvent, Role, Tag
from registryui.oci.digest import sha256
from registryui.refused import Refused
from registryui.registry.choose import open_source
from tests.support.factories import make_operator
from tests.support.registries import Registry, what_is_missing

pytestmark = pytest.mark.django_db(transaction=True)
BY = "operator:ada"


@pytest.fixture
def app(ours: Registry) -> str:
    """The digest of team/app:1, which the index has."""
    digest = ours.push_image("team/app", "1", layers=[b"x" * 1000, b"y"])
    with open_source() as source:
        sync(source, by="test")
    return digest


def on(ours: Registry, repository: str, tag: str) -> str:
    return sha256(ours.get(repository, tag).body)


def tags() -> dict[str, str]:
    rows = Tag.objects.values_list("repository__name", "name", "manifest__digest")
    return {f"{repository}:{name}": str(digest) for repository, name, digest in rows}


def test_a_tag_is_added_beside_the_first(ours: Registry, app: str) -> None:
    assert add_tag("team/app", "1", "team/app", "stable", by=BY) == app
    assert on(ours, "team/app", "stable") == app
    assert tags() == {"team/app:1": app, "team/app:stable": app}
    (act,) = AuditEvent.objects.filter(act="tag.add")
    assert (act.actor, act.target, act.result) == (BY, "team/app:stable", "done")
    assert RegistryEvent.objects.get(tag="stable").actor == BY


def test_another_repository_has_all_of_an_image_index(ours: Registry) -> None:
    layers = {one: [b"base", one.encode()] for one in ("amd64", "arm64")}
    images = {
        one: ours.push_image("team/app", layers=layers[one], architecture=one) for one in layers
    }
    children = [ours.child("team/app", digest, architecture=one) for one, digest in images.items()]
    digest = ours.push_index("team/app", children, "1")
    assert add_tag("team/app", digest, "prod/app", "2", by=BY) == digest
    assert on(ours, "prod/app", "2") == digest
    assert what_is_missing(ours, "prod/app", "2") == ""
    assert tags()["prod/app:2"] == digest


def test_a_tag_of_another_image_is_moved_only_if_that_is_asked_for(
    ours: Registry, app: str
) -> None:
    other = ours.push_image("prod/app", "1", layers=[b"z"])
    with pytest.raises(Taken) as taken:
        add_tag("team/app", "1", "prod/app", "1", by=BY)
    assert taken.value.digest == other
    assert on(ours, "prod/app", "1") == other
    add_tag("team/app", "1", "prod/app", "1", by=BY, replace=True)
    assert on(ours, "prod/app", "1") == app


@pytest.mark.parametrize(
    ("repository", "tag", "words"),
    [
        ("Prod/app", "1", "lower case"),
        ("prod/app", "a b", "letters, digits"),
        ("hub/app", "1", "namespace of a mirror"),
    ],
)
@pytest.mark.usefixtures("app")
def test_what_cannot_be_tagged_is_said(repository: str, tag: str, words: str) -> None:
    Mirror.objects.create(name="hub", url="https://registry-1.docker.io")
    with pytest.raises(Refused, match=words):
        add_tag("team/app", "1", repository, tag, by=BY)
    with pytest.raises(Refused, match="does not have team/none"):
        add_tag("team/none", "1", "team/app", "2", by=BY)


def test_the_command(ours: Registry, app: str) -> None:
    def run(*words: str) -> str:
        printed = io.StringIO()
        call_command("tag", "add", *words, stdout=printed, stderr=io.StringIO())
        return printed.getvalue()

    assert f"Tagged team/app:stable  {app}" in run("team/app:1", "stable", "prod/app:1")
    assert json.loads(run(f"team/app@{app}", "stable", "--json"))[0]["digest"] == app
    ours.push_image("prod/app", "1", layers=[b"z"])
    with pytest.raises(CommandError, match="--replace moves it"):
        run("team/app:1", "prod/app:1")
    for wrong in (("team/app", "2"), ("team/app:1", "a/b"), ("team/app:1", f"b@{app}")):
        with pytest.raises(CommandError):
            run(*wrong)


def test_the_page(ours: Registry, app: str) -> None:
    client = Client()
    client.force_login(make_operator("ada", Role.MAINTAINER))
    place = f"/repositories/team/app@{app}/tag"
    assert place in client.get("/repositories/team/app:1").content.decode()
    assert 'value="team/app"' in client.get(place).content.decode()
    done = client.post(place, {"repository": "prod/app", "tag": "1"}, follow=True)
    assert done.redirect_chain[0][0] == "/repositories/prod/app:1"
    assert "Tagged prod/app:1" in done.content.decode()

    other = ours.push_image("prod/app", "2", layers=[b"z"])
    asked = client.post(place, {"repository": "prod/app", "tag": "2"})
    assert asked.status_code == 409
    assert "points to another image" in asked.content.decode()
    assert other[7:19] in asked.content.decode()
    sent = {"repository": "prod/app", "tag": "2", "replace": "1"}
    assert client.post(place, sent).status_code == 302
    assert on(ours, "prod/app", "2") == app
