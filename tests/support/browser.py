"""A real Chromium that trusts the product by its CA, and what it complains about."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from .product import Product
from .waiting import LONGEST

CHROMIUM = "/usr/bin/chromium"
POLICIES = Path("/etc/chromium")
SESSION = "__Host-boathouse_session"  # the cookie's name
# Axe.run() would bring along all that is right, which takes a quarter of its time.
RUN_AXE = "axe.run({resultTypes: ['violations']}).then(found => found.violations)"
HEIGHT = 900  # of a window
PATIENCE = LONGEST * 1000  # milliseconds for whatever a page has to do
expect.set_options(timeout=PATIENCE)  # its own 5 s are too few for a busy machine
# A mount namespace of its own, in which the policy below is what an administrator installed.
WITH_POLICY = """#!/bin/sh
exec unshare --mount sh -c 'mount --bind {ours} {place} && exec {chromium} "$@"' chromium "$@"
"""


@contextmanager
def chromium(folder: Path, product: Product | None) -> Iterator[Browser]:
    """A browser; with a product it trusts its CA, as root by policy, else only its very key."""
    program, arguments = CHROMIUM, ["--no-sandbox"]
    if product and os.geteuid() == 0 and POLICIES.is_dir():
        program = str(with_policy(folder, product.ca))
    elif product:
        key = _key(product.data / "tls" / "server.crt")
        arguments.append(f"--ignore-certificate-errors-spki-list={key}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def with_policy(folder: Path, ca: Path) -> Path:
    """A Chromium that trusts `ca` as if an administrator had installed it. Needs root."""
    managed = folder / "etc" / "policies" / "managed"
    managed.mkdir(parents=True)
    certificate = base64.b64encode(ssl.PEM_cert_to_DER_cert(ca.read_text())).decode()
    (managed / "ca.json").write_text(json.dumps({"CACertificates": [certificate]}))
    start = folder / "chromium"
    start.write_text(WITH_POLICY.format(ours=folder / "etc", place=POLICIES, chromium=CHROMIUM))
    start.chmod(0o755)
    return start


def _key(certificate: Path) -> str:
    """The SHA-256 of the public key, as Chromium's option wants it."""
    public = load_pem_x509_certificate(certificate.read_bytes()).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


@dataclass(slots=True)
class Visit:
    """A signed-in tab that notes every complaint of the browser."""

    product: Product
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Goes there and waits until all of it is loaded."""
        answer = self.page.goto(f"{self.product.facts['url']}{path}", wait_until="load")
        if answer is None or answer.status >= 400:
            self.complaints.append(f"{path} answers {answer and answer.status}")

    def login(self, *, by_form: bool = False) -> None:
        """As the first operator: by the form, or with the session that somebody has by now."""
        if by_form or not self.product.session:
            name, password = self.product.operator
            self.open("/login")
            self.page.fill("input[name=username]", name)
            self.page.fill("input[name=password]", password)
            self.page.click("main form button[type=submit]:not([name])")
        else:
            kept = cookies(self.product, {SESSION: self.product.session})
            self.context.add_cookies(kept)  # type: ignore[arg-type]
            self.open("/")
        self.page.wait_for_url(f"{self.product.facts['url']}/")
        values = {one.get("name"): one.get("value") for one in self.context.cookies()}
        self.product.session = values[SESSION] or ""


def violations(page: Page) -> list[str]:
    """What axe finds there, by all its rules."""
    page.evaluate(Axe().axe_script)
    return [
        f"{page.url}: {one['id']}: {one['help']} at {[node['target'] for node in one['nodes'][:3]]}"
        for one in page.evaluate(RUN_AXE)
    ]


def too_wide(page: Page, *widths: int) -> list[str]:
    """At which of these widths a part of the page is out of sight."""
    found = []
    for width in widths:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            found.append(f"{page.url}: {wide} pixels wider than {width}")
    return found


@contextmanager
def visit(browser: Browser, product: Product, **options: Any) -> Iterator[Visit]:
    """A fresh profile; `options` are Playwright's for a context."""
    context = browser.new_context(**options)
    try:
        context.set_default_timeout(PATIENCE)
        made = Visit(product, context, context.new_page())
        _listen(made)
        yield made
    finally:
        context.close()


def _listen(made: Visit) -> None:
    own = urlsplit(made.product.facts["url"]).netloc

    def asked(request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != own:
            made.complaints.append(f"a request to another host: {request.url}")

    def said(message: Any) -> None:
        if message.type in ("error", "warning"):  # also every violation of the policy
            made.complaints.append(f"{made.page.url}: console: {message.text}")

    made.page.on("request", asked)
    made.page.on("console", said)
    made.page.on("pageerror", lambda error: made.complaints.append(f"{made.page.url}: {error}"))
    made.page.on(
        "requestfailed",
        lambda request: (
            made.complaints.append(f"{request.url}: {request.failure}")
            if "ERR_ABORTED" not in str(request.failure)  # left before it was there
            else None
        ),
    )


def cookies(product: Product, values: Mapping[str, str]) -> list[dict[str, str]]:
    """Cookies of the product, for `add_cookies`."""
    url = product.facts["url"]
    return [{"name": name, "value": value, "url": url} for name, value in values.items()]
