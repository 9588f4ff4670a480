"""Mirrors as clients see them, over every kind of upstream and every way that one fails.

Clients here speak HTTP, so that each request counts; tests/e2e/test_mirror_clients.py has Docker,
containerd and podman.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from registryui import tls
from tests.selection import Extent
from tests.support import mirrors, upstreams
from tests.support.fake_source import digest_of
from tests.support.folders import open_folder
from tests.support.hosts import Proxied, proxied
from tests.support.mirrors import FIRST_BYTE, pull, pulls
from tests.support.product import Connection, Product, product, stopped
from tests.support.upstreams import Fault, Upstream, upstream
from tests.support.waiting import PATIENCE, until

from .conftest import LOOPBACK

pytestmark = pytest.mark.e2e

APP = "library/app"
MIRRORED = "hub/app"  # as Docker Hub names it: library/ is left out


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with open_folder("mirror") as made:
        yield made


@pytest.fixture(scope="module")
def mirrored(place: Path) -> Iterator[Product]:
    """A product of this file alone: it is restarted here."""
    settings = {"BOATHOUSE_REQUESTS_PER_SECOND": "100000"}  # all clients have one address
    with product(place / "data", LOOPBACK, settings=settings) as made:
        yield made


@pytest.fixture(scope="module")
def hub(place: Path, mirrored: Product) -> Iterator[Upstream]:
    """An upstream with tokens, and the mirror of it. Use tags of your own."""
    with upstream(place / "hub", auth="token") as made:
        mirrors.add(mirrored, "hub", made, "--library")
        yield made


@pytest.fixture
def working(hub: Upstream) -> Iterator[Upstream]:
    """The same, without a fault before and after. Who kills an upstream has one of his own: the
    mirror notices only some seconds later that it is back."""
    hub.forget()
    yield hub
    hub.fail(None)


@pytest.fixture
def client(mirrored: Product) -> Proxied:
    return proxied(mirrored, *mirrored.user)


def some_bytes(seed: int, size: int = 200_000) -> bytes:
    return random.Random(seed).randbytes(size)


def gets(one: Upstream) -> dict[str, int]:
    """How often each manifest and blob was given for a GET; a request that was told to log in is
    none, also for Docker Hub."""
    found: dict[str, int] = {}
    for asked in one.asked:
        if asked.method == "GET" and asked.path != "/v2/" and asked.status != 401:
            found[asked.path] = found.get(asked.path, 0) + 1
    return found


# -- kinds of upstreams ----------------------------------------------------------------------------
KINDS = {
    "anonymous": {},
    "token": {"auth": "token"},
    "basic": {"auth": "basic"},
    "tls": {"is_tls": True},
    "both": {"is_tls": True, "auth": "token"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_upstream_is_mirrored(
    place: Path, mirrored: Product, client: Proxied, kind: str
) -> None:
    """And none hears what the client says of itself to us."""
    layers = [some_bytes(1), some_bytes(2)]
    with upstream(place / kind, **KINDS[kind]) as one:  # type: ignore[arg-type]
        digest = one.registry.push_image("team/app", "1", layers=layers)
        mirrors.add(mirrored, f"of-{kind}", one)
        found = pull(client, f"of-{kind}/team/app", "1")
        assert (found.broken, found.headers["docker-content-digest"]) == ("", digest)
        said = {asked.headers.get("authorization", "") for asked in one.asked}
        assert client.headers["Authorization"] not in said
        assert not [asked for asked in one.asked if "x-boathouse-user" in asked.headers]
        assert pull(client, f"of-{kind}/team/app", digest).broken == ""
        assert set(gets(one).values()) == {1}
        shown = mirrors.command(mirrored, "mirror", "show", f"of-{kind}", "--json")
        assert shown.returncode == 0, shown.stderr
        assert upstreams.LOGIN[1] not in shown.stdout
        until(lambda: row_of(mirrored, f"of-{kind}/team/app", "1") == digest, "it is in the index")


def row_of(one: Product, repository: str, tag: str) -> str:
    row = one.tag(repository, tag)
    return str(row["digest"]) if row else ""


def test_a_wrong_authority_or_password_is_said(
    place: Path, mirrored: Product, client: Proxied
) -> None:
    with upstream(place / "strict", auth="basic", is_tls=True) as one:
        one.registry.push_image("team/app", "1")
        one.login = ("mirror-account", "not the password")
        mirrors.add(mirrored, "strict", one)
        refused = client.get("strict/team/app", "1")
        assert refused.status in (401, 403, 502, 503), refused
        assert refused.json()["errors"][0]["message"]
        checked = mirrors.command(mirrored, "mirror", "check", "strict", "--json")
        assert checked.returncode == 1, checked.stdout
        assert "not the password" not in checked.stdout + checked.stderr


def test_content_that_lies_elsewhere_is_fetched_without_the_login(
    place: Path, mirrored: Product, client: Proxied
) -> None:
    with (
        upstream(place / "redirecting", auth="token") as one,
        upstreams.content_network(one.registry.url) as other,
    ):
        one.registry.push_image("team/app", "1", layers=[some_bytes(3)])
        one.elsewhere = other.url
        mirrors.add(mirrored, "redirecting", one)
        assert pull(client, "redirecting/team/app", "1").broken == ""
        assert other.count("GET", "/blobs/") == 2  # config and layer
        assert not [asked for asked in other.asked if "authorization" in asked.headers]


# -- one download for all --------------------------------------------------------------------------
def test_ten_cold_clients_make_one_request_for_each_thing(
    working: Upstream, client: Proxied
) -> None:
    layers = [some_bytes(10 + number, 3_000_000) for number in range(5)]
    digest = working.registry.push_image(APP, "cold", layers=layers)
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: pull(client, MIRRORED, "cold"), range(10)))
    assert [one.broken for one in found if one.broken] == []
    assert {one.headers["docker-content-digest"] for one in found} == {digest}
    counted = gets(working)
    assert sum(count for path, count in counted.items() if "/manifests/" in path) == 1, counted
    blobs = {path: count for path, count in counted.items() if "/blobs/" in path}
    assert len(blobs) == 6
    assert set(blobs.values()) == {1}, counted


def test_a_client_that_leaves_ends_no_download(
    working: Upstream, mirrored: Product, client: Proxied
) -> None:
    layer = some_bytes(20, 2_000_000)
    working.registry.push_image(APP, "left", layers=[layer])
    assert client.get(MIRRORED, "left").status == 200
    working.fail(upstreams.slow(4_000_000))
    leave_early(mirrored, client, f"/v2/{MIRRORED}/blobs/{digest_of(layer)}")
    until(mirrors.stored(mirrored, digest_of(layer)).exists, "the download came to its end")
    assert working.count("GET", digest_of(layer)) == 1
    assert pull(client, MIRRORED, "left").broken == ""


def leave_early(one: Product, client: Proxied, path: str) -> None:
    """Asks for a blob, reads a little of it and hangs up."""
    connection = Connection(one.host, one.port, timeout=60)
    connection.address = one.address
    connection.context = ssl.create_default_context(cafile=str(one.ca))
    connection.request("GET", path, headers=dict(client.headers))
    answer = connection.getresponse()
    assert answer.status == 200
    assert len(answer.read(1000)) == 1000
    connection.close()


def test_what_was_pulled_in_part_is_complete_here_soon(
    place: Path, mirrored: Product, client: Proxied
) -> None:
    """The image's other layers follow: an upstream that goes away then takes nothing along."""
    layers = [some_bytes(30 + number) for number in range(3)]
    with upstream(place / "partly") as one:
        one.registry.push_image("team/app", "1", layers=layers)
        mirrors.add(mirrored, "partly", one)
        client.get("partly/team/app", "1")
        first = client.ask("GET", f"/v2/partly/team/app/blobs/{digest_of(layers[0])}")
        assert digest_of(first.body) == digest_of(layers[0])
        for layer in layers:
            until(mirrors.stored(mirrored, digest_of(layer)).exists, "the other layers are here")
        until(lambda: one.count("GET", "/blobs/") == 4, "and the configuration")
    assert pull(client, "partly/team/app", "1").broken == ""


