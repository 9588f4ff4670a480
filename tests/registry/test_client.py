"""The client against the real registry. What only a broken one does is in test_client_faults.py."""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest
from urllib3.connection import HTTPConnection

from registryui.oci import media_types
from registryui.oci.digest import sha256
from registryui.oci.names import check_tag
from registryui.registry.client import RegistryClient
from registryui.registry.errors import BadAnswer, NotFound, RegistryError, TooLarge, Unreachable
from registryui.registry.source import Source
from tests.oci.samples import signed_schema1
from tests.support.client_push import push
from tests.support.parts import free_port, running_registry
from tests.support.registry_habits import habits
from tests.support.waiting import LONGEST


@pytest.fixture(scope="module")
def client(registry):
    with RegistryClient(registry) as client:
        yield client


def test_client_is_a_source(client):
    source: Source = client
    assert source


def test_ping_tells_the_version_of_the_api(client):
    assert client.ping() == "registry/2.0"


def test_manifest_comes_back_byte_for_byte_by_tag_and_by_digest(client):
    raw, _, _ = push(client, "client/bytes", "1")
    for reference in ("1", sha256(raw)):
        stored = client.manifest("client/bytes", reference)
        assert (stored.raw, stored.digest) == (raw, sha256(raw))
        assert stored.media_type == media_types.OCI_MANIFEST


def test_schema_2_is_not_converted_to_schema_1(client):
    raw, _, _ = push(client, "client/schema2", "1", media_type=media_types.DOCKER_MANIFEST)
    assert client.manifest("client/schema2", "1").raw == raw
    assert client.resolve("client/schema2", "1") == sha256(raw)


def test_image_index_is_not_answered_with_its_amd64_child(client):
    child, _, _ = push(client, "client/index", "amd64", media_type=media_types.DOCKER_MANIFEST)
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_types.DOCKER_LIST,
            "manifests": [
                {
                    "mediaType": media_types.DOCKER_MANIFEST,
                    "digest": sha256(child),
                    "size": len(child),
                    "platform": {"os": "linux", "architecture": "amd64"},
                }
            ],
        }
    ).encode()
    client.put_manifest("client/index", "1", raw, media_types.DOCKER_LIST)
    assert client.manifest("client/index", "1").raw == raw


def test_signed_schema_1_is_known_by_the_digest_of_its_payload(client):
    layer = client.upload_blob("client/schema1", b"old layer")
    raw, payload = signed_schema1("client/schema1", "1", [layer])
    if not habits().knows_schema1:
        with pytest.raises(RegistryError) as error:
            client.put_manifest("client/schema1", "1", raw, media_types.DOCKER_SCHEMA1_SIGNED)
        assert (error.value.code, error.value.status) == ("MANIFEST_INVALID", 400)
        return
    digest = client.put_manifest("client/schema1", "1", raw, media_types.DOCKER_SCHEMA1_SIGNED)
    assert digest == sha256(payload) != sha256(raw)
    stored = client.manifest("client/schema1", "1")
    assert stored.digest == digest == client.resolve("client/schema1", "1")
    assert stored.media_type == media_types.DOCKER_SCHEMA1_SIGNED


def test_absent_things_are_none_and_absent_repositories_not_found(client):
    push(client, "client/absent", "1")
    nothing = sha256(b"never pushed")
    assert client.resolve("client/absent", "2") is None
    assert client.manifest("client/absent", "2") is None
    assert client.manifest("client/absent", nothing) is None
    assert client.blob("client/absent", nothing, limit=10) is None
    assert client.resolve("client/nowhere", "1") is None
    assert client.manifest("client/nowhere", "1") is None
    with pytest.raises(NotFound) as error:
        client.tags("client/nowhere")
    assert (error.value.code, error.value.status) == ("NAME_UNKNOWN", 404)
    assert not error.value.temporary


def test_emptied_repository_has_no_tags(client, registry):
    raw, _, _ = push(client, "client/emptied", "1")
    delete = f"{registry}/v2/client/emptied/manifests/{sha256(raw)}"
    assert client._session.delete(delete, timeout=5).status_code == 202
    body = client._session.get(f"{registry}/v2/client/emptied/tags/list", timeout=5).json()
    assert body["tags"] == habits().emptied, "the fact that this test rests on"
    assert client.tags("client/emptied") == []
    assert "client/emptied" in set(client.repositories())


