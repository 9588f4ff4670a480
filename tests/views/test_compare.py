"""The page that compares two tags, its addresses, and the same in the terminal."""

import json
import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from registryui.models import Role
from tests.support import pushed
from tests.support.factories import make_operator

pytestmark = pytest.mark.django_db

OLD = {
    "config": {"Env": ["V=1", "LEGACY=1"], "User": "root", "Labels": {"who": "<b>me</b>"}},
    "history": [{"created_by": "ADD rootfs /"}, {"created_by": "COPY . /app"}],
}
NEW = {
    "config": {"Env": ["V=2", "OTEL=x"], "User": "10001", "Labels": {"who": "<b>me</b>"}},
    "history": [{"created_by": "ADD rootfs /"}, {"created_by": "COPY . /app"}],
}


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_operator("vera", Role.VIEWER))
    return client


@pytest.fixture
def two() -> tuple[pushed.Pushed, pushed.Pushed]:
    base = ("debian", 28_000_000)
    return (
        pushed.image("team/api", tags=["1.0"], layers=[base, ("app 1", 4_000_000)], config=OLD),
        pushed.image("shop/api", tags=["2.0"], layers=[base, ("app 2", 5_000_000)], config=NEW),
    )


def text(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status
    page = answer.content.decode()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


@pytest.mark.usefixtures("two")
def test_two_tags_of_two_repositories_are_compared(client: Client) -> None:
    found = text(client, "/compare?a=team/api:1.0&b=shop/api:2.0")
    assert "+1.0 MB" in found
    assert "28.0 MB first 1 layer" in found
    assert "to download for an upgrade 5.0 MB" in found
    assert re.search(r"~ changed ?changed COPY \. /app 4\.0 MB 5\.0 MB \+1\.0 MB", found)
    assert re.search(r"\+ added ?added ENV OTEL – x", found)
    assert re.search(r"− removed ?removed ENV LEGACY 1 –", found)
    assert "LABEL" not in found
    assert "settings differ 4" in found
    everything = client.get("/compare?a=team/api:1.0&b=shop/api:2.0&all=1").content.decode()
    assert "&lt;b&gt;me&lt;/b&gt;" in everything
    assert "<b>me" not in everything


def test_digests_are_compared_as_tags_are(
    client: Client, two: tuple[pushed.Pushed, pushed.Pushed]
) -> None:
    one, other = two
    by_digest = f"/compare?a=team/api@{one.digest}&b=shop/api@{other.digest}"
    assert "to download for an upgrade 5.0 MB" in text(client, by_digest)
    assert "Both are the same image" in text(
        client, f"/compare?a=team/api:1.0&b=team/api@{one.digest}"
    )


@pytest.mark.usefixtures("two")
def test_forms_lead_to_an_address_that_can_be_shared(client: Client) -> None:
    pushed.image("team/api", tags=["1.10"], config=NEW)
    pushed.image("team/api", tags=["1.9"], config=OLD)
    chosen = client.get("/compare?repository=team/api&tag=1.10&tag=1.9")
    assert chosen["Location"] == "/compare?a=team%2Fapi%3A1.9&b=team%2Fapi%3A1.10"
    swapped = client.get("/compare?a=x:1&b=y:2&platform=linux/arm64&swap=1&all=1")
    assert swapped["Location"] == "/compare?a=y%3A2&b=x%3A1&platform_b=linux%2Farm64&all=1"
    alone = client.get("/compare?repository=team/api&tag=1.9")
    assert alone["Location"] == "/compare?a=team%2Fapi%3A1.9"
    assert "Enter or choose two tags." in text(client, alone["Location"])
    assert '<option value="team/api:1.10">' in client.get(alone["Location"]).content.decode()


@pytest.mark.parametrize(
    ("a", "words"),
    [
        ("team/api:9", "team/api:9 is not in the index."),
        ("nowhere/x:1", "nowhere/x:1 is not in the index."),
        ("UPPER/x:1", "is not a valid reference"),
        ("<script>", "is not a valid reference"),
        ("team/api:broken", "The tag team/api:broken has no manifest"),
    ],
)
@pytest.mark.usefixtures("two")
def test_what_cannot_be_compared_is_said(client: Client, a: str, words: str) -> None:
    pushed.dangling("team/api", "broken")
    answer = client.get("/compare", {"a": a, "b": "shop/api:2.0"})
    assert answer.status_code == 404
    assert words in answer.content.decode()
    assert "<script>" not in answer.content.decode().partition("</head>")[2].replace(
        "<script src", ""
    )


def indexes() -> None:
    for repository, tag, platforms in (
        ("team/app", "1", ("linux/amd64", "linux/arm64")),
        ("team/app", "2", ("linux/arm64", "linux/riscv64", "windows/amd64")),
    ):
        children = [
            (
                pushed.image(
                    repository,
                    layers=[
                        (f"{platform} base", 7_000_000),
                        (f"{platform} {tag}", int(tag) * 1000),
                    ],
                    config={
                        "os": platform.split("/")[0],
                        "architecture": platform.split("/")[1],
                    },
                ),
                platform,
            )
            for platform in platforms
        ]
        pushed.image_index(repository, children, tags=[tag])


def test_of_image_indexes_a_platform_that_both_have_is_compared(client: Client) -> None:
    indexes()
    found = client.get("/compare?a=team/app:1&b=team/app:2").content.decode()
    assert found.count('<option value="linux/arm64" selected>') == 2
    assert "7.0 MB" in found
    other = text(client, "/compare?a=team/app:1&b=team/app:2&platform_b=windows/amd64")
    assert "The images are for different platforms" in other
    absent = text(client, "/compare?a=team/app:1&b=team/app:2&platform=linux/s390x")
    assert "team/app:1 has no image for linux/s390x" in absent


def test_the_number_of_queries_is_small_and_does_not_grow(client: Client) -> None:
    indexes()
    counts = []
    for layers in (2, 60):
        for tag in ("a", "b"):
            stack = [(f"{tag} {n}", 1000) for n in range(layers)]
            pushed.image("team/big", tags=[tag], layers=stack)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get("/compare?a=team/big:a&b=team/big:b")
        counts.append(len(queries))
    with CaptureQueriesContext(connection) as queries:
        client.get("/compare?a=team/app:1&b=team/app:2")
    assert counts[0] == counts[1] <= 12
    assert len(queries) <= 12


@pytest.mark.usefixtures("two")
def test_the_pages_lead_here(client: Client) -> None:
    tag = client.get("/repositories/team/api:1.0").content.decode()
    assert 'href="/compare?a=team%2Fapi%3A1.0"' in tag
    repository = client.get("/repositories/team/api").content.decode()
    assert re.search(r'<form [^>]*method="get" action="/compare"', repository)
    assert 'name="tag"' in repository


@pytest.mark.usefixtures("two")
def test_the_terminal_says_the_same() -> None:
    out = StringIO()
    call_command("compare", "team/api:1.0", "shop/api:2.0", stdout=out)
    assert "+1.0 MB" in out.getvalue()
    assert "5.0 MB to download for an upgrade" in out.getvalue()
    assert "~ ENV V: 1 -> 2" in out.getvalue()
    out = StringIO()
    call_command("compare", "team/api:1.0", "shop/api:2.0", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert [pair["sign"] for pair in found["layers"]] == ["same", "changed"]
    assert found["b"]["reference"] == "shop/api:2.0"
    with pytest.raises(CommandError, match="team/api:9 is not in the index"):
        call_command("compare", "team/api:9", "shop/api:2.0")
    with pytest.raises(CommandError, match="has no image for linux/arm64"):
        call_command("compare", "team/api:1.0", "shop/api:2.0", "--platform", "linux/arm64")
