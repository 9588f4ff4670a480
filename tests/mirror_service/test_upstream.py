"""How upstreams are asked: logins, redirects, certificates, proxies; and no secret where it should
not be."""

from __future__ import annotations

import http.server
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.request import urlopen

import pytest

from registryui import tls
from tests.support.fake_source import digest_of
from tests.support.folders import open_folder

from .conftest import World
from .fake_upstream import fake_upstream

TAG = "/v2/hub/team/app/manifests/1"
LAYER = b"layer" * 50_000
BLOB = f"/v2/hub/team/app/blobs/{digest_of(LAYER)}"


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    """An authority, and what it signed for this machine."""
    with open_folder("tls") as folder:
        tls.ensure(folder, names=["127.0.0.1"])
        yield folder


def fill(world: World) -> None:
    world.upstream.push_image("team/app", "1", LAYER)


def test_a_token_is_fetched_and_used_until_it_expires(world: World) -> None:
    fill(world)
    world.upstream.token = "abc"
    assert world.ask(TAG).status == 200
    assert world.ask(BLOB).body == LAYER
    tokens = [line for line, _headers in world.upstream.heard if "/token" in line]
    assert tokens == ["GET /token?service=fake&scope=repository%3Ateam%2Fapp%3Apull"]
    world.upstream.token = "another"  # the old one is no longer accepted
    world.mirror(fresh_seconds=0)
    assert "warning" not in world.ask(TAG).headers


@pytest.mark.parametrize("token", ["", "abc"])
def test_a_login_is_sent_where_it_is_asked_for(world: World, token: str) -> None:
    fill(world)
    world.upstream.token, world.upstream.login = token, ("me", "säcret")
    answer = world.ask(TAG)
    assert (answer.status, answer.json()["errors"][0]["code"]) == (403, "DENIED")
    world.mirror(user="me", password="säcret")
    assert world.ask(TAG).status == 200
    assert world.ask(BLOB).body == LAYER
    pair = "Basic " + b64encode("me:säcret".encode()).decode()
    for line, headers in world.upstream.heard:
        if token and "/token" not in line:
            assert headers.get("authorization") != pair
    world.mirror(user="me", password="wrong")
    told = world.ask("/v2/hub/team/app/manifests/2")
    assert told.status == 403
    everything = repr(world.service._upstreams) + told.body.decode() + repr(world.state())
    assert "säcret" not in everything
    assert "wrong" not in everything


def test_a_key_that_does_not_fit_closes_the_mirror(world: World) -> None:
    world.mirror(user="me", secret="encrypted with another key")
    assert world.ask(TAG).status == 404
    assert not world.upstream.asked


def test_a_redirect_to_another_host_gets_no_login(world: World) -> None:
    fill(world)
    with fake_upstream() as storage:
        storage.blobs = world.upstream.blobs
        world.upstream.login = ("me", "secret")
        world.upstream.redirects_to = storage.url
        world.mirror(user="me", password="secret")
        assert world.ask(BLOB).body == LAYER
    assert storage.asked.total() == 1
    assert not [one for _line, one in storage.heard if "authorization" in one]


def test_redirects_have_an_end(world: World) -> None:
    fill(world)
    world.upstream.redirects_to = world.upstream.url
    assert world.ask(BLOB).status == 502


