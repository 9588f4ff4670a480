"""restic, the program that encrypts, deduplicates and stores: its commands and its errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from django.utils.translation import gettext as _

from registryui.refused import Refused

from .targets import Target, closed

HOST = "boathouse"  # in its snapshots, on whatever machine they are made
STATE, BLOBS = "state", "blobs"  # tags
PRIORITY = "10"  # nice: pushes and pulls come first
MOST_WORDS = 300  # of an error
END_SECONDS = 10.0  # until it has removed its lock


class Absent(Refused):
    """There is no repository."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a repository."""

    id: str
    made_at: datetime
    tags: frozenset[str]

    def tag(self, name: str) -> str:
        """The value of the tag `name:value`; "" if it has none."""
        return next((one.partition(":")[2] for one in self.tags if one.startswith(f"{name}:")), "")

    def number(self, name: str) -> int:
        """The same as a number, 0 if it is none."""
        text = self.tag(name)
        return int(text) if text.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class Repository:
    """A target and how to open it."""

    target: Target
    password_file: Path
    cache: Path

    # -- commands ----------------------------------------------------------------------------------
    def make(self) -> None:
        """An empty repository. Refused: the folder contains something else."""
        folder = self.target.folder
        if folder is not None:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                is_filled = any(folder.iterdir())
            except PermissionError as error:
                raise closed(self.target) from error
            except OSError as error:
                raise Refused(
                    _("%(path)s cannot be written (%(error)s): choose another folder for backups.")
                    % {"path": folder, "error": error.strerror}
                ) from error
            if is_filled:
                raise Refused(
                    _("%(path)s contains other files: choose an empty folder for backups.")
                    % {"path": folder}
                )
        self.ask("init")

    def snapshots(self, *tags: str) -> list[Snapshot]:
        """Those with all of these tags, oldest first."""
        words = [f"--tag={','.join(tags)}"] if tags else []
        rows = json.loads(self.ask("snapshots", "--json", *words) or "[]") or []
        found = [
            Snapshot(str(row["id"]), _moment(row["time"]), frozenset(row.get("tags") or ()))
            for row in rows
        ]
        return sorted(found, key=lambda one: one.made_at)

    def back_up(self, path: Path, tags: Sequence[str]) -> tuple[str, int]:
        """A snapshot of a folder, in which it is called by its last name: its id, and the bytes
        that were added."""
        words = [f"--tag={tag}" for tag in tags]
        said = self.ask(
            *("backup", "--json", "--quiet", f"--host={HOST}", *words, path.name), cwd=path.parent
        )
        return _summary(said)

    @contextmanager
    def stream(self, name: str, tags: Sequence[str]) -> Iterator[tuple[IO[bytes], list[Any]]]:
        """A file to write into, which becomes a snapshot when the block is left; the list then has
        its id and the bytes that were added. With an exception there is no snapshot."""
        words = [f"--tag={tag}" for tag in tags]
        made: list[Any] = []
        with (
            tempfile.TemporaryFile() as said,
            tempfile.TemporaryFile() as error,
        ):  # pipes would fill
            process = self._start(
                *("backup", "--json", "--quiet", f"--host={HOST}", *words),
                *("--stdin", f"--stdin-filename={name}"),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=error,
            )
            assert process.stdin is not None  # noqa: S101  (PIPE)
            try:
                yield process.stdin, made
                process.stdin.close()
            except BrokenPipeError:  # it has ended, and says why
                with suppress(BrokenPipeError):
                    process.stdin.close()
            except BaseException:
                _end(process)  # before its input ends, which would complete the snapshot
                with suppress(BrokenPipeError):
                    process.stdin.close()
                raise
            process.wait()
            for file in (said, error):
                file.seek(0)
            if process.returncode:
                raise self._trouble(error.read())
            made += _summary(said.read().decode())

    @contextmanager
    def dump(self, snapshot: str, path: str) -> Iterator[IO[bytes]]:
        """The content of a file of a snapshot, to read. Refused when the block is left: not all of
        it could be read."""
        process = self._start("dump", snapshot, path)
        assert process.stdout is not None  # noqa: S101  (PIPE)
        assert process.stderr is not None  # noqa: S101  (PIPE)
        try:
            yield process.stdout
            process.stdout.read()  # the padding of a tar
            error = process.stderr.read()
            if process.wait():
                raise self._trouble(error)
        finally:
            _end(process)
            process.stdout.close()
            process.stderr.close()

    def read(self, snapshot: str, path: str) -> bytes:
        """A small file of a snapshot."""
        with self.dump(snapshot, path) as file:
            return file.read()

    def restore(self, snapshot: str, folder: Path) -> None:
        """All files of a snapshot, below `folder`."""
        self.ask("restore", snapshot, f"--target={folder}")

    def forget(self, ids: Sequence[str]) -> None:
        """Removes snapshots, and the space that only they use."""
        self.ask("unlock")  # of processes that have ended
        if ids:
            self.ask("forget", *ids)
        self.ask("prune", "--max-unused=5%")

    def check(self, *, is_quick: bool) -> str:
        """What is wrong with the repository, in restic's words; "" if it is sound. Reads all data,
        unless `is_quick`."""
        words = [] if is_quick else ["--read-data"]
        self.ask("unlock")  # of processes that have ended
        process = self._start("check", *words)
        said, error = process.communicate()
        if not process.returncode:
            return ""
        text = f"{said.decode(errors='replace')}\n{error.decode(errors='replace')}"
        if isinstance(trouble := self._trouble(error), Absent) or _is_of_access(text):
            raise trouble
        return text

    def holders(self, pack: str) -> set[str]:
        """Ids (short) of the snapshots with data in that pack."""
        said = self.ask("find", "--pack", pack, is_strict=False)
        return set(re.findall(r"in snapshot (\w+)", said)) | set(
            re.findall(r"snapshot ([0-9a-f]{8})", said)
        )

    # -- the process -------------------------------------------------------------------------------
    def ask(self, *words: str, is_strict: bool = True, cwd: Path | None = None) -> str:
        """What that command prints. Refused with a sentence if it fails."""
        process = self._start(*words, cwd=cwd)
        said, error = process.communicate()
        if process.returncode and is_strict:
            raise self._trouble(error)
        return said.decode(errors="replace")

    def _start(
        self,
        *words: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        program = shutil.which("restic")
        if program is None:
            raise Refused(
                _("Backups need the program restic: as root, type apt-get install restic.")
            )
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            **{name: value for name, value in os.environ.items() if name.endswith("_proxy")},
            **self.target.environment,
            "RESTIC_REPOSITORY": self.target.repository,
            "RESTIC_PASSWORD_FILE": str(self.password_file),
            "RESTIC_CACHE_DIR": str(self.cache),
            "LC_ALL": "C.UTF-8",
        }
        # It ends with this process, whatever ends that: by INT, at which it removes its lock.
        before = ("nice", "-n", PRIORITY, "setpriv", "--pdeathsig", "INT", "--")
        return subprocess.Popen(  # noqa: S603  (a program of Debian, and no shell)
            [*before, program, *words],
            env=environment,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,  # Ctrl-C is for us
            umask=0o077,
        )

    def _trouble(self, error: bytes) -> Refused:
        return trouble(self.target, error.decode(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends it, and lets it remove its lock."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def trouble(target: Target, error: str) -> Refused:
    """A sentence for what restic says when it fails."""
    words = {"target": target.text}
    if "wrong password" in error:
        return Refused(
            _(
                "The password does not open the backups in %(target)s: give the one that the first "
                "backup showed, with --password-file."
            )
            % words
        )
    if "no space left on device" in error or "disk quota exceeded" in error:
        return Refused(
            _(
                "%(target)s is full: free some space there, or remove old snapshots (./boathouse "
                "backup prune), and run the backup again. Earlier snapshots are intact."
            )
            % words
        )
    if "permission denied" in error:
        return closed(target)
    if "unable to open config file" in error or "Is there a repository" in error:
        return Absent(_("There are no backups in %(target)s.") % words)
    if "already locked" in error:
        return Refused(
            _(
                "Another process works on the backups in %(target)s: wait for it, and try again. "
                "Nothing was changed."
            )
            % words
        )
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if line.startswith("Fatal")), "")
    told = (last or (lines[-1] if lines else _("no reason was given")))[:MOST_WORDS]
    for secret in target.environment.values():
        told = told.replace(secret, "…") if len(secret) > 7 else told
    return Refused(_("Backup to %(target)s failed: %(error)s") % {**words, "error": told})


def _is_of_access(text: str) -> bool:
    return "wrong password" in text or "already locked" in text


def _summary(said: str) -> tuple[str, int]:
    """Id and added bytes, from the last line that `backup --json` prints."""
    for line in reversed(said.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("message_type") == "summary":
            return str(found["snapshot_id"]), int(found.get("data_added", 0))
    raise Refused(_("restic ended without a summary."))


def _moment(text: str) -> datetime:
    """restic's times have nanoseconds."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00"))
