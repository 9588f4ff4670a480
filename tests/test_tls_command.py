"""`manage.py tls`: shows, renews, and refuses with one sentence."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from registryui import tls


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Settings) -> Path:
    settings.TLS_DIR = tmp_path / "tls"
    settings.TLS_CERTIFICATE = settings.TLS_KEY = ""
    tls.ensure(settings.TLS_DIR, names=tls.wanted_names())
    return tmp_path / "tls"


def run(*words: str) -> str:
    printed = io.StringIO()
    call_command("tls", *words, stdout=printed)
    return printed.getvalue()


def facts(*words: str) -> dict[str, dict[str, Any]]:
    found = json.loads(run(*words, "--json"))
    assert isinstance(found, dict)
    return found


def test_it_shows_both_certificates(folder: Path) -> None:
    found = facts()
    assert list(found) == ["authority", "server"]
    assert found["server"]["names"] == ["localhost", "127.0.0.1", "::1"]
    assert found["authority"]["fingerprint"] in run()
    assert "days left" in run()


def test_renew_keeps_the_authority_and_new_authority_does_not(folder: Path) -> None:
    first = facts()
    second = facts("--renew")
    assert second["authority"] == first["authority"]
    assert second["server"]["fingerprint"] != first["server"]["fingerprint"]
    assert facts("--new-authority")["authority"] != first["authority"]


def test_what_it_cannot_do_is_one_sentence(folder: Path, settings: Settings) -> None:
    (folder / "ca.key").unlink()
    with pytest.raises(CommandError, match=r"ca\.key is missing"):
        run("--renew")
    settings.TLS_CERTIFICATE = str(folder / "server.crt")
    with pytest.raises(CommandError, match="is your own: renew it with its issuer"):
        run("--renew")
    assert list(facts()) == ["server"]
    (folder / "server.crt").unlink()
    with pytest.raises(CommandError, match="cannot be read"):
        run()