def test_tags_in_pages_are_read_to_the_end(client, registry, monkeypatch):
    """No registry here pages them unasked, so they are asked for in pages of two."""
    for tag in "1234":
        push(client, "client/pages", tag)
    asked = []
    send = client._session.send
    monkeypatch.setattr(
        client._session,
        "send",
        lambda request, **k: asked.append(request.url) or send(request, **k),
    )
    url = f"{registry}/v2/client/pages/tags/list"
    assert sorted(client._names(f"{url}?n=2", "tags", check_tag)) == list("1234")
    assert len(asked) == 1 + habits().pages_tags + habits().links_to_an_empty_page


def test_blob_is_read_up_to_its_limit(client):
    data = b"x" * 1000
    digest = client.upload_blob("client/blob", data)
    assert client.blob("client/blob", digest, limit=1000) == data
    with pytest.raises(TooLarge):
        client.blob("client/blob", digest, limit=999)


def test_blob_is_sent_once(client, monkeypatch):
    client.upload_blob("client/once", b"once")
    methods = []
    send = client._session.send
    monkeypatch.setattr(
        client._session, "send", lambda one, **k: methods.append(one.method) or send(one, **k)
    )
    client.upload_blob("client/once", b"once")
    assert methods == ["HEAD"]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_stream_is_stored_by_the_digest_that_is_given_or_computed(client, is_known):
    pieces = [bytes([number]) * 100_000 for number in range(5)]
    data = b"".join(pieces)
    known = {"digest": sha256(data), "size": len(data)} if is_known else {}
    assert client.upload("client/stream", iter(pieces), **known) == (sha256(data), len(data))
    assert client.blob("client/stream", sha256(data), limit=10**6) == data


@pytest.mark.parametrize("size", [-1, 5])
def test_other_content_than_the_digest_says_is_not_stored(client, size):
    digest = sha256(b"right")
    with pytest.raises(BadAnswer, match="another digest"):
        client.upload("client/wrong", [b"wrong"], digest=digest, size=size)
    assert not client.has_blob("client/wrong", digest)


def test_a_stream_that_is_too_short_or_breaks_is_not_stored(client):
    data = b"as long as it says"

    def broken():
        yield data[:5]
        raise TooLarge("the source ended")

    with pytest.raises(Unreachable):
        client.upload("client/short", [data[:5]], digest=sha256(data), size=len(data))
    with pytest.raises(TooLarge, match="the source ended"):
        client.upload("client/short", broken(), digest=sha256(data), size=len(data))
    assert not client.has_blob("client/short", sha256(data))
    assert client.upload("client/short", [data], digest=sha256(data)) == (sha256(data), len(data))


def test_a_blob_of_another_repository_is_mounted(client):
    digest = client.upload_blob("client/from", b"to be mounted")
    assert client.mount("client/to", digest, source="client/from")
    assert client.has_blob("client/to", digest)
    assert not client.mount("client/to", sha256(b"nowhere"), source="client/from")


def test_writes_come_from_another_address_on_connections_of_their_own(registry):
    with RegistryClient(registry, source="127.0.0.2", is_kept_alive=False) as client:
        assert client.upload("client/apart", [b"apart"])[0] == sha256(b"apart")
        assert client.has_blob("client/apart", sha256(b"apart"))


def test_one_connection_is_enough_for_all_kinds_of_requests(registry, monkeypatch):
    opened = []
    connect = HTTPConnection.connect
    monkeypatch.setattr(HTTPConnection, "connect", lambda self: opened.append(1) or connect(self))
    with RegistryClient(registry) as client:
        for nonce in ("a", "b"):
            raw, config, _ = push(client, "client/kept", "1", nonce=nonce)
            assert client.resolve("client/kept", "1") == sha256(raw)
            assert client.resolve("client/kept", "absent") is None
            assert client.manifest("client/kept", "absent") is None
            assert client.blob("client/kept", config, limit=1000)
    assert len(opened) == 1


@pytest.mark.parametrize(
    "name",
    ["one", "a/manifests/b", "a/tags/list/x", "a/blobs/c", "x__y", "1/2/3/4/5/6/7/8", "a-b/c.d--e"],
)
def test_names_with_words_of_the_api_in_them_work(client, name):
    raw, config, _ = push(client, name, "1.0")
    assert client.tags(name) == ["1.0"]
    assert client.resolve(name, "1.0") == sha256(raw)
    assert client.blob(name, config, limit=1000)
    assert name in set(client.repositories())


