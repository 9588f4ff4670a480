"""Every page in a real Chromium: both languages, both themes, three widths, with and without
JavaScript. A page is loaded once for all widths, because only its style sheet knows them. Pictures
are in BOATHOUSE_SCREENSHOTS, if that is set: look at them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.selection import Extent
from tests.support.browser import HEIGHT, Visit, cookies, too_wide, violations, visit
from tests.support.product import Product

pytestmark = pytest.mark.e2e

API = "/repositories/platform/api"
PUBLIC = {"login": "/login", "trust-public": "/trust", "trust-podman": "/trust?machine=podman"}
MAIN = {
    "dashboard": "/",
    "repositories": "/repositories/",
    "repository": API,
    "tag": f"{API}:2.14.0",
    "search": "/search?q=api",
    "compare": "/compare?a=platform/api:2.14.0-rc.2&b=platform/api:2.14.0",
    "storage": "/storage",
    "retention": "/maintenance",
    "trust": "/trust",
    "doctor": "/doctor",
    "recently-deleted": "/maintenance/recently-deleted",
    "users": "/users",
    "user": "/users/1",
    "operators": "/operators",
}
TABS = ("layers", "dockerfile", "config", "labels", "used", "referrers", "history", "raw")
REST = {
    "repositories-found": "/repositories/?q=a&namespace=platform&sort=-size",
    "repositories-nothing": "/repositories/?q=there-is-none",
    "repository-referrer-tags": f"{API}?show=referrer-tags",
    "repository-untagged": f"{API}?show=untagged",
    "repository-access": f"{API}?show=access",
    "repository-filtered": f"{API}?q=2.14*",
    "repository-nothing": f"{API}?q=there-is-none",
    **{f"tag-{tab}": f"{API}:2.14.0?tab={tab}" for tab in TABS[1:]},
    "image": "/repositories/data/postgres:16.4",
    "chart": "/repositories/charts/api:2.14.0",
    "odd": "/repositories/tools/odd-labels:latest?tab=labels",
    "odd-history": "/repositories/tools/odd-labels:latest?tab=dockerfile",
    "search-empty": "/search",
    "search-found": "/search?q=api+platform:arm64+-tag:dev+label:org.opencontainers.image.title",
    "compare-one": "/compare?a=platform/api:2.14.0",
    "compare-all": "/compare?a=platform/api:2.14.0&b=data/postgres:16.4&all=1",
    "tag-entries": f"{API}:2.14.0?tab=entries",
    "search-nothing": "/search?q=there-is-none",
    "search-wrong": "/search?q=api+is:nice+size>much",
    "search-untagged": "/search?q=is:untagged",
    "users-nothing": "/users?q=there-is-none&state=off",
    "user-remove": "/users/1?remove=1",
    "htpasswd-history": "/users/htpasswd-history",
    "password": "/password",
}


WIDTHS = (1360, 390, 1920)


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is looked at. axe looks at the first width only."""

    language: str
    theme: str
    width: int

    def __str__(self) -> str:
        return f"{self.language}-{self.theme}-{self.width}"

    @property
    def widths(self) -> list[int]:
        """All of them, this one last."""
        return [*(width for width in WIDTHS if width != self.width), self.width]


@pytest.fixture(scope="session")
def pictures() -> Path | None:
    """Where the screenshots go; None: nobody wants to look at them."""
    wanted = os.environ.get("BOATHOUSE_SCREENSHOTS")
    if not wanted:
        return None
    folder = Path(wanted)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("look", [Look("en", "light", 1360), Look("zh-hans", "dark", 390)], ids=str)
def test_axe_and_the_browser_find_nothing_on_any_page(
    furnished: Product,
    browser: Browser,
    pictures: Path | None,
    subtests: pytest.Subtests,
    extent: Extent,
    look: Look,
) -> None:
    """In the short run axe looks at each page in one look; the main pages are opened in both."""
    is_first = look.language == "en"
    with visit(browser, furnished, **_options(look)) as tab:
        _put_on(tab, look)
        for number, (name, path) in enumerate(_walk(tab, {**MAIN, **REST})):
            is_looked_at = extent(number % 2 == is_first, True)
            if name in REST and not is_looked_at:
                continue
            widths = extent([look.width], look.widths) if name in REST else look.widths
            with subtests.test(name):
                assert _seen(tab, name, path, look, widths, pictures) == []
                assert not is_looked_at or violations(tab.page) == []
    assert tab.complaints == []


