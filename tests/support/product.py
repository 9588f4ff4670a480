"""One instance of the product, driven only through its one command."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from .console import Console
from .waiting import LONGEST, until

ROOT = Path(__file__).resolve().parents[2]
IMAGES = (
    "application/vnd.oci.image.manifest.v1+json,"
    "application/vnd.docker.distribution.manifest.v2+json"
)
# Below the data folder, made from the sources alone: they take longer than the rest of an `up`.
ALWAYS_THE_SAME = ("made", "static")
EMPTY_DATABASE = "index.sqlite3"
# They change what a process has read when it started, or are about processes.
ALWAYS_TYPED = ("up", "down", "restore", "units")
_opening = threading.Lock()


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP server said. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: Sequence[str] = ()  # each Set-Cookie as it came

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class Product:
    """`facts` is what the first `up` printed, with the secrets."""

    data: Path
    host: str  # the name in references
    address: str  # where nginx listens
    port: int
    facts: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)  # more of its environment
    session: str = ""  # of the operator who signed in last, in a browser
    _typed: set[tuple[str, ...]] = field(default_factory=set)  # words of commands since `up`
    _console: Console | None = None

    # -- the command ---------------------------------------------------------------------------

    def boathouse(
        self, *arguments: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs ./boathouse for this instance, without the tests' own settings."""
        if arguments[0] in ALWAYS_TYPED:
            self.forget()
        if tuple(arguments[:2]) in self._typed and not environment:
            done = self._again(arguments)
        else:
            self._typed |= set() if arguments[0] in ALWAYS_TYPED else {arguments[:2]}
            done = subprocess.run(
                [str(ROOT / "boathouse"), *arguments],
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
            )
        if check:
            said = f"{done.stdout}{done.stderr}{self.tail()}"
            assert done.returncode == 0, f"./boathouse {' '.join(arguments)}\n{said}"
        return done

    def _again(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """What was typed into ./boathouse before runs in a process that is there."""
        with _opening:
            console = self._console
            if console and (not console.is_alive() or console.environment != self.environment):
                console.end()
                console = None
            self._console = console = console or Console(self.environment)
        return console.run(arguments, LONGEST)

    def forget(self) -> None:
        """The next command is typed, whichever it is."""
        self._typed = set()
        if self._console is not None:
            self._console.end()
            self._console = None

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the instance, and what every shell has."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            "BOATHOUSE_DATA": str(self.data),
            "BOATHOUSE_HOST": self.host,
            "BOATHOUSE_PORT": str(self.port),
            "BOATHOUSE_BIND": self.address,
            "BOATHOUSE_NAMES": self.address,
            "BOATHOUSE_REGISTRY_PROGRAM": os.environ.get("BOATHOUSE_TEST_REGISTRY", ""),
            **self.settings,
        }

    def up(self) -> dict[str, Any]:
        """Starts it; returns the facts of this start and keeps those of the first."""
        facts: dict[str, Any] = json.loads(self.boathouse("up", "--background", "--json").stdout)
        self.facts = self.facts or facts
        return facts

    def down(self) -> None:
        """Ends it."""
        self.boathouse("down")

    def status(self) -> dict[str, Any]:
        """What `status --json` prints, healthy or not."""
        facts: dict[str, Any] = json.loads(self.boathouse("status", "--json", check=False).stdout)
        return facts

    def listed(self, repository: str = "") -> list[dict[str, Any]]:
        """What `list --json` prints; [] for a repository that the index does not have."""
        arguments = [repository] if repository else []
        done = self.boathouse("list", *arguments, "--json", check=False)
        if done.returncode != 0 and "There is no repository" in done.stderr:
            return []
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def tag(self, repository: str, name: str) -> dict[str, Any] | None:
        """That row of `list REPOSITORY`; None if it is not there (yet)."""
        return next((row for row in self.listed(repository) if row["tag"] == name), None)

    def add_user(
        self,
        name: str,
        *,
        pull: Sequence[str] = (),
        push: Sequence[str] = (),
        delete: Sequence[str] = (),
    ) -> tuple[str, str]:
        """A new registry user with these scopes: name and secret."""
        may = {"pull": pull, "push": push, "delete": delete}
        options = [f"--{action}={scope}" for action, scopes in may.items() for scope in scopes]
        made = json.loads(self.boathouse("user", "add", name, *options, "--json").stdout)
        return name, made["secret"]

    # -- through the proxy ---------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The part before the first slash of a reference."""
        return f"{self.host}:{self.port}"

    @property
    def registry_url(self) -> str:
        """The address of its own registry, past the proxy."""
        return f"unix:{self.data}/run/sockets/registry"

    @property
    def ca(self) -> Path:
        """The certificate of the authority."""
        return self.data / "tls" / "ca.crt"

    @property
    def user(self) -> tuple[str, str]:
        """Name and secret of the registry user."""
        return self.facts["user"]["name"], self.facts["user"]["secret"]

    @property
    def operator(self) -> tuple[str, str]:
        """Name and password of the administrator."""
        return self.facts["operator"]["name"], self.facts["operator"]["password"]

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        as_user: bool = False,
    ) -> Answer:
        """One request over TLS, with the certificate checked; redirects are not followed."""
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = Connection(self.host, self.port, timeout=LONGEST)
        connection.address, connection.context = self.address, context
        sent = dict(headers or {})
        if as_user:
            sent["Authorization"] = "Basic " + b64encode(":".join(self.user).encode()).decode()
        return exchange(connection, method, path, body, sent)

    @contextmanager
    def opened(self, path: str) -> Iterator[http.client.HTTPResponse]:
        """The answer to a GET of the registry user's, to be read slowly."""
        connection = Connection(self.host, self.port, timeout=LONGEST)
        connection.address = self.address
        connection.context = ssl.create_default_context(cafile=str(self.ca))
        login = b64encode(":".join(self.user).encode()).decode()
        try:
            connection.request("GET", path, headers={"Authorization": f"Basic {login}"})
            yield connection.getresponse()
        finally:
            connection.close()

    def tag_again(self, repository: str, tag: str, *others: str) -> None:
        """Tags the manifest of a tag again, like a client."""
        place = f"/v2/{repository}/manifests"
        found = self.ask(f"{place}/{tag}", headers={"Accept": IMAGES}, as_user=True)
        kind = {"Content-Type": found.headers["content-type"]}
        for other in others:
            path = f"{place}/{other}"
            done = self.ask(path, method="PUT", body=found.body, headers=kind, as_user=True)
            assert done.status == 201, done.body

    # -- the processes -------------------------------------------------------------------------

    def pids(self) -> dict[str, int]:
        """Process id of each part, by its name."""
        return {name: part["pid"] for name, part in self.status()["parts"].items()}

    def processes(self) -> list[psutil.Process]:
        """All processes of this instance: they have its folder in a setting or on the command
        line, or were started by one that has."""
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = [*process.cmdline(), process.environ().get("BOATHOUSE_DATA", "")]
                ours = (os.getpid(), self._console.pid if self._console else 0)
                if process.pid not in ours and any(str(self.data) in word for word in words):
                    found |= {one.pid: one for one in [process, *process.children(recursive=True)]}
        return list(found.values())

    def tail(self) -> str:
        """The end of the log, to be printed with a failure."""
        try:
            text = (self.data / "log" / "boathouse.log").read_text(errors="replace")
        except OSError:
            return ""
        return "\n-- boathouse.log --\n" + "\n".join(text.splitlines()[-40:])


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Freezes these processes and their children, as if they hung; resumes them afterwards."""
    processes = [psutil.Process(pid) for pid in pids]
    family = [*processes, *(child for one in processes for child in one.children(recursive=True))]
    try:
        for process in family:
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


class Connection(http.client.HTTPSConnection):
    """To an address, with a name that no name server knows."""

    address: str
    context: ssl.SSLContext

    def connect(self) -> None:
        sock = socket.create_connection((self.address, self.port), self.timeout)
        self.sock = self.context.wrap_socket(sock, server_hostname=self.host)


@contextmanager
def made_once(made: Product) -> Iterator[None]:
    """While an instance is up for the first time: the first of a run, in whatever process, makes
    typefaces, static files, tables and apt's answer; the others wait for that and have a copy."""
    place = os.environ.get("BOATHOUSE_TEST_DATA")
    if place is None:  # pytest alone
        yield
        return
    kept = Path(place) / "kept"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_dir():
            yield
            _keep(made, kept)
            return
    has_database = "DATABASE_URL" in made.settings or (made.data / EMPTY_DATABASE).exists()
    without = shutil.ignore_patterns(*[EMPTY_DATABASE] if has_database else [])
    shutil.copytree(kept, made.data, ignore=without, dirs_exist_ok=True)
    yield