def test_a_part_of_a_blob_can_be_asked_for(working: Upstream, client: Proxied) -> None:
    layer = some_bytes(40, 500_000)
    working.registry.push_image(APP, "ranged", layers=[layer])
    client.get(MIRRORED, "ranged")
    path = f"/v2/{MIRRORED}/blobs/{digest_of(layer)}"
    for _ in ("cold", "warm"):
        answer = client.ask("GET", path, headers={"Range": "bytes=400000-"})
        assert (answer.status, answer.body) == (206, layer[400_000:])


# -- fresh -----------------------------------------------------------------------------------------
def test_a_tag_that_was_checked_is_not_checked_again_for_a_time(
    working: Upstream, client: Proxied
) -> None:
    old = working.registry.push_image(APP, "fresh", layers=[some_bytes(50)])
    assert pull(client, MIRRORED, "fresh").broken == ""
    working.forget()
    working.registry.push_image(APP, "fresh", layers=[some_bytes(51)])
    found = pull(client, MIRRORED, "fresh")
    assert (found.broken, found.headers["docker-content-digest"]) == ("", old)
    assert int(found.headers["age"]) >= 0
    assert working.asked == []


def test_a_tag_that_moved_is_seen_by_a_head_and_fetched(
    place: Path, mirrored: Product, client: Proxied
) -> None:
    with upstream(place / "moving") as one:
        old = one.registry.push_image("team/app", "1", layers=[some_bytes(60)])
        mirrors.add(mirrored, "moving", one, "--fresh-minutes=0")
        assert pull(client, "moving/team/app", "1").headers["docker-content-digest"] == old
        one.forget()
        assert pull(client, "moving/team/app", "1").broken == ""
        assert (one.count("HEAD", "/manifests/"), one.count("GET")) == (1, 0)
        new = one.registry.push_image("team/app", "1", layers=[some_bytes(61)])
        assert pull(client, "moving/team/app", "1").headers["docker-content-digest"] == new
        until(lambda: row_of(mirrored, "moving/team/app", "1") == new, "the index follows")
        assert pull(client, "moving/team/app", old).broken == ""  # still here by its digest


