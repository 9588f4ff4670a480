"""What an upstream is asked while somebody waits: reachable, certificate, login, limit, tags."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from registryui import tls
from registryui.mirrors import mirrors, upstream
from registryui.mirrors.mirrors import Wanted
from registryui.models import Mirror
from registryui.refused import Refused
from tests.support.parts import free_port

pytestmark = pytest.mark.django_db
ADA = "operator:ada"
Answer = tuple[int, dict[str, str], Any]


class Upstream:
    """What it answers by path, and what it was asked: (path, Authorization)."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[tuple[str, str]] = []
        self.answer: Callable[[str, str], Answer] = lambda path, authorization: (200, {}, {})


@contextmanager
def running(folder: Path | None = None) -> Iterator[Upstream]:
    """An upstream on loopback; with the certificate in `folder`, over TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.headers.get("Authorization", "")
            found.asked.append((self.path, sent))
            status, headers, body = found.answer(self.path, sent)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(json.dumps(body).encode())

        do_HEAD = do_GET

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Upstream(server.server_address[1])
        if folder:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "server.crt", folder / "server.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
            found.url = found.url.replace("http", "https")
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture
def there() -> Iterator[Upstream]:
    with running() as found:
        yield found


def add(there: Upstream, name: str = "there", **fields: Any) -> Mirror:
    return mirrors.add(name, Wanted(there.url, **fields), by=ADA)


def with_tokens(there: Upstream, login: str = "") -> Callable[[str, str], Answer]:
    """Token authentication as Docker Hub does it; with `login` for that user and password only."""
    basic = f"Basic {base64.b64encode(login.encode()).decode()}" if login else ""

    def answer(path: str, sent: str) -> Answer:
        if path.startswith("/token?"):
            return (200, {}, {"token": "of-this-test"}) if sent == basic else (401, {}, {})
        if sent != "Bearer of-this-test":
            said = f'Bearer realm="{there.url}/token",service="there"'
            return 401, {"WWW-Authenticate": said}, {}
        return 200, {}, {"tags": ["1.9", "1.10", "latest"]}

    return answer


# -- checks --------------------------------------------------------------------------------------
def test_an_anonymous_upstream(there: Upstream) -> None:
    found = upstream.check(add(there))
    assert (found.error, found.has_login, found.limit) == ("", False, None)
    assert there.asked == [("/v2/", "")]


def test_a_login_with_tokens(there: Upstream) -> None:
    there.answer = with_tokens(there, "robot:sesame")
    row = add(there, user="robot", password="sesame")
    assert upstream.check(row).has_login
    assert there.asked[1][0] == "/token?service=there"
    wrong = add(there, "wrong", user="robot", password="other")
    assert upstream.check(wrong).error == "The upstream does not accept the user and password."
    nobody = upstream.check(add(there, "nobody"))
    assert nobody.error == "The upstream requires a user and password."


def test_a_login_with_basic_authentication(there: Upstream) -> None:
    right = f"Basic {base64.b64encode(b'robot:sesame').decode()}"

    def answer(_path: str, sent: str) -> Answer:
        return (
            (200, {}, {}) if sent == right else (401, {"WWW-Authenticate": 'Basic realm="x"'}, {})
        )

    there.answer = answer
    assert upstream.check(add(there, user="robot", password="sesame")).has_login
    wrong = add(there, "wrong", user="robot", password="other")
    assert "does not accept" in upstream.check(wrong).error
    assert "requires a user" in upstream.check(add(there, "nobody")).error


def test_docker_hubs_limit(there: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "DOCKER_HUB", there.url)
    tokens = with_tokens(there)

    def answer(path: str, sent: str) -> Answer:
        headers = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}
        status, others, body = tokens(path, sent)
        return status, headers | others, body

    there.answer = answer
    found = upstream.check(add(there))
    assert found.limit is not None
    assert (found.limit.limit, found.limit.remaining, found.limit.window) == (100, 76, 21600)
    assert there.asked[-1][0] == "/v2/ratelimitpreview/test/manifests/latest"


def test_what_an_upstream_may_do_wrong(subtests: pytest.Subtests, there: Upstream) -> None:
    table: list[tuple[Answer, str]] = [
        ((404, {}, {}), "not answer like a registry (HTTP status 404)"),
        ((500, {}, {}), "HTTP status 500"),
        ((429, {}, {}), "limit of the upstream is reached"),
        ((302, {"Location": "https://127.0.0.1:1/v2/"}, {}), "connection refused"),
        ((401, {}, {}), "HTTP status 401"),
        ((401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}, {}), "no address"),
        ((401, {"WWW-Authenticate": 'Bearer realm="/token"'}, {}), "no address"),
    ]
    row = add(there)
    for wrong, words in table:
        there.answer = lambda path, sent, wrong=wrong: wrong  # type: ignore[misc]
        with subtests.test(words, answer=str(wrong)):
            assert words in upstream.check(row).error


def test_nobody_answers(subtests: pytest.Subtests) -> None:
    nobody = mirrors.add("nobody", Wanted(f"http://127.0.0.1:{free_port()}"), by=ADA)
    assert upstream.check(nobody).error == "The upstream does not answer: connection refused."
    unknown = mirrors.add("unknown", Wanted("https://boathouse.invalid"), by=ADA)
    assert upstream.check(unknown).error == "The upstream does not answer: host name not found."


def test_only_trusted_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    tls.ensure(tmp_path, names=["127.0.0.1"])
    with running(tmp_path) as there:
        found = upstream.check(add(there))
        assert "certificate not trusted (" in found.error
        assert there.asked == []
        trusting = add(there, "trusting", ca=(tmp_path / "ca.crt").read_text())
        assert upstream.check(trusting).error == ""


def test_a_password_of_another_key_is_said(there: Upstream, settings: Any) -> None:
    row = add(there, user="robot", password="sesame")
    settings.MIRROR_KEY_FILE.write_text("another")
    assert "cannot be decrypted" in upstream.check(row).error
    assert there.asked == []


# -- tags ----------------------------------------------------------------------------------------
def test_tags_of_an_upstream_newest_first(there: Upstream) -> None:
    there.answer = with_tokens(there)
    row = add(there, is_library=True)
    found = upstream.tags(row, "nginx")
    assert (found.tags, found.is_cut) == (("1.10", "1.9", "latest"), False)
    paths = [path for path, _sent in there.asked]
    assert paths[1] == "/token?service=there&scope=repository%3Alibrary%2Fnginx%3Apull"
    assert paths[2] == "/v2/library/nginx/tags/list?n=100"


def test_tags_of_many_pages_end(there: Upstream) -> None:
    def answer(path: str, _sent: str) -> Answer:
        number = int(path.partition("last=")[2] or 0)
        tags = [f"1.{number + n}" for n in range(100)]
        link = f'</v2/team/api/tags/list?n=100&last={number + 100}>; rel="next"'
        return 200, {"Link": link}, {"tags": [*tags, "not a tag", 5]}

    there.answer = answer
    found = upstream.tags(add(there), "team/api")
    assert found.is_cut
    assert len(there.asked) == 10
    assert found.tags[0].startswith("1.9")


def test_tags_that_cannot_be_listed(subtests: pytest.Subtests, there: Upstream) -> None:
    table: list[tuple[str, Answer, str]] = [
        ("team/api", (404, {}, {}), "has no repository team/api"),
        ("team/api", (403, {}, {}), "has no repository team/api"),
        ("team/api", (500, {}, {}), "HTTP status 500"),
        ("Team", (200, {}, {}), "not a repository name"),
        ("secret/api", (200, {}, {}), "does not offer secret/api"),
        ("other/api", (200, {}, {}), "does not offer other/api"),
    ]
    row = add(there, allow="team/* secret/*", deny="secret/*")
    for name, wrong, words in table:
        there.answer = lambda path, sent, wrong=wrong: wrong  # type: ignore[misc]
        with subtests.test(words), pytest.raises(Refused) as refused:
            upstream.tags(row, name)
        assert words in str(refused.value)


def test_a_list_that_is_none_has_no_tags(subtests: pytest.Subtests, there: Upstream) -> None:
    row = add(there)
    for body in ({"tags": None}, [], "x", {"tags": "1"}):
        there.answer = lambda path, sent, body=body: (200, {}, body)  # type: ignore[misc]
        with subtests.test(str(body)):
            assert upstream.tags(row, "team/api").tags == ()


def test_the_next_page_is_of_the_same_upstream(there: Upstream) -> None:
    there.answer = lambda path, sent: (
        *(200, {"Link": '<https://evil.example/v2/x>; rel="next"'}),
        {"tags": ["1"]},
    )
    assert upstream.tags(add(there), "team/api").tags == ("1",)
    assert len(there.asked) == 1
