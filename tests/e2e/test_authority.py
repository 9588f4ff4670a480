"""What a browser that trusts our authority accepts of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Error, sync_playwright

from registryui import tls
from tests.support.authorities import forge, server
from tests.support.browser import POLICIES, with_policy


@pytest.mark.skipif(os.geteuid() != 0 or not POLICIES.is_dir(), reason="a policy needs root")
def test_a_stolen_key_signs_no_foreign_name_for_chromium(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    tls.ensure(folder, names=["registry.example.net"])
    program = with_policy(tmp_path, folder / "ca.crt")
    rule = "--host-resolver-rules=MAP *.example.net 127.0.0.1, MAP *.example.com 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", rule])
        try:
            page = browser.new_page()
            with server(folder) as port:
                answer = page.goto(f"https://registry.example.net:{port}/")
                assert answer is not None
                assert answer.status == 200
            forge(folder, "bank.example.com")
            with server(folder) as port, pytest.raises(Error, match="ERR_CERT"):
                page.goto(f"https://bank.example.com:{port}/")
        finally:
            browser.close()
