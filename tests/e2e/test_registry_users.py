"""Registry users from the browser to a client: the lines that a page shows, run as they stand."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import Visit, violations, visit
from tests.support.engines import engine
from tests.support.machines import Machine
from tests.support.product import Product
from tests.support.trust import follow
from tests.support.waiting import until

from .conftest import trust_lines

pytestmark = pytest.mark.e2e


def create(tab: Visit, name: str, preset: str, namespace: str = "") -> str:
    """Makes a user by the form; the secret that the next page shows."""
    tab.open("/users")
    form = tab.page.locator("#new form")
    form.locator("input[name=name]").fill(name)
    form.locator(f"input[name=preset][value={preset}]").check()
    if namespace:
        form.locator("input[name=namespace]").fill(namespace)
    form.locator("button[type=submit]").click()
    expect(tab.page.locator("h1")).to_have_text(f"Created {name}")
    return tab.page.locator(".secret code").inner_text()


def line(tab: Visit, client: str, step: str) -> str:
    """What the box of that step holds, as a copy button would take it."""
    text = tab.page.locator(f"#line-{client}-{step} code").text_content()
    assert text
    return text


def run_login(machine: Machine, command: str, secret: str) -> str:
    """Runs a line of a page in bash, types the secret, presses Enter."""
    done = machine.run(["bash", "-c", command], stdin=f"{secret}\n", check=False)
    return done.stdout + done.stderr


@pytest.mark.root
def test_a_push_user_made_in_the_browser_pushes_with_the_lines_as_shown(
    boathouse: Product, browser: Browser, new_machine: Machine
) -> None:
    new_machine.run(trust_lines(boathouse))
    with visit(browser, boathouse) as tab, engine(new_machine) as docker:
        tab.login()
        secret = create(tab, "ci-browser", "namespace", "browser")
        proof = tab.page.locator(".head__sub")
        expect(proof).to_contain_text("verified with a login through the proxy")
        assert violations(tab.page) == []
        page = tab.page.url.removesuffix("/setup").removeprefix(boathouse.facts["url"])

        assert "Login Succeeded" in run_login(new_machine, line(tab, "shell", "login"), secret)
        docker.docker("tag", "base", "my-image")
        new_machine.run(line(tab, "shell", "push"))

        row = until(lambda: boathouse.tag("browser/my-image", "1.0"), "the tag is in the index")
        assert row is not None
        assert row["by"] == "ci-browser"
        new_machine.run(line(tab, "shell", "pull"))
        tab.open(page)
        pushed = tab.page.get_by_role("link", name="browser/my-image:1.0")
        expect(pushed.first).to_be_visible()
        assert secret not in tab.page.content()

        docker.docker("tag", "base", f"{boathouse.name}/elsewhere/base")
        refused = docker.docker("push", f"{boathouse.name}/elsewhere/base", check=False)
        assert refused.returncode != 0
        tab.page.click("button[name=act][value=off]")
        expect(tab.page.locator(".notice--ok")).to_contain_text("Disabled ci-browser.")
        docker.push_in_vain(f"{boathouse.name}/browser/my-image:1.0")
        assert tab.complaints == []


@pytest.mark.root
@pytest.mark.usefixtures("long_proof")
def test_a_pull_user_pulls_with_the_lines_for_podman(
    boathouse: Product, browser: Browser, new_machine: Machine
) -> None:
    new_machine.run(trust_lines(boathouse))
    follow(new_machine, boathouse, "podman")
    with visit(browser, boathouse) as tab, engine(new_machine) as docker:
        docker.login(boathouse.name, *boathouse.user)
        reference = f"{boathouse.name}/pulled/base:1"
        docker.docker("tag", "base", reference)
        docker.push(reference)
        until(lambda: boathouse.tag("pulled/base", "1"), "the tag is in the index")
        tab.login()
        secret = create(tab, "pull-browser", "pull")
        assert tab.page.locator("#line-podman-push").count() == 0
        tab.page.get_by_text("podman", exact=True).click()
        assert "Login Succeeded" in run_login(new_machine, line(tab, "podman", "login"), secret)
        assert line(tab, "podman", "pull") == f"podman pull {reference}"
        new_machine.run(line(tab, "podman", "pull"))
        assert tab.complaints == []


def test_a_user_is_made_measured_and_removed_without_javascript(
    boathouse: Product, browser: Browser
) -> None:
    with visit(browser, boathouse, java_script_enabled=False) as tab:
        tab.login()
        create(tab, "plain", "push")
        tab.page.click("text=I have saved it")
        tab.page.click("#own-password summary")
        tab.page.select_option("#cost", "5")
        tab.page.click("button[formaction='/users/measure']")
        expect(tab.page.locator(".notice")).to_contain_text("cost 5 takes")
        tab.page.click("text=Remove…")
        tab.page.click("dialog button[value=remove]")
        expect(tab.page.locator(".notice--ok")).to_contain_text("Removed plain.")
        assert tab.complaints == []


@pytest.mark.usefixtures("long_proof")
def test_several_users_are_chosen_and_disabled_and_a_version_restored(
    boathouse: Product, browser: Browser
) -> None:
    with visit(browser, boathouse) as tab:
        tab.login()
        for name in ("several-a", "several-b"):
            create(tab, name, "pull")
        tab.open("/users?q=several-")
        bar = tab.page.locator(".selection")
        expect(bar).to_be_hidden()
        for name in ("several-a", "several-b"):
            tab.page.get_by_label(f"Select {name}").check()
        expect(bar).to_be_visible()
        bar.locator("button[value=off]").click()
        expect(tab.page.locator(".notice--ok")).to_contain_text("Disabled 2 users.")
        tab.open("/users/htpasswd-history")
        tab.page.get_by_role("link", name="Restore…").first.click()
        expect(tab.page.locator(".plan")).to_contain_text(re.compile("several-a can log in again"))
        assert violations(tab.page) == []
        tab.page.click("main form button[type=submit]")
        expect(tab.page.locator(".notice--ok")).to_contain_text("Restored the version.")
        tab.open("/users?q=several-&state=active")
        expect(tab.page.locator("a.repo__name")).to_have_count(2)
        assert tab.complaints == []


def test_the_password_is_measured_in_place(boathouse: Product, browser: Browser) -> None:
    with visit(browser, boathouse) as tab:
        tab.login()
        tab.open("/users/1")
        tab.page.click("#own-password summary")
        tab.page.fill("input[name=password]", "typed and not lost")
        tab.page.select_option("#cost", "5")
        tab.page.click("button[formaction='/users/measure']")
        expect(tab.page.locator("#measured")).to_contain_text("cost 5 takes")
        expect(tab.page.locator("input[name=password]")).to_have_value("typed and not lost")
        assert tab.complaints == []
