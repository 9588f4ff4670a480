"""A mirror service before a real registry, and an upstream on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from registryui.encryption import encrypt
from registryui.mirror_service.configuration import Configuration
from registryui.mirror_service.service import Server, Service
from registryui.unix_http import Connection
from tests.support.folders import open_folder
from tests.support.notifications import Sink
from tests.support.parts import running_registry
from tests.support.product import Answer, exchange
from tests.support.registries import ACCEPT, Registry
from tests.support.waiting import LONGEST, until

from .fake_upstream import FakeUpstream, fake_upstream

KEY = "a key of the tests"


@dataclass
class World:
    """Folders, and how to ask as nginx does."""

    folder: Path
    upstream: FakeUpstream
    service: Service = field(init=False)
    sink: Sink = field(default_factory=Sink)  # of the registry's notifications

    @property
    def configuration(self) -> Configuration:
        return Configuration(
            socket=str(self.folder / "mirror"),
            registry=f"unix:{self.folder}/registry",
            mirrors=str(self.folder / "mirrors"),
            key=str(self.folder / "key"),
            gates=str(self.folder / "hold"),
            spool=str(self.folder / "store" / "boathouse-mirror"),
            floor_bytes=0,
            driver="filesystem",
            root=str(self.folder / "store"),
        )

    @property
    def registry(self) -> Registry:
        """The real one, past the service."""
        return Registry(self.configuration.registry, self.folder / "store")

    def mirror(self, name: str = "hub", **facts: Any) -> None:
        """What registryui/mirrors/publish.py writes."""
        place = self.folder / "mirrors" / name
        place.mkdir(parents=True, exist_ok=True)
        if "password" in facts:
            facts["secret"] = encrypt(facts.pop("password"), KEY)
        told = {"name": name, "url": self.upstream.url, "fresh_seconds": 600, **facts}
        new = place / ".new"
        new.write_text(json.dumps(told))
        new.rename(place / "upstream.json")
        (place / "active").touch()
        self.service._mirrors._known.clear()  # it looks once a second

    def ask(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request to the service."""
        connection = Connection(self.configuration.socket, timeout=LONGEST)
        return exchange(connection, method, path, None, {"Accept": ACCEPT, **(headers or {})})

    def at_once(self, path: str, number: int) -> list[Answer]:
        """That many clients."""
        with ThreadPoolExecutor(number) as pool:
            return list(pool.map(lambda _: self.ask(path), range(number)))

    def state(self, name: str = "hub") -> dict[str, Any]:
        """What the portal can read."""
        self.service.states.write()
        found: dict[str, Any] = json.loads(
            (self.folder / "mirrors" / name / "state.json").read_bytes()
        )
        return found

    def blobs(self) -> set[str]:
        """The digests of all data in the store."""
        folder = self.folder / "store/docker/registry/v2/blobs/sha256"
        return {f"sha256:{one.parent.name}" for one in folder.glob("*/*/data")}

    def spooled(self) -> list[Path]:
        """Unfinished downloads."""
        found = (self.folder / "store" / "boathouse-mirror").glob("*/*")
        return [one for one in found if one.name != "lock"]

    def wait_for_blob(self, repository: str, digest: str) -> None:
        """Until the registry has it."""
        path = f"/v2/{repository}/blobs/{digest}"
        until(lambda: self.registry.ask("HEAD", path).status == 200, f"{digest} is stored")

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The service, ended afterwards: several in turn are restarts."""
        self.service = Service(self.configuration)
        server = Server(Path(self.configuration.socket), self.service)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            self._wait_for_threads()
            for one in self.service._upstreams.values():
                one.close()
            self.service.states.write()
            self.service.content.close()

    def _wait_for_threads(self) -> None:
        """A process would end them; here they would write into a folder that is being removed."""
        downloads, filling = self.service.downloads, self.service.filling
        self.service.manifests._flights._pool.shutdown()
        for _number in range(2):  # a download may have asked for the rest of its image
            until(lambda: not downloads._running, "the downloads end")
            filling._waiting.join()


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with fake_upstream() as made:
        yield made


@pytest.fixture
def world(upstream: FakeUpstream, sink: tuple[Sink, str]) -> Iterator[World]:
    """With the mirror `hub`."""
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("mirror"))
        made = World(folder, upstream, sink=sink[0])
        for name in ("mirrors", "hold", "store"):
            (folder / name).mkdir()
        (folder / "key").write_text(KEY)
        told = {"url": sink[1]}
        place = folder / "registry"
        stack.enter_context(running_registry(folder, place=place, notifications=told))
        stack.enter_context(made.serving())
        stack.callback(upstream.released.set)
        made.mirror()
        yield made