# -- when the upstream is away ---------------------------------------------------------------------
AWAY: dict[str, Fault | None] = {
    "dead": None,
    "hanging": upstreams.HANGING,
    "429": upstreams.LIMITED,
    "500": upstreams.BROKEN,
}


def goes_away(one: Upstream, how: str) -> None:
    if how == "dead":
        one.kill()
    elif how == "expired":
        one.kill()
        upstreams.expire(one)
        one.start()
    else:
        one.fail(AWAY[how])


@pytest.fixture(scope="module")
def away(place: Path, mirrored: Product) -> Iterator[Upstream]:
    """An upstream with TLS whose tags are checked at every pull."""
    with upstream(place / "away", is_tls=True) as made:
        mirrors.add(mirrored, "away", made, "--fresh-minutes=0")
        yield made


@pytest.fixture(scope="module")
def cached(mirrored: Product, away: Upstream) -> list[str]:
    """Tags, and a digest, that were pulled while it was there."""
    tags = [f"v{number}" for number in range(5)]
    for number, tag in enumerate(tags):
        layers = [some_bytes(70 + number), some_bytes(70)]
        digest = away.registry.push_image("team/app", tag, layers=layers)
        found = pull(proxied(mirrored, *mirrored.user), "away/team/app", tag)
        assert found.broken == ""
    return [*tags, digest]


@pytest.mark.parametrize("how", [*AWAY, "expired"])
def test_all_that_is_cached_is_pulled_without_the_upstream(
    mirrored: Product, away: Upstream, cached: list[str], client: Proxied, extent: Extent, how: str
) -> None:
    is_back(mirrored, away, client)
    goes_away(away, how)
    found = pulls(client, "away/team/app", cached, extent(30, 1000))
    check_pulls(found, how)
    by_tag = pull(client, "away/team/app", cached[0])
    assert by_tag.headers["warning"].startswith(("110", "111")), by_tag.headers
    assert int(by_tag.headers["age"]) >= 0
    until(lambda: says(mirrored, how), "the state says what is wrong")
    unknown = client.get("away/team/app", "never-pulled")
    assert unknown.status in (429, 502, 503, 504), unknown
    assert unknown.json()["errors"][0]["message"]
    if how == "429":
        assert unknown.status == 429
        assert int(unknown.headers["retry-after"]) > 0


