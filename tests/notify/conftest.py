"""Receivers on loopback, which the settings allow here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from registryui.models import RegistryEvent
from tests.support.receivers import Hook, MailServer, hook, mail_server

DIGEST = "sha256:" + "1" * 64


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, settings: Any) -> None:
    settings.MIRROR_KEY_FILE = tmp_path / "mirror-key"
    settings.MIRROR_KEY_FILE.write_text("of this test\n")
    settings.NOTIFY_LOOPBACK = True


@pytest.fixture
def receiver() -> Iterator[Hook]:
    with hook() as made:
        yield made


@pytest.fixture
def mails(settings: Any) -> Iterator[MailServer]:
    with mail_server("boathouse", "a secret of the server") as made:
        settings.SMTP_HOST, settings.SMTP_PORT = "127.0.0.1", made.port
        settings.SMTP_TLS = "off"
        settings.SMTP_USER, settings.SMTP_PASSWORD = "boathouse", "a secret of the server"
        yield made


def push(repository: str, tag: str = "1.0", number: int = 0, **fields: Any) -> RegistryEvent:
    """As the registry reports it; not stored."""
    return RegistryEvent(
        event_id=f"{repository}-{tag}-{number}",
        action=fields.pop("action", "push"),
        repository=repository,
        tag=tag,
        digest=DIGEST,
        at=timezone.now(),
        actor="ci",
        address="10.0.0.7",
        media_type="application/vnd.oci.image.manifest.v1+json",
        **fields,
    )
