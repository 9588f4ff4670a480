"""The trust page: open to everybody, real certificate data, commands that run as they stand."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from registryui import tls
from registryui.models import Role
from tests.support.factories import make_operator, make_repository

MACHINES = (
    "docker", "containerd", "podman", "debian", "rhel", "macos", "windows", "kubernetes",
)  # fmt: skip
STEP = re.compile(r'<li id="step-(\w+)">.*?<code>(.*?)</code>', re.DOTALL)


@pytest.fixture
def authority(tmp_path: Path, settings: Settings) -> tls.Certificate:
    """Our CA, for registry.example.net:8443."""
    settings.TLS_DIR = tmp_path / "tls"
    settings.TLS_CERTIFICATE = settings.TLS_KEY = ""
    settings.HOST = "registry.example.net"
    settings.REGISTRY_NAME = "registry.example.net:8443"
    settings.PUBLIC_URL = "https://registry.example.net:8443"
    tls.ensure(settings.TLS_DIR, names=tls.wanted_names())
    return tls.read_certificate(settings.TLS_DIR / "ca.crt")


def page(client: Client, machine: str = "", **headers: Any) -> str:
    answer = client.get("/trust", {"machine": machine} if machine else {}, **headers)
    assert answer.status_code == 200
    return answer.content.decode()


def steps(client: Client, machine: str) -> dict[str, str]:
    return {name: html.unescape(text) for name, text in STEP.findall(page(client, machine))}


@pytest.mark.django_db
def test_it_opens_without_login_and_without_a_query(
    client: Client, authority: tls.Certificate, django_assert_num_queries: Any
) -> None:
    make_repository("secret/project")
    with django_assert_num_queries(0):
        text = page(client)
    assert "secret/project" not in text
    assert "Trust this registry" in text
    assert 'href="/login"' in text


@pytest.mark.django_db
def test_it_shows_the_real_certificates(client: Client, authority: tls.Certificate) -> None:
    text = html.unescape(page(client))
    assert authority.fingerprint in text.replace("<wbr>", "")
    assert authority.subject in text
    assert "ECDSA P-256" in text
    assert "395 days left" in text or "396 days left" in text
    rows = re.search(r'id="fingerprint">(.*?)</pre>', text, re.DOTALL)
    assert rows is not None
    assert [len(row.split(":")) for row in rows[1].split()] == [8, 8, 8, 8]
    assert ":".join(rows[1].split()) == authority.fingerprint


@pytest.mark.django_db
@pytest.mark.parametrize("machine", MACHINES)
def test_each_machine_has_its_steps(
    client: Client, authority: tls.Certificate, machine: str
) -> None:
    found = steps(client, machine)
    assert list(found)[:3] == ["fetch", "compare", "install"]
    assert list(found)[-1] == "try"
    program = "curl.exe" if machine == "windows" else "curl"
    url = "https://registry.example.net:8443/ca.crt"
    assert found["fetch"] == f"{program} -fsSk {url} -o boathouse-ca.crt"
    assert "registry.example.net:8443" in found["try"]
    assert "boathouse-ca.crt" in found["install"]
    assert f'href="?machine={machine}" aria-current="true"' in page(client, machine)


@pytest.mark.django_db
@pytest.mark.parametrize("machine", [one for one in MACHINES if one != "windows"])
def test_the_lines_are_good_shell(client: Client, authority: tls.Certificate, machine: str) -> None:
    script = "\n".join(steps(client, machine).values())
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.django_db
def test_compare_prints_the_fingerprint_that_the_page_shows(
    client: Client, authority: tls.Certificate, tmp_path: Path, settings: Settings
) -> None:
    shutil.copy(settings.TLS_DIR / "ca.crt", tmp_path / "boathouse-ca.crt")
    line = steps(client, "debian")["compare"]
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip().partition("=")[2] == authority.fingerprint


@pytest.mark.django_db
def test_containerd_gets_a_hosts_file_that_is_toml(
    client: Client, authority: tls.Certificate
) -> None:
    import tomllib

    lines = steps(client, "containerd")["install"]
    text = lines.partition("<<'END'\n")[2].partition("\nEND")[0]
    folder = "/etc/containerd/certs.d/registry.example.net:8443"
    assert tomllib.loads(text) == {
        "server": "https://registry.example.net:8443",
        "host": {"https://registry.example.net:8443": {"ca": f"{folder}/ca.crt"}},
    }


@pytest.mark.django_db
def test_an_unknown_machine_is_docker(client: Client, authority: tls.Certificate) -> None:
    text = page(client, "<script>")
    assert "<script>alert" not in text
    assert 'href="?machine=docker" aria-current="true"' in text


@pytest.mark.django_db
def test_the_push_lines_name_this_registry(client: Client, authority: tls.Certificate) -> None:
    assert "docker push registry.example.net:8443/team/my-image:1.0" in page(client)
    assert "podman push registry.example.net:8443/team/my-image:1.0" in page(client, "rhel")


def test_the_ca_is_a_download_that_no_cache_keeps(
    client: Client, authority: tls.Certificate, settings: Settings
) -> None:
    answer = client.get("/ca.crt")
    assert answer["Content-Type"] == "application/x-x509-ca-cert"
    assert answer["Content-Disposition"] == 'attachment; filename="boathouse-ca.crt"'
    assert answer["Cache-Control"] == "no-store"
    assert answer.getvalue() == (settings.TLS_DIR / "ca.crt").read_bytes()  # type: ignore[attr-defined]
    assert client.post("/ca.crt").status_code == 405


@pytest.mark.django_db
def test_a_certificate_of_ones_own_needs_no_installation(
    client: Client, authority: tls.Certificate, settings: Settings
) -> None:
    settings.TLS_CERTIFICATE = str(settings.TLS_DIR / "server.crt")
    settings.TLS_KEY = str(settings.TLS_DIR / "server.key")
    text = page(client)
    assert "Nothing to install" in text
    assert f"issued by {authority.subject}" in html.unescape(text)
    assert "step-fetch" not in text
    assert 'href="/ca.crt"' not in text
    assert "docker login registry.example.net:8443" in text
    assert client.get("/ca.crt").status_code == 404


@pytest.mark.django_db
def test_a_certificate_that_cannot_be_read_is_told_without_its_path(
    client: Client, authority: tls.Certificate, settings: Settings
) -> None:
    (settings.TLS_DIR / "server.crt").write_text("junk")
    text = page(client)
    assert "cannot be read" in text
    assert str(settings.TLS_DIR) not in text
    (settings.TLS_DIR / "ca.crt").unlink()
    assert "cannot be read" in page(client)
    assert client.get("/ca.crt").status_code == 404


@pytest.mark.django_db
def test_operators_see_it_within_the_portal(client: Client, authority: tls.Certificate) -> None:
    client.force_login(make_operator(role=Role.VIEWER))
    assert 'href="/repositories/"' in page(client)
