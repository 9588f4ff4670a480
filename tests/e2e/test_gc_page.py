"""Garbage collection in a real Chromium, on the real registry: frees what the page promised."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from registryui.oci.digest import sha256
from registryui.registry import paths
from registryui.registry.client import RegistryClient
from registryui.registry.quarantine import FOLDER
from tests.support.browser import (
    CHROMIUM,
    HEIGHT,
    Visit,
    chromium,
    cookies,
    too_wide,
    violations,
    visit,
)
from tests.support.fake_source import CONFIG, IMAGE, LAYER, descriptor
from tests.support.folders import open_folder
from tests.support.portal import Visitor
from tests.support.product import Product, product
from tests.support.short_times import short_times
from tests.support.waiting import until

from .conftest import needs

pytestmark = pytest.mark.e2e

PAGE = "/maintenance/gc"
GRACE, QUARANTINE = 1.0, 1.0  # seconds
BASE = b"a layer that both images have" * 1000
MARK = "window.neverReloaded = true"


@pytest.fixture(scope="module")
def quick() -> Iterator[Product]:
    """A product of its own, whose garbage collection waits for seconds instead of days."""
    with open_folder("e2e") as folder:
        settings = short_times(folder / "hook", grace=GRACE, quarantine=QUARANTINE)
        with product(folder / "data", "127.0.0.1", settings=settings) as made:
            yield made


@pytest.fixture(scope="module")
def tab_browser(quick: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    needs(CHROMIUM)
    with chromium(tmp_path_factory.mktemp("chromium"), quick) as made:
        yield made


def client(one: Product) -> RegistryClient:
    name, secret = one.user
    return RegistryClient(f"https://{one.name}", username=name, password=secret, ca=one.ca)


def push(one: Product, repository: str, tag: str) -> list[str]:
    """An image with a manifest, config and layer of its own; their digests, in this order."""
    own = os.urandom(200_000)
    environment = {"Env": [f"NAME={repository}:{tag}"]}  # or two would share their config
    config = json.dumps({"os": "linux", "architecture": "amd64", "config": environment})
    blobs = [config.encode(), BASE, own]
    with client(one) as registry:
        for blob in blobs:
            registry.upload_blob(repository, blob)
        manifest = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(CONFIG, blobs[0]),
            "layers": [descriptor(LAYER, blob) for blob in blobs[1:]],
        }
        raw = json.dumps(manifest).encode()
        registry.put_manifest(repository, tag, raw, IMAGE)
    return [sha256(raw), sha256(blobs[0]), sha256(own)]


def untag(one: Product, repository: str, tag: str) -> None:
    """The tag goes without undo, and the index knows it for longer than the grace time."""
    shutil.rmtree(one.data / "registry" / paths.tags(repository) / tag)
    one.boathouse("sync")
    time.sleep(GRACE)


def bytes_on_disk(one: Product) -> int:
    """Of blobs and manifests, in the store and in the quarantine beside it."""
    registry = one.data / "registry"
    seen = [*(registry / paths.BLOBS).rglob("data"), *(registry / FOLDER).rglob("[0-9]*")]
    return sum(file.stat().st_size for file in seen if file.is_file() and not is_link(file))


def is_link(file: Path) -> bool:
    """A link of a revision: it holds a digest and nothing else."""
    return file.stat().st_size == 71 and file.read_bytes().startswith(b"sha256:")


def size_of(one: Product, digests: list[str]) -> int:
    registry = one.data / "registry"
    return sum((registry / paths.blob_data(digest)).stat().st_size for digest in digests)


def pull(one: Product, repository: str, tag: str) -> None:
    """Every byte of it, checked by its digest."""
    with client(one) as registry:
        stored = registry.manifest(repository, tag)
        assert stored is not None
        manifest = json.loads(stored.raw)
        for blob in (manifest["config"], *manifest["layers"]):
            content = registry.blob(repository, blob["digest"], limit=2**24)
            assert content is not None
            assert sha256(content) == blob["digest"]


def ended(tab: Visit, words: str) -> None:
    """Until the newest run has this state; without a reload, if the page is alive."""
    expect(tab.page.locator("#newest .badge").first).to_have_text(words)
    expect(tab.page.get_by_text("The worker starts it")).to_have_count(0)


def run_gc(tab: Visit) -> str:
    """Clicks, waits for the end, and returns the address of the run's report."""
    before = tab.page.locator("#open-run").get_attribute("href")
    tab.page.click("#run-gc")
    tab.page.evaluate(MARK)
    expect(tab.page.locator("#open-run")).not_to_have_attribute("href", before or "")
    ended(tab, "Done")
    assert tab.page.evaluate("window.neverReloaded === true")
    return tab.page.locator("#open-run").get_attribute("href") or ""


