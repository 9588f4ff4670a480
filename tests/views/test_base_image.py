"""The base image on the page of a tag: found by layers, in a request of its own."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.support import pushed
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_operator())
    return client


def stacked(repository: str, *names: str, tags: list[str]) -> pushed.Pushed:
    layers = [(name, 10_000_000) for name in names]
    config = {"rootfs": {"diff_ids": [f"sha256:{name}" for name in names]}, "for": repository}
    return pushed.image(repository, tags=tags, layers=layers, config=config)


def address(image: pushed.Pushed) -> str:
    return f"/repositories/{image.repository}@{image.digest}/base"


def test_the_line_above_the_layers_names_the_base_and_what_is_on_top(client: Client) -> None:
    base = stacked("library/debian", "debian", tags=["12", "12-slim"])
    app = stacked("team/app", "debian", "app", tags=["1"])
    page = client.get("/repositories/team/app:1").content.decode()
    assert f'hx-get="{address(app)}"' in page
    assert f'<a href="{address(app)}">Find the base image</a>' in page  # without JavaScript
    with CaptureQueriesContext(connection) as queries:
        line = client.get(address(app), headers=HTMX).content.decode()
    assert 'href="/repositories/library/debian:12"' in line
    assert "by its first layer, 10.0 MB" in line
    assert "10.0 MB on top of the base" in line
    assert f"/compare?a=library%2Fdebian%40sha256%3A{base.digest[7:]}" in line
    assert len(queries) <= 12
    assert client.get(address(app))["Location"] == "/repositories/library/debian:12"


def test_an_image_without_a_base_says_so(client: Client) -> None:
    base = stacked("library/debian", "debian", tags=["12"])
    assert (
        "It is not based on any tagged image"
        in client.get(address(base), headers=HTMX).content.decode()
    )
    shown = client.get(address(base), follow=True)
    name = f"library/debian@{base.digest[7:19]}"
    assert f"{name} is not based on any tagged image of this registry." in shown.content.decode()
    assert client.get(f"/repositories/library/debian@sha256:{'0' * 64}/base").status_code == 404


def test_what_is_no_image_is_not_asked_for_a_base(client: Client) -> None:
    pushed.artifact("team/chart", tags=["1"])
    assert "Find the base image" not in client.get("/repositories/team/chart:1").content.decode()
