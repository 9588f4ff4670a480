"""The pages of a tag and of a manifest: every kind of content, every tab, hostile bytes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from registryui.models import Manifest
from registryui.oci import media_types
from tests.support import factories, pushed

pytestmark = pytest.mark.django_db

R = "team/api"
TABS = ["layers", "dockerfile", "config", "labels", "used", "referrers", "history", "raw"]
HISTORY = [
    {"created_by": "/bin/sh -c #(nop) ADD file:1 in /"},
    {"created_by": '/bin/sh -c #(nop)  CMD ["bash"]', "empty_layer": True},
    {"created_by": "RUN /bin/sh -c apt-get install -y libpq5 # buildkit"},
]


@pytest.fixture
def vera(client: Client) -> Client:
    client.force_login(factories.make_operator())
    return client


def get(client: Client, reference: str, *, status: int = 200, **query: str) -> str:
    response = client.get(f"/repositories/{R}{reference}", query)
    assert response.status_code == status
    return response.content.decode()


def current_tab(html: str) -> str:
    found = re.search(r'class="tabs".*?tab=(\w+)[^>]*aria-current="page"', html, re.DOTALL)
    assert found
    return found[1]


def multi(tags: list[str] | None = None, **fields: Any) -> dict[str, pushed.Pushed]:
    """An image index of two platforms with BuildKit's attestation of the first."""
    amd64 = pushed.image(R, layers=[("base", 100), ("amd64", 50)], config={"history": HISTORY})
    arm64 = pushed.image(
        R,
        layers=[("base-arm", 90), ("arm64", 40)],
        architecture="arm64",
        config={"config": {"User": "arm-user"}},
    )
    about = pushed.artifact(R, files=[("provenance", 4600)])
    index = pushed.image_index(
        R,
        [(amd64, "linux/amd64"), (arm64, "linux/arm64")],
        attestations=[(about, amd64)],
        tags=tags or ["1.0"],
        **fields,
    )
    return {"index": index, "amd64": amd64, "arm64": arm64, "about": about}


# -- what it shows


def test_an_image_shows_facts_commands_and_layers(vera: Client) -> None:
    image = pushed.image(
        R,
        tags=["1.0", "latest"],
        layers=[("base", 28_200_000), ("own", 4_900_000)],
        config={
            "created": "2026-11-23T20:41:00Z",
            "history": HISTORY,
            "config": {"User": "10001", "ExposedPorts": {"8000/tcp": {}}},
        },
    )
    html = get(vera, ":1.0")
    for words in ("23 Nov 2026, 20:41", "10001", "port 8000", "ci-team", "33.1 MB in 2 layers"):
        assert words in html
    assert f'href="/repositories/{R}:latest"' in html
    assert f"docker pull localhost:8443/{R}:1.0" in html
    assert f"docker pull localhost:8443/{R}@{image.digest}" in html
    assert "apt-get install -y libpq5" in html
    assert html.count("layers__empty") == 1


def test_bytes_that_only_this_image_needs_are_told(vera: Client) -> None:
    pushed.image(R, tags=["1"], layers=[("base", 1_000_000), ("own", 2_000_000)])
    pushed.image("team/other", tags=["1"], layers=[("base", 1_000_000)], config={"author": "x"})
    html = get(vera, ":1")
    assert "2.0 MB unique" in html
    assert "1.0 MB shared with other images" in html
    assert re.search(r"</svg>1 image<", html)


def test_the_platform_rules_everything_below_it(vera: Client) -> None:
    found = multi()
    html = get(vera, ":1.0")
    assert found["amd64"].digest in html
    assert "apt-get install" in html
    assert "--platform" not in html
    html = get(vera, ":1.0", platform="linux/arm64")
    assert "arm-user" in html
    assert "docker pull --platform linux/arm64 " in html
    assert f"@{found['arm64'].digest}" in html
    assert "apt-get install" not in html
    assert 'href="?platform=linux%2Farm64&amp;tab=config"' in html
    assert "unknown/unknown" not in html


def test_a_platform_that_is_not_in_the_index_says_what_is_shown_instead(vera: Client) -> None:
    multi()
    html = get(vera, ":1.0", platform="linux/s390x<b>")
    assert "no image for linux/s390x&lt;b&gt;" in html
    assert "Showing linux/amd64 instead" in html