def outer_address() -> str:
    """An address of this machine that is not loopback; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        found: str = one.getsockname()[0]
        return found


@pytest.mark.parametrize("leads_by", ["redirect", "token"])
def test_an_upstream_elsewhere_leads_to_no_service_of_this_machine(
    world: World, leads_by: str
) -> None:
    with fake_upstream(address=outer_address()) as upstream, fake_upstream() as inside:
        upstream.push_image("team/app", "1", LAYER)
        inside.blobs = upstream.blobs
        world.mirror(url=upstream.url)
        if leads_by == "redirect":
            upstream.redirects_to = inside.url
        else:
            upstream.token, upstream.url = "abc", inside.url
        refused = world.ask(BLOB)
        assert refused.status == 502
        assert "a service of the machine" in refused.json()["errors"][0]["message"]
        assert not inside.asked
        upstream.redirects_to = upstream.token = ""
        assert world.ask(BLOB).body == LAYER


def test_a_certificate_of_an_own_authority(world: World, certificates: Path) -> None:
    with fake_upstream(certificates) as upstream:
        digest = upstream.push_image("team/app", "1", LAYER)
        world.mirror(url=upstream.url)
        refused = world.ask(TAG)
        assert refused.status == 503
        assert "certificate is not trusted" in refused.json()["errors"][0]["message"]
        world.mirror(url=upstream.url, ca=(certificates / "ca.crt").read_text())
        assert world.ask(TAG).headers["docker-content-digest"] == digest
        assert world.ask(BLOB).body == LAYER
        # What is here stays when the certificate is no longer trusted.
        world.mirror(url=upstream.url, fresh_seconds=0)
        stale = world.ask(TAG)
        assert (stale.status, stale.headers["warning"][:3]) == (200, "111")


def test_nothing_goes_from_https_to_http(world: World, certificates: Path) -> None:
    ca = (certificates / "ca.crt").read_text()
    with fake_upstream(certificates) as upstream:
        upstream.push_image("team/app", "1", LAYER)
        upstream.redirects_to = world.upstream.url
        world.mirror(url=upstream.url, ca=ca)
        assert world.ask(BLOB).status == 502
        upstream.token, upstream.login = "abc", ("me", "secret")
        upstream.url = world.upstream.url  # of the realm that it names
        world.mirror(url=world.service._upstreams["hub"].mirror.url, ca=ca, user="me", password="x")
        assert world.ask(TAG).status == 403
    assert not world.upstream.asked


class _Proxy(http.server.BaseHTTPRequestHandler):
    heard: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        self.heard.append((self.path, self.headers.get("Proxy-Authorization", "")))
        with urlopen(self.path) as answer:
            content = answer.read()
            self.send_response(answer.status)
            for name in ("Content-Type", "Docker-Content-Digest"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        pass


def test_a_proxy_is_used(world: World) -> None:
    fill(world)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            world.mirror(proxy=f"http://me:p%40ss@127.0.0.1:{server.server_address[1]}")
            assert world.ask(TAG).status == 200
            assert world.ask(BLOB).body == LAYER
        finally:
            server.shutdown()
            thread.join()
    login = "Basic " + b64encode(b"me:p@ss").decode()
    path = f"{world.upstream.url}/v2/team/app"
    assert _Proxy.heard[:2] == [
        (f"{path}/manifests/1", login),
        (f"{path}/blobs/{digest_of(LAYER)}", login),
    ]


def test_a_kept_connection_that_the_upstream_closed_is_no_error(world: World) -> None:
    fill(world)
    assert world.ask(TAG).status == 200
    upstream = world.service._upstreams["hub"]
    assert upstream._idle
    for _origin, connection, _at in upstream._idle:
        connection.sock.shutdown(2)
    assert world.ask(BLOB).body == LAYER
    assert world.state()["away_since"] is None


def test_the_probe_ends_with_the_mirror(world: World) -> None:
    world.mirror(url="http://127.0.0.1:1")
    assert world.ask(TAG).status == 503
    upstream = world.service._upstreams["hub"]
    world.mirror()
    fill(world)
    assert world.ask(TAG).status == 200
    assert upstream.health.is_over.is_set()


def test_a_cut_manifest_is_refused(world: World) -> None:
    fill(world)
    world.upstream.headers = {"Content-Length": "100000"}
    world.upstream.is_closing = True
    answer = world.ask(TAG)
    assert answer.status == 502
    assert not world.blobs()
    assert world.state()["refused"] == 1
