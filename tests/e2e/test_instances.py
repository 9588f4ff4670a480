"""A second instance beside the first, which these tests stop, freeze, move and push behind."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from registryui.registry.client import RegistryClient
from tests.support.client_push import push
from tests.support.engines import Engine
from tests.support.hosts import proxied
from tests.support.machines import NAMES, Machine
from tests.support.parts import running_registry
from tests.support.portal import Visitor
from tests.support.product import ROOT, Product, product, stopped
from tests.support.pushing import what_is_missing
from tests.support.registries import Registry
from tests.support.waiting import LONGEST, until

from .conftest import trust_lines

pytestmark = pytest.mark.e2e

(HOST,) = NAMES


@pytest.fixture(scope="module")
def second_instance(boathouse: Product, folder: Path, address: str) -> Iterator[Product]:
    with product(folder / "second", address, host=HOST) as made:
        yield made


@pytest.fixture
def second(second_instance: Product) -> Product:
    """The second instance, up whatever the test before did to it."""
    if not second_instance.processes():
        second_instance.up()
    return second_instance


@pytest.fixture
def docker_of_second(docker: Engine, first_machine: Machine, second: Product) -> Engine:
    """The first machine's Docker, logged in to the second instance."""
    first_machine.run(trust_lines(second))
    docker.login(second.name, *second.user)
    return docker


@contextmanager
def behind_its_back(instance: Product, folder: Path) -> Iterator[Registry]:
    """Another registry on the same store: what is pushed there sends no event."""
    store = instance.data / "registry"
    settings = {
        "storage": {"filesystem": {"rootdirectory": str(store)}, "delete": {"enabled": True}}
    }
    with running_registry(folder / "other", settings=settings) as url:
        yield Registry(url, store)


def test_a_second_instance_runs_beside_the_first(boathouse: Product, second: Product) -> None:
    for one in (boathouse, second):
        parts = one.status()["parts"]
        assert {name: part["health"] for name, part in parts.items()} == dict.fromkeys(PARTS, "ok")
        assert one.ask("/healthz").status == 200
    assert not set(boathouse.pids().values()) & set(second.pids().values())
    assert boathouse.ask("/ca.crt").body != second.ask("/ca.crt").body
    assert boathouse.user[1] != second.user[1]


PARTS = ("registry", "manifests", "blobs", "passwords", "mirror", "nginx", "web", "worker")
ROUNDS = """
from registryui.models import Run
for result in Run.objects.filter(kind=Run.Kind.DOCTOR).order_by("pk").values_list("result"):
    bad = {one["name"] for one in result[0]["findings"] if one["state"] == "bad"}
    print(*sorted(bad - {"disk"}))
"""


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--json"),
        ("list", "no/such"),
        ("list", "--wrong"),
        ("user", "show", "none", "--json"),
    ],
)
def test_a_command_that_is_run_again_answers_as_when_it_was_typed(
    second: Product, words: tuple[str, ...]
) -> None:
    """The second time it runs in a process that is there: tests/support/console.py."""
    second.forget()
    typed, again = (second.boathouse(*words, check=False) for _ in range(2))
    assert typed.stdout + typed.stderr
    assert again.returncode == typed.returncode
    assert (again.stdout, again.stderr) == (typed.stdout, typed.stderr)


@pytest.mark.usefixtures("short_form")
def test_a_first_start_shows_no_red_light(second: Product) -> None:
    """The first registry user is made last; the doctor must not look before."""

    def rounds() -> list[str]:
        return second.boathouse("manage", "shell", "-v", "0", "-c", ROUNDS).stdout.splitlines()

    assert until(rounds, "the doctor made a round")[0] == ""


@pytest.mark.usefixtures("short_form")
def test_a_host_with_a_name_is_kept_to_https(second: Product) -> None:
    for path in ("/login", "/v2/", "/_ping"):
        assert "max-age=" in second.ask(path).headers["strict-transport-security"]


def test_a_second_up_changes_nothing(second: Product) -> None:
    before = second.pids()
    facts = second.up()
    assert "password" not in facts["operator"]
    assert "secret" not in facts["user"]
    assert facts["url"] == second.facts["url"]
    assert second.pids() == before


@pytest.mark.usefixtures("short_form")
def test_an_up_that_does_not_apply_a_variable_says_so(second: Product) -> None:
    told = second.boathouse("up", "--background", BOATHOUSE_LOG_MB="77").stdout
    assert "Warning: BOATHOUSE_LOG_MB: not as when Boathouse was started." in told
    assert "not as when" not in second.boathouse("up", "--background").stdout


