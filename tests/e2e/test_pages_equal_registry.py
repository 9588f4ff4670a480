"""What a page shows equals what the registry's API answers through the proxy."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest

from tests.support.fake_source import digest_of
from tests.support.portal import Visitor
from tests.support.product import Answer, Product
from tests.support.registries import ACCEPT

pytestmark = pytest.mark.e2e

REFERRER_TAG = re.compile(r"sha256-[0-9a-f]{64}")
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
# Many tags, referrer tags, a chart, a cache, odd names.
REPOSITORIES = ["platform/api", "charts/api", "tools/ci-runner", "tools/odd-labels"]
IMAGES = ["data/postgres:16.4", "library/busybox:latest", "platform/worker:latest"]


@pytest.fixture(scope="module")
def visitor(furnished: Product) -> Visitor:
    made = Visitor(furnished)
    made.login()
    return made


def manifest(product: Product, reference: str) -> Answer:
    """The manifest that a tag or digest ("name:tag", "name@digest") stands for."""
    repository, _, end = reference.replace("@", ":", 1).partition(":")
    path = f"/v2/{repository}/manifests/{end}"
    answer = product.ask(path, headers={"Accept": ACCEPT}, as_user=True)
    assert answer.status == 200, reference
    return answer


def image_of(product: Product, reference: str) -> tuple[str, Answer]:
    """The first image below a reference: its name with digest, and its manifest."""
    answer = manifest(product, reference)
    repository = reference.partition(":")[0]
    if "manifests" in answer.json():
        digest = answer.json()["manifests"][0]["digest"]
        return f"{repository}@{digest}", manifest(product, f"{repository}@{digest}")
    return reference, answer


def blob(product: Product, reference: str, digest: str) -> bytes:
    repository = re.split("[:@]", reference, maxsplit=1)[0]
    answer = product.ask(f"/v2/{repository}/blobs/{digest}", as_user=True)
    assert answer.status == 200
    return answer.body


def test_every_tag_has_the_digest_that_the_registry_says(
    furnished: Product,
) -> None:
    for repository in REPOSITORIES:
        answer = furnished.ask(f"/v2/{repository}/tags/list", as_user=True)
        listed = {tag for tag in answer.json()["tags"] or () if not REFERRER_TAG.match(tag)}
        known = {one["tag"]: one["digest"] for one in furnished.listed(repository)}
        assert {tag for tag in known if not REFERRER_TAG.match(tag)} == listed
        for tag, digest in known.items():
            told = furnished.ask(
                f"/v2/{repository}/manifests/{tag}",
                method="HEAD",
                headers={"Accept": ACCEPT},
                as_user=True,
            )
            assert told.headers["docker-content-digest"] == digest, f"{repository}:{tag}"


@pytest.mark.parametrize("reference", [*IMAGES, "platform/api:2.14.0", "charts/api:2.14.0"])
def test_the_page_names_the_digest_and_gives_the_exact_bytes(
    furnished: Product, visitor: Visitor, reference: str
) -> None:
    told = manifest(furnished, reference)
    digest = told.headers["docker-content-digest"]
    assert digest == digest_of(told.body)

    page = visitor.get(f"/repositories/{reference}")
    by_digest = visitor.get(f"/repositories/{reference.partition(':')[0]}@{digest}")

    assert page.status == by_digest.status == 200
    assert f'title="{digest}"' in page.text
    shown, answer = image_of(furnished, reference)
    for name, of_manifest in ((reference, told), (shown, answer)):
        assert of_manifest.body in _downloads(furnished, visitor, name)


def _downloads(product: Product, visitor: Visitor, reference: str) -> list[bytes]:
    """What the links under Raw give, whatever parts it has."""
    page = visitor.get(f"/repositories/{reference}?tab=raw").text
    parts = set(re.findall(r"[?&;]part=(\w+)", html.unescape(page)))
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    return [
        product.ask(
            f"/repositories/{reference}?tab=raw&part={part}&download=1", headers={"Cookie": cookie}
        ).body
        for part in parts
    ]


@pytest.mark.parametrize("reference", IMAGES)
def test_layers_sizes_and_config_are_those_of_the_registry(
    furnished: Product, visitor: Visitor, reference: str
) -> None:
    shown, answer = image_of(furnished, reference)
    parsed: dict[str, Any] = answer.json()
    config = json.loads(blob(furnished, shown, parsed["config"]["digest"]))
    sizes = [layer["size"] for layer in parsed["layers"]]

    layers = visitor.get(f"/repositories/{shown}?tab=layers").text
    rows = re.findall(r'<li[^>]*><span class="layers__no">(\d+)</span>', layers)
    assert [int(row) for row in rows] == list(range(1, len(sizes) + 1))
    totals = re.findall(r'</svg><span class="num">([^<]+)</span></span>', layers)
    for position, total in enumerate(totals):
        assert _bytes(total) == pytest.approx(sum(sizes[: position + 1]), rel=0.06), position
    assert len(totals) == len(sizes)

    text = html.unescape(visitor.get(f"/repositories/{shown}?tab=config").text)
    for value in [*config["config"].get("Env", []), *config["config"].get("Cmd", [])]:
        assert value in text
    labels = html.unescape(visitor.get(f"/repositories/{shown}?tab=labels").text)
    for name, value in (config["config"].get("Labels") or {}).items():
        assert name in labels
        assert value in labels
    assert config["architecture"] in visitor.get(f"/repositories/{shown}").text


def _bytes(words: str) -> float:
    """ "84.6 MB" as a number."""
    number, unit = html.unescape(words).replace("\xa0", " ").split()
    return float(number.replace(",", "")) * UNITS[unit]