def says(mirrored: Product, how: str) -> bool:
    """Who answers 429 is not away."""
    found = mirrors.state(mirrored, "away")
    return bool(found["error"]) and bool(found["away_since"]) == (how != "429")


def check_pulls(found: list[mirrors.Pull], how: str) -> None:
    assert [one.broken for one in found if one.broken] == []
    slowest = max(one.first_byte for one in found)
    print(f"{how}: {len(found)} pulls, first byte at most {slowest:.2f} s")
    assert slowest <= FIRST_BYTE * max(1, PATIENCE)


@pytest.mark.usefixtures("long_proof")
def test_the_same_after_a_restart_of_everything(
    mirrored: Product, away: Upstream, cached: list[str], client: Proxied, extent: Extent
) -> None:
    """Dead and hanging upstreams, met by parts that have just started."""
    for how in extent(["hanging"], ["dead", "hanging", "429", "500"]):
        is_back(mirrored, away, client)
        goes_away(away, how)
        mirrored.down()
        mirrored.up()
        check_pulls(pulls(client, "away/team/app", cached, extent(30, 1000)), how)


def is_back(mirrored: Product, one: Upstream, client: Proxied) -> None:
    """The upstream works again, with a certificate that holds, and the mirror knows it."""
    works_again(one)
    mirrors.ask_again(mirrored, "away")

    def is_checked() -> bool:
        return "warning" not in client.get("away/team/app", "v0").headers

    until(is_checked, "tags are checked again")


def works_again(one: Upstream) -> None:
    one.kill()
    assert one.certificate
    tls.renew(one.certificate.parent, names=upstreams.NAMES)
    one.fail(None)
    one.start()


def test_an_upstream_that_is_back_is_asked_again(
    mirrored: Product, away: Upstream, cached: list[str], client: Proxied
) -> None:
    """Without any change of the mirror: it probes by itself."""
    goes_away(away, "dead")
    assert "warning" in pull(client, "away/team/app", cached[0]).headers
    works_again(away)
    away.registry.push_image("team/app", "later", layers=[some_bytes(90)])
    until(lambda: client.get("away/team/app", "later").status == 200, "a new tag is fetched")
    assert pull(client, "away/team/app", "later").broken == ""
    until(lambda: not mirrors.state(mirrored, "away")["away_since"], "the state says so")
    assert "warning" not in pull(client, "away/team/app", cached[0]).headers


def test_a_tag_that_is_gone_upstream_is_kept_here(
    mirrored: Product, client: Proxied, place: Path
) -> None:
    with upstream(place / "gone") as one:
        digest = one.registry.push_image("team/app", "1", layers=[some_bytes(95)])
        mirrors.add(mirrored, "gone", one, "--fresh-minutes=0")
        assert pull(client, "gone/team/app", "1").broken == ""
        assert one.registry.delete("team/app", digest).status == 202
        found = pull(client, "gone/team/app", "1")
        assert found.broken == ""
        assert "warning" in found.headers
        assert client.get("gone/team/app", "absent").status == 404


def test_the_portal_takes_no_part(working: Upstream, mirrored: Product, client: Proxied) -> None:
    working.registry.push_image(APP, "alone", layers=[some_bytes(100)])
    pids = mirrored.pids()
    with stopped([pids["web"], pids["worker"]]):
        assert pull(client, MIRRORED, "alone").broken == ""  # cold
        assert pull(client, MIRRORED, "alone").broken == ""  # warm


# -- what comes is not what was asked for ----------------------------------------------------------
BAD = {
    "wrong": upstreams.WRONG,
    "cut-off": upstreams.CUT_OFF,
    "wrong-manifest": upstreams.WRONG_MANIFESTS,
}