def test_ctrl_c_ends_an_up_in_the_foreground_with_all_its_parts(second: Product) -> None:
    second.down()
    log = second.data / "foreground.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(ROOT / "boathouse"), "up"],
            env=second.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: "Boathouse is up" in log.read_text(), "it says that it is up")
        process.send_signal(signal.SIGINT)
        process.wait(timeout=LONGEST)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(timeout=LONGEST)
    assert "Traceback" not in log.read_text()
    until(lambda: second.processes() == [], "no process is left")


@pytest.mark.usefixtures("short_form")
def test_a_part_that_dies_is_started_again(second: Product) -> None:
    before = second.pids()["web"]
    psutil.Process(before).kill()

    def is_back() -> bool:
        facts = second.status()["parts"]
        return facts["web"]["pid"] not in (0, before) and facts["web"]["health"] == "ok"

    until(is_back, "web is back", pause=0.5)


@pytest.mark.root
def test_push_and_pull_go_on_while_the_portal_hangs(
    second: Product, docker_of_second: Engine
) -> None:
    """Row 19: clients never depend on the portal. What it missed is there when it wakes."""
    docker = docker_of_second
    docker.make_image("lonely", "echo lonely > /root/lonely")
    reference = f"{second.name}/while/away:1"
    docker.docker("tag", "lonely", reference)
    pids = second.pids()

    with stopped([pids["web"], pids["worker"]]):
        digest = docker.push(reference)
        docker.docker("rmi", reference, "lonely")
        docker.docker("pull", reference)

    def row() -> dict[str, object] | None:
        return second.tag("while/away", "1")

    found = until(row, "the push is in the index", pause=0.5)
    assert found is not None
    assert found["digest"] == digest


def test_pages_open_while_the_registry_hangs(second: Product, tmp_path: Path) -> None:
    with behind_its_back(second, tmp_path) as registry:
        registry.push_image("pages/shown", "1.0")
    second.boathouse("sync")
    visitor = Visitor(second)
    visitor.login()
    with stopped([second.pids()["registry"]]):
        for path in (
            *("/", "/repositories/", "/repositories/pages/shown", "/search?q=shown"),
            *("/repositories/pages/shown:1.0", "/repositories/pages/shown:1.0?tab=raw"),
        ):
            answer = visitor.get(path)
            assert answer.status == 200, path
            assert answer.seconds < 5, path