def _keep(made: Product, kept: Path) -> None:
    half = kept.with_suffix(".half")
    for name in ALWAYS_THE_SAME:
        shutil.copytree(made.data / name, half / name, dirs_exist_ok=True)
    made.boathouse("manage", "migrate", "--verbosity=0", BOATHOUSE_DATA=str(half), DATABASE_URL="")
    (half / "jobs.sqlite3").unlink()
    answer = made.data / "run" / "updates.json"
    until(answer.exists, "the worker has asked apt")
    (half / "run").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(answer, half / "run")
    half.rename(kept)


@contextmanager
def product(
    data: Path, address: str, *, host: str = "", settings: Mapping[str, str] | None = None
) -> Iterator[Product]:
    """An instance that is up, with a data folder that this makes; ended and removed afterwards."""
    made = Product(
        data, host or address, address, free_port(address), settings=dict(settings or {})
    )
    try:
        with made_once(made):
            made.up()
        yield made
    finally:
        try:
            made.boathouse("down", check=False)
        finally:
            made.forget()
            for process in made.processes():  # only after a failure: `down` leaves none
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            shutil.rmtree(made.data, ignore_errors=True)


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None,
    headers: Mapping[str, str],
) -> Answer:
    """One request over that connection, which is closed afterwards."""
    try:
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        cookies = response.headers.get_all("set-cookie", [])
        return Answer(response.status, names, response.read(), cookies)
    finally:
        connection.close()


def free_port(host: str = "127.0.0.1") -> int:
    """A port of that address that nobody listened on a moment ago.

    Below the range that the kernel gives to outgoing connections, or one of those could take it.
    """
    for _ in range(100):
        port = 20_000 + int.from_bytes(os.urandom(2)) % 10_000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise AssertionError(f"no free port on {host}")
