"""Retention as a person meets it: a policy made in a browser, its dry run, its run, its undo; and a
run that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from registryui.deletion.execute import BATCH
from tests.selection import Extent
from tests.support.browser import CHROMIUM, chromium, violations, visit
from tests.support.product import ROOT, Product, product
from tests.support.registries import ACCEPT, Registry
from tests.support.waiting import LONGEST, until

from .conftest import needs

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def own(folder: Path, address: str) -> Iterator[Product]:
    """An instance of its own: policies here would delete what other tests pushed."""
    with product(folder / "retention", address) as made:
        yield made


@pytest.fixture(scope="module")
def own_browser(own: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    needs(CHROMIUM)
    with chromium(tmp_path_factory.mktemp("chromium"), own) as made:
        yield made


@pytest.fixture(scope="module")
def registry(own: Product) -> Registry:
    return Registry(own.registry_url, own.data / "registry")


def push(own: Product, registry: Registry, repository: str, count: int) -> dict[str, str]:
    """Tags v0 (oldest) to the newest with their digests, when the index knows them all."""
    made = {
        f"v{number}": registry.push_image(
            repository, f"v{number}", layers=[f"{repository} {number}".encode()]
        )
        for number in range(count)
    }
    until(lambda: len(own.listed(repository)) == count, "the index knows them")
    return made


def digest(own: Product, repository: str, tag: str) -> str:
    """What a client gets; "" for nothing."""
    path = f"/v2/{repository}/manifests/{tag}"
    answer = own.ask(path, headers={"Accept": ACCEPT}, as_user=True)
    assert answer.status in (200, 404)
    return answer.headers["docker-content-digest"] if answer.status == 200 else ""


@pytest.mark.usefixtures("long_proof")
def test_a_policy_is_made_tried_enabled_and_run_in_a_browser(
    own: Product, own_browser: Browser, registry: Registry
) -> None:
    pushed = push(own, registry, "team/app", 5)
    with visit(own_browser, own, reduced_motion="reduce") as tab:
        tab.login()
        tab.page.click("nav.nav a:has-text('Retention and GC'):visible")
        tab.page.wait_for_selector("text=No retention policies yet: nothing is deleted")
        found = violations(tab.page)
        for name, value in {
            "name": "old builds",
            "repositories": "team/*",
            "keep_newest": "2",
            "keep_pulled_days": "",
        }.items():
            tab.page.fill(f"input[name={name}]", value)
        tab.page.click("button[name=then]")
        expect(tab.page.locator("#h-report")).to_contain_text("3 of 5 tags would be deleted")
        expect(tab.page.locator("tbody tr")).to_have_count(5)
        found += violations(tab.page)
        tab.page.click("nav.segmented a:has-text('Would be deleted')")
        expect(tab.page.locator("tbody tr")).to_have_count(3)
        assert all(digest(own, "team/app", tag) for tag in pushed)  # nothing was changed

        tab.page.click("button:has-text('Enable')")
        tab.page.wait_for_selector(".badge:has-text('Enabled')")
        found += violations(tab.page)
        tab.page.click("button:has-text('Run policy…')")
        expect(tab.page.locator("form .plan")).to_contain_text("3 of 5 tags will be deleted")
        assert all(digest(own, "team/app", tag) for tag in pushed)
        found += violations(tab.page)
        tab.page.click("button:text-is('Run policy')")
        expect(tab.page.locator("#h-report")).to_contain_text("3 tags deleted")
        found += violations(tab.page)
        tab.open("/maintenance")
        expect(tab.page.locator("#runs tbody tr")).to_have_count(1)
        expect(tab.page.locator("#runs tbody tr")).to_contain_text(re.compile(r"old builds\s*3"))
        assert found + tab.complaints == []
    assert [tag for tag in pushed if digest(own, "team/app", tag)] == ["v3", "v4"]
    own.boathouse("tag", "restore", "team/app:v1")
    assert digest(own, "team/app", "v1") == pushed["v1"]


def test_an_image_expires_by_its_label_once_labels_count_and_is_restored(
    own: Product, own_browser: Browser, registry: Registry
) -> None:
    pushed = registry.push_image("ci/app", "pr-1", labels={"quay.expires-after": "1s"})
    registry.push_image("ci/app", "pr-2", layers=[b"another"])
    until(lambda: len(own.listed("ci/app")) == 2, "the index knows them")
    expire_now(own)
    assert digest(own, "ci/app", "pr-1") == pushed  # labels do not count
    with visit(own_browser, own, reduced_motion="reduce") as tab:
        tab.login()
        tab.open("/repositories/ci/app:pr-1")
        expect(tab.page.locator("dl.facts").first).to_contain_text("quay.expires-after=1s")
        tab.page.click("a:text-is('Set…')")
        tab.page.fill("input[name=duration]", "3d")
        tab.page.click("button:has-text('Set expiry')")
        expect(tab.page.locator("dl.facts").first).to_contain_text("in 3 days")
        found = violations(tab.page)
        assert found + tab.complaints == []
    expire_now(own, BOATHOUSE_EXPIRE_BY_LABEL="on")
    assert digest(own, "ci/app", "pr-1") == pushed  # what is set counts before the label
    own.boathouse("tag", "expire", "ci/app:pr-1", "--remove")
    expire_now(own, BOATHOUSE_EXPIRE_BY_LABEL="on")
    assert digest(own, "ci/app", "pr-1") == ""
    assert digest(own, "ci/app", "pr-2")
    own.boathouse("tag", "restore", "ci/app:pr-1")
    expire_now(own, BOATHOUSE_EXPIRE_BY_LABEL="on")
    assert digest(own, "ci/app", "pr-1") == pushed


def expire_now(own: Product, **environment: str) -> None:
    """What the worker does each minute."""
    code = "from registryui.retention.expiry import run_due; run_due()"
    own.boathouse("manage", "shell", "-c", code, **environment)


def test_a_run_that_is_killed_loses_nothing_and_the_next_one_goes_on(
    own: Product, registry: Registry, extent: Extent
) -> None:
    """SIGKILL at once, and in the middle: what went can be undone, what is there can be pulled."""
    count = extent(120, 500)
    pushed = push(own, registry, "many/app", count)
    policy = ["retention", "add", "many", "--repositories", "many/*", "--keep-newest", "10"]
    own.boathouse(*policy)
    own.boathouse("retention", "enable", "many")
    for left in (count * 7 // 8, count // 2):
        kill_in_the_middle(own, registry, left)
        forget_the_heartbeat(own)
    assert 10 <= len(tags(registry)) < count

    done = json.loads(own.boathouse("retention", "run", "many", "--yes", "--json").stdout)
    assert (done["state"], len(done["tags"])) == ("done", done["goes"] + done["failed"])
    assert done["failed"] <= 2 * BATCH  # what each of the killed was untagging
    newest = {f"v{number}" for number in range(count - 10, count)}
    # On 2.8 what was just being untagged is on a throw-away: "somebody pushed it meanwhile".
    assert all(digest(own, "many/app", tag) == pushed[tag] for tag in newest)
    assert not {digest(own, "many/app", tag) for tag in tags(registry) - newest} & {
        *pushed.values()
    }
    recover_now(own, is_asked=extent(True, False))
    until(lambda: tags(registry) == newest, "the worker took the rest off")
    for tag in ("v0", f"v{count // 3}", f"v{count - 11}"):  # whoever deleted it
        own.boathouse("tag", "restore", f"many/app:{tag}")
        assert digest(own, "many/app", tag) == pushed[tag]


def kill_in_the_middle(own: Product, registry: Registry, left: int) -> None:
    """Begins a run, and kills it when fewer than `left` tags are there."""
    process = subprocess.Popen(
        [str(ROOT / "boathouse"), "retention", "run", "many", "--yes", "--json"],
        env=own.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(
        lambda: len(tags(registry)) < left or process.poll() is not None,
        "the run is in the middle",
        pause=0.01,
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def recover_now(own: Product, *, is_asked: bool) -> None:
    """As if ten minutes had passed: then the worker finishes what a dead process began, at once if
    it is asked for that, else when the minute is over."""
    with sqlite3.connect(own.data / "index.sqlite3", timeout=LONGEST) as database:
        database.execute(
            "UPDATE registryui_manifest SET seen_at = '2020-01-01'"
            " WHERE artifact_type LIKE '%throw-away'"
        )
        database.execute(
            "UPDATE registryui_tagtombstone SET at = datetime('now', '-11 minutes')"
            " WHERE how = 'deleted'"
        )
    if is_asked:
        code = "from registryui.tasks import recover_deletes; recover_deletes()"
        own.boathouse("manage", "shell", "-c", code)


def tags(registry: Registry) -> set[str]:
    return set(registry.tags("many/app").json()["tags"] or ())


def forget_the_heartbeat(own: Product) -> None:
    """As if a minute had passed: then a run whose process is gone is taken for dead."""
    with sqlite3.connect(own.data / "index.sqlite3", timeout=LONGEST) as database:
        database.execute(
            "UPDATE registryui_run SET heartbeat_at = '2020-01-01' WHERE state = 'running'"
        )
