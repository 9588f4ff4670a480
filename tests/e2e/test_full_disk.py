"""A product on a small disk of its own, which is filled to the last byte; and one that hangs."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import ssl
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.selection import Extent
from tests.support import mirrors, upstreams
from tests.support.clients import copy
from tests.support.fake_source import CONFIG, IMAGE, LAYER, descriptor, digest_of, encode
from tests.support.full_disk import fill
from tests.support.hosts import Proxied, proxied
from tests.support.layouts import Layout
from tests.support.portal import Visitor
from tests.support.product import Product, product
from tests.support.pushing import CUT_OFF
from tests.support.short_times import short_times
from tests.support.upstreams import Upstream, upstream
from tests.support.waiting import LONGEST, until

pytestmark = pytest.mark.e2e

ADDRESS = "127.0.0.1"
MEGABYTE = 1_000_000
FLOOR, RESERVE, LOGS = 24, 16, 4  # megabytes
REQUESTS = 50  # a second, of a stranger
PARTS = ("registry", "manifests", "blobs", "passwords", "mirror", "nginx", "web", "worker")


@pytest.fixture(scope="module")
def disk(folder: Path) -> Iterator[Path]:
    """An empty one of 200 MB."""
    place = folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m,mode=755", "tests", str(place)]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.fail(
            "A full disk cannot be tested: run the tests as root, where mounts are allowed."
        )
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def small(disk: Path, folder: Path) -> Iterator[Product]:
    """The product on it. Garbage collection there has short times."""
    settings = {
        **short_times(folder / "times", grace=1, quarantine=3600),
        "BOATHOUSE_FLOOR_MB": str(FLOOR),
        "BOATHOUSE_RESERVE_MB": str(RESERVE),
        "BOATHOUSE_LOG_MB": str(LOGS),
        "BOATHOUSE_REQUESTS_PER_SECOND": str(REQUESTS),
    }
    with product(disk / "data", ADDRESS, settings=settings) as made:
        yield made


@pytest.fixture
def roomy(small: Product) -> Iterator[Product]:
    """The product, up, healthy, with room and its reserve, whatever the test before did to it."""
    is_roomy(small)
    yield small
    for one in small.data.parent.glob("filler*"):
        one.unlink()


def is_roomy(one: Product) -> None:
    if not one.processes():
        one.up()
    until(lambda: is_healthy(one), "all parts are healthy")
    reserve = one.data / "reserve"
    until(lambda: reserve.exists() and reserve.stat().st_size == RESERVE * MEGABYTE, "a reserve")
    until(lambda: may_push(one) == 202, "pushes are let in")


def is_healthy(one: Product) -> bool:
    """As `status` sees it, for a hundredth of the time."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        pids = parts(one)
        return (
            [*pids] == [*PARTS]
            and all(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids.values())
            and one.ask("/v2/", as_user=True).status == one.ask("/healthz").status == 200
        )
    return False


def parts(one: Product) -> dict[str, int]:
    """Process id of each part, by its name."""
    found: dict[str, int] = json.loads((one.data / "run" / "parts.json").read_text())
    return found


def may_push(one: Product) -> int:
    return one.ask("/v2/full/disk/blobs/uploads/", method="POST", as_user=True).status


def free(one: Product) -> int:
    found = os.statvfs(one.data)
    return found.f_bavail * found.f_frsize


def fill_but(one: Product, left: int) -> Path:
    """A file that leaves so many bytes."""
    filler = one.data.parent / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free(one) - left)
    return filler


def fill_to_the_last_byte(one: Product) -> None:
    """Takes the reserve, too, as soon as it is given back: nothing at all can be written then."""
    fill(one.data.parent)
    reserve = one.data / "reserve"
    until(lambda: not reserve.exists(), "the reserve is given back", pause=0.01)
    fill(one.data.parent).rename(one.data.parent / "filler-of-the-reserve")