def test_a_registry_that_hangs_is_told_everywhere_no_act_waits_and_restart_helps(
    second: Product,
) -> None:
    with RegistryClient(second.registry_url) as client:
        push(client, "hangs/app", "1")
    until(lambda: second.tag("hangs/app", "1"), "the push is in the index", pause=0.5)
    visitor = Visitor(second)
    visitor.login()
    before = second.pids()["registry"]
    with stopped([before]):
        refused = second.boathouse("tag", "delete", "hangs/app:1", "--yes", check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("boathouse: The registry does not respond, so nothing")
        status = second.boathouse("status", check=False)
        assert status.returncode == 1
        assert status.stdout.startswith("Boathouse is degraded, registry down:")
        assert "Try ./boathouse restart registry" in status.stdout
        until(lambda: ALERT in visitor.get("/trust").text, "the banner is on each page", pause=0.5)
        health = visitor.get("/doctor").text
        assert "./boathouse restart registry" in health
        assert "no answer to /v2/ within 3 s" in health

        assert "Restarted registry" in second.boathouse("restart", "registry").stdout

    assert second.pids()["registry"] not in (0, before)
    until(lambda: ALERT not in visitor.get("/trust").text, "the banner is gone", pause=0.5)
    assert second.boathouse("status").returncode == 0
    lines = json.loads(second.boathouse("logs", "up", "--since", "1h", "--json").stdout)
    assert f"registry started (process {second.pids()['registry']})" in [
        line["words"] for line in lines
    ]
    second.boathouse("tag", "delete", "hangs/app:1", "--yes")


ALERT = "Pulls and pushes fail."


@pytest.mark.usefixtures("short_form")
def test_a_restart_of_all_parts_cuts_off_no_pull_and_refuses_no_request(second: Product) -> None:
    blob = os.urandom(60_000_000)  # more than all buffers on the way
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    with RegistryClient(second.registry_url) as client:
        client.upload("pulled/slowly", [blob], digest=digest, size=len(blob))
    before, answers, is_over = second.pids(), Counter[int](), threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            for path in ("/v2/", "/v2/pulled/slowly/tags/list", "/healthz"):
                answers[second.ask(path, as_user=True).status // 100] += 1

    crowd = threading.Thread(target=ask)
    with second.opened(f"/v2/pulled/slowly/blobs/{digest}") as answer:
        got = answer.read(1_000_000)
        crowd.start()
        try:
            second.boathouse("restart")
        finally:
            is_over.set()
            crowd.join()
        after = second.pids()
        got += answer.read()
    assert hashlib.sha256(got).hexdigest() == digest.removeprefix("sha256:")
    assert answers[5] == 0
    assert answers[2] > 0
    assert {name for name in before if before[name] == after[name]} == {"nginx"}


def test_what_was_pushed_without_an_event_is_there_after_a_sync(
    second: Product, tmp_path: Path
) -> None:
    with behind_its_back(second, tmp_path) as registry:
        digest = registry.push_image("missed/now", "1")
    assert second.listed("missed/now") == []
    second.boathouse("sync")
    row = second.tag("missed/now", "1")
    assert row is not None
    # Nobody told us by whom; when, the store knows.
    assert (row["digest"], row["by"]) == (digest, "")
    pushed = datetime.fromisoformat(row["pushed"])
    assert timedelta(0) <= datetime.now(UTC) - pushed < timedelta(minutes=5)


@pytest.mark.usefixtures("short_form")
def test_down_leaves_nothing_behind_and_the_next_up_sees_what_came_meanwhile(
    second: Product, tmp_path: Path
) -> None:
    assert len(second.processes()) >= len(PARTS)

    second.down()

    until(lambda: second.processes() == [], "no process is left")
    with socket.socket() as probe:  # somebody else could listen now
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((second.address, second.port))
    done = second.boathouse("status", "--json", check=False)
    assert done.returncode == 3
    assert "error" in json.loads(done.stdout)
    with behind_its_back(second, tmp_path) as registry:
        registry.push_image("missed/down", "1")
    second.up()
    until(lambda: second.tag("missed/down", "1"), "the sync at the start saw it")


def test_a_moved_data_folder_brings_everything_along(second: Product, tmp_path: Path) -> None:
    """Row 3: one folder, one setting."""
    with behind_its_back(second, tmp_path) as registry:
        registry.push_image("moved/app", "1", "2")
    second.boathouse("sync")
    tags, user = second.listed("moved/app"), second.user
    assert len(tags) == 2
    old, new = second.data, second.data.with_name("second-moved")
    second.down()

    shutil.move(old, new)
    second.data = new
    facts = second.up()

    assert facts["ca"] == str(second.ca)
    assert second.listed("moved/app") == tags
    assert second.user == user
    answer = second.ask("/v2/moved/app/tags/list", as_user=True)
    assert sorted(answer.json()["tags"]) == ["1", "2"]
    assert not old.exists()
    Visitor(second).login()


def test_the_index_can_be_lost_and_is_built_again(second: Product, tmp_path: Path) -> None:
    """Row 2: accounts are worth a backup, the index is not."""
    with behind_its_back(second, tmp_path) as registry:
        registry.push_image("lost/app", "1")
    second.boathouse("sync")
    second.down()
    for name in ("index.sqlite3", "index.sqlite3-wal", "index.sqlite3-shm"):
        (second.data / name).unlink(missing_ok=True)

    facts = second.up()

    second.facts["operator"] = facts["operator"]  # a new one: the old one was in the database
    assert facts["operator"]["password"]
    assert "secret" not in facts["user"]  # the htpasswd file is still there
    until(lambda: second.tag("lost/app", "1"), "the index is built again")


def spoil(path: Path) -> None:
    """Overwrites a database in place, as a disk does that dies."""
    for one in path.parent.glob(f"{path.name}*"):
        if re.search(r"sqlite3(-wal)?$", one.name):
            with one.open("r+b") as file:
                file.write(os.urandom(one.stat().st_size))


def test_a_damaged_queue_of_jobs_stops_nothing(second: Product) -> None:
    """Neither while all runs, nor a command, nor the next start; and it is said once each time."""
    pushed = proxied(second, *second.user)
    said = ""
    for tag in ("running", "stopped"):
        if tag == "stopped":
            second.down()
        spoil(second.data / "jobs.sqlite3")
        said += second.boathouse("status", check=False).stderr
        second.up()
        pushed.push_image("queue/app", tag)
        until(lambda tag=tag: second.tag("queue/app", tag), "the push is in the index")
    names = [one.name for one in second.data.iterdir()]
    assert len([name for name in names if re.search(r"jobs\.sqlite3\.damaged-\w+$", name)]) == 2
    said += (second.data / "log" / "boathouse.log").read_text()
    assert said.count("jobs.sqlite3 could not be used (file is not a database): put aside") == 2


def test_a_damaged_database_is_named_with_the_way_back(second: Product, tmp_path: Path) -> None:
    pushed = proxied(second, *second.user)
    pushed.push_image("kept/app", "1")
    until(lambda: second.tag("kept/app", "1"), "the push is in the index")
    second.boathouse("user", "add", "kept", "--pull", "*")
    visitor = Visitor(second)
    visitor.login()
    spoil(second.data / "index.sqlite3")
    path = str(second.data / "index.sqlite3")

    for words in (("gc",), ("list",), ("sync",), ("user", "list"), ("retention", "list")):
        done = second.boathouse(*words, check=False)
        assert done.returncode == 1, words
        assert f"The database {path} is damaged" in done.stderr, words
        assert "Traceback" not in done.stderr, words
    done = second.boathouse("status", check=False)
    assert done.returncode == 1
    assert "is damaged" in done.stdout
    assert second.status()["parts"]["registry"]["health"] == "ok"
    findings = json.loads(second.boathouse("doctor", "--json", check=False).stdout)["findings"]
    found = next(one for one in findings if one["name"] == "database")
    assert (found["code"], found["state"]) == ("database-damaged", "bad")
    assert not [one["name"] for one in findings if one["code"] == "broken"]
    # Clients do not notice.
    pushed.push_image("kept/app", "2")
    assert pushed.get("kept/app", "1").status == 200
    psutil.Process(second.pids()["web"]).kill()  # it may have all it needs in memory
    until(
        lambda: (page := visitor.get("/")).status == 500 and "Database unavailable" in page.text,
        "the pages say so",
        pause=0.3,
    )

    second.down()
    refused = second.boathouse("up", "--background", check=False)
    assert refused.returncode == 1
    assert f"The database {path} is damaged" in refused.stderr
    assert "server" not in refused.stderr
    way = re.search(r"\((mkdir .*?; mv .*?)\)", refused.stderr)
    assert way
    subprocess.run(["sh", "-ec", way[1]], check=True)
    facts = second.up()
    second.facts["operator"] = facts["operator"]
    until(lambda: second.tag("kept/app", "2"), "the index is built again")
    listed = json.loads(second.boathouse("user", "list", "--json").stdout)
    assert "kept" in {one["name"] for one in listed}


def documented(heading: str) -> list[str]:
    """The blocks of commands of that section of docs/operate.md."""
    text = (ROOT / "docs" / "operate.md").read_text().partition(f"\n## {heading}\n")[2]
    return re.findall(r"^```\n(.*?)^```", text.partition("\n## ")[0], re.DOTALL | re.MULTILINE)


def test_the_documented_backup_is_complete_though_images_are_pushed(second: Product) -> None:
    """The very lines of docs/operate.md, on an instance that is pushed to all the time."""
    pushed = proxied(second, *second.user)
    before = {f"t{number}": pushed.push_image("backup/app", f"t{number}") for number in range(5)}
    until(lambda: len(second.listed("backup/app")) == 5, "the pushes are in the index")
    place = second.data.with_name("backup")  # of the user that the product runs as
    place.mkdir(mode=0o700)
    os.chown(place, second.data.stat().st_uid, -1)
    backup, restore = (
        lines.replace("/mnt/backups/boathouse", str(place)).replace("var", str(second.data))
        for lines in documented("Backup and restore")[:2]
    )
    is_over, refused = threading.Event(), list[str]()

    def push() -> int:
        """How many were pushed. Busy, the registry has answered 500 once: a client tries again."""
        count = 0
        while not is_over.is_set():
            layers, number = (os.urandom(200_000),), count % 20
            try:
                pushed.push_image(f"busy/r{count % 7}", f"t{number}", layers=layers)
                count += 1
            except AssertionError as error:
                refused.append(str(error))
        return count

    with ThreadPoolExecutor(2) as pushers:
        busy = [pushers.submit(push) for _ in range(2)]
        try:
            for _ in range(3):
                done = subprocess.run(
                    ["sh", "-ec", backup],
                    cwd=ROOT,
                    env=second.environment,
                    capture_output=True,
                    text=True,
                    timeout=LONGEST,
                )
                assert done.returncode == 0, done.stderr
        finally:
            is_over.set()
        assert all(one.result() for one in busy)
    assert len(refused) <= 2, refused
    kept = list(place.rglob("*"))
    assert not any(path.stat().st_mode & 0o077 for path in kept)

    done = subprocess.run(
        ["sh", "-ec", restore],
        cwd=ROOT,
        env=second.environment,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(f"{second.data}.lost")
    assert {row["tag"]: row["digest"] for row in second.listed("backup/app")} == before
    second.boathouse("sync")
    done = second.boathouse("integrity", check=False)
    assert done.returncode == 0, done.stdout
    registry = proxied(second, *second.user)
    for tag, digest in before.items():
        assert what_is_missing(registry, "backup/app", tag) == ""
        assert registry.get("backup/app", tag).headers["docker-content-digest"] == digest
    Visitor(second).login()
