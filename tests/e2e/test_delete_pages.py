"""Deleting and undoing in a real Chromium, with real clients as the judges of what is gone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import HEIGHT, Visit, cookies, too_wide, violations, visit
from tests.support.engines import Engine
from tests.support.product import Product
from tests.support.waiting import until

pytestmark = pytest.mark.e2e


def pushed(boathouse: Product, docker: Engine, repository: str, *tags: str) -> str:
    """One new image under these tags, when the index knows them; its digest."""
    name = re.sub(r"\W", "-", f"{repository}-{tags[0]}")
    docker.make_image(name, f"echo {name} > /root/{name}")
    digest = ""
    for tag in tags:
        docker.docker("tag", name, f"{boathouse.name}/{repository}:{tag}")
        digest = docker.push(f"{boathouse.name}/{repository}:{tag}")
    wanted = {(tag, digest) for tag in tags}
    until(
        lambda: wanted <= {(row["tag"], row["digest"]) for row in boathouse.listed(repository)},
        "they are in the index",
    )
    return digest


def pulls(boathouse: Product, docker: Engine, repository: str, tag: str) -> str:
    """The digest that Docker pulls, from nothing; "" if it cannot."""
    reference = f"{boathouse.name}/{repository}:{tag}"
    docker.docker("rmi", "--force", reference, check=False)
    done = docker.docker("pull", reference, check=False)
    found = re.search(r"Digest: (sha256:[0-9a-f]{64})", done.stdout)
    if done.returncode != 0:
        assert "manifest unknown" in done.stderr or "not found" in done.stderr, done.stderr
    return found[1] if found and done.returncode == 0 else ""


def choose(tab: Visit, *tags: str) -> None:
    for tag in tags:
        tab.page.check(f"input[name=tag][value='{tag}']")


@pytest.mark.root
def test_a_tag_deleted_in_the_browser_is_gone_for_docker_and_undo_brings_it_back(
    boathouse: Product, browser: Browser, docker: Engine, second_docker: Engine
) -> None:
    repository = "deleted/app"
    digest = pushed(boathouse, docker, repository, "1.0", "stable")
    assert pulls(boathouse, second_docker, repository, "1.0") == digest
    with visit(browser, boathouse) as tab:
        tab.login()
        tab.open(f"/repositories/{repository}:1.0")
        tab.page.click("form[action='/delete'] button")
        expect(tab.page.locator("dialog:modal .dialog__foot > a")).to_be_focused()
        tab.page.keyboard.press("Escape")
        tab.page.wait_for_url(f"**/repositories/{repository}:1.0")
        expect(tab.page.locator("form[action='/delete'] button")).to_be_focused()
        tab.page.click("form[action='/delete'] button")
        expect(tab.page.locator("dialog")).to_contain_text("1.0 is the same image as stable")
        expect(tab.page.locator("dialog")).to_contain_text(re.compile("was pulled .* by docker"))
        tab.page.click("dialog .button--danger")
        tab.page.wait_for_url(f"**/repositories/{repository}")
        message = tab.page.locator(".notice--ok")
        expect(message).to_contain_text("Deleted 1.0")
        expect(tab.page.locator("a.repo__name:text-is('1.0')")).to_have_count(0)

        assert pulls(boathouse, second_docker, repository, "1.0") == ""
        assert pulls(boathouse, second_docker, repository, "stable") == digest

        message.get_by_role("button", name="Undo").click()
        expect(tab.page.locator("a.repo__name:text-is('1.0')")).to_be_visible()
        assert pulls(boathouse, second_docker, repository, "1.0") == digest
        assert tab.complaints == []


@pytest.mark.root
@pytest.mark.usefixtures("long_proof")
def test_many_are_chosen_over_pages_and_a_wrong_latest_goes_back(
    boathouse: Product, browser: Browser, docker: Engine, second_docker: Engine
) -> None:
    repository = "deleted/many"
    names = [f"1.{n}" for n in range(52)]
    first = pushed(boathouse, docker, repository, *names[:2], "latest")
    boathouse.tag_again(repository, "1.0", *names[2:])
    until(lambda: len(boathouse.listed(repository)) == 53, "all are in the index")
    newer = pushed(boathouse, docker, repository, "latest")
    with visit(browser, boathouse) as tab:
        tab.login()
        tab.open(f"/repositories/{repository}")
        choose(tab, "1.50")
        tab.page.click("#page-next")
        tab.page.wait_for_url("**tag=1.50**")
        choose(tab, "1.0")
        expect(tab.page.locator("#chosen")).to_contain_text("2 tags")
        tab.page.click(".selection .button--danger-quiet")
        expect(tab.page.locator("dialog .chip")).to_have_text(["1.50", "1.0"])
        tab.page.click("dialog .button--danger")
        expect(tab.page.locator(".notice--ok")).to_contain_text("Deleted 2 tags")
        assert pulls(boathouse, second_docker, repository, "1.50") == ""
        assert pulls(boathouse, second_docker, repository, "1.49") == first

        tab.open("/maintenance/recently-deleted?how=overwritten&q=deleted/many")
        tab.page.get_by_role("button", name=f"Restore {repository} latest").click()
        expect(tab.page.locator("dialog")).to_contain_text(newer[7:19])
        tab.page.click("dialog .button--primary")
        expect(tab.page.locator(".notice--ok")).to_contain_text("Restored ")
        assert pulls(boathouse, second_docker, repository, "latest") == first
        assert tab.complaints == []


@pytest.mark.root
def test_all_that_match_more_than_fifty_are_a_run_with_its_undo(
    boathouse: Product, browser: Browser, docker: Engine, second_docker: Engine
) -> None:
    repository = "deleted/run"
    digest = pushed(boathouse, docker, repository, "keep")
    boathouse.tag_again(repository, "keep", *(f"pr-{n}" for n in range(60)))
    until(lambda: len(boathouse.listed(repository)) == 61, "all are in the index")
    with visit(browser, boathouse) as tab:
        tab.login()
        tab.open(f"/repositories/{repository}?q=pr-*")
        tab.page.click("button[name=matching]")
        tab.page.fill("input[name=number]", "60")
        tab.page.click("dialog .button--danger")
        tab.page.wait_for_url("**/delete/runs/*")
        expect(tab.page.locator("#run")).to_contain_text("Deleted 60 tags.")
        assert pulls(boathouse, second_docker, repository, "pr-7") == ""
        assert pulls(boathouse, second_docker, repository, "keep") == digest
        tab.page.get_by_role("button", name="Undo").click()
        expect(tab.page.locator("#run")).to_contain_text("Restored 60 tags")
        assert pulls(boathouse, second_docker, repository, "pr-7") == digest
        assert tab.complaints == []


@pytest.mark.root
@pytest.mark.usefixtures("long_proof")
def test_purged_it_cannot_be_pulled_by_its_digest(
    boathouse: Product, browser: Browser, docker: Engine, second_docker: Engine
) -> None:
    repository = "deleted/secret"
    digest = pushed(boathouse, docker, repository, "leaked")
    kept = pushed(boathouse, docker, repository, "clean")
    by_digest = f"{boathouse.name}/{repository}@{digest}"
    assert second_docker.docker("pull", by_digest).returncode == 0
    with visit(browser, boathouse) as tab:
        tab.login()
        tab.open(f"/repositories/{repository}@{digest}")
        tab.page.click("a[href$='/delete-permanently']")
        tab.page.fill("input[name=name]", repository)
        tab.page.click("main .button--danger")
        expect(tab.page.locator(".notice--ok")).to_contain_text("Permanently deleted")
        second_docker.docker("rmi", "--force", by_digest, check=False)
        assert second_docker.docker("pull", by_digest, check=False).returncode != 0
        assert pulls(boathouse, second_docker, repository, "clean") == kept
        assert tab.complaints == []


@pytest.mark.root
def test_deleting_and_undoing_need_no_javascript(
    boathouse: Product, browser: Browser, docker: Engine
) -> None:
    repository = "deleted/plain"
    digest = pushed(boathouse, docker, repository, "1.0", "2.0", "3.0")
    with visit(browser, boathouse, java_script_enabled=False) as tab:
        tab.login()
        tab.open(f"/repositories/{repository}")
        choose(tab, "1.0", "2.0")
        expect(tab.page.locator(".selection")).to_be_visible()
        tab.page.click(".selection .button--danger-quiet")
        tab.page.click("dialog .button--danger")
        assert {row["tag"] for row in boathouse.listed(repository)} == {"3.0"}
        tab.open(f"/repositories/{repository}?q=*.0")
        tab.page.click("button[name=matching]")
        tab.page.click("dialog .button--danger")
        assert boathouse.listed(repository) == []
        tab.open("/maintenance/recently-deleted?q=deleted/plain")
        tab.page.get_by_role("button", name="Restore all 2").click()
        tab.page.get_by_role("button", name=f"Restore {repository} 3.0").click()
        rows = boathouse.listed(repository)
        assert {row["tag"]: row["digest"] for row in rows} == dict.fromkeys(
            ("1.0", "2.0", "3.0"), digest
        )


@pytest.mark.parametrize(
    ("language", "theme", "width"), [("en", "light", 1360), ("zh-hans", "dark", 390)]
)
def test_axe_finds_nothing_on_the_pages_of_deleting(
    furnished: Product,
    browser: Browser,
    subtests: pytest.Subtests,
    language: str,
    theme: str,
    width: int,
) -> None:
    repository = "/repositories/platform/api"

    def look(tab: Visit, name: str) -> None:
        with subtests.test(name):
            assert too_wide(tab.page, width) == []
            assert violations(tab.page) == []

    options = {"viewport": {"width": width, "height": HEIGHT}, "reduced_motion": "reduce"}
    with visit(browser, furnished, **options) as tab:
        values = {"__Host-boathouse_language": language, "__Host-boathouse_theme": theme}
        tab.context.add_cookies(cookies(furnished, values))  # type: ignore[arg-type]
        tab.login()
        tab.open("/maintenance/recently-deleted?q=there-is-none")
        look(tab, "nothing")
        tab.open(repository)
        choose(tab, "2.9.2", "2.9.1")
        expect(tab.page.locator("#chosen br")).to_have_count(1)
        look(tab, "chosen")
        tab.page.click(".selection .button--danger-quiet")
        look(tab, "plan")
        tab.page.click("dialog .button--danger")
        tab.page.wait_for_selector(".notice--ok")
        look(tab, "message")
        tab.open("/maintenance/recently-deleted")
        look(tab, "deleted")
        tab.open(repository)
        tab.page.click("button[name=all]")
        look(tab, "repository")
        tab.page.click("dialog .dialog__foot a")
        link = tab.page.locator("td.cell--corner a").first.get_attribute("href") or ""
        digest = link.partition("@")[2]
        tab.open(f"{repository}@{digest}/delete-permanently")
        look(tab, "for-good")
        tab.open(f"{repository}?show=untagged")
        look(tab, "untagged")
        tab.open("/maintenance/recently-deleted")
        tab.page.locator("button[name=act]").first.click()  # as it was, for the next look
        tab.page.wait_for_selector(".notice--ok")
    assert tab.complaints == []
