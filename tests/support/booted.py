"""A machine that is booted: a real systemd as the first process, on a disk that outlives it.

    this computer        the machine
    / ── below ──┐       / = its own disk over ours, so all our programs are installed there
                 └─────► systemd, with only the units that a test puts there; /proc, /run, /sys/fs/
                         cgroup, network (loopback) and process ids of its own

`reboot` is systemd's, `cut_power` kills its first process: all others are gone at once, as the
kernel does it. What was not written to the disk is not lost here, because the kernel goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from .folders import open_folder
from .machines import PATH, NotPossible
from .product import ROOT
from .waiting import LONGEST, until

SYSTEMD = "/lib/systemd/systemd"
HOME = "/opt/boathouse"  # the checkout, as the machine sees it
# Units of Debian that are not needed: network, logins, timers, devices.
MASKED = (
    *("getty.target", "systemd-udevd.service", "systemd-udev-trigger.service", "timers.target"),
    *("systemd-logind.service", "dbus.service", "dbus.socket", "systemd-networkd.service"),
    *("systemd-resolved.service", "systemd-timesyncd.service", "remote-fs.target"),
    *("systemd-firstboot.service", "systemd-update-utmp.service", "e2scrub_reap.service"),
)
BOOT = """
set -e
root="$1" cgroup="$2"
echo $$ >"$cgroup/cgroup.procs"
exec unshare --cgroup --mount --pid --net --uts --ipc --fork --kill-child=KILL \
    --propagation private sh -c '
set -e
root="$1"
mount -t overlay overlay -o "lowerdir=/,upperdir=$root/disk,workdir=$root/work" "$root/root"
cd "$root/root"
mkdir -p .%(home)s
over="lowerdir=%(checkout)s,upperdir=$root/checkout,workdir=$root/checkout-work"
mount -t overlay overlay -o "$over" .%(home)s
mount --bind "%(venv)s" .%(home)s/.venv
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for node in null zero full random urandom tty; do
    touch "dev/$node" && mount --bind "/dev/$node" "dev/$node"
done
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
ip link set lo up
mkdir -p old && pivot_root . old && umount -l old
exec env -i container=boathouse PATH=%(path)s %(systemd)s --log-target=console --show-status=no
' sh "$root"
"""


@dataclass(slots=True)
class Booted:
    """The machine; `folder` has its disk."""

    folder: Path
    cgroup: Path
    process: subprocess.Popen[bytes] | None = None
    first: int = 0  # its first process, as this computer numbers it

    def boot(self) -> None:
        """Starts it, and returns when systemd says that it has done what it was to do."""
        script = BOOT % {
            "home": HOME,
            "checkout": ROOT,
            "venv": (ROOT / ".venv").resolve(),
            "path": PATH,
            "systemd": SYSTEMD,
        }
        with (self.folder / "console").open("ab") as console:
            self.process = subprocess.Popen(
                ["sh", "-c", script, "sh", str(self.folder), str(self.cgroup)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self.first = until(self._found, "systemd is the first process there")
        states = ("running", "degraded")
        until(
            lambda: self.run("systemctl is-system-running", check=False).stdout.strip() in states,
            "systemd has booted",
            pause=0.2,
        )

    def _found(self) -> int:
        assert self.process
        if self.process.poll() is not None:
            raise NotPossible(f"systemd does not boot here: {self.console()}")
        for one in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if one.exe().endswith("/systemd") and one.ppid() == self.process.pid:
                    return int(one.pid)
        return 0

    def run(
        self, command: str, *, check: bool = True, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A line of shell, typed by root there."""
        enter = ["nsenter", f"--target={self.first}", "--mount", "--net", "--pid", "--uts", "--ipc"]
        done = subprocess.run(
            [*enter, "--root", "--wdns=/", "sh", "-ec", command],
            env={"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}{self.console()}"
        return done

    def reboot(self) -> None:
        """A clean reboot: services are stopped first."""
        self.run("systemctl reboot", check=False)
        self._wait_for_the_end()
        self.boot()

    def cut_power(self) -> None:
        """A power failure: all processes are killed; then it starts again."""
        os.kill(self.first, signal.SIGKILL)
        self._wait_for_the_end()
        self.boot()

    def end(self) -> None:
        """Kills it."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.first or self.process.pid, signal.SIGKILL)
            self._wait_for_the_end()

    def console(self) -> str:
        """The end of what it printed, for a failure."""
        return (self.folder / "console").read_text(errors="replace")[-4000:]

    def _wait_for_the_end(self) -> None:
        assert self.process
        self.process.wait(timeout=LONGEST)


@contextmanager
def machine() -> Iterator[Booted]:
    """One that has booted for the first time. Raises NotPossible."""
    if os.geteuid() != 0:
        raise NotPossible("To boot a machine needs root.")
    if not Path(SYSTEMD).exists():
        raise NotPossible("systemd is not installed: ./boathouse test does that.")
    with open_folder("booted") as folder, _cgroup(folder.name) as cgroup:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True)
        made = Booted(folder, cgroup)
        try:
            for name in ("disk", "work", "root", "checkout/.venv", "checkout-work"):
                (folder / name).mkdir(parents=True)
            units = folder / "disk" / "etc" / "systemd" / "system"
            units.mkdir(parents=True)
            os.setxattr(units, "trusted.overlay.opaque", b"y")  # nothing of this computer's own
            for name in MASKED:
                (units / name).symlink_to("/dev/null")
            (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
            made.boot()
            yield made
        finally:
            made.end()
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextmanager
def _cgroup(name: str) -> Iterator[Path]:
    """A group of its own in the kernel's unified hierarchy, which systemd may divide."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    place = next((Path(one[1]) for one in mounts if one[2] == "cgroup2"), None)
    if place is None:
        raise NotPossible("This computer has no cgroup2, which systemd needs.")
    group = place / name
    try:
        group.mkdir()
    except OSError as error:
        raise NotPossible(f"This computer allows no group of its own: {error}") from error
    try:
        yield group
    finally:
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
