"""What another user of the machine gets of a running product: nothing but what everybody gets."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from registryui.setup.ports import is_free
from tests.support.folders import open_folder
from tests.support.parts import free_port
from tests.support.product import Product, product

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as somebody else"),
]

NOBODY = 65534
# Says what an address answers: standard library alone, for that user may read nothing of ours.
ASK = """
import json, socket, sys
def ask(place, request):
    family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET
    try:
        with socket.socket(family) as one:
            one.settimeout(10)
            one.connect(place if family == socket.AF_UNIX else tuple(place))
            one.sendall(request.encode())
            return one.recv(4096).decode(errors="replace").partition("\\r\\n")[0] or "closed"
    except OSError as error:
        return type(error).__name__
print(json.dumps([ask(place, request) for place, request in json.load(sys.stdin)]))
"""


def as_nobody(*asked: tuple[Any, str]) -> list[str]:
    """The first line of each answer, or the name of the error."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", ASK],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
    )
    found: list[str] = json.loads(done.stdout)
    return found


def request(line: str, **headers: str) -> str:
    told = {"Host": "localhost", "Connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in told.items()]
    return "\r\n".join([f"{line} HTTP/1.1", *lines, "", ""])


def sockets(data: Path) -> Iterator[Path]:
    for path in data.rglob("*"):
        if path.is_socket():
            yield path


def test_no_socket_answers_another_user(boathouse: Product) -> None:
    found = [str(path) for path in sockets(boathouse.data)]
    folder = boathouse.data / "run" / "sockets"
    ours = {str(folder / name) for name in ("web", "registry", "manifests", "blobs")}
    assert ours < {*found}
    told = as_nobody(*((one, request("GET /healthz")) for one in found))
    assert told == ["PermissionError"] * len(found)
    for name in ("@" + one for one in found):  # nor is there an abstract one of that name
        assert name not in Path("/proc/net/unix").read_text()


def test_another_user_does_not_learn_who_has_which_rights(boathouse: Product) -> None:
    """Names of users and how their passwords are hashed stand in names of files."""
    boathouse.add_user("quiet", pull=["*"])
    known = [boathouse.data / name for name in ("run/logins/quick/quiet", "rights/quiet/pull/@all")]
    assert all(one.is_file() for one in known)
    look = "import os, sys; print(*(os.path.exists(one) for one in sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", look, *map(str, known)],
        capture_output=True,
        text=True,
        check=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
    )
    assert done.stdout.split() == ["False", "False"]


def test_the_port_of_notifications_wants_their_token(boathouse: Product) -> None:
    ports = json.loads((boathouse.data / "run" / "ports.json").read_text())
    hook = ("127.0.0.1", ports["hook"])
    wrong = {"X_Boathouse_User": "boss", "X_Boathouse_Proxy": "x", "Content_Length": "0"}
    told = as_nobody(
        (hook, request("POST /hooks/registry", **wrong)),
        (hook, request("POST /hooks/registry", **wrong, Authorization="Bearer guessed")),
        *(
            (hook, request(f"GET {path}", X_Boathouse_User="boss"))
            for path in ("/", "/login", "/healthz", "/v1/search?q=a", "/v2/", "/hooks/registry/x")
        ),
    )
    assert told[:2] == ["HTTP/1.1 401 Unauthorized"] * 2
    assert set(told[2:]) == {"HTTP/1.1 404 Not Found"}


def test_only_nginx_is_believed_at_the_socket_of_the_portal(boathouse: Product) -> None:
    """Also by whoever may enter the folder, such as another program of nginx's user."""
    from registryui.sockets import Connection

    def ask(path: str, **headers: str) -> int:
        connection = Connection(boathouse.data / "run" / "sockets" / "web", timeout=10)
        try:
            told = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", path, headers={"Host": "localhost", **told})
            return connection.getresponse().status
        finally:
            connection.close()

    claimed = {"X_Boathouse_User": "boss", "X_Forwarded_Proto": "https"}
    proof = (boathouse.data / "secrets" / "proxy-token").read_text().strip()
    assert ask("/v1/search?q=a", **claimed, X_Boathouse_Proxy=proof) == 200
    for said in ({}, {"X_Boathouse_Proxy": "guessed"}):
        assert ask("/v1/search?q=a", **claimed, **said) == 403
        assert ask("/login", **claimed, **said) == 403
        assert ask("/healthz", **claimed, **said) == 200