@pytest.mark.parametrize(
    "look", [Look("en", "dark", 1360), Look("zh-hans", "light", 1360)], ids=str
)
def test_the_main_pages_fit_and_are_quiet_in_the_other_looks(
    furnished: Product,
    browser: Browser,
    pictures: Path | None,
    subtests: pytest.Subtests,
    extent: Extent,
    look: Look,
) -> None:
    """In the short run each in one of these looks."""
    is_first = look.language == "en"
    with visit(browser, furnished, **_options(look)) as tab:
        _put_on(tab, look)
        for number, (name, path) in enumerate(_walk(tab, MAIN)):
            if not extent(number % 2 == is_first, True):
                continue
            with subtests.test(name):
                assert _seen(tab, name, path, look, look.widths, pictures) == []
    assert tab.complaints == []


def _options(look: Look) -> dict[str, object]:
    return {"viewport": {"width": look.width, "height": HEIGHT}, "reduced_motion": "reduce"}


def _put_on(tab: Visit, look: Look) -> None:
    values = {"__Host-boathouse_language": look.language, "__Host-boathouse_theme": look.theme}
    tab.context.add_cookies(cookies(tab.product, values))  # type: ignore[arg-type]


def _walk(tab: Visit, inside: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names and paths of the public pages and then, signed in, of the others."""
    yield from PUBLIC.items()
    tab.login()
    yield from inside.items()


def _seen(
    tab: Visit, name: str, path: str, look: Look, widths: Sequence[int], pictures: Path | None
) -> list[str]:
    """What is wrong with that page at these widths; takes its pictures if somebody wants them."""
    tab.open(path)
    found = []
    language = tab.page.evaluate("document.documentElement.lang").lower()
    if not language.startswith(look.language[:2]):
        found.append(f"{path}: speaks {language}")
    for width in widths:
        found += too_wide(tab.page, width)
        if pictures:
            place = pictures / f"{name}-{look.language}-{look.theme}-{width}.png"
            tab.page.screenshot(path=place, full_page=True)
    return found


# -- what people do there ------------------------------------------------------------------------


def test_theme_and_language_are_kept_when_chosen(furnished: Product, browser: Browser) -> None:
    with visit(browser, furnished) as tab:
        tab.open("/login")
        tab.page.click("button[name=theme][value=dark]")
        tab.page.wait_for_selector("html[data-theme=dark]")
        tab.page.click("button[name=language][value=zh-hans]")
        tab.page.wait_for_selector("html[lang^=zh]")
        tab.login(by_form=True)
        assert tab.page.get_attribute("html", "data-theme") == "dark"
        expect(tab.page.locator("html")).to_have_attribute("lang", re.compile("^zh"))
        assert tab.complaints == []


def test_typing_filters_the_lists(furnished: Product, browser: Browser) -> None:
    with visit(browser, furnished) as tab:
        tab.login()
        tab.open("/repositories/")
        main = tab.page.locator("main")
        expect(main.get_by_role("link", name="postgres").first).to_be_visible()
        tab.page.locator("main input[name=q]").first.press_sequentially("worker")
        expect(main.get_by_role("link", name="postgres")).to_have_count(0)
        expect(main.get_by_role("link", name="worker").first).to_be_visible()
        assert tab.complaints == []


def test_all_is_usable_without_javascript(furnished: Product, browser: Browser) -> None:
    with visit(browser, furnished, java_script_enabled=False) as tab:
        tab.login(by_form=True)
        tab.open("/repositories/")
        field = tab.page.locator("main input[name=q]").first
        field.fill("worker")
        field.press("Enter")
        main = tab.page.locator("main")
        expect(main.get_by_role("link", name="postgres")).to_have_count(0)
        main.get_by_role("link", name="worker").first.click()
        expect(tab.page.locator("h1")).to_contain_text("worker")
        tab.open(API)
        tab.page.locator("main input[name=q]").first.fill("2.14.0")
        tab.page.locator("main input[name=q]").first.press("Enter")
        main.locator("a.repo__name:text-is('2.14.0')").click()
        expect(tab.page.locator("h1")).to_contain_text("2.14.0")
        for tab_name in ("dockerfile", "config", "raw"):
            tab.page.locator(f"nav.tabs a[href*='tab={tab_name}']").click()
            expect(tab.page.locator("nav.tabs a[aria-current=page]")).to_have_attribute(
                "href", re.compile(f"tab={tab_name}")
            )
        search = tab.page.locator("form[role=search] input[name=q]").first
        search.fill("postgres")
        search.press("Enter")
        expect(main.get_by_role("link", name="postgres").first).to_be_visible()
        assert tab.complaints == []


def test_what_strangers_push_runs_no_script_and_becomes_no_link(
    furnished: Product, browser: Browser
) -> None:
    with visit(browser, furnished) as tab:
        tab.page.on("dialog", lambda dialog: tab.complaints.append(f"dialog: {dialog.message}"))
        tab.login()
        for part in TABS:
            tab.open(f"/repositories/tools/odd-labels:latest?tab={part}")
            own = furnished.facts["url"]
            links = tab.page.eval_on_selector_all("a", "all => all.map(a => a.href)")
            strangers = [link for link in links if not link.startswith(own)]
            assert strangers == [], part
        assert tab.complaints == []


PHONE = {"viewport": {"width": 390, "height": 560}}


def test_after_an_act_the_list_is_where_it_was(furnished: Product, browser: Browser) -> None:
    furnished.boathouse("user", "add", "stays-in-place")
    with visit(browser, furnished, **PHONE) as tab:
        tab.login()
        tab.open("/users?q=stays&sort=-used")
        tab.page.get_by_label("Select stays-in-place").check()
        tab.page.evaluate("scrollTo(0, 300)")
        tab.page.get_by_role("button", name="Disable").click()
        message = tab.page.get_by_role("status").filter(has_text="Disabled stays-in-place.")
        expect(message).to_be_in_viewport()
        assert tab.page.url.endswith("/users?q=stays&sort=-used")
        expect(tab.page.get_by_label("Select stays-in-place")).not_to_be_checked()
        assert tab.page.evaluate("scrollY") == 300
        tab.page.get_by_label("Select stays-in-place").check()
        tab.page.evaluate("scrollTo(0, 280)")
        tab.page.get_by_role("button", name="Remove…").click()  # asks first
        tab.page.get_by_role("dialog").get_by_role("link", name="Cancel").click()
        tab.page.wait_for_url("**/users?q=stays&sort=-used")
        assert tab.page.evaluate("scrollY") == 280
        tab.page.reload()
        expect(message).to_have_count(0)
        assert tab.complaints == []


def test_typing_filters_the_activity_and_adds_nothing_to_the_history(
    furnished: Product, browser: Browser
) -> None:
    with visit(browser, furnished) as tab:
        tab.login()
        tab.open("/activity")
        before = tab.page.evaluate("history.length")
        tab.page.get_by_label("On what").press_sequentially("there-is-none")
        expect(tab.page.get_by_text("No matching actions")).to_be_visible()
        assert "target=there-is-none" in tab.page.url
        assert tab.page.evaluate("history.length") == before
        expect(tab.page.get_by_role("button", name="Apply")).to_be_hidden()
        assert tab.complaints == []


def test_on_a_phone_each_page_has_the_search_and_each_tag_its_badges(
    furnished: Product, browser: Browser
) -> None:
    with visit(browser, furnished, **PHONE) as tab:
        tab.login()
        tab.open(API)
        for name in ("2.14.0", "2.14"):  # tags of one image fold into one card
            row = tab.page.locator("tr", has=tab.page.locator(f"a:text-is('{name}')"))
            expect(row.get_by_text("Signature attached")).to_be_visible()
        tab.page.evaluate("scrollTo(0, 900)")
        tab.page.locator(".phone-bar").get_by_role("link", name="Search").click()
        expect(tab.page.locator("main input[type=search]")).to_be_focused()
        assert tab.complaints == []