def push(one: Product, repository: str, tag: str, layer: bytes) -> int:
    """The last status."""
    place = f"/v2/{repository}"
    config = encode({"os": "linux", "architecture": "amd64"})
    for blob in (config, layer):
        begun = one.ask(f"{place}/blobs/uploads/", method="POST", as_user=True)
        if begun.status != 202:
            return begun.status
        path = begun.headers["location"].partition(one.name)[2] or begun.headers["location"]
        path += f"{'&' if '?' in path else '?'}digest={digest_of(blob)}"
        done = one.ask(path, method="PUT", body=blob, as_user=True)
        if done.status != 201:
            return done.status
    raw = encode(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(CONFIG, config),
            "layers": [descriptor(LAYER, layer)],
        }
    )
    kind = {"Content-Type": IMAGE}
    path = f"{place}/manifests/{tag}"
    return one.ask(path, method="PUT", body=raw, headers=kind, as_user=True).status


def pull(one: Product, repository: str, tag: str) -> int:
    headers = {"Accept": IMAGE}
    return one.ask(f"/v2/{repository}/manifests/{tag}", headers=headers, as_user=True).status


def proxy(one: Product) -> int:
    """Its status; 0 if nobody listens."""
    try:
        return one.ask("/healthz").status
    except OSError:
        return 0


def disk_of_the_doctor(one: Product) -> dict[str, Any]:
    told = json.loads(one.boathouse("doctor", "--json", check=False).stdout)
    found: dict[str, Any] = next(row for row in told["findings"] if row["name"] == "disk")
    return found


# -- the floor -------------------------------------------------------------------------------------
def test_uploads_are_refused_below_the_floor_and_nothing_else(
    roomy: Product, tmp_path: Path
) -> None:
    assert push(roomy, "floor/app", "1", b"one") == 201
    filler = fill_but(roomy, (FLOOR - 2) * MEGABYTE)
    until(lambda: may_push(roomy) == 507, "uploads are refused")
    for method, path in (
        ("POST", "/v2/floor/app/blobs/uploads/"),
        ("PATCH", "/v2/floor/app/blobs/uploads/1"),
        ("PUT", "/v2/floor/app/blobs/uploads/1"),
        ("PUT", "/v2/floor/app/manifests/2"),
    ):
        answer = roomy.ask(path, method=method, body=b"", as_user=True)
        assert answer.status == 507, (method, path)
        (error,) = answer.json()["errors"]
        assert error["code"] == "UNAVAILABLE"
        assert "disk of the registry is full" in error["message"]
        assert answer.headers["retry-after"]
    made = Layout(tmp_path / "layout")
    made.tag("1", made.image("amd64", {"app": b"app"}))
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "ca.crt").write_bytes(roomy.ca.read_bytes())
    source, target = f"oci:{made.folder}:1", f"docker://{roomy.name}/floor/skopeo:1"
    assert "507 Insufficient Storage" in copy(roomy, trusted, source, target).stderr
    assert pull(roomy, "floor/app", "1") == 200
    begun = roomy.ask("/v2/floor/app/blobs/uploads/1", method="DELETE", as_user=True)
    assert begun.status == 404  # let in: the registry knows no such upload
    finding = disk_of_the_doctor(roomy)
    assert (finding["state"], finding["code"]) == ("bad", "disk-full")
    assert "gc --purge-now" in finding["advice"]
    assert (roomy.data / "reserve").exists()
    filler.unlink()
    until(lambda: may_push(roomy) == 202, "uploads are let in again")
    assert push(roomy, "floor/app", "2", b"two") == 201


# -- a mirror --------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def hub(small: Product, folder: Path) -> Iterator[Upstream]:
    """An upstream on another disk, mirrored by the product on the small one."""
    with upstream(folder / "hub") as made:
        is_roomy(small)
        mirrors.add(small, "hub", made)
        yield made
        small.boathouse("mirror", "remove", "hub", "--delete-content", "--yes", check=False)


def test_a_mirror_passes_through_what_it_has_no_space_for(roomy: Product, hub: Upstream) -> None:
    client, layer = proxied(roomy, *roomy.user), os.urandom(2 * MEGABYTE)
    digest = hub.registry.push_image("team/app", "full", layers=[layer])
    fill_but(roomy, (FLOOR - 2) * MEGABYTE)
    until(lambda: may_push(roomy) == 507, "the disk is full")
    assert mirrors.pull(client, "hub/team/app", "full").broken == ""
    assert not mirrors.stored(roomy, digest_of(layer)).exists()
    assert mirrors.pull(client, "hub/team/app", digest).broken == ""  # again from the upstream


