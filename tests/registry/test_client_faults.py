"""The client against a server that breaks every promise, as a real one may one day."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from registryui.oci import media_types
from registryui.oci.digest import sha256
from registryui.registry import client as client_module
from registryui.registry.client import RegistryClient
from registryui.registry.errors import BadAnswer, NotFound, RegistryError, TooLarge, Unreachable
from tests.oci.samples import image

API = {"Docker-Distribution-Api-Version": "registry/2.0"}
MANIFEST = "/v2/a/b/manifests/1"
RAW = image()
OCI = {**API, "Content-Type": media_types.OCI_MANIFEST}


class Fake(ThreadingHTTPServer):
    """Answers from a table: "METHOD path" → (status, headers, body) or a list of such, in turn."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self, line: str) -> int:
        return [request for request, _ in self.requests].count(line)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what is tested here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Fake

    def answer(self) -> None:
        line = f"{self.command} {self.path}"
        self.server.requests.append((line, dict(self.headers)))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.server.answers.get(line, (404, {}, b"<html>nginx</html>"))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        status, headers, body = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if isinstance(body, bytes):
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            return
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in body():
            self.wfile.write(piece)
        self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def client(fake: Fake) -> Iterator[RegistryClient]:
    with RegistryClient(fake.url, username="u", password="s3cret", timeout=(1, 0.5)) as client:
        yield client


def as_json(value: object, **headers: str):
    return 200, {**API, "Content-Type": "application/json", **headers}, json.dumps(value).encode()


def registry_error(status: int, code: str):
    body = json.dumps({"errors": [{"code": code, "message": "sorry\n\x1b[31m"}]}).encode()
    return status, {**API, "Content-Type": "application/json"}, body


# -- digests -------------------------------------------------------------------------------------
def test_manifest_whose_digest_header_lies_is_a_bad_answer(fake, client):
    told = {"Docker-Content-Digest": sha256(b"something else")}
    fake.answers[f"GET {MANIFEST}"] = (200, {**OCI, **told}, RAW)
    with pytest.raises(BadAnswer, match="another digest"):
        client.manifest("a/b", "1")


def test_manifest_asked_by_digest_must_have_it_even_without_the_header(fake, client):
    wanted = sha256(b"wanted")
    fake.answers[f"GET /v2/a/b/manifests/{wanted}"] = (200, OCI, RAW)
    with pytest.raises(BadAnswer, match="another digest"):
        client.manifest("a/b", wanted)


def test_head_by_digest_that_answers_with_another_one_is_a_bad_answer(fake, client):
    wanted, told = sha256(b"wanted"), sha256(b"told")
    answer = (200, {**OCI, "Docker-Content-Digest": told}, b"")
    fake.answers[f"HEAD /v2/a/b/manifests/{wanted}"] = answer
    with pytest.raises(BadAnswer):
        client.resolve("a/b", wanted)


def test_blob_of_other_content_is_a_bad_answer(fake, client):
    wanted = sha256(b"wanted")
    fake.answers[f"GET /v2/a/b/blobs/{wanted}"] = (200, API, b"other")
    with pytest.raises(BadAnswer, match="another digest"):
        client.blob("a/b", wanted, limit=100)


def test_head_without_a_digest_becomes_a_get(fake, client):
    fake.answers[f"HEAD {MANIFEST}"] = (200, OCI, b"")
    fake.answers[f"GET {MANIFEST}"] = (200, OCI, RAW)
    assert client.resolve("a/b", "1") == sha256(RAW)


def test_broken_signature_of_schema_1_is_a_bad_answer(fake, client):
    headers = {**API, "Content-Type": media_types.DOCKER_SCHEMA1_SIGNED}
    fake.answers[f"GET {MANIFEST}"] = (200, headers, b'{"signatures":[{"protected":"!"}]}')
    with pytest.raises(BadAnswer):
        client.manifest("a/b", "1")


def test_manifest_that_registry_3_cannot_read_is_a_bad_answer(fake, client):
    """The 500 of 3.1.1 for schema 1: no trouble that passes, as any other 500 may be."""
    error = {"code": "UNKNOWN", "message": "unknown error"}
    for detail, kind in (
        ("unrecognized manifest schema version 1", BadAnswer),
        ("disk on fire", RegistryError),
        ({"Offset": 1}, RegistryError),
    ):
        body = json.dumps({"errors": [{**error, "detail": detail}]}).encode()
        fake.answers[f"GET {MANIFEST}"] = fake.answers[f"HEAD {MANIFEST}"] = (500, API, body)
        for ask in (client.resolve, client.manifest):
            with pytest.raises(RegistryError) as raised:
                ask("a/b", "1")
            assert (type(raised.value), raised.value.status) == (kind, 500)
            assert raised.value.temporary == (kind is RegistryError)


# -- length and time -----------------------------------------------------------------------------
def endless() -> Iterator[bytes]:
    while True:
        yield b" " * 65_536


def dripping() -> Iterator[bytes]:
    while True:
        yield b" "
        time.sleep(0.05)


def silent() -> Iterator[bytes]:
    time.sleep(1.5)
    yield b"{}"