@pytest.mark.parametrize(
    "name", ["Upper/case", "../etc", "a//b", "a?x=1", "a/%2e%2e/b", "a" * 256, ""]
)
def test_names_that_no_registry_takes_are_not_sent(client, name):
    with pytest.raises(ValueError, match="not a repository name"):
        client.tags(name)
    with pytest.raises(ValueError, match="not a tag"):
        client.manifest("a/b", name and f"../{name}")


def test_refusal_carries_the_registrys_own_code(client):
    raw, _, _ = push(client, "client/refused", "1")
    broken = raw.replace(sha256(b"layer ").encode(), sha256(b"not there").encode())
    with pytest.raises(RegistryError) as error:
        client.put_manifest("client/refused", "2", broken, media_types.OCI_MANIFEST)
    assert (error.value.code, error.value.status) == ("MANIFEST_BLOB_UNKNOWN", 400)
    assert not error.value.temporary


def test_image_that_skopeo_pushed_is_read(client, registry, tmp_path):
    if not shutil.which("skopeo"):
        pytest.skip("no skopeo here")
    push(client, "client/skopeo", "ours")
    host = registry.removeprefix("http://")
    subprocess.run(
        [
            *("skopeo", "copy", "--format=v2s2"),
            *("--src-tls-verify=false", f"docker://{host}/client/skopeo:ours"),
            *("--dest-tls-verify=false", f"docker://{host}/client/skopeo:theirs"),
        ],
        check=True,
        capture_output=True,
        timeout=LONGEST,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    stored = client.manifest("client/skopeo", "theirs")
    assert stored.media_type == media_types.DOCKER_MANIFEST
    assert sorted(client.tags("client/skopeo")) == ["ours", "theirs"]


def test_many_threads_share_one_client(client):
    raw, _, _ = push(client, "client/threads", "1")
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda _: client.resolve("client/threads", "1"), range(200)))
    assert set(found) == {sha256(raw)}


def test_catalogue_is_read_over_many_pages_and_where_long_pages_are_refused(tmp_path):
    """The real registry refuses n=1000 when it is configured for less, and pages by its default."""
    names = [f"page/r{n:03}" for n in range(23)]
    with (
        running_registry(tmp_path, settings={"catalog": {"maxentries": 5}}) as url,
        RegistryClient(url) as client,
    ):
        assert client._session.get(f"{url}/v2/_catalog?n=1000", timeout=5).status_code == 400
        for name in names:
            push(client, name, "1")
        assert list(client.repositories()) == names


def test_registry_that_is_not_running_is_unreachable():
    with (
        RegistryClient(f"http://127.0.0.1:{free_port()}", timeout=(0.5, 1)) as client,
        pytest.raises(Unreachable) as error,
    ):
        client.ping()
    assert error.value.temporary


def test_registry_with_basic_auth_refuses_and_accepts(tmp_path):
    """The registry's own htpasswd takes bcrypt only; names and passwords go out as UTF-8."""
    secret = "pässwörd 船".encode()
    line = "zoë:" + bcrypt.hashpw(secret, bcrypt.gensalt(4, prefix=b"2a")).decode()
    (tmp_path / "htpasswd").write_text(line + "\n")
    auth = {"htpasswd": {"realm": "tests", "path": str(tmp_path / "htpasswd")}}
    with running_registry(tmp_path, settings={"auth": auth}) as url:
        with RegistryClient(url, username="zoë", password=secret.decode()) as right:
            assert right.ping() == "registry/2.0"
            push(right, "a/b", "1")
        with (
            RegistryClient(url, username="zoë", password="wrong") as wrong,
            pytest.raises(RegistryError) as error,
        ):
            wrong.ping()
        assert (error.value.code, error.value.status) == ("UNAUTHORIZED", 401)
        assert "wrong" not in str(error.value)


def test_page_of_another_server_is_a_bad_answer(registry):
    """Its 404 is not the registry's "not there": a sync must not believe it."""
    with RegistryClient(f"{registry}/elsewhere") as client:
        with pytest.raises(BadAnswer):
            client.ping()
        with pytest.raises(BadAnswer):
            client.tags("a/b")


def test_client_reads_the_authorities_only_from_the_given_file(tmp_path):
    with pytest.raises((Unreachable, OSError)):
        RegistryClient("https://127.0.0.1:1", ca=Path(tmp_path / "none"), timeout=(1, 1)).ping()