def test_a_disk_that_is_full_in_the_middle_of_a_pull_leaves_nothing_half(
    roomy: Product, hub: Upstream
) -> None:
    """The client has all of it, or notices; later it is complete."""
    client, layer = proxied(roomy, *roomy.user), os.urandom(6 * MEGABYTE)
    digest = hub.registry.push_image("team/app", "middle", layers=[layer])
    hub.fail(upstreams.slow(4 * MEGABYTE))
    with ThreadPoolExecutor(1) as pool:
        pulling = pool.submit(noticed, client, "hub/team/app", "middle")
        until(lambda: hub.count("GET", digest_of(layer)), "the layer is on its way")
        fill_to_the_last_byte(roomy)
        hub.fail(None)
        print(f"a pull while the disk became full: {pulling.result() or 'complete'}")
    for path in (roomy.data / "registry/docker/registry/v2/blobs").rglob("data"):
        assert digest_of(path.read_bytes()).removeprefix("sha256:") == path.parent.name
    for one in roomy.data.parent.glob("filler*"):
        one.unlink()
    is_roomy(roomy)
    assert mirrors.pull(client, "hub/team/app", digest).broken == ""
    until(mirrors.stored(roomy, digest_of(layer)).exists, "it is stored")
    assert mirrors.pull(client, "hub/team/app", "middle").broken == ""


def noticed(client: Proxied, repository: str, tag: str) -> str:
    """What a client sees of a pull that may be cut off."""
    try:
        return mirrors.pull(client, repository, tag).broken
    except CUT_OFF as error:
        return repr(error)


# -- nothing is left -------------------------------------------------------------------------------
def test_who_must_be_locked_out_can_be_and_the_space_comes_back(roomy: Product) -> None:
    name, secret = roomy.add_user("leaver", pull=["*"])
    assert push(roomy, "full/app", "1", os.urandom(3 * MEGABYTE)) == 201
    until(lambda: roomy.tag("full/app", "1"), "the push is in the index")
    roomy.boathouse("tag", "delete", "full/app:1", "--yes")
    quarantined = until(lambda: quarantine(roomy), "garbage collection has quarantined the image")
    fill(roomy.data.parent)

    until(lambda: free(roomy) > 0, "the reserve is given back")
    visitor = Visitor(roomy)
    visitor.login()
    roomy.boathouse("user", "disable", name)
    header = {"Authorization": "Basic " + b64encode(f"{name}:{secret}".encode()).decode()}
    assert roomy.ask("/v2/", headers=header).status == 401
    acts = roomy.boathouse("activity", "--json", "--target", name).stdout
    assert "disable" in acts, acts
    assert visitor.get("/activity").status == 200
    assert may_push(roomy) == 507
    assert pull(roomy, "floor/app", "1") == 200

    freed = json.loads(roomy.boathouse("gc", "--purge-now", "--yes", "--json").stdout)
    assert freed["state"] == "done"
    assert freed["freed_bytes"] >= 3 * MEGABYTE, (quarantined, freed)


def quarantine(one: Product) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(one.boathouse("gc", "--json").stdout)
    return told if told["in_quarantine_bytes"] >= 3 * MEGABYTE else {}


