"""A proxy in front of ours: clients keep their addresses, and references its name and port."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.folders import open_folder
from tests.support.layouts import Layout
from tests.support.product import Answer, Product, exchange, free_port, product
from tests.support.waiting import LONGEST, until

from .conftest import needs

pytestmark = pytest.mark.e2e

PROXY = "127.0.0.2"  # connects from this address, and is trusted
CLIENT, OTHER = "127.0.0.9", "127.0.0.8"
# TLS ends here, and the name of the port where clients come is another one than ours.
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {tls}/server.crt; ssl_certificate_key {tls}/server.key;
        client_max_body_size 0;
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_bind {address};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""
HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind 127.0.0.1:{port}
    default_backend boathouse
backend boathouse
    server boathouse 127.0.0.1:{behind} send-proxy-v2 source {address}
"""


@contextmanager
def behind(protocol: str) -> Iterator[tuple[Product, int]]:
    """The product behind a proxy, and the port of that: `off` is nginx, which ends TLS, `on` is
    HAProxy, which passes it on with PROXY protocol."""
    with open_folder("proxies") as folder:
        outer, inner = free_port(), free_port()
        settings = {
            "BOATHOUSE_PUBLIC_URL": f"https://localhost:{outer}",
            "BOATHOUSE_TRUSTED_PROXIES": f"{PROXY},10.0.0.0/8",
            "BOATHOUSE_PROXY_PORT": str(inner),
            "BOATHOUSE_PROXY_PROTOCOL": protocol,
        }
        with product(folder / "data", "127.0.0.1", settings=settings) as made:
            file = folder / "proxy.conf"
            text = HAPROXY if protocol == "on" else NGINX
            tls = made.data / "tls"
            values = {"folder": folder, "port": outer, "behind": inner, "address": PROXY}
            file.write_text(text.format(**values, tls=tls))
            program = ["haproxy", "-f"] if protocol == "on" else ["nginx", "-c"]
            found = shutil.which(program[0], path="/usr/sbin:/usr/bin")
            assert found
            running = subprocess.Popen([found, *program[1:], str(file)])
            try:
                until(lambda: answers(made, outer), "the proxy answers")
                yield made, outer
            finally:
                running.terminate()
                running.wait(LONGEST)


def answers(made: Product, port: int) -> bool:
    try:
        return ask(made, port, "/_ping").status == 200
    except OSError:
        return False


def ask(
    made: Product,
    port: int,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    source: str = CLIENT,
    **headers: str,
) -> Answer:
    """A request to the proxy from that address, with the certificate checked."""
    context = ssl.create_default_context(cafile=str(made.ca))
    connection = http.client.HTTPSConnection(
        "localhost", port, timeout=LONGEST, source_address=(source, 0), context=context
    )
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return exchange(connection, method, path, body, sent)


def addresses(made: Product, path: str) -> set[str]:
    """Where requests for that path came from, as the access log has it."""
    lines = (made.data / "log" / "access.json").read_text().splitlines()
    return {row["address"] for row in map(json.loads, lines) if row["uri"] == path}


def basic(name: str, secret: str) -> str:
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()


def login(made: Product, port: int, source: str, password: str) -> int:
    """The status of signing in to the portal from there."""
    page = ask(made, port, "/login", source=source)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.body.decode())
    assert token
    cookie = "; ".join(one.partition(";")[0] for one in page.cookies)
    fields = {"csrfmiddlewaretoken": token[1], "username": made.operator[0], "password": password}
    return ask(
        made,
        port,
        "/login",
        method="POST",
        body=urlencode(fields).encode(),
        source=source,
        Cookie=cookie,
        Origin=f"https://localhost:{port}",
        Content_Type="application/x-www-form-urlencoded",
    ).status


def as_a_proxy(made: Product, source: str) -> int:
    """The status for who says from there, by PROXY protocol, that 6.6.6.6 asks."""
    place = ("127.0.0.1", int(made.settings["BOATHOUSE_PROXY_PORT"]))
    with socket.create_connection(place, LONGEST, (source, 0)) as one:
        one.sendall(b"PROXY TCP4 6.6.6.6 127.0.0.1 1234 443\r\n")
        context = ssl.create_default_context(cafile=str(made.ca))
        with context.wrap_socket(one, server_hostname="localhost") as secured:
            secured.sendall(b"GET /v2/spoofed HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return int(secured.recv(4096).split()[1])


def push(made: Product, port: int, folder: Path) -> None:
    """Pushes an image with skopeo through the proxy."""
    layout = Layout(folder / "layout")
    layout.tag("1.0", layout.image_index([layout.image("amd64", {"bin/app": b"x" * 100_000})]))
    (folder / "certificates").mkdir()
    (folder / "certificates" / "ca.crt").write_bytes(made.ca.read_bytes())
    done = subprocess.run(
        [
            *("skopeo", "--insecure-policy", "copy", "--all", "--dest-creds", ":".join(made.user)),
            *("--dest-cert-dir", str(folder / "certificates"), f"oci:{layout.folder}:1.0"),
            f"docker://localhost:{port}/team/app:1.0",
        ],
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("protocol", ["off", "on"])
def test_behind_another_proxy_clients_keep_their_addresses_and_its_name_is_the_registrys(
    protocol: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    needs("/usr/bin/skopeo", "/usr/sbin/haproxy")
    with behind(protocol) as (made, port):
        with subtests.test("images are pushed under the name and port of the proxy"):
            push(made, port, tmp_path)
            assert made.facts["registry"] == f"localhost:{port}"
        with subtests.test("the log has the client's own address"):
            ask(made, port, "/v2/", Authorization=basic("nobody", "wrong"))
            until(lambda: addresses(made, "/v2/") >= {CLIENT}, "the log has it")
        with subtests.test("who guesses at the portal locks out himself alone"):
            statuses = [login(made, port, CLIENT, "wrong") for _ in range(6)]
            assert statuses[0] == 422
            assert statuses[-1] == 429
            assert login(made, port, OTHER, made.operator[1]) == 302
        with subtests.test("a client cannot choose its address"):
            ask(made, port, "/v2/chosen", X_Forwarded_For="6.6.6.6")
            made.ask("/v2/chosen", headers={"X-Forwarded-For": "6.6.6.6"})
            found = until(lambda: addresses(made, "/v2/chosen"), "the log has it")
            assert "6.6.6.6" not in found
        with subtests.test("the port of the proxies is closed to others"):
            stranger = http.client.HTTPConnection(
                "127.0.0.1", int(made.settings["BOATHOUSE_PROXY_PORT"]), timeout=LONGEST
            )
            if protocol == "off":
                assert exchange(stranger, "GET", "/v2/", None, {}).status == 403
            else:
                with pytest.raises((OSError, http.client.HTTPException)):
                    exchange(stranger, "GET", "/v2/", None, {})
                assert as_a_proxy(made, CLIENT) == 403
                assert as_a_proxy(made, PROXY) == 401
                until(lambda: "6.6.6.6" in addresses(made, "/v2/spoofed"), "the log has it")
        with subtests.test("a foreign host is not reflected"):
            upload = ask(
                made,
                port,
                "/v2/team/app/blobs/uploads/",
                method="POST",
                body=b"",
                Host="evil.example",
                Authorization=basic(*made.user),
            )
            assert upload.status == 202
            assert upload.headers["location"].startswith("/v2/team/app/blobs/uploads/")