def test_a_child_that_is_gone_is_told(vera: Client) -> None:
    found = multi()
    Manifest.objects.filter(digest=found["amd64"].digest).delete()
    html = get(vera, ":1.0")
    assert "1 image listed in this image index is missing" in html
    assert current_tab(html) == "entries"
    assert "arm-user" in get(vera, ":1.0", platform="linux/arm64")


def test_a_digest_has_the_same_page(vera: Client) -> None:
    found = multi()
    html = get(vera, f"@{found['arm64'].digest}")
    assert "arm-user" in html
    assert "No tag points to this digest" in html
    assert f"docker pull localhost:8443/{R}@{found['arm64'].digest}" in html
    html = get(vera, f"@{found['index'].digest}")
    assert f'href="/repositories/{R}:1.0"' in html


def test_pulls_say_what_is_known_and_of_what(vera: Client) -> None:
    image = pushed.image(R, tags=["1"])
    assert "No pull of this digest was recorded" in get(vera, ":1")
    Manifest.objects.filter(digest=image.digest).update(
        pull_count=1234, pulled_at=timezone.now(), pulled_by="k8s-prod"
    )
    factories.make_activity(image.row.repository, timezone.now().date(), pulls=7)
    html = get(vera, ":1")
    assert "1,234 of this digest" in html
    assert "k8s-prod" in html
    assert "All pulls of this repository per day" in html


# -- tabs


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_of_an_image_opens_by_a_link(vera: Client, tab: str) -> None:
    multi()
    html = get(vera, ":1.0", tab=tab)
    assert current_tab(html) == tab
    assert f"tab={tab}" in html


def test_an_unknown_tab_is_the_first(vera: Client) -> None:
    multi()
    assert current_tab(get(vera, ":1.0", tab="<script>")) == "layers"


def test_the_dockerfile_is_written_back(vera: Client) -> None:
    multi()
    assert "ADD file:1 in /\nCMD [&#34;bash&#34;]" in get(vera, ":1.0", tab="dockerfile")


def test_used_by_finds_images_that_start_with_all_layers(vera: Client) -> None:
    base = [("a", 10), ("b", 20)]
    pushed.image(R, tags=["base"], layers=base)
    pushed.image("team/above", tags=["2", "1"], layers=[*base, ("c", 3_000_000)])
    pushed.image("team/lower", tags=["1"], layers=base[:1])
    pushed.image("team/moved", tags=["1"], layers=[("x", 1), ("b", 20)])
    child = pushed.image("team/multi", layers=[*base, ("d", 1)])
    pushed.image_index("team/multi", [(child, "linux/amd64")], tags=["3"])
    pushed.image("team/lost", layers=[*base, ("e", 1)])
    html = get(vera, ":base", tab="used")
    assert 'href="/repositories/team/above:1"' in html
    assert "and 1 more tag" in html
    assert "+3.0 MB" in html
    assert 'href="/repositories/team/multi:3"' in html
    for name in ("lower", "moved", "lost"):
        assert f"team/{name}" not in html


def test_used_by_of_a_child_names_the_index_that_lists_it(vera: Client) -> None:
    found = multi()
    html = get(vera, f"@{found['amd64'].digest}", tab="used")
    assert f'href="/repositories/{R}:1.0"' in html
    assert "contains it" in html
    assert "contains it" not in get(vera, ":1.0", tab="used")


def test_referrers_come_from_subjects_cosign_tags_and_buildkit(vera: Client) -> None:
    found = multi()
    index = found["index"]
    subject = {"mediaType": index.media_type, "digest": index.digest, "size": index.size}
    bill = pushed.artifact(R, artifactType="application/spdx+json", subject=subject)
    hexes = index.digest.replace(":", "-")
    signature = pushed.artifact(R, tags=[f"{hexes}.sig"], files=[("signature", 1)])
    pushed.image_index(R, [(bill, "")], tags=[hexes])
    html = get(vera, ":1.0", tab="referrers")
    for words in ("Signature", "SPDX bill of materials", "Build attestation"):
        assert words in html
    assert html.count("<small><span") == 3
    assert "Signature attached</span>" in html
    assert "Refers to" in get(vera, f"@{bill.digest}")
    html = get(vera, f"@{signature.digest}")
    assert "No tag points to this digest" not in html
    assert f">{hexes}.sig</a>" in html