@pytest.mark.parametrize("how", BAD)
def test_other_bytes_than_the_digest_are_refused_and_not_stored(
    working: Upstream, mirrored: Product, client: Proxied, how: str
) -> None:
    layer = some_bytes(110 + len(how), 400_000)
    digest = working.registry.push_image(APP, how, layers=[layer])
    working.fail(BAD[how])
    before = mirrors.state(mirrored, "hub")["refused"]
    for reference in (how, digest):
        assert broken(client, MIRRORED, reference), reference
    wanted = digest if how == "wrong-manifest" else digest_of(layer)
    assert not mirrors.stored(mirrored, wanted).exists()

    def told() -> bool:
        state = mirrors.state(mirrored, "hub")
        return state["refused"] > before and APP.partition("/")[2] in state["last_refusal"]["what"]

    until(told, "the state counts it")
    working.fail(None)
    until(lambda: not broken(client, MIRRORED, digest), "what is right is stored", pause=0.5)
    assert pull(client, MIRRORED, digest).broken == ""


def broken(client: Proxied, repository: str, reference: str) -> str:
    """What a client notices; it may be that the connection is cut."""
    try:
        return pull(client, repository, reference).broken
    except (OSError, http.client.HTTPException) as error:
        return repr(error)


def test_an_upstream_that_hangs_in_a_blob_gives_the_client_an_end(
    working: Upstream, client: Proxied, extent: Extent
) -> None:
    """And the next one has it whole, as soon as it comes."""
    layer = some_bytes(130, 400_000)
    digest = working.registry.push_image(APP, "half", layers=[layer])
    assert client.get(MIRRORED, "half").status == 200
    working.fail(upstreams.HANGING_IN_BLOB)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(broken, client, MIRRORED, "half")
        until(lambda: working.count("GET", "/blobs/"), "it is asked for")
        if extent(False, True):
            assert waiting.result()  # the mirror's own timeout
        working.fail(None)  # what hung is cut off
        waiting.result()
    until(lambda: not broken(client, MIRRORED, digest), "it comes whole", pause=0.5)


# -- a mirror is read only -------------------------------------------------------------------------
def test_writes_of_every_kind_are_refused_with_words(
    working: Upstream, mirrored: Product, client: Proxied
) -> None:
    digest = working.registry.push_image(APP, "kept", layers=[some_bytes(140)])
    assert pull(client, MIRRORED, "kept").broken == ""
    may = {action: ["*"] for action in ("pull", "push", "delete")}
    everything = mirrored.add_user("everything", **may)
    client = proxied(mirrored, *everything)
    until(lambda: client.ask("GET", "/v2/").status == 200, "he is let in")
    place = f"/v2/{MIRRORED}"
    raw = client.get(MIRRORED, "kept").body
    writes = [
        ("POST", f"{place}/blobs/uploads/", b""),
        ("POST", f"{place}/blobs/uploads/?mount={digest}&from=team/app", b""),
        ("PUT", f"{place}/manifests/kept", raw),
        ("PUT", f"{place}/manifests/new", raw),
        ("DELETE", f"{place}/manifests/{digest}", b""),
        ("DELETE", f"{place}/manifests/kept", b""),
        ("DELETE", f"{place}/blobs/{digest}", b""),
        ("POST", "/v2/hub/blobs/uploads/", b""),
        ("POST", "/v2/hub/ever/so/new/blobs/uploads/", b""),
    ]
    for method, path, body in writes:
        answer = client.ask(method, path, body)
        assert answer.status == 405, (method, path, answer)
        assert answer.json()["errors"][0]["code"] == "UNSUPPORTED", (method, path)
        assert "is a mirror of" in answer.json()["errors"][0]["message"], (method, path)
    assert pull(client, MIRRORED, "kept").broken == ""
    with stopped([mirrored.pids()["web"]]):
        assert client.ask("POST", f"{place}/blobs/uploads/").status == 405