def test_nothing_else_of_ours_listens(boathouse: Product) -> None:
    ports = json.loads((boathouse.data / "run" / "ports.json").read_text())
    listening = {
        one.laddr.port
        for process in boathouse.processes()
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    assert listening == {boathouse.port, ports["hook"]}


def test_a_port_that_is_set_for_the_registry_is_open_and_the_doctor_says_so() -> None:
    place, asked = ("127.0.0.1", free_port()), request("GET /v2/")
    settings = {"BOATHOUSE_REGISTRY_PORT": str(place[1])}
    with (
        open_folder("e2e") as folder,
        product(folder / "data", "127.0.0.1", settings=settings) as one,
    ):
        assert as_nobody((place, asked)) == ["HTTP/1.1 200 OK"]
        assert of_registry(one) == "registry-open"
        del one.settings["BOATHOUSE_REGISTRY_PORT"]
        assert of_registry(one) == "registry-open"  # for commands without it, too
        one.down()
        one.up()
        assert as_nobody((place, asked)) == ["ConnectionRefusedError"]
        assert of_registry(one) == "registry-ok"


def test_no_part_runs_as_root(boathouse: Product) -> None:
    user = pwd.getpwnam("boathouse")
    users = {process.pid: process.uids().real for process in boathouse.processes()}
    assert {*users.values()} == {user.pw_uid}, users
    assert "root" not in str(boathouse.status()["warnings"])
    owners = {path: path.lstat().st_uid for path in boathouse.data.rglob("*")}
    assert {*owners.values()} == {user.pw_uid}, [
        one for one in owners if owners[one] != user.pw_uid
    ]
    boathouse.add_user("of-root", pull=["*"])  # what root types is that user's doing, too
    assert {path.lstat().st_uid for path in boathouse.data.rglob("*")} == {user.pw_uid}


@pytest.mark.usefixtures("long_proof")
def test_only_nginx_and_the_worker_may_open_low_ports() -> None:
    low = next(port for port in range(900, 1024) if is_free("127.0.0.1", port))
    with (
        open_folder("e2e") as folder,
        product(folder / "data", "127.0.0.1", settings={"BOATHOUSE_HTTP_PORT": str(low)}) as one,
    ):
        may = {
            name
            for name, pid in one.pids().items()
            if "CapEff:\t0000000000000400" in Path(f"/proc/{pid}/status").read_text()
        }
        assert may == {"nginx", "worker"}


@pytest.mark.usefixtures("long_proof")
def test_a_data_folder_of_root_is_handed_over_and_nothing_that_it_links_to() -> None:
    with open_folder("e2e") as folder:
        data, elsewhere = folder / "data", folder / "elsewhere"
        (data / "registry").mkdir(parents=True)
        elsewhere.mkdir()
        (elsewhere / "file").touch()
        (data / "registry" / "link").symlink_to(elsewhere / "file")
        with product(data, "127.0.0.1") as one:
            mine = pwd.getpwnam("boathouse").pw_uid
            assert {path.lstat().st_uid for path in (data, *data.rglob("*"))} == {mine}
            assert {path.lstat().st_uid for path in (elsewhere, elsewhere / "file")} == {0}
            assert one.status()["parts"]["registry"]["health"] == "ok"
            # What root restores into it is handed over by the next one; what may be anybody's not.
            one.down()
            (data / "htpasswd.old").unlink()
            (data / "htpasswd.old").touch()
            (data / "link").symlink_to(elsewhere)
            os.link(elsewhere / "file", data / "hard")
            one.up()
            assert (data / "htpasswd.old").stat().st_uid == mine
            assert (data / "hard").stat().st_uid == 0


@pytest.mark.usefixtures("long_proof")
def test_a_store_on_a_disk_of_root_is_not_handed_over() -> None:
    with open_folder("e2e") as folder:
        data, disk = folder / "data", folder / "disk"
        data.mkdir()
        disk.mkdir()
        (data / "registry").symlink_to(disk)
        with product(data, "127.0.0.1") as one:
            assert {process.uids().real for process in one.processes()} >= {0}
            assert {path.lstat().st_uid for path in (data, disk)} == {0}
            assert "All processes run as root" in str(one.status()["warnings"])
            assert one.status()["parts"]["registry"]["health"] == "ok"


def of_registry(one: Product) -> str:
    """What the doctor finds there."""
    done = one.boathouse("doctor", "--json", check=False)
    found: str = json.loads(done.stdout)["findings"][0]["code"]
    return found
