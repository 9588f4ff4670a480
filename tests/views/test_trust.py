"""The page that teaches a machine to trust the registry: open to everybody, tells nothing else."""

from pathlib import Path

import pytest
from django.test import Client

from registryui import tls

MACHINES = ["docker", "containerd", "podman", "debian", "rhel", "macos", "windows", "kubernetes"]
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def authority(settings: object, tmp_path: Path) -> tls.Certificate:
    settings.TLS_DIR = tmp_path  # type: ignore[attr-defined]
    tls.ensure(tmp_path, names=["localhost"])
    return tls.read_certificate(tmp_path / "ca.crt")


@pytest.mark.parametrize("machine", MACHINES)
def test_each_machine_gets_commands_and_the_fingerprint(
    machine: str, authority: tls.Certificate
) -> None:
    page = Client().get("/trust", {"machine": machine}).content.decode()
    assert "https://localhost:8443/ca.crt" in page
    assert authority.fingerprint in page
    assert authority.fingerprint[:23] in page.split('id="fingerprint"')[1]
    assert "{{" not in page


def test_an_unknown_machine_is_no_error() -> None:
    assert Client().get("/trust", {"machine": "<x>"}).status_code == 200


def test_the_certificate_is_the_ca_and_never_a_key(tmp_path: Path) -> None:
    answer = Client().get("/ca.crt")
    content = b"".join(answer)
    assert content == (tmp_path / "ca.crt").read_bytes()
    assert b"PRIVATE" not in content
    assert "boathouse-ca.crt" in answer["Content-Disposition"]
