"""An instance inside the tests' own process: real registry, real nginx, and the settings for both.

The portal is the tests' own process: nginx applies what a test changes by calling Python.
"""

from __future__ import annotations

import http.server
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.conf import settings
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from registryui import sockets, tls
from registryui.accounts import publish
from registryui.setup import configuration, data, keys, parts

from .folders import open_folder
from .parts import free_port
from .waiting import LONGEST, until


@dataclass(frozen=True, slots=True)
class Heard:
    """A request as it came in behind nginx. Names of headers are in lower case."""

    line: str  # method and target
    headers: list[tuple[str, str]]

    def of(self, name: str) -> list[str]:
        """The values of that header."""
        return [value for one, value in self.headers if one == name]


class Portal(http.server.BaseHTTPRequestHandler):
    """Replaces the web process: the doctor only requests /healthz.

    What else it is asked is kept in `heard`. Where the registry was, it lets a login pass.
    """

    healthy = ("/healthz", "/v2/", "/hooks/registry")  # the last: told by the registry itself

    heard: ClassVar[list[Heard]] = []

    def do_GET(self) -> None:
        if self.path not in self.healthy:
            headers = [(name.lower(), value) for name, value in self.headers.items()]
            self.heard.append(Heard(f"{self.command} {self.path}", headers))
        # A body that nobody reads resets the connection, and nginx cuts the answer off.
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200 if self.path in self.healthy else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

    def log_message(self, *args: object) -> None:
        pass


@dataclass
class Instance:
    """Parts that run, by name, and how to stop one."""

    folder: Path
    heard: list[Heard] = field(default_factory=list)  # what the portal was asked but its health
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: list[str]) -> None:
        is_registry = name in sockets.REGISTRIES
        self.processes[name] = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=parts.registry_environment(name) if is_registry else None,
        )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        process.wait(timeout=LONGEST)

    def remember(self) -> None:
        """Keeps all files as they are now for `renew`."""
        shutil.rmtree(self._first, ignore_errors=True)
        _copy(self.folder, self._first)

    def renew(self) -> None:
        """Restores the remembered state: all files, and an nginx that has just started.

        The registry keeps running: it has no state in memory.
        """
        for name in ("nginx", "passwords"):
            if name in self.processes:
                self.stop(name)
        shutil.rmtree(self.folder)
        _copy(self._first, self.folder)
        publish.remember(publish.stamp())  # a copy is another file, but nobody's hand made it
        self.start_missing()
        self.heard.clear()
        wait_for(settings.PORT)

    def start_missing(self) -> None:
        """Starts what does not run, and waits until all listen but nginx."""
        registries = sockets.registries(settings.REGISTRY_PORT)
        for name in registries:
            if name not in self.processes:
                self.start(name, parts.registry_command())
        for name, command in COMMANDS.items():
            if name not in self.processes:
                self.start(name, command())
        for name in registries:
            wait_for(settings.REGISTRY_PORT or sockets.registry(name))
        wait_for(configuration.passwords_socket())
        wait_for(sockets.mirror())

    @property
    def _first(self) -> Path:
        return self.folder.with_name("first")


COMMANDS = {
    "passwords": parts.passwords_command,
    "mirror": parts.mirror_command,
    "nginx": parts.nginx_command,
}


