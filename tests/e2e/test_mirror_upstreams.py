"""The upstreams of the other tests, asked without a mirror: what they pretend is what the real
registry and Docker Hub do."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support import upstreams
from tests.support.fake_source import digest_of
from tests.support.folders import open_folder
from tests.support.product import Answer, exchange
from tests.support.registries import ACCEPT
from tests.support.upstreams import Upstream, upstream
from tests.support.waiting import LONGEST

pytestmark = pytest.mark.e2e

LAYER = b"a layer of the upstream" * 20_000
NAME = "library/app"
MANIFEST = f"/v2/{NAME}/manifests/1"
BLOB = f"/v2/{NAME}/blobs/{digest_of(LAYER)}"


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder("upstream") as made:
        yield made


def ask(one: Upstream, path: str, *, seconds: float = LONGEST, **headers: str) -> Answer:
    address = urlsplit(one.url)
    host, port = str(address.hostname), address.port
    connection: http.client.HTTPConnection
    if one.ca:
        context = ssl.create_default_context(cafile=str(one.ca))
        connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
    return exchange(connection, "GET", path, None, {"Accept": ACCEPT, **headers})


def test_an_anonymous_one_answers_and_counts(folder: Path) -> None:
    with upstream(folder) as one:
        digest = one.registry.push_image(NAME, "1", layers=[LAYER])
        answer = ask(one, MANIFEST)
        assert (answer.status, digest_of(answer.body)) == (200, digest)
        assert ask(one, BLOB).body == LAYER
        assert (one.count("GET", "/manifests/"), one.count("GET", BLOB)) == (1, 1)
        assert one.count() == 2  # what fills it is not counted
        one.kill()
        with pytest.raises(ConnectionRefusedError):
            ask(one, MANIFEST)
        one.start()
        assert ask(one, MANIFEST).status == 200


def test_one_with_tokens_gives_content_for_a_token_alone(folder: Path) -> None:
    with upstream(folder, auth="token") as one:
        one.registry.push_image(NAME, "1", layers=[LAYER])
        refused = ask(one, MANIFEST)
        assert refused.status == 401
        assert f'scope="repository:{NAME}:pull"' in refused.headers["www-authenticate"]
        token = given(one, NAME)
        assert ask(one, MANIFEST, Authorization=f"Bearer {token}").status == 200
        other = given(one, "library/other")
        assert ask(one, MANIFEST, Authorization=f"Bearer {other}").status == 401


def given(one: Upstream, repository: str) -> str:
    """The token that LOGIN has for that repository."""
    assert one.tokens
    address = urlsplit(one.tokens.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=LONGEST)
    path = f"/token?service={upstreams.SERVICE}&scope=repository:{repository}:pull"
    assert exchange(connection, "GET", path, None, {}).status == 401
    login = {"Authorization": basic(*upstreams.LOGIN)}
    token: str = json.loads(exchange(connection, "GET", path, None, login).body)["token"]
    return token


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def test_one_with_basic_auth_wants_name_and_password(folder: Path) -> None:
    with upstream(folder, auth="basic") as one:
        one.registry.push_image(NAME, "1")
        refused = ask(one, MANIFEST)
        assert refused.status == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
        assert ask(one, MANIFEST, Authorization=basic(*upstreams.LOGIN)).status == 200


@pytest.mark.parametrize("is_expired", [False, True])
def test_one_with_tls_has_an_authority_of_its_own(folder: Path, is_expired: bool) -> None:
    with upstream(folder, is_tls=True, is_expired=is_expired) as one:
        one.registry.push_image(NAME, "1")
        if is_expired:
            with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
                ask(one, MANIFEST)
            return
        assert ask(one, MANIFEST).status == 200
        one.ca = None
        address = urlsplit(one.url)
        connection = http.client.HTTPSConnection(str(address.hostname), address.port)
        with pytest.raises(ssl.SSLCertVerificationError):
            exchange(connection, "GET", "/v2/", None, {})


def test_each_fault_is_one(folder: Path) -> None:
    with upstream(folder) as one:
        one.registry.push_image(NAME, "1", layers=[LAYER])
        one.fail(upstreams.HANGING)
        with pytest.raises(TimeoutError):
            ask(one, MANIFEST, seconds=0.2)
        one.fail(upstreams.LIMITED)
        limited = ask(one, MANIFEST)
        assert (limited.status, limited.headers["retry-after"]) == (429, "60")
        assert limited.headers["ratelimit-remaining"] == "0;w=21600"
        one.fail(upstreams.BROKEN)
        assert ask(one, MANIFEST).status == 500
        one.fail(upstreams.WRONG)
        assert digest_of(ask(one, MANIFEST).body) == ask(one, MANIFEST).headers["etag"].strip('"')
        wrong = ask(one, BLOB).body
        assert (len(wrong), wrong[:-1], wrong == LAYER) == (len(LAYER), LAYER[:-1], False)
        one.fail(upstreams.CUT_OFF)
        with pytest.raises(http.client.IncompleteRead):
            ask(one, BLOB)
        one.fail(upstreams.HANGING_IN_BLOB)
        with pytest.raises(TimeoutError):
            ask(one, BLOB, seconds=0.2)
        one.fail(upstreams.slow(len(LAYER) * 4))
        began = time.monotonic()
        assert ask(one, BLOB).body == LAYER
        assert time.monotonic() - began > 0.2
        one.fail(None)
        assert ask(one, BLOB).body == LAYER


def test_content_may_lie_elsewhere(folder: Path) -> None:
    with upstream(folder) as one, upstreams.content_network(one.target) as other:
        one.registry.push_image(NAME, "1", layers=[LAYER])
        one.elsewhere = other.url
        assert ask(one, MANIFEST).status == 200
        sent = ask(one, BLOB)
        assert (sent.status, sent.headers["location"]) == (307, f"{other.url}{BLOB}")