def test_history_tells_who_from_where_and_since_when(vera: Client) -> None:
    image = pushed.image(R, tags=["1"])
    assert "Nothing recorded yet" in get(vera, ":1", tab="history")
    seen = {"digest": image.digest, "address": "10.20.4.17"}
    factories.make_event(R, tag="1", actor="ci-team", client="docker/20.10", **seen)
    factories.make_event(R, tag="1", action="delete", digest="<b>", actor="<i>\u202e")
    factories.make_event(R, tag="2", actor="somebody-else")
    factories.make_event(R, tag="1", action="pull", actor="a-puller")
    html = get(vera, ":1", tab="history")
    for words in ("ci-team", "10.20.4.17", "docker/20.10", "Deleted", "recorded since"):
        assert words in html
    for words in ("somebody-else", "a-puller", "<i>", "\u202e"):
        assert words not in html


def test_raw_shows_each_part_and_the_download_is_exact(vera: Client) -> None:
    found = multi()
    assert "&#34;layers&#34;" in get(vera, ":1.0", tab="raw")
    assert "&#34;history&#34;" in get(vera, ":1.0", tab="raw", part="config")
    assert "&#34;manifests&#34;" in get(vera, ":1.0", tab="raw", part="index")
    response = vera.get(f"/repositories/{R}:1.0?tab=raw&part=index&download=1")
    assert response.content == bytes(found["index"].row.raw)
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Disposition"].startswith("attachment;")


# -- kinds


def test_a_helm_chart_has_its_own_command_and_no_config(vera: Client) -> None:
    helm = media_types.HELM_CONFIG
    pushed.artifact(R, config_type=helm, tags=["1.2.0"], files=[("chart.tgz", 5)])
    html = get(vera, ":1.2.0")
    assert f"helm pull oci://localhost:8443/{R} --version 1.2.0" in html
    assert "chart.tgz" in get(vera, ":1.2.0", tab="layers")
    assert "tab=config" not in html
    assert current_tab(get(vera, ":1.2.0", tab="config")) == "helm"


LAYER = pushed.layer("cached", 700)
RECORD = pushed.layer("record", 5, mediaType=media_types.BUILDKIT_CACHE)


@pytest.mark.parametrize(
    ("media_type", "content", "said"),
    [
        (pushed.INDEX, {"manifests": [LAYER, RECORD]}, "705 B in 2 blobs"),  # until BuildKit 0.21
        (pushed.IMAGE, {"config": RECORD, "layers": [LAYER]}, "700 B in 1 blob"),
    ],
)
def test_a_build_cache_shows_its_blobs(
    vera: Client, media_type: str, content: dict[str, Any], said: str
) -> None:
    cache = {"schemaVersion": 2, "mediaType": media_type, **content}
    pushed.raw(R, json.dumps(cache).encode(), media_type, tags=["cache"])
    html = get(vera, ":cache")
    assert "Build cache" in html
    assert said in html
    assert "--cache-from" in html


def test_schema_1_shows_its_history_and_warns(vera: Client) -> None:
    pushed.schema1(R, tags=["old"])
    html = get(vera, ":old")
    assert "deprecated schema 1" in html
    assert "file:1 in /" in html
    for tab in TABS:
        get(vera, ":old", tab=tab)


@pytest.mark.parametrize("problem", ["dangling", "unreadable"])
def test_a_tag_without_manifest_says_what_to_do(vera: Client, problem: str) -> None:
    pushed.dangling(R, "broken", problem)
    html = get(vera, ":broken")
    assert "Push the tag again" in html
    assert current_tab(html) == "history"
    for tab in TABS:
        get(vera, ":broken", tab=tab)
    get(vera, ":broken", tab="raw", download="1", status=404)


def test_empty_nested_and_odd_image_indexes_open(vera: Client) -> None:
    pushed.image_index(R, [], tags=["empty"])
    inner = multi(["inner"])["index"]
    pushed.image_index(R, [(inner, "")], tags=["nested"])
    twice = pushed.image(R)
    pushed.image_index(R, [(twice, "")] * 30, tags=["many"])
    for name in ("empty", "nested", "many"):
        for tab in [*TABS, "entries"]:
            get(vera, f":{name}", tab=tab)
    assert "It contains no manifests" in get(vera, ":empty")
    assert "linux/arm64" in get(vera, ":nested", tab="entries")
    assert "All 30" in get(vera, ":many")


# -- hostile