def test_a_blob_of_a_mirror_is_mounted_by_who_may_pull_it(
    working: Upstream, mirrored: Product, client: Proxied
) -> None:
    layer = some_bytes(150)
    working.registry.push_image(APP, "mounted", layers=[layer])
    assert pull(client, MIRRORED, "mounted").broken == ""
    query = f"?mount={digest_of(layer)}&from={MIRRORED}"
    mounted = client.ask("POST", f"/v2/team/mounted/blobs/uploads/{query}")
    assert mounted.status == 201, mounted
    stranger = proxied(mirrored, *mirrored.add_user("stranger", pull=["team/*"], push=["team/*"]))
    until(lambda: stranger.ask("GET", "/v2/").status == 200, "he is let in")
    assert stranger.ask("POST", f"/v2/team/other/blobs/uploads/{query}").status == 202
    assert stranger.get(MIRRORED, "mounted").status == 403
    assert stranger.ask("GET", f"/v2/{MIRRORED}/blobs/{digest_of(layer)}").status == 403


def test_a_mirror_takes_no_namespace_that_has_repositories(
    mirrored: Product, working: Upstream, client: Proxied
) -> None:
    client.push_image("taken/app", "1")
    until(lambda: mirrored.tag("taken/app", "1"), "it is in the index")
    done = mirrors.command(mirrored, "mirror", "add", "taken", working.url, "--json")
    assert done.returncode == 1
    assert client.push_image("taken/app", "2")


def test_what_may_not_be_mirrored_is_not_asked_for(
    place: Path, mirrored: Product, client: Proxied
) -> None:
    with upstream(place / "chosen") as one:
        for name in ("library/app", "library/secret", "other/app"):
            one.registry.push_image(name, "1")
        mirrors.add(mirrored, "chosen", one, "--allow=library/*", "--deny=library/secret")
        assert pull(client, "chosen/library/app", "1").broken == ""
        one.forget()
        for name in ("library/secret", "other/app"):
            answer = client.get(f"chosen/{name}", "1")
            assert (answer.status, answer.json()["errors"][0]["code"]) == (403, "DENIED")
        assert one.asked == []


# -- the process -----------------------------------------------------------------------------------
def test_an_idle_service_is_small(mirrored: Product) -> None:
    first = psutil.Process(mirrored.pids()["mirror"])
    family = [first, *first.children(recursive=True)]
    megabytes = sum(one.memory_full_info().pss for one in family) / 10**6
    print(f"memory of the service, after the tests before: {megabytes:.1f} MB (PSS)")
    assert megabytes < 30


def test_a_service_that_is_killed_in_a_download_leaves_nothing_half(
    working: Upstream, mirrored: Product, client: Proxied
) -> None:
    layer = some_bytes(160, 2_000_000)
    digest = working.registry.push_image(APP, "killed", layers=[layer])
    assert client.get(MIRRORED, "killed").status == 200
    working.fail(upstreams.slow(500_000))
    service = mirrored.pids()["mirror"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(broken, client, MIRRORED, digest)
        until(lambda: working.count("GET", digest_of(layer)), "it is asked for")
        os.kill(service, signal.SIGKILL)
        waiting.result()
    assert not mirrors.stored(mirrored, digest_of(layer)).exists()
    working.fail(None)
    until(lambda: not broken(client, MIRRORED, digest), "it is fetched whole", pause=0.2)
    spool = mirrored.data / "registry/boathouse-mirror"
    until(lambda: {one.name for one in spool.glob("*/*")} == {"lock"}, "no spool file is left")


def test_two_mirrors_share_what_is_the_same(
    place: Path, mirrored: Product, client: Proxied, working: Upstream
) -> None:
    """A layer of two upstreams is stored once, and each needs to have asked its own for it."""
    layer = some_bytes(170)
    working.registry.push_image(APP, "same", layers=[layer])
    with ExitStack() as stack:
        one = stack.enter_context(upstream(place / "same"))
        one.registry.push_image("team/app", "1", layers=[layer])
        mirrors.add(mirrored, "same", one)
        assert pull(client, MIRRORED, "same").broken == ""
        assert pull(client, "same/team/app", "1").broken == ""
    assert mirrors.stored(mirrored, digest_of(layer)).stat().st_size == len(layer)
