"""`./boathouse test`: runs pytest on each database, says how long it took, counts what is left.

    run ── pytest on SQLite ── workers ── what the tests start
       └── pytest on PostgreSQL ── …

Whatever a test starts ends with it. This looks after them: it adopts each process that loses its
parent (Linux: a subreaper), and all folders of the tests are below one. So what a part leaves
behind, killed or not, is found, said, ended and removed, and makes the run fail. What a run leaves
that was killed as a whole, the next one removes.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from .support import postgres

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
PREFIX = "bh-run-"
MEMORY, DISK = Path("/dev/shm"), Path("/tmp")
ROOM = 6 * 10**9  # bytes that a run may take
LAST_BREATH = 5  # seconds in which what was told to end may still end
NOTHING_RAN = 5  # pytest's own code
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
# The tests of a file share what they start, so they stay in one process. The order is that of
# tests/selection.py, which also says which files share a product.
PYTEST = [
    *(sys.executable, "-m", "pytest", "-n", "3"),  # one waits while two work
    *("--dist", "loadfile", "--no-loadscope-reorder"),
]
SLOWEST = ["--durations=20", "--durations-min=0.5"]
# Words for what several folders hold: parts of the paths of its files.
ROOMS = {"gc": ("gc", "quarantine", "integrity", "freeze")}
USAGE = """./boathouse test [--all] [ROOM]
       ./boathouse test ARGUMENTS OF PYTEST"""
DESCRIPTION = """Runs the tests on SQLite, the long proofs in a short form, then on PostgreSQL those
that may differ there.
ROOM (gc, users, search, e2e …) runs only files whose path has this word. With arguments of pytest
(a file, -k WORD, --postgresql) it is one run of pytest."""


@dataclass(frozen=True, slots=True)
class Part:
    """One run of pytest."""

    name: str
    arguments: Sequence[str]


def main(words: Sequence[str]) -> int:
    """Runs what the command line asks for; 0 if all passed and nothing was left behind."""
    parser = argparse.ArgumentParser(
        usage=USAGE, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="the long proofs as well: an hour")
    options, rest = parser.parse_known_args(words)
    everything = ["--all"] if options.all else []
    if len(rest) == 1 and _is_room(rest[0]):
        files = files_of(rest[0])
        if not files:
            print(f"No file of tests has {rest[0]} in its path.", file=sys.stderr)
            return 2
        parts = _on_both([*everything, *SLOWEST], files)
    elif rest:
        parts = [Part("Tests", [*everything, *rest])]
    else:
        parts = _on_both([*everything, *SLOWEST], files_of(""))
    if options.all:  # what took an hour is not thrown away because of one wait
        os.environ.setdefault("BOATHOUSE_TEST_PATIENCE", "4")
    _remove_what_was_killed()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    return _run(parts)


def _is_room(word: str) -> bool:
    return not word.startswith("-") and "::" not in word and not Path(word).exists()


def files_of(room: str) -> list[str]:
    """Paths of its files of tests, below the root, in order; "" is all of them."""
    words = ROOMS.get(room, (room,))
    found = (file.relative_to(TESTS).as_posix() for file in TESTS.rglob("test_*.py"))
    return sorted(f"tests/{name}" for name in found if any(word in name for word in words))


def _on_both(options: Sequence[str], files: Sequence[str]) -> list[Part]:
    parts = [Part("SQLite", [*options, *files])]
    if "--all" not in options:  # to collect the others takes as long as to run some
        files = [file for file in files if "both_databases" in (ROOT / file).read_text()]
    if not postgres.is_installed():
        print("PostgreSQL is missing: nothing is tested on it.", file=sys.stderr)
    elif files:
        parts.append(Part("PostgreSQL", ["--postgresql", *options, *files]))
    return parts


def _run(parts: Sequence[Part]) -> int:
    """Each part, also if one before failed; then a line for each, and what they left."""
    codes, lines = [], []
    for part in parts:
        print(f"\n{part.name}:", flush=True)
        began = time.monotonic()
        with _folder() as folder:
            code = _pytest(part.arguments, folder)
            left = _what_is_left(folder)
        for line in left:
            print(f"Left behind: {line}", file=sys.stderr)
        codes.append(code or (1 if left else 0))
        lines.append(f"{part.name}: {time.monotonic() - began:.0f} s, {len(left)} left behind")
    print("\n" + "\n".join(lines), flush=True)
    if set(codes) == {NOTHING_RAN}:
        return NOTHING_RAN
    return next((code for code in codes if code not in (0, NOTHING_RAN)), 0)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """For all that a part writes: in memory if it has room there, where nothing waits for a disk;
    what is lost without power is not tested here. Removed afterwards."""
    is_roomy = os.access(MEMORY, os.W_OK) and psutil.disk_usage(str(MEMORY)).free > ROOM
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=MEMORY if is_roomy else DISK))
    try:
        with (folder / "lock.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "lock.new").rename(folder / "lock")  # nobody sees one that is not held
            folder.chmod(0o755)
            (folder / "data").mkdir()
            yield folder
    finally:
        _remove(folder)


def _pytest(arguments: Sequence[str], folder: Path) -> int:
    """Its exit code; minus the signal that ended it. Waits for whoever ends meanwhile, too."""
    environment = {
        "TMPDIR": str(folder),
        "BOATHOUSE_TEST_DATA": str(folder / "data"),
        "BOATHOUSE_TEST_FOLDER": str(folder),
        "BOATHOUSE_TEST_RUN": f"{os.getpid():x}",
        "PYTHONDONTWRITEBYTECODE": "",  # hundreds of processes would compile everything anew
    }
    process = subprocess.Popen(
        [*PYTEST, f"--basetemp={folder / 'pytest'}", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        preexec_fn=_end_with_parent,
    )
    try:
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == process.pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return process.returncode
    except (KeyboardInterrupt, SystemExit):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)  # pytest ends what it started
        deadline = time.monotonic() + LAST_BREATH
        while time.monotonic() < deadline and psutil.Process().children():
            _reap()
            time.sleep(0.05)
        for line in _what_is_left(folder):
            print(f"Ended and removed: {line}", file=sys.stderr)
        raise


def _end_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background starts us with it ignored
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


# -- what is left behind -----------------------------------------------------------------------
def _what_is_left(folder: Path) -> list[str]:
    """A line for each process, mount and folder that outlived the tests; they are gone then."""
    deadline = time.monotonic() + LAST_BREATH
    while (alive := _reap()) and time.monotonic() < deadline:
        time.sleep(0.05)
    found = [f"process {one.pid}: {_command(one)}" for one in alive]
    _kill(alive)
    found += [f"mount {place}" for place in _mounts(folder)]
    ours = {"lock", "pytest", "data"}
    found += [f"folder {one}" for one in sorted(folder.iterdir()) if one.name not in ours]
    # A namespace of the network lives as long as a process in it; a cable has a name on our side.
    found += [f"network cable {name}" for name in psutil.net_if_addrs() if _is_of_us(name)]
    return found


def _is_of_us(interface: str) -> bool:
    """Whether tests/support/machines.py made it in this run."""
    return interface.startswith(f"bh{os.getpid():x}")


def _reap() -> list[psutil.Process]:
    """Those below us who live; the dead are waited for, so that their number is free."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return psutil.Process().children(recursive=True)


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + LAST_BREATH
    while _reap() and time.monotonic() < deadline:
        time.sleep(0.05)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200]
    except psutil.Error:
        return "ended by now"


def _mounts(folder: Path) -> list[str]:
    """What is mounted below it, the innermost first."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    places = [line.split()[1] for line in lines]
    return sorted((one for one in places if one.startswith(f"{folder}/")), reverse=True)


def _remove(folder: Path) -> None:
    for place in _mounts(folder):
        subprocess.run(["umount", "--lazy", place], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_what_was_killed() -> None:
    """Folders of our own runs that are over, and processes with them in a setting or an argument.

    Anybody may make a folder of such a name, with a link for its lock: those are left alone.
    """
    for place in (DISK, MEMORY):
        for folder in place.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):  # it goes just now, or it is in use
                found = folder.lstat()
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                    continue
                with (folder / "lock").open() as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _kill(_users_of(folder))
                    _remove(folder)


def _users_of(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = [*process.cmdline(), *process.environ().values()]
            if any(str(folder) in word for word in words):
                found.append(process)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