def _copy(source: Path, target: Path) -> None:
    """With owners and modes, by which nginx's workers may read."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


@pytest.fixture(scope="module")
def standing(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Instance]:
    """A healthy instance for all tests of a module; each has it renewed first."""
    with ExitStack() as stack:
        with django_db_blocker.unblock():
            made = stack.enter_context(running_instance())
        made.remember()
        yield made


@contextmanager
def running_instance(
    *, anonymous: Sequence[str] = (), registry_port: int = 0
) -> Iterator[Instance]:
    """A healthy instance: data folder, certificates, registry, nginx, a portal.

    Without a registry user yet. `anonymous`: scopes that may be pulled without a login, on a port
    of their own. `registry_port`: of loopback; 0: it listens on sockets.
    """
    ports = {"front": free_port(), "plain": free_port(), "hook": free_port()}
    if anonymous:
        ports["anonymous"] = free_port()
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("instance"))
        chosen = _settings(folder / "data", ports, anonymous)
        chosen["REGISTRY_PORT"] = registry_port
        address = f"http://127.0.0.1:{registry_port}"
        chosen["REGISTRY_URL"] = (
            address if registry_port else f"unix:{chosen['SOCKETS_DIR']}/registry"
        )
        stack.enter_context(override_settings(**chosen))
        data.make()
        keys.make()
        tls.ensure(folder / "data" / "tls", names=tls.wanted_names())
        publish.prepare()
        publish.write([])  # a file without users
        configuration.write(registry_port=registry_port, hook_port=ports["hook"])
        made = Instance(folder / "data")
        stack.callback(lambda: [made.stop(name) for name in list(made.processes)])
        made.heard = stack.enter_context(listener(sockets.web()))
        made.start_missing()
        for port in ports.values():
            wait_for(port)
        yield made


def _settings(folder: Path, ports: dict[str, int], anonymous: Sequence[str]) -> dict[str, Any]:
    return {
        "DATA": folder,
        "STORE_DIR": folder / "registry",
        "TLS_DIR": folder / "tls",
        "SECRETS_DIR": folder / "secrets",
        "CONFIG_DIR": folder / "config",
        "LOG_DIR": folder / "log",
        "RUN_DIR": folder / "run",
        "SOCKETS_DIR": folder.parent / "sockets",  # a copy of a socket is none
        "STATIC_ROOT": folder / "static",
        "HTPASSWD_FILE": folder / "htpasswd",
        "OVERLAP_FILE": folder / "htpasswd.old",
        "RIGHTS_DIR": folder / "rights",
        "MIRRORS_DIR": folder / "mirrors",
        "MIRROR_KEY_FILE": folder / "secrets" / "mirror-key",
        "VERSIONS_DIR": folder / "htpasswd-versions",
        "HOST": "localhost",
        "PORT": ports["front"],
        "HTTP_PORT": ports["plain"],
        "ANONYMOUS_PORT": ports.get("anonymous", 0),
        "ANONYMOUS_PULL": list(anonymous),
        "BIND": ["127.0.0.1"],
        "REGISTRY_NAME": f"localhost:{ports['front']}",
        "PUBLIC_URL": f"https://localhost:{ports['front']}",
        "HOOK_PORT": ports["hook"],
        "TLS_CERTIFICATE": "",
        "TLS_KEY": "",
    }


class _Sockets(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def listener(*places: Path) -> Iterator[list[Heard]]:
    """A stand-in for the portal or the registry at these sockets; what it is asked, in order."""
    heard: list[Heard] = []
    handler = type("Listener", (Portal,), {"heard": heard})
    with ExitStack() as stack:
        for place in places:
            place.unlink(missing_ok=True)
            web = stack.enter_context(_Sockets(str(place), handler))
            place.chmod(0o666)  # as gunicorn does: the folder is closed
            # It looks so often whether it is to end.
            thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(web.shutdown)
        yield heard


def restart_nginx(instance: Instance) -> None:
    """So that it reads nginx.conf again."""
    instance.stop("nginx")
    instance.start("nginx", parts.nginx_command())
    wait_for(settings.PORT)


def take_portal_away(instance: Instance) -> None:
    """So that nginx finds no portal."""
    place = configuration.nginx_file()
    place.write_text(place.read_text().replace(f"{sockets.web()}", f"{sockets.web()}-gone"))
    restart_nginx(instance)


def wait_for(place: int | Path) -> None:
    """Until something listens on that loopback port, or at that socket."""

    def listens() -> bool:
        family, address = (
            (socket.AF_INET, ("127.0.0.1", place))
            if isinstance(place, int)
            else (socket.AF_UNIX, str(place))
        )
        with suppress(OSError), socket.socket(family) as one:
            one.settimeout(LONGEST)
            one.connect(address)
            return True
        return False

    until(listens, f"something listens at {place}", pause=0.01)
