"""Open pages in a real Chromium while images come in."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Visit, visit
from tests.support.engines import Engine
from tests.support.product import Product

pytestmark = pytest.mark.e2e

# A page that was loaded anew has forgotten it.
MARK = "window.neverReloaded = true"


def is_marked(tab: Visit) -> bool:
    return bool(tab.page.evaluate("window.neverReloaded === true"))


@pytest.mark.root
def test_a_push_appears_on_the_open_pages_without_a_reload(
    boathouse: Product, browser: Browser, docker: Engine
) -> None:
    docker.make_image("live", "echo live > /root/live")
    reference = f"{boathouse.name}/live/shown"
    docker.docker("tag", "live", f"{reference}:1")
    docker.docker("tag", "live", f"{reference}:2-is-new")
    docker.push(f"{reference}:1")
    with visit(browser, boathouse) as repository, visit(browser, boathouse) as overview:
        repository.login()
        repository.open("/repositories/live/shown")
        repository.page.wait_for_selector("text=2-is-new", state="detached")
        repository.page.evaluate(MARK)
        overview.login()
        overview.page.evaluate(MARK)

        digest = docker.push(f"{reference}:2-is-new")

        link = repository.page.wait_for_selector("a:text-is('2-is-new')")
        assert link is not None
        assert is_marked(repository)
        assert repository.page.locator(f"a[href$='@{digest}']").count() >= 1
        overview.page.wait_for_selector("text=2-is-new")
        assert is_marked(overview)
        link.click()  # what came in works like the rest
        repository.page.wait_for_url("**/repositories/live/shown:2-is-new")
        assert repository.complaints + overview.complaints == []