def cut_off() -> Iterator[bytes]:
    yield b"{"


def test_endless_manifest_is_given_up_at_4_mib(fake, client):
    fake.answers[f"GET {MANIFEST}"] = (200, OCI, endless)
    with pytest.raises(TooLarge):
        client.manifest("a/b", "1")


def test_told_length_over_the_limit_is_refused_before_reading(fake, client):
    digest = sha256(b"")
    fake.answers[f"GET /v2/a/b/blobs/{digest}"] = (200, {"Content-Length": "5000000000"}, dripping)
    with pytest.raises(TooLarge, match="5000000000"):
        client.blob("a/b", digest, limit=1000)


def test_silent_server_is_unreachable(fake, client):
    fake.answers["GET /v2/a/b/tags/list"] = (200, API, silent)
    with pytest.raises(Unreachable) as error:
        client.tags("a/b")
    assert error.value.temporary


def test_dripping_server_is_given_up(fake, monkeypatch):
    """By a clock that runs ahead: a machine under load may pause longer than a short time-out."""
    fake.answers[f"GET {MANIFEST}"] = (200, OCI, dripping)
    clock = SimpleNamespace(monotonic=itertools.count(step=10).__next__, sleep=time.sleep)
    monkeypatch.setattr(client_module, "time", clock)
    with (
        RegistryClient(fake.url, timeout=(5, 10)) as client,
        pytest.raises(Unreachable, match="does not end"),
    ):
        client.manifest("a/b", "1")


def test_answer_cut_off_before_its_length_is_unreachable(fake, client):
    fake.answers[f"GET {MANIFEST}"] = (200, {**OCI, "Content-Length": "100"}, cut_off)
    with pytest.raises(Unreachable):
        client.manifest("a/b", "1")


# -- not a registry ------------------------------------------------------------------------------
@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b"\xff", b"[" * 50_000, b'{"tags":{}}'])
def test_tags_that_are_no_list_are_a_bad_answer(fake, client, body):
    fake.answers["GET /v2/a/b/tags/list"] = (200, {"Content-Type": "application/json"}, body)
    with pytest.raises(BadAnswer):
        client.tags("a/b")


def test_html_for_a_manifest_is_a_bad_answer(fake, client):
    fake.answers[f"GET {MANIFEST}"] = (200, {"Content-Type": "text/html"}, b"<html>")
    with pytest.raises(BadAnswer, match="text/html"):
        client.manifest("a/b", "1")


def test_404_of_a_proxy_is_not_the_registrys_word(fake, client):
    """Portus deleted all its rows after such an answer."""
    for ask in (
        lambda: client.tags("a/b"),
        lambda: client.resolve("a/b", "1"),
        lambda: client.manifest("a/b", "1"),
        lambda: client.blob("a/b", sha256(b""), limit=10),
        lambda: list(client.repositories()),
        client.ping,
    ):
        with pytest.raises(BadAnswer) as error:
            ask()
        assert not isinstance(error.value, NotFound)


def test_html_for_ping_is_a_bad_answer(fake, client):
    fake.answers["GET /v2/"] = (200, {"Content-Type": "text/html"}, b"<html>")
    with pytest.raises(BadAnswer):
        client.ping()


def test_message_of_the_registry_is_made_harmless_for_a_log(fake, client):
    fake.answers["GET /v2/a/b/tags/list"] = registry_error(403, "DENIED")
    with pytest.raises(RegistryError) as error:
        client.tags("a/b")
    assert (error.value.code, error.value.status) == ("DENIED", 403)
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    assert "s3cret" not in str(error.value)


# -- retries -------------------------------------------------------------------------------------
def test_503_is_asked_again_until_it_answers(fake, client):
    fake.answers["GET /v2/a/b/tags/list"] = [
        (503, {}, b""),
        (502, {}, b""),
        as_json({"tags": ["1"]}),
    ]
    assert client.tags("a/b") == ["1"]


@pytest.mark.parametrize("status", [500, 503])
def test_lasting_server_error_is_temporary(fake, client, status):
    fake.answers["GET /v2/a/b/tags/list"] = (status, {}, b"oops")
    with pytest.raises(RegistryError) as error:
        client.tags("a/b")
    assert (error.value.status, error.value.temporary) == (status, True)
    assert fake.asked("GET /v2/a/b/tags/list") == {500: 1, 503: 4}[status]


def test_push_is_never_asked_again(fake, client):
    fake.answers[f"PUT {MANIFEST}"] = (503, {}, b"")
    with pytest.raises(RegistryError) as error:
        client.put_manifest("a/b", "1", RAW, media_types.OCI_MANIFEST)
    assert error.value.temporary
    assert fake.asked(f"PUT {MANIFEST}") == 1


# -- pages ---------------------------------------------------------------------------------------
def test_paged_tags_are_read_to_the_end(fake, client):
    """Registry 3 pages them for who asks (3.1.1, test_client.py); a proxy of it may do so too."""
    first, second = "/v2/a/b/tags/list", "/v2/a/b/tags/list?last=2&n=2"
    link = f'<{second}>; rel="next"'
    fake.answers[f"GET {first}"] = as_json({"tags": ["1", "2"]}, Link=link)
    fake.answers[f"GET {second}"] = as_json({"tags": ["2", "3"]})
    assert client.tags("a/b") == ["1", "2", "3"]


