"""The tool that compares pages: it finds what differs, and calls nothing different that is not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.urls import resolve
from playwright.sync_api import Page

from tests.screens import pages
from tests.screens.compare import compare, share_of
from tests.screens.render import normalised
from tests.support.access_table import DIGEST, TABLE
from tests.support.browser import CHROMIUM, chromium

needs_chromium = pytest.mark.skipif(
    not Path(CHROMIUM).exists(), reason="chromium is not installed: ./boathouse test does that."
)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path, None) as browser:
        yield browser.new_page(viewport={"width": 100, "height": 50})


def _picture(page: Page, style: str) -> bytes:
    page.set_content(
        f"<style>html {{ background: #fff }} p {{ position: absolute; margin: 0; left: 20px;"
        f" top: 10px; width: 10px; height: 5px; background: #123; {style} }}</style><p>"
    )
    return page.screenshot(full_page=True)


@needs_chromium
def test_pixels_that_differ_are_counted_and_shown(page: Page) -> None:
    before = _picture(page, "")
    assert share_of(page, before, _picture(page, "")) == (0, b"")
    share, shown = share_of(page, before, _picture(page, "background: #124"))
    assert share == pytest.approx(50 / 5000)
    assert shown.startswith(b"\x89PNG")
    # A page that is longer differs in all that the other one does not have.
    share, _shown = share_of(page, before, _picture(page, "height: 90px"))
    assert share == pytest.approx((85 * 10 + 50 * 90) / 10_000)


def test_html_that_means_the_same_is_the_same() -> None:
    before = '<p  class="b a" id="x">one\n  two <b>three</b></p>'
    after = '<p id=x class="a  b">\n  one two\n  <b>three</b>\n</p>'
    token = '<input type="hidden" name="csrfmiddlewaretoken" value="%s">'
    assert normalised(before) == normalised(after)
    assert normalised(token % "one") == normalised(token % "two")


@pytest.mark.parametrize(
    "after",
    [
        '<p id="x" class="a">one <b>two</b></p>',
        '<p id="y">one <b>two</b></p>',
        '<p id="x">one two</p>',
        '<p id="x">one <b>two</b></p><p hidden></p>',
        '<p id="x">one <b>&lt;two&gt;</b></p>',
    ],
)
def test_html_that_means_something_else_differs(after: str) -> None:
    assert normalised('<p id="x">one <b>two</b></p>') != normalised(after)


def test_lines_of_a_pre_keep_their_spaces() -> None:
    assert normalised("<pre>a\n  b</pre>") != normalised("<pre>a b</pre>")


def test_a_difference_of_html_fails_and_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for folder, word in ((before, "one"), (after, "two")):
        folder.mkdir()
        (folder / "same.html").write_text("<p>\nsame\n</p>\n")
        (folder / "page.html").write_text(f"<p>\n{word}\n</p>\n")
    assert compare(before, before) == 0
    assert compare(before, after) == 1
    assert "1 of 2 files differ" in capsys.readouterr().out
    assert "-one\n+two" in (tmp_path / "after-differences" / "page.diff").read_text()
    assert compare(before, after, only="same") == 0
    (after / "same.html").unlink()
    assert compare(before, after, only="same") == 1


def test_every_page_that_people_open_is_looked_at() -> None:
    """A new page gets its picture: tests/screens/pages.py."""
    known = defaultdict(lambda: "1", untagged=DIGEST, index=DIGEST, postgres=DIGEST, layer=DIGEST)
    shown = {
        resolve(urlsplit(one.path.format_map(known)).path).url_name
        for one in (*pages.EMPTY, *pages.FULL)
        if one.path != "/nowhere"
    }
    opened = {name for name, (_path, for_get, _for_post) in TABLE.items() if for_get is not None}
    by_forms = {"user_setup"}  # where the form for a new user leads
    inside = {"parts_banner", "chart"}  # in repositories-down, tag-chart
    no_pages = {"ca", "healthz", "metrics", "metrics_of_registry", "old_address"}
    assert opened - shown == no_pages | by_forms | inside


def test_two_folders_without_pages_are_no_success(tmp_path: Path) -> None:
    assert compare(tmp_path, tmp_path / "not there") == 1
