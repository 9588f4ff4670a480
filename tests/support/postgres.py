"""A PostgreSQL for the tests: in a temporary folder, without the network, stopped with the tests.

The programs are those of Debian's package. PostgreSQL refuses root, so root starts it as the
package's user. It sorts as people do in English, not by bytes: what relies on an order of bytes
must say so itself, and fails here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .folders import open_folder
from .waiting import LONGEST, until

USER = "postgres"


@dataclass
class Cluster:
    """A server that can be stopped and started again, as an administrator does it."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    is_durable: bool = False  # whether it outlives a power failure, as a real one does

    def url(self, database: str = USER) -> str:
        """As DATABASE_URL takes it; the socket is in the folder."""
        return f"postgresql://{USER}@{quote(str(self.folder), safe='')}/{database}"

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
        }
        if not self.is_durable:
            options |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "off")
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [_program("postgres"), "-D", str(self.folder / "data"), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **_as_user(),
            )
        until(lambda: self._answers() or self._has_ended(), "PostgreSQL answers")
        if self._has_ended():
            raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()}")

    def stop(self) -> None:
        """Stops the server; connections are closed."""
        if self.process is not None:
            self.process.send_signal(2)  # SIGINT: "fast"
            self.process.wait(timeout=LONGEST)
            self.process = None

    def create(self, database: str) -> str:
        """A new, empty database; its URL."""
        self.run("createdb", database)
        return self.url(database)

    def run(self, program: str, *arguments: str, check: bool = True) -> str:
        """What one of PostgreSQL's own programs prints: psql, createdb, pg_dump."""
        done = subprocess.run(
            [_program(program), "-h", str(self.folder), "-U", USER, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
        )
        assert not check or done.returncode == 0, f"{program} {arguments}: {done.stderr}"
        return done.stdout

    def _has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def _answers(self) -> bool:
        asked = [_program("pg_isready"), "-q", "-h", str(self.folder)]
        return subprocess.run(asked, check=False, timeout=LONGEST).returncode == 0


@contextmanager
def running_cluster(*, is_durable: bool = False) -> Iterator[Cluster]:
    """A new cluster that runs; ended and removed afterwards."""
    with open_folder("pg") as folder:
        cluster = Cluster(folder, is_durable=is_durable)
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        made = subprocess.run(
            [
                *(_program("initdb"), "-D", str(folder / "data"), "-U", USER, "--no-sync"),
                *("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"),
                *("--locale-provider=icu", "--icu-locale=en"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
            **_as_user(),
        )
        assert made.returncode == 0, made.stderr
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def is_installed() -> bool:
    """Whether Debian's package is there; ./boathouse test installs it."""
    return _folder() is not None


def _as_user() -> dict[str, str]:
    return {"user": USER, "group": USER} if os.geteuid() == 0 else {}


def _program(name: str) -> str:
    folder = _folder()
    assert folder is not None, "PostgreSQL is not installed: ./boathouse test does that."
    return str(folder / name)


def _folder() -> Path | None:
    """Debian keeps each major version beside the others; the newest."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max(
        (path.parent for path in found), key=lambda one: float(one.parent.name), default=None
    )
