"""What people read on pages of a real product: a chart's README, a repository's own; and a digest
that a button copies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import visit
from tests.support.product import Product

pytestmark = pytest.mark.e2e


def test_a_chart_shows_its_readme_and_a_digest_is_copied(
    furnished: Product, browser: Browser
) -> None:
    with visit(browser, furnished, permissions=["clipboard-read", "clipboard-write"]) as one:
        one.login()
        one.open("/repositories/charts/api:2.14.0")
        page = one.page
        expect(page.locator(".prose h3")).to_have_text("api")
        expect(page.locator(".prose table")).to_contain_text("image.tag")
        expect(page.locator("pre.code")).to_contain_text("replicas: 3")
        expect(page.locator("main")).to_contain_text("--version 2.14.0")
        one.open("/repositories/platform/api")
        shown = page.locator("td.cell--corner a").first
        digest = (shown.get_attribute("href") or "").partition("@")[2]
        button = shown.locator("xpath=following-sibling::button")
        button.click()
        expect(button).to_have_attribute("title", "Copied")
        assert page.evaluate("navigator.clipboard.readText()") == digest
        assert one.complaints == []


def test_a_readme_of_a_file_is_on_the_page(
    furnished: Product, browser: Browser, folder: Path
) -> None:
    readme = folder / "README.md"  # the user of Boathouse reads it
    readme.write_text("# Notes\n\n![badge](https://evil.example.com/x.png) *here*\n")
    said = furnished.boathouse(
        *("repository", "describe", "tools/odd-labels", "--text", "Odd ones"),
        *("--readme", str(readme), "--json"),
    )
    assert json.loads(said.stdout)["description"] == "Odd ones"
    with visit(browser, furnished) as one:
        one.login()
        one.open("/repositories/tools/odd-labels?show=readme")
        expect(one.page.locator(".prose em")).to_have_text("here")
        expect(one.page.locator(".about")).to_have_text("Odd ones")
        one.page.get_by_role("link", name="Edit description").click()
        one.page.locator("textarea").fill("**new**")
        one.page.get_by_role("button", name="Preview").click()
        expect(one.page.locator("#preview .prose strong")).to_have_text("new")
        expect(one.page.locator("textarea")).to_have_value("**new**")
        assert one.complaints == []
    furnished.boathouse("repository", "describe", "tools/odd-labels", "--clear")