def test_the_space_of_a_deleted_tag_comes_back(quick: Product, tab_browser: Browser) -> None:
    push(quick, "team/api", "keep")
    gone = push(quick, "team/api", "gone")
    promised = size_of(quick, gone)
    untag(quick, "team/api", "gone")
    before = bytes_on_disk(quick)
    with visit(tab_browser, quick) as tab:
        tab.login()
        tab.open(PAGE)
        expect(tab.page.locator("#newest")).to_contain_text("No run yet")
        tab.page.click("#estimate")
        ended(tab, "Done")
        words = tab.page.locator("#reclaimable").inner_text()
        assert words == f"{promised / 1000:.0f} kB"
        assert bytes_on_disk(quick) == before

        run_gc(tab)
        expect(tab.page.locator("#restore")).to_be_visible()
        assert bytes_on_disk(quick) == before  # quarantined, and the disk is as full

        time.sleep(QUARANTINE)
        report = run_gc(tab)
        expect(tab.page.locator("#freed")).to_have_text(words)
        expect(tab.page.get_by_text("The quarantine is empty.")).to_be_visible()
        tab.open(report)
        expect(tab.page.locator("#h-counts")).to_be_visible()
        assert tab.complaints == []
    assert bytes_on_disk(quick) == before - promised
    pull(quick, "team/api", "keep")


@pytest.mark.usefixtures("long_proof")
def test_what_was_quarantined_is_restored(quick: Product, tab_browser: Browser) -> None:
    gone = push(quick, "team/back", "1")
    push(quick, "team/back", "2")
    untag(quick, "team/back", "1")
    registry = quick.data / "registry"
    with visit(tab_browser, quick) as tab:
        tab.login()
        tab.open(PAGE)
        run_gc(tab)
        assert not any((registry / paths.blob_data(digest)).exists() for digest in gone)
        tab.page.click("#restore")
        expect(tab.page.get_by_text("The quarantine is empty.")).to_be_visible()
        assert all((registry / paths.blob_data(digest)).exists() for digest in gone)
        assert tab.complaints == []
    with client(quick) as one:  # it is whole: its manifest takes a tag again
        stored = one.manifest("team/back", gone[0])
        assert stored is not None
        one.put_manifest("team/back", "1", stored.raw, IMAGE)
    pull(quick, "team/back", "1")


@pytest.mark.usefixtures("long_proof")
def test_a_purge_before_its_time_says_before_and_after_for_how_long_it_holds_pushes(
    quick: Product, tab_browser: Browser
) -> None:
    gone = push(quick, "team/full", "1")
    push(quick, "team/full", "2")
    untag(quick, "team/full", "1")
    before = bytes_on_disk(quick)
    promised = size_of(quick, gone)
    with visit(tab_browser, quick) as tab:
        tab.login()
        tab.open(PAGE)
        run_gc(tab)
        tab.page.click("#purge-now")
        expect(tab.page.locator("h1")).to_have_text("Purge the quarantine now?")
        expect(tab.page.locator("main")).to_contain_text(re.compile(r"about \d+\.\d s"))
        tab.page.click("#purge")
        expect(tab.page.get_by_text("The quarantine is empty.")).to_be_visible()
        ended(tab, "Done")
        tab.page.click("#open-run")
        freeze = tab.page.locator("dl.facts > div", has_text="Write freeze").locator("dd")
        expect(freeze).to_have_text(re.compile(r"^\d+\.\d s$"))
        assert freeze.inner_text() != "0.0 s"
        assert tab.complaints == []
    assert bytes_on_disk(quick) == before - promised
    push(quick, "team/full", "3")  # writes are accepted again
    pull(quick, "team/full", "2")


@pytest.fixture(scope="module")
def quarantined(quick: Product) -> None:
    """Something in the quarantine, beside the runs that the tests before this left."""
    push(quick, "team/axe", "1")
    untag(quick, "team/axe", "1")
    quick.boathouse("gc")


@pytest.mark.usefixtures("quarantined")
@pytest.mark.parametrize(
    ("language", "theme", "width"), [("en", "light", 1360), ("zh-hans", "dark", 390)]
)
def test_axe_and_the_browser_find_nothing(
    quick: Product, tab_browser: Browser, language: str, theme: str, width: int
) -> None:
    size = {"width": width, "height": HEIGHT}
    with visit(tab_browser, quick, viewport=size, reduced_motion="reduce") as tab:
        chosen = {"__Host-boathouse_language": language, "__Host-boathouse_theme": theme}
        tab.context.add_cookies(cookies(quick, chosen))  # type: ignore[arg-type]
        tab.login()
        tab.open(PAGE)
        report = tab.page.locator("#open-run").get_attribute("href") or ""
        found = []
        for path in (PAGE, report, f"{PAGE}/purge", "/storage", "/doctor"):
            tab.open(path)
            found += too_wide(tab.page, width)
            found += violations(tab.page)
        assert found + tab.complaints == []


def test_all_of_it_works_without_javascript(quick: Product) -> None:
    visitor = Visitor(quick)
    visitor.login()
    done = visitor.post(PAGE)  # the page itself changes nothing
    assert done.status == 405
    page = visitor.get(PAGE).text
    token = re.search(r'action="/maintenance/gc/estimate">.*?value="([^"]+)"', page)
    assert token
    asked = visitor.send(f"{PAGE}/estimate", csrfmiddlewaretoken=token[1])
    assert asked.location.startswith(f"{PAGE}?was=")
    until(lambda: "reclaimable" in visitor.get(PAGE).text, "the estimate is there")