@pytest.mark.parametrize(
    ("raw", "config"),
    [
        (b"", None),
        (b"\xff\xfe\x00", b"\xff"),
        (b"[" * 100_000, b"[" * 100_000),
        (b'{"schemaVersion":2}', b"{}"),
        (b"null", b"null"),
        (json.dumps({"layers": "x", "config": 5}).encode(), b"[]"),
        (json.dumps({"manifests": [1, None]}).encode(), b'"x"'),
    ],
)
def test_no_stored_bytes_break_a_page(vera: Client, raw: bytes, config: bytes | None) -> None:
    repository = factories.make_repository(R)
    for kind in Manifest.Kind.values:
        manifest = factories.make_manifest(repository, kind, kind=kind, raw=raw)
        Manifest.objects.filter(pk=manifest.pk).update(config=config)
        factories.make_tag(repository, kind.replace(" ", "-"), manifest)
        for tab in [*TABS, "entries"]:
            get(vera, f":{kind.replace(' ', '-')}", tab=tab)


def test_what_an_image_says_is_escaped_cut_and_turned_around_by_nothing(vera: Client) -> None:
    evil = '<script>alert("x")</script>{{ 7|add:7 }}%(x)s\u202e\u0000\ud800'
    steps = [{"created_by": f"RUN {evil}{'x' * 10_000}", "comment": evil, "empty_layer": True}]
    config = {
        "author": evil,
        "history": steps,
        "config": {
            "User": evil,
            "Env": [evil + "y" * 10_000],
            "Cmd": [evil],
            "WorkingDir": evil,
            "ExposedPorts": {evil: {}},
            "Volumes": {evil: {}},
            "Labels": {evil: "z" * 10_000, "url": "https://evil.example/"},
        },
    }
    child = pushed.image(R, config=config, annotations={evil: evil}, artifactType="", tags=["1"])
    child_index = pushed.image_index(R, [(child, f"{evil[:20]}/a")], tags=["2"])
    assert child_index
    for name in (":1", ":2"):
        for tab in TABS:
            html = get(vera, name, tab=tab)
            assert "<script>alert" not in html
            assert "\u202e" not in html
            assert "\x00" not in html
            assert 'href="https://evil' not in html
            assert tab in ("raw", "dockerfile") or not re.search("x{5000}|y{5000}|z{5000}", html)
    assert "truncated" in get(vera, ":1", tab="labels")
    assert "\\u202e" in get(vera, ":1", tab="config")


def test_ten_thousand_layers_and_labels_open(vera: Client) -> None:
    labels = {f"label-{n}": "x" for n in range(3_000)}
    pushed.image(
        R,
        tags=["1"],
        layers=[(f"l{n}", n) for n in range(2_000)],
        config={"config": {"Labels": labels}},
    )
    assert "more lines are not shown" in get(vera, ":1")
    assert "2500 more are under Raw" in get(vera, ":1", tab="labels")


# -- not there


def test_an_unknown_tag_is_404_with_a_way_back(vera: Client) -> None:
    pushed.image(R, tags=["1"])
    html = get(vera, ":nope", status=404)
    assert "has no tag" in html
    assert f'href="/repositories/{R}"' in html
    html = get(vera, "@sha256:" + "0" * 64, status=404)
    assert "has no manifest" in html
    assert vera.get("/repositories/no/such:1").status_code == 404


def test_it_needs_a_login(client: Client) -> None:
    image = pushed.image(R, tags=["1"])
    for reference in (":1", f"@{image.digest}", ":1?tab=raw&download=1"):
        assert client.get(f"/repositories/{R}{reference}").status_code == 302


# -- cost


@pytest.mark.parametrize("tab", [*TABS, "entries"])
def test_no_tab_needs_more_than_thirteen_queries(vera: Client, tab: str) -> None:
    found = multi(["1.0", "latest", "2"])
    base = [("base", 100), ("amd64", 50)]
    for n in range(30):
        pushed.image(f"team/above{n}", tags=["1"], layers=[*base, (f"c{n}", n)])
    subject = {"mediaType": "x", "digest": found["index"].digest, "size": 1}
    for n in range(10):
        pushed.artifact(R, artifactType=f"application/x{n}", subject=subject)
        factories.make_event(R, tag="1.0", digest=found["index"].digest)
    with CaptureQueriesContext(connection) as queries:
        get(vera, ":1.0", tab=tab)
    assert len(queries) <= 13
