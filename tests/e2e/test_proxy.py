"""What nginx lets in, and how: asked over the network with curl and openssl."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Error

from tests.support.browser import CHROMIUM, chromium, visit
from tests.support.curl import curl
from tests.support.product import Answer, Product, exchange
from tests.support.waiting import LONGEST, until

from .conftest import needs

pytestmark = pytest.mark.e2e

NGINX = "nginx"


def plain(boathouse: Product, path: str) -> Answer:
    """A request without TLS to the TLS port."""
    connection = http.client.HTTPConnection(boathouse.host, boathouse.port, timeout=LONGEST)
    return exchange(connection, "GET", path, None, {})


def test_plain_http_on_the_tls_port_is_sent_to_https(boathouse: Product) -> None:
    answer = plain(boathouse, "/repositories/?q=x")
    assert answer.status == 301
    assert answer.headers["location"] == f"{boathouse.facts['url']}/repositories/?q=x"


@pytest.mark.parametrize(
    ("options", "works"),
    [
        (("--tls-max", "1.0"), False),
        (("--tlsv1.1", "--tls-max", "1.1"), False),
        (("--tlsv1.2", "--tls-max", "1.2"), True),
        (("--tlsv1.3",), True),
    ],
)
def test_tls_below_1_2_is_refused(boathouse: Product, options: Sequence[str], works: bool) -> None:
    # Else this computer's own OpenSSL refuses before the server is asked.
    old = ("--ciphers", "DEFAULT@SECLEVEL=0")
    done = curl(boathouse, *options, *old, f"{boathouse.facts['url']}/_ping")
    assert (done.returncode == 0) == works, done.stderr
    if not works:
        assert done.returncode == 35, done.stderr  # the handshake failed, not the connection


def test_the_certificate_holds_against_the_ca_and_only_against_it(boathouse: Product) -> None:
    """Row 10: openssl and curl accept it with the CA, refuse without."""
    leaf = boathouse.data / "tls" / "server.crt"
    checked = subprocess.run(
        [
            *("openssl", "verify", "-x509_strict", "-purpose", "sslserver"),
            *("-verify_ip", boathouse.host, "-CAfile", str(boathouse.ca), str(leaf)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    url = f"{boathouse.facts['url']}/healthz"
    assert curl(boathouse, url).returncode == 0
    without = subprocess.run(
        ["curl", "--silent", "--show-error", url], capture_output=True, text=True, check=False
    )
    assert without.returncode == 60, without.stderr


def test_chromium_refuses_without_the_ca_and_opens_with_it(
    boathouse: Product, tmp_path: Path
) -> None:
    needs(CHROMIUM)
    with (
        chromium(tmp_path, None) as strict,
        visit(strict, boathouse) as tab,
        pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"),
    ):
        tab.open("/login")
    with chromium(tmp_path, boathouse) as trusting, visit(trusting, boathouse) as tab:
        tab.open("/login")
        assert tab.complaints == []


@pytest.mark.parametrize("path", ["/_ping", "/v1/_ping"])
def test_pings_answer_without_a_login_and_tell_nothing(boathouse: Product, path: str) -> None:
    answer = boathouse.ask(path)
    assert (answer.status, answer.body) == (200, b"{}")
    assert not re.search(r"[0-9]+\.[0-9]+", answer.headers.get("server", ""))


def test_the_health_address_answers_without_a_login(boathouse: Product) -> None:
    answer = boathouse.ask("/healthz")
    assert answer.status == 200
    assert len(answer.body) < 100


@pytest.mark.parametrize("path", ["/hooks/registry", "/hooks/", "/hooks", "//hooks/registry"])
def test_notifications_cannot_be_sent_from_outside(boathouse: Product, path: str) -> None:
    token = (boathouse.data / "secrets" / "hook-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = boathouse.ask(path, method="POST", body=b'{"events": []}', headers=headers)
    assert answer.status == 404


@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/hello/tags/list", "/v2/_catalog", "/v2/%5fcatalog", "/v2/x/../_catalog"]
)
def test_the_registry_is_closed_without_a_login(boathouse: Product, path: str) -> None:
    answer = boathouse.ask(path)
    assert answer.status in (401, 400)
    if answer.status == 401:
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"


def test_the_catalogue_is_served_to_a_user_who_may_pull_everything(boathouse: Product) -> None:
    answer = boathouse.ask("/v2/_catalog?n=1", as_user=True)
    assert answer.status == 200
    assert set(answer.json()) == {"repositories"}


@pytest.mark.parametrize(
    "path",
    ["/", "/repositories/", "/search?q=a", "/doctor", "/operators", "/repositories/a/b:1"],
)
def test_every_page_asks_for_a_login(boathouse: Product, path: str) -> None:
    answer = boathouse.ask(path)
    assert answer.status == 302
    assert answer.headers["location"].startswith("/login?next=")
    assert boathouse.ask(path, as_user=True).status == 302  # a registry user is no operator


def test_answers_carry_the_protections(boathouse: Product) -> None:
    for path in ("/login", "/trust", "/v2/", "/_ping"):
        headers = boathouse.ask(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        # Browsers do not keep it for addresses; test_instances.py has a name.
        assert "strict-transport-security" not in headers
    login = boathouse.ask("/login").headers
    assert login["x-frame-options"] == "DENY"
    assert "default-src 'none'" in login["content-security-policy"]
    assert "unsafe" not in login["content-security-policy"]
    assert "__Host-" in login["set-cookie"]
    assert "Secure" in login["set-cookie"]


def test_no_answer_is_shown_in_a_frame_and_what_is_no_page_runs_nothing(
    boathouse: Product,
) -> None:
    style = re.search(r'href="(/static/[^"]*\.css)"', boathouse.ask("/login").body.decode())
    assert style
    for path in ("/login", style[1], "/nowhere", "/v2/", "/v2/x/y", "/v1/x", "/_ping", "/hooks/"):
        policy = boathouse.ask(path).headers["content-security-policy"]
        assert policy.count("default-src 'none'") == 1, path
        assert "base-uri 'none'" in policy, path
        assert "frame-ancestors 'none'" in policy, path
    for path in ("/v2/", "/v2/_catalog", "/v2/x/manifests/1"):
        assert "sandbox" in boathouse.ask(path, as_user=True).headers["content-security-policy"]


def test_the_authority_can_be_fetched_by_everybody(boathouse: Product) -> None:
    answer = boathouse.ask("/ca.crt")
    assert answer.status == 200
    assert answer.body == boathouse.ca.read_bytes()


def test_an_upload_cannot_be_sent_to_another_host(boathouse: Product) -> None:
    headers = {"X-Forwarded-Host": "evil.example", "Content-Length": "0"}
    path = "/v2/front/door/blobs/uploads/"
    answer = boathouse.ask(path, method="POST", headers=headers, as_user=True)
    assert answer.status == 202
    assert answer.headers["location"].startswith("/v2/front/door/")


def test_a_large_layer_goes_through_without_being_kept_on_the_way(
    boathouse: Product,
) -> None:
    """Row 7: no limit, and no second copy on the disk, in neither direction."""
    piece = bytes(1024 * 1024)
    size = LARGE * len(piece)
    digest = hashlib.sha256()
    for _ in range(LARGE):
        digest.update(piece)
    name = f"sha256:{digest.hexdigest()}"
    start = boathouse.ask("/v2/front/large/blobs/uploads/", method="POST", as_user=True)
    place = urlsplit(start.headers["location"])

    with _watched(boathouse.data / "run" / "nginx") as spooled:
        done = boathouse.ask(
            f"{place.path}?{place.query}&digest={name}",
            method="PUT",
            body=(piece for _ in range(LARGE)),
            headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
            as_user=True,
        )
        assert done.status == 201
        back = boathouse.ask(f"/v2/front/large/blobs/{name}", as_user=True)

    assert (back.status, len(back.body)) == (200, size)
    assert max(spooled) < 1024 * 1024


LARGE = 192  # MiB; a limit or a spool shows at far less


@contextmanager
def _watched(folder: Path) -> Iterator[list[int]]:
    """Notes again and again how many bytes lie below a folder."""
    sizes = [0]
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            total = 0
            for path in folder.rglob("*"):
                with contextlib.suppress(OSError):  # gone between the two looks
                    total += path.stat().st_size if path.is_file() else 0
            sizes.append(total)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def test_the_access_log_names_the_verified_user_and_no_secret(boathouse: Product) -> None:
    name, secret = boathouse.user
    mark = "/v2/access/log/tags/list"
    assert boathouse.ask(mark, as_user=True).status == 404
    assert boathouse.ask(mark, headers={"Authorization": "Basic YWRtaW46eA=="}).status == 401
    log = boathouse.data / "log" / "access.json"

    def lines() -> list[dict[str, object]]:
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        found = [row for row in rows if row["uri"] == mark]
        return found if len(found) == 2 else []

    verified, refused = until(lines, "both requests are in the access log")
    assert (verified["user"], verified["status"]) == (name, 404)
    assert (refused["user"], refused["status"]) == ("", 401)
    assert verified["id"] != refused["id"]
    assert secret not in log.read_text()


def test_nothing_but_nginx_listens_on_another_address_than_loopback(boathouse: Product) -> None:
    listening: dict[str, set[tuple[str, int]]] = {}
    for process in boathouse.processes():
        for one in process.net_connections("inet"):
            if one.status == psutil.CONN_LISTEN:
                listening.setdefault(process.name(), set()).add((one.laddr.ip, one.laddr.port))
    hook = json.loads((boathouse.data / "run" / "ports.json").read_text())["hook"]
    assert listening.pop(NGINX) == {(boathouse.host, boathouse.port), ("127.0.0.1", hook)}
    assert listening == {}  # registry and portal have sockets


def test_secrets_are_readable_by_their_owner_only(boathouse: Product) -> None:
    closed = ["tls/ca.key", "tls/server.key", *("secrets/" + name for name in SECRETS)]
    for name in closed:
        assert (boathouse.data / name).stat().st_mode & 0o077 == 0, name


SECRETS = (
    *("django-key", "hook-token", "metrics-token", "mirror-key", "proxy-token", "registry-key"),
)


# What nginx's own user, and so anybody on the machine, may read: nothing of these is a secret.
OPEN_FILES = re.compile(
    r"config/pages/.*|rights/.*|static/.*|mirrors/[^/]+/(active|refusal\.json)|run/(hold|logins)/.*|run/(ports|up)\.json"
)


def test_others_on_the_machine_read_nothing_but_what_nginx_needs(boathouse: Product) -> None:
    def within(folder: Path) -> Iterator[Path]:
        for path in folder.iterdir():
            if path.is_symlink():
                continue
            if path.is_dir():
                assert not path.stat().st_mode & 0o066, f"{path} can be listed"
                if path.stat().st_mode & 0o001:
                    yield from within(path)
            else:
                yield path

    found = list(within(boathouse.data))
    names = {path.relative_to(boathouse.data).as_posix() for path in found}
    assert {"index.sqlite3", "jobs.sqlite3", "log/access.json", "log/boathouse.log"} <= names
    readable = {
        path.relative_to(boathouse.data).as_posix() for path in found if path.stat().st_mode & 0o006
    }
    assert {name for name in readable if not OPEN_FILES.fullmatch(name)} == set()
