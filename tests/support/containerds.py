"""containerd of Debian's package on the client machines of machines.py, with its own client ctr.

As on a node of Kubernetes: what it pulls through is in a folder of hosts.toml (containerd,
docs/hosts.md). ctr gives the login itself; a node has it in the file, as a header.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .machines import Machine
from .waiting import LONGEST, until

CONTAINERD, CTR = "/usr/bin/containerd", "/usr/bin/ctr"
# Without the part for Kubernetes, which wants a network of its own.
CONFIGURATION = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{folder}/socket"
"""


@dataclass(frozen=True, slots=True)
class Containerd:
    """The daemon of one machine."""

    machine: Machine
    folder: Path

    @property
    def hosts(self) -> Path:
        """The folder for NAME/hosts.toml."""
        return self.folder / "hosts"

    def ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs its client there."""
        return self.machine.run([CTR, f"--address={self.folder}/socket", *arguments], check=check)

    def pull(self, reference: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Pulls as hosts.toml says, and unpacks."""
        where = (f"--hosts-dir={self.hosts}", "--snapshotter=native")
        return self.ctr("images", "pull", *where, *options, reference, check=False)

    def run(self, reference: str, name: str, *command: str) -> str:
        """What a container of that image prints."""
        return self.ctr("run", "--rm", "--snapshotter=native", reference, name, *command).stdout


@contextmanager
def containerd(machine: Machine) -> Iterator[Containerd]:
    """A running one, with an empty store of its own."""
    folder = machine.folder / "containerd"
    (folder / "hosts").mkdir(parents=True)
    (folder / "config.toml").write_text(CONFIGURATION.format(folder=folder))
    with (folder / "containerd.log").open("wb") as log:
        process = subprocess.Popen(
            machine.command([CONTAINERD, f"--config={folder}/config.toml"]),
            env=machine.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    made = Containerd(machine, folder)

    def answers() -> bool:
        if process.poll() is not None:
            text = (folder / "containerd.log").read_text(errors="replace")
            raise AssertionError(f"containerd ended: {text[-3000:]}")
        return made.ctr("version", check=False).returncode == 0

    try:
        until(answers, "containerd answers")
        yield made
    finally:
        process.terminate()
        try:
            process.wait(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()  # nsenter; containerd itself ends with its machine
            process.wait(timeout=LONGEST)
