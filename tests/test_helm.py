"""Helm charts: facts of the config, README and values out of a layer that a stranger packed."""

from __future__ import annotations

import gzip
import json
from contextlib import nullcontext

import pytest
from django.test import Client

from registryui import helm
from registryui.models import Manifest
from registryui.refused import Refused
from registryui.registry.errors import TooLarge, Unreachable
from tests.support import pushed
from tests.support.archives import header, tar_of
from tests.support.factories import make_operator
from tests.support.fake_source import FakeSource, descriptor, digest_of, encode

R = "charts/shop"
CONFIG = "application/vnd.cncf.helm.config.v1+json"
LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
ABOUT = {
    "name": "shop",
    "version": "1.2.0+build.7",
    "appVersion": "9",
    "description": "Sells <b>\u202e",
    "home": "https://shop.example.com@evil.example.com/",
    "sources": ["javascript:alert(1)"],
    "deprecated": True,
}


class Source(FakeSource):
    """It keeps to the limit, and may not respond."""

    def blob(self, repository: str, digest: str, *, limit: int) -> bytes | None:
        if self.down:
            raise Unreachable("connection refused")
        found = super().blob(repository, digest, limit=limit)
        if len(found or b"") > limit:
            raise TooLarge("over the limit")
        return found


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> FakeSource:
    made = Source()
    helm._files.cache_clear()
    monkeypatch.setattr(helm, "open_source", lambda: nullcontext(made))
    return made


def manifest(source: FakeSource, packed: bytes) -> bytes:
    """A chart with that layer; its blobs are stored."""
    config = encode(ABOUT)
    source.blobs_of[R] |= {digest_of(one): one for one in (config, packed)}
    return encode(
        {
            "schemaVersion": 2,
            "mediaType": pushed.IMAGE,
            "config": descriptor(CONFIG, config),
            "layers": [descriptor(LAYER, packed)],
        }
    )


def files(source: FakeSource, packed: bytes) -> helm.Files:
    return helm.files(R, manifest(source, packed), pushed.IMAGE)


def chart(**more: bytes) -> bytes:
    texts = {
        "Chart.yaml": b"name: shop\n",
        "values.yaml": b"a: 1\r\n",
        "README.md": b"\xef\xbb\xbf# Shop",
    }
    return gzip.compress(tar_of({f"shop/{name}": text for name, text in (texts | more).items()}))


def test_readme_and_values_are_those_of_the_chart_itself(source: FakeSource) -> None:
    packed = chart(**{"charts/redis/README.md": b"# Redis", "charts/redis/values.yaml": b"b: 2"})
    found = files(source, packed)
    assert found.readme == helm.File("README.md", "# Shop")
    assert found.values == helm.File("values.yaml", "a: 1\n")
    old = gzip.compress(tar_of({"shop/readme.TXT": b"plain"}))
    assert files(source, old) == helm.Files(helm.File("readme.TXT", "plain"))
    long = files(source, chart(**{"values.yaml": b"x" * (helm.TEXT_LIMIT + 1)})).values
    assert long is not None
    assert (len(long.text), long.is_cut) == (helm.TEXT_LIMIT, True)


def hostile() -> dict[str, bytes]:
    outside = tar_of({}, links={"shop/README.md": "../../../etc/passwd"})
    return {
        "a bomb": gzip.compress(bytes(helm.UNPACKED_LIMIT + 1)),
        "too large": bytes(helm.LAYER_LIMIT + 1),
        "no archive": b"no archive",
        "cut off": chart()[:-20],
        "a size that lies": gzip.compress(header("shop/README.md", size=10**12)),
        "a link outside": gzip.compress(outside),
        "a name outside": gzip.compress(tar_of({"../README.md": b"x"})),
        "a device": gzip.compress(header("shop/README.md", type=b"3")),
    }


def test_what_a_stranger_packed_costs_little_and_reads_nothing_else(
    source: FakeSource, subtests: pytest.Subtests
) -> None:
    for name, packed in hostile().items():
        with subtests.test(name), pytest.raises(Refused):
            files(source, packed)
    inside = tar_of({"shop/secret": b"x"}, links={"shop/README.md": "secret"})
    assert files(source, gzip.compress(inside)).readme is None
    raw = manifest(source, chart())
    source.blobs_of[R].clear()
    helm._files.cache_clear()
    with pytest.raises(Refused, match="missing"):
        helm.files(R, raw, pushed.IMAGE)
    source.down.add(R)
    with pytest.raises(Refused, match="does not respond"):
        helm.files(R, raw, pushed.IMAGE)
    with pytest.raises(Refused):
        helm.files(R, b"{}", pushed.IMAGE)


@pytest.mark.parametrize("config", [None, b"", b"[]", b"\xff", b'{"name": 1, "sources": {}}'])
def test_a_config_that_says_nothing_is_an_empty_chart(config: bytes | None) -> None:
    assert helm.chart(config) == helm.Chart()


@pytest.mark.django_db
def test_the_page_shows_the_chart_and_loads_its_files(source: FakeSource, client: Client) -> None:
    raw = manifest(source, chart(**{"README.md": b"# Shop\n<script>x</script>\xe2\x80\xae"}))
    pushed.raw(R, raw, tags=["1.2.0_build.7"], config=json.dumps(ABOUT).encode())
    digest = Manifest.objects.get(repository__name=R).digest
    client.force_login(make_operator())
    page = client.get(f"/repositories/{R}:1.2.0_build.7").content.decode()
    assert "<bdi>Sells &lt;b&gt;\\u202e</bdi>" in page
    assert "1.2.0+build.7" in page
    assert "Deprecated" in page
    assert ">evil.example.com</a>" in page
    assert "javascript:" not in page
    assert f"helm pull oci://localhost:8443/{R} --version 1.2.0+build.7" in page
    files_at = f"/repositories/{R}@{digest}/chart"
    assert f'hx-get="{files_at}"' in page
    fragment = client.get(files_at, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in fragment
    for shown in (fragment, client.get(files_at).content.decode()):
        assert "<h3>Shop</h3>" in shown
        assert "\\u202e" in shown
        assert "<script>x" not in shown
        assert "a: 1" in shown
    source.down.add(R)
    helm._files.cache_clear()
    assert "does not respond" in client.get(files_at).content.decode()
    pushed.image("team/app", tags=["1"])
    other = Manifest.objects.get(repository__name="team/app").digest
    assert client.get(f"/repositories/team/app@{other}/chart").status_code == 404
