"""Real Docker engines, each with its own store, on the client machines of machines.py."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .machines import Machine
from .waiting import LONGEST, until

DOCKER = "/usr/bin/docker"
# Docker's own packages have it in /usr/bin.
DOCKERD = shutil.which("dockerd", path="/usr/sbin:/usr/bin") or "/usr/sbin/dockerd"
BUSYBOX = "/usr/bin/busybox"
# Docker only logs a 401, and retries for 50 seconds.
PUSH_UNTIL_REFUSED = """\
docker push {reference} & push=$!
while kill -0 $push 2>/dev/null; do
    if grep -q unauthorized {log}; then kill $push || true; fi
    sleep 0.05
done
wait $push || true
grep unauthorized {log}
"""
PUSHED = re.compile(r"digest: (sha256:[0-9a-f]{64}) size: \d+")
NO_SOCKET_TO_THE_WORLD = "--network=none"  # containers of the tests have no network


@dataclass(frozen=True, slots=True)
class Engine:
    """The Docker engine of one machine."""

    machine: Machine

    def docker(
        self, *arguments: str, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs Docker's client on the machine."""
        return self.machine.run([DOCKER, *arguments], check=check, stdin=stdin)

    def import_base(self, name: str = "base") -> None:
        """An image of busybox alone, made on the spot."""
        done = subprocess.run(
            self.machine.command([DOCKER, "import", "-", name]),
            input=busybox_tree(),
            env=self.machine.environment,
            capture_output=True,
            timeout=LONGEST,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()

    def make_image(self, name: str, script: str) -> None:
        """`name`: the base image after a shell script ran in it, as `docker commit` makes it."""
        container = self.docker(
            "create", NO_SOCKET_TO_THE_WORLD, "base", "sh", "-c", script
        ).stdout.strip()
        self.docker("start", "--attach", container)
        self.docker("commit", container, name)
        self.docker("rm", container)

    def login(self, registry: str, name: str, secret: str, *, check: bool = True) -> str:
        """What Docker says to a login, both streams."""
        done = self.docker(
            *("login", "--username", name, "--password-stdin", registry), check=check, stdin=secret
        )
        return done.stdout + done.stderr

    def push_in_vain(self, reference: str) -> None:
        """Pushes until the registry says that it knows nobody of that name."""
        log = self.machine.folder / "dockerd.log"
        self.machine.run(PUSH_UNTIL_REFUSED.format(reference=reference, log=log))

    def push(self, reference: str) -> str:
        """Pushes; returns the digest that Docker prints."""
        printed = self.docker("push", reference).stdout
        found = PUSHED.search(printed)
        assert found, printed
        return found[1]


@contextmanager
def engine(machine: Machine, *options: str) -> Iterator[Engine]:
    """A running engine on the machine, with more options; its log is in the machine's folder."""
    folder = machine.folder
    command: Sequence[str] = [
        DOCKERD,
        *("--iptables=false", "--bridge=none", "--ip-forward=false", "--ip-masq=false"),
        *("--storage-driver=vfs", f"--data-root={folder}/data", f"--exec-root={folder}/exec"),
        *(f"--pidfile={folder}/docker.pid", f"--host=unix://{folder}/docker.sock"),
        *options,
    ]
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            machine.command(command),
            env=machine.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    made = Engine(machine)
    try:
        until(lambda: _answers(made, process, folder / "dockerd.log"), "dockerd answers")
        made.import_base()
        yield made
    finally:
        process.terminate()
        try:
            process.wait(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()  # nsenter; dockerd itself ends with its machine
            process.wait(timeout=LONGEST)


def _answers(made: Engine, process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"dockerd ended: {log.read_text(errors='replace')[-3000:]}")
    return made.docker("version", check=False).returncode == 0


def busybox_tree() -> bytes:
    """A tar of a root file system with busybox and its most needed names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tree:
        tree.add(Path(BUSYBOX).resolve(), arcname="bin/busybox")
        for library in _libraries(BUSYBOX):
            tree.add(Path(library).resolve(), arcname=library)
        for name in ("sh", "cat", "echo", "mkdir"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tree.addfile(link)
        for name in ("root", "tmp"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o777
            tree.addfile(folder)
    return buffer.getvalue()


def _libraries(program: str) -> list[str]:
    """The shared libraries that a program needs, with its loader; empty for a static one."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", told)