@pytest.mark.usefixtures("long_proof")
def test_each_part_comes_back_with_the_space(roomy: Product) -> None:
    up = holder(roomy)
    before = parts(roomy)
    fill_to_the_last_byte(roomy)
    for name in PARTS:
        psutil.Process(before[name]).kill()
    # nginx, the registry and web need no room to run; a queue that is opened anew does.
    until(lambda: proxy(roomy) in (200, 503), "nginx is there again")
    for command in (("status", "--json"), ("doctor",)):
        done = roomy.boathouse(*command, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (0, 1), (command, done.stdout, done.stderr)
        assert "starting" not in done.stdout
    for one in roomy.data.parent.glob("filler*"):
        one.unlink()
    began = time.monotonic()
    until(lambda: is_healthy(roomy), "all parts are healthy")
    print(f"healthy {time.monotonic() - began:.1f} s after the space came back")
    assert holder(roomy).pid == up.pid
    assert not set(before.values()) & set(parts(roomy).values())
    until(lambda: push(roomy, "back/app", "1", b"back") == 201, "pushes work")
    until(lambda: roomy.tag("back/app", "1"), "the push is in the index")


def test_commands_on_a_full_disk_say_it_in_one_sentence(roomy: Product) -> None:
    fill_to_the_last_byte(roomy)
    names = itertools.count()

    def refused(*command: str) -> str:
        """What it said; "" if the product freed a few bytes for it meanwhile."""
        done = roomy.boathouse(*command, check=False)
        fill(roomy.data.parent)
        return done.stderr if done.returncode != 0 else ""

    for command in (
        lambda: refused("user", "add", f"late-{next(names)}", "--pull", "*"),
        lambda: refused("gc", "--purge-now", "--yes"),
    ):
        said = until(command, "it is refused")
        assert "Traceback" not in said, said
        assert said.splitlines()[-1].startswith("boathouse: ")


def test_down_and_up_work_on_a_full_disk(roomy: Product) -> None:
    fill_but(roomy, 0)
    roomy.down()
    until(lambda: roomy.processes() == [], "no process is left")
    assert roomy.boathouse("status", check=False).returncode == 3
    roomy.up()
    assert is_healthy(roomy)
    assert may_push(roomy) == 507
    assert "pushes are refused" in roomy.tail()
    Visitor(roomy).login()


# -- down, then up ---------------------------------------------------------------------------------
def holder(one: Product) -> psutil.Process:
    """The process that `./boathouse up` has left."""
    told = json.loads((one.data / "run" / "up.json").read_text())
    return psutil.Process(told["pid"])


def freeze_a_part(one: Product) -> None:
    """It can take no signal but one, and holds its port."""
    psutil.Process(parts(one)["registry"]).send_signal(signal.SIGSTOP)
    holder(one).kill()


def freeze_up(one: Product) -> None:
    holder(one).send_signal(signal.SIGSTOP)
    for name in ("parts.json", "up.json"):
        (one.data / "run" / name).unlink()


def kill_up(one: Product) -> None:
    holder(one).kill()


def kill_up_and_nginx(one: Product) -> None:
    """Its workers, which have no master any more, hold the port."""
    nginx = parts(one)["nginx"]
    holder(one).send_signal(signal.SIGSTOP)
    psutil.Process(nginx).kill()
    holder(one).kill()


def lose_the_folder(one: Product) -> None:
    for file in (one.data / "run").iterdir():
        if file.is_file():
            file.unlink()


STATES: tuple[Callable[[Product], None], ...] = (
    freeze_a_part,
    freeze_up,
    kill_up_and_nginx,
    kill_up,
    lose_the_folder,
)


@pytest.mark.usefixtures("long_proof")
def test_whatever_the_state_down_then_up_works(
    roomy: Product, extent: Extent, subtests: pytest.Subtests
) -> None:
    for state in extent(STATES[:3], STATES):
        with subtests.test(state=state.__name__):
            state(roomy)
            roomy.down()
            until(lambda: roomy.processes() == [], "no process is left")
            roomy.up()
            assert is_healthy(roomy)


@pytest.mark.usefixtures("long_proof")
def test_up_ends_what_a_killed_one_has_left(roomy: Product) -> None:
    freeze_a_part(roomy)
    until(lambda: len(roomy.processes()) < len(PARTS), "the others end with it")
    roomy.up()
    assert is_healthy(roomy)


# -- logs ------------------------------------------------------------------------------------------
class Talker:
    """One connection that is kept."""

    def __init__(self, one: Product, login: tuple[str, str] | None) -> None:
        context = ssl.create_default_context(cafile=str(one.ca))
        self._connection = http.client.HTTPSConnection(
            ADDRESS, one.port, context=context, timeout=LONGEST
        )
        self._headers = {}
        if login:
            self._headers["Authorization"] = "Basic " + b64encode(":".join(login).encode()).decode()

    def ask(self, path: str, method: str = "GET", **headers: str) -> int:
        self._connection.request(method, path, headers={**self._headers, **headers})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._connection.close()


@contextmanager
def talker(one: Product, login: tuple[str, str] | None = None) -> Iterator[Talker]:
    made = Talker(one, login)
    try:
        yield made
    finally:
        made.close()


def lines(one: Product) -> list[dict[str, Any]]:
    """All of the access log that is there, of all its files. What nginx wrote when no byte was left
    is a piece of a line, on which the next one follows."""
    found: dict[tuple[int, int], bytes] = {}
    for file in (one.data / "log").glob("access.json*"):
        with file.open("rb") as opened:
            stat = os.fstat(opened.fileno())
            found[stat.st_dev, stat.st_ino] = opened.read()
    pieces = [one for text in found.values() for one in re.split(rb'\n|(?=\{"time")', text) if one]
    return [json.loads(one) for one in pieces if one.endswith(b"}")]


def test_what_a_stranger_writes_is_cut_in_the_log(roomy: Product) -> None:
    with talker(roomy) as stranger:
        agents = {"control": "\x01" * 15_000, "letters": "a" + "ä" * 7_000, "quotes": '"' * 15_000}
        for name, agent in agents.items():
            assert stranger.ask(f"/v2/cut/{name}/tags/list", **{"User-Agent": agent}) == 401
        stranger.ask(f"/v2/cut/long/{'x' * 15_000}")
        stranger.ask("/v2/cut/method/tags/list", method="A" * 5_000)
    seen = until(
        lambda: (
            found
            if len(found := [one for one in lines(roomy) if "/cut/" in one["uri"]]) == 5
            else []
        ),
        "all five are in the log",
    )
    assert all(len(json.dumps(one)) < 2_500 for one in seen)
    agents = {one["uri"].split("/")[3]: one["agent"] for one in seen}
    assert agents["control"] == "\x01" * 200
    assert agents["letters"] == "a"  # Latin-1 here, no JSON


def test_logs_are_turned_over_without_losing_a_line(roomy: Product) -> None:
    folder, wanted = roomy.data / "log", set[str]()
    before = len(list(folder.glob("access.json.*")))

    def asked() -> int:
        return before + len(wanted) // 1000

    def ask(paths: list[str]) -> None:
        with talker(roomy, roomy.user) as one:
            for path in paths:
                assert one.ask(path) == 404

    def is_turned_over() -> bool:
        turned = len(list(folder.glob("access.json.*")))
        if turned < asked():  # more at once would be more than all logs together may have
            return False
        # Not the registry's to answer: it would write a line of its own.
        paths = [f"/v2/turn-over/{len(wanted) + number}" for number in range(1000)]
        wanted.update(paths)
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(ask, [paths[first::8] for first in range(8)]))
        return turned >= before + 3

    until(is_turned_over, "it was turned over three times")

    def is_all() -> bool:
        seen = [one["uri"] for one in lines(roomy) if one["uri"].startswith("/v2/turn-over/")]
        return len(seen) == len(set(seen)) and set(seen) == wanted

    until(is_all, "each request is in the log once")
    log = folder / "boathouse.log"
    old = log.with_name("boathouse.log.20260101-000000")
    log.rename(old)
    before = old.read_bytes()
    psutil.Process(parts(roomy)["web"]).kill()
    until(lambda: log.exists() and b"web started" in log.read_bytes(), "a new log is written")
    assert old.read_bytes() == before


@pytest.mark.usefixtures("long_proof")
def test_a_flood_of_a_stranger_is_stopped_and_a_pipeline_is_not(
    roomy: Product, extent: Extent
) -> None:
    rounds = extent(10, 100)
    assert push(roomy, "flood/app", "1", b"pulled by fifty") == 201

    def work(_client: int) -> list[int]:
        with talker(roomy, roomy.user) as client:
            return [client.ask("/v2/flood/app/manifests/1", Accept=IMAGE) for _ in range(rounds)]

    with ThreadPoolExecutor(51) as everybody, talker(roomy) as stranger:
        clients = [everybody.submit(work, number) for number in range(50)]
        refused = [stranger.ask("/v2/stranger/app/tags/list") for _ in range(900)]
        assert {status for client in clients for status in client.result()} == {200}
    assert set(refused) == {401, 429}
    written = [one["status"] for one in lines(roomy) if "/stranger/" in one["uri"]]
    assert written.count(401) == refused.count(401)
    assert 0 < written.count(429) < refused.count(429) / 4
