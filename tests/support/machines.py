"""Client machines for the tests: other addresses, other /etc, same kernel.

    this machine                 network (a network namespace)
    10.231.x.1  ── veth pair ──  10.231.x.2
    the product                  machine A    machine B     each: own /etc, home and processes

Docker treats loopback as insecure, so trust can only be tested from another address. Everything of
a machine ends with its first process, and that one ends with ours: its standard input is our pipe.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from .folders import open_folder
from .waiting import LONGEST, until

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# A fresh Debian has no sudo for root, and the commands that the product prints have it.
SUDO = '#!/bin/sh\nexec "$@"\n'
# Names of the product that only these machines know. There from the start: Docker keeps what it
# read of /etc/hosts for some seconds.
NAMES = ("second.boathouse.test",)


class NotPossible(Exception):
    """This computer does not allow namespaces; `str()` is a sentence for the skip."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network of one cable. `ours` is the address of the product, `pid` holds the other end."""

    ours: str
    theirs: str
    pid: int


@dataclass(frozen=True, slots=True)
class Machine:
    """A client machine, or with our own `pid` this computer. Paths in `folder` are the same inside
    and outside."""

    folder: Path
    pid: int

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a line of shell or a program there; fails with all it printed unless told not to."""
        done = subprocess.run(
            self.command(command),
            input=stdin,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done

    def command(self, command: str | Sequence[str]) -> list[str]:
        """The same command as this computer has to say it."""
        arguments = ["sh", "-ec", command] if isinstance(command, str) else list(command)
        if self.pid == os.getpid():  # this computer itself
            return arguments
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """What a shell there has set; nothing of ours."""
        return {
            "PATH": f"{self.folder}/bin:{PATH}",
            "HOME": f"{self.folder}/home",
            "LANG": "C.UTF-8",
            "DOCKER_HOST": f"unix://{self.folder}/docker.sock",
            "REGISTRY_AUTH_FILE": f"{self.folder}/home/auth.json",
            "CONTAINERS_STORAGE_CONF": f"{self.folder}/storage.conf",
        }


@contextmanager
def network() -> Iterator[Network]:
    """A cable to another address. NotPossible where namespaces are not allowed."""
    if os.geteuid() != 0:
        raise NotPossible("A network namespace needs root.")
    ours, theirs, prefix = _free_pair()
    name = f"bh{os.environ.get('BOATHOUSE_TEST_RUN', '')}{secrets.token_hex(2)}"  # the run finds it
    with _running(["unshare", "--net", "--fork", "--kill-child"], "ip link set lo up") as pid:
        try:
            _ip("link", "add", f"{name}a", "type", "veth", "peer", f"{name}b", "netns", str(pid))
            _ip("addr", "add", f"{ours}/{prefix}", "dev", f"{name}a")
            _ip("link", "set", f"{name}a", "up")
            inside = ("nsenter", f"--target={pid}", "--net", "ip")
            _ip("addr", "add", f"{theirs}/{prefix}", "dev", f"{name}b", program=inside)
            _ip("link", "set", f"{name}b", "up", program=inside)
            yield Network(ours, theirs, pid)
        finally:  # it is removed with the namespace, but the kernel does so later
            subprocess.run(["ip", "link", "delete", f"{name}a"], capture_output=True, check=False)


@contextmanager
def machine(cable: Network) -> Iterator[Machine]:
    """A machine at the other end of the cable, as after a fresh installation."""
    with open_folder("machine") as folder:
        shutil.copytree("/etc", folder / "etc", symlinks=True)
        for name in ("docker", "containers/certs.d"):
            shutil.rmtree(folder / "etc" / name, ignore_errors=True)
        with (folder / "etc" / "hosts").open("a") as hosts:
            hosts.write("".join(f"\n{cable.ours} {name}" for name in NAMES) + "\n")
        (folder / "storage.conf").write_text(podman_storage(folder))
        (folder / "home").mkdir()
        (folder / "bin").mkdir()
        (folder / "bin" / "sudo").write_text(SUDO)
        (folder / "bin" / "sudo").chmod(0o755)
        first = f"mount --bind {folder}/etc /etc"
        local = Path("/usr/local/share/ca-certificates")
        if local.is_dir():
            (folder / "local").mkdir()
            first += f"; mount --bind {folder}/local {local}"
        enter = ["nsenter", f"--target={cable.pid}", "--net", "unshare", "--mount", "--pid"]
        with _running([*enter, "--fork", "--kill-child", "--mount-proc"], first) as pid:
            yield Machine(folder, pid)


def podman_storage(folder: Path) -> str:
    """storage.conf for a podman that keeps all in this folder; podman wants a short name."""
    places = f'graphroot = "{folder}/podman"\nrunroot = "{folder}/podman-run"'
    return f'[storage]\ndriver = "vfs"\n{places}\n'


@contextmanager
def _running(enter: Sequence[str], first: str) -> Iterator[int]:
    """The process id of a shell in new namespaces which did `first` and ends when we end.

    Being the first process there, it takes all others of its PID namespace along.
    """
    script = f"set -e; {first}; echo ready; cat >/dev/null; exit 0"
    holder = subprocess.Popen(
        [*enter, "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": PATH},
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stderr is not None
    try:
        if holder.stdout.readline() != "ready\n":
            holder.wait(timeout=LONGEST)
            raise NotPossible(
                f"This computer does not allow network namespaces: {holder.stderr.read().strip()}"
            )
        yield _innermost(holder.pid)
    finally:
        with contextlib.suppress(OSError):
            holder.stdin.close()
        try:
            holder.wait(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            holder.kill()  # --kill-child: its namespaces follow
            holder.wait(timeout=LONGEST)
        holder.stdout.close()
        holder.stderr.close()


def _innermost(pid: int) -> int:
    """The shell itself: nsenter and unshare stand before it where they had to fork."""
    process = psutil.Process(pid)

    def shell() -> psutil.Process | None:
        every = [process, *process.children(recursive=True)]
        return next((one for one in every if one.name() == "sh"), None)

    found = until(shell, "the namespace's shell runs", pause=0.01)
    assert found is not None
    return int(found.pid)


def _ip(*arguments: str, program: Sequence[str] = ("ip",)) -> None:
    done = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotPossible(f"This computer allows no virtual cable: {done.stderr.strip()}")


def _free_pair() -> tuple[str, str, int]:
    """Two addresses of a private network that no interface here is in, and its prefix length."""
    taken = [
        ipaddress.ip_interface(f"{one.address}/{one.netmask}").network
        for addresses in psutil.net_if_addrs().values()
        for one in addresses
        if one.family == socket.AF_INET and one.netmask
    ]
    for _ in range(50):
        start = 4 * random.randrange(64 * 256)
        pair = ipaddress.ip_network((int(ipaddress.ip_address("10.231.0.0")) + start, 30))
        if not any(pair.overlaps(other) for other in taken):
            ours, theirs = pair.hosts()
            return str(ours), str(theirs), pair.prefixlen
    raise NotPossible("All of 10.231.0.0/16 is in use here.")