def test_empty_list_is_no_tags(fake, client):
    """Registry 3.0 answers [] for an emptied repository; 2.8 and 3.1 null."""
    fake.answers["GET /v2/a/b/tags/list"] = as_json({"name": "a/b", "tags": []})
    assert client.tags("a/b") == []


@pytest.mark.parametrize(
    "target",
    [
        "http://other.example/v2/a/b/tags/list?last=1",
        "//other.example/v2/a/b/tags/list",
        "https://127.0.0.1/v2/a/b/tags/list",
        "/v2/other/tags/list?last=1",
        "/v2/../admin",
        "http://[",
        "http://127.0.0.1:99999/",
        "javascript:alert(1)",
    ],
)
def test_next_page_elsewhere_is_not_followed(fake, client, target):
    fake.answers["GET /v2/a/b/tags/list"] = as_json({"tags": ["1"]}, Link=f'<{target}>; rel="next"')
    with pytest.raises(BadAnswer):
        client.tags("a/b")
    assert len(fake.requests) == 1


def test_pages_in_a_circle_end(fake, client):
    link = '</v2/_catalog?n=1000>; rel="next"'
    fake.answers["GET /v2/_catalog?n=1000"] = as_json({"repositories": ["a"]}, Link=link)
    with pytest.raises(BadAnswer, match="without end"):
        list(client.repositories())


def test_names_that_cannot_be_used_are_left_out(fake, client):
    names = ["ok", "Upper", "../x", 7, None, ["y"], "a" * 300, "b\n"]
    fake.answers["GET /v2/_catalog?n=1000"] = as_json({"repositories": names})
    assert list(client.repositories()) == ["ok"]
    fake.answers["GET /v2/a/b/tags/list"] = as_json({"tags": ["1", "-1", 7, {}, "x/y", "2\n"]})
    assert client.tags("a/b") == ["1"]


# -- redirects and addresses ---------------------------------------------------------------------
def test_blob_in_an_object_store_is_fetched_without_the_password(fake, client):
    digest = sha256(b"content")
    store = Fake()
    threading.Thread(target=store.serve_forever, args=(0.02,), daemon=True).start()
    store.answers["GET /bucket/x?sig=1"] = (200, {}, b"content")
    location = {**API, "Location": f"{store.url}/bucket/x?sig=1"}
    fake.answers[f"GET /v2/a/b/blobs/{digest}"] = (307, location, b"")
    try:
        assert client.blob("a/b", digest, limit=100) == b"content"
        assert "Authorization" in fake.requests[0][1]
        assert "Authorization" not in store.requests[0][1]
    finally:
        store.shutdown()
        store.server_close()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://x/y", "http://[", "", "//"])
def test_blob_redirected_to_no_web_address_is_a_bad_answer(fake, client, target):
    digest = sha256(b"content")
    fake.answers[f"GET /v2/a/b/blobs/{digest}"] = (307, {**API, "Location": target}, b"")
    with pytest.raises(BadAnswer):
        client.blob("a/b", digest, limit=100)


def test_blob_redirected_for_ever_is_a_bad_answer(fake, client):
    path = f"/v2/a/b/blobs/{sha256(b'content')}"
    fake.answers[f"GET {path}"] = (307, {**API, "Location": path}, b"")
    with pytest.raises(BadAnswer, match="redirects"):
        client.blob("a/b", sha256(b"content"), limit=100)
    assert fake.asked(f"GET {path}") == 4


def test_manifest_is_not_fetched_from_elsewhere(fake, client):
    fake.answers[f"GET {MANIFEST}"] = (302, {"Location": "https://login.example/"}, b"")
    with pytest.raises(BadAnswer, match=r"login\.example"):
        client.manifest("a/b", "1")


@pytest.mark.parametrize(
    "location", ["http://other.example/v2/x", "/upload/1", "/v2/../x", "", "http://["]
)
def test_content_is_sent_nowhere_else(fake, client, location):
    digest = sha256(b"data")
    fake.answers[f"HEAD /v2/a/b/blobs/{digest}"] = (404, API, b"")
    fake.answers["POST /v2/a/b/blobs/uploads/"] = (202, {**API, "Location": location}, b"")
    with pytest.raises(BadAnswer):
        client.upload_blob("a/b", b"data")
    assert not [line for line, _ in fake.requests if line.startswith("PUT")]


def test_no_cookie_is_kept(fake, client):
    fake.answers["GET /v2/"] = (200, {**API, "Set-Cookie": "a=b"}, b"{}")
    client.ping()
    client.ping()
    assert "Cookie" not in fake.requests[1][1]


def test_environment_changes_nothing(fake, client, monkeypatch):
    """A proxy variable or ~/.netrc of whoever starts the portal is no setting of the portal."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    fake.answers["GET /v2/"] = (200, API, b"{}")
    assert client.ping() == "registry/2.0"
