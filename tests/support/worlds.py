"""A real registry, its events, and an index that applies them: for tests of deletion and undo."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registryui.deletion.execute import Outcome, Selection, execute, plan
from registryui.index import events
from registryui.index.sync import sync
from registryui.models import Manifest, RegistryEvent, Tag
from registryui.registry.client import RegistryClient
from tests.support.notifications import Sink

from .parts import running_registry
from .registries import Registry
from .waiting import until

BY = "operator:vera"
R = "team/app"


@dataclass
class World:
    """`real` does not use the product's own client, which is under test."""

    real: Registry
    told: Sink
    taken_in: int = 0  # notifications
    marks: int = 0

    def sync(self) -> None:
        with RegistryClient(self.real.url) as client:
            assert sync(client, by="test") is not None

    def hear(self) -> int:
        """Applies the events since the last time, like hook and worker; returns how many were
        new."""
        bodies = self.told.bodies[self.taken_in :]
        self.taken_in += len(bodies)
        fresh = sum(events.receive(body) for body in bodies)
        with RegistryClient(self.real.url) as client:
            events.apply_pending(client)
        return fresh

    def hear_all(self) -> None:
        """Waits for all events of the registry, and applies them. They come in order: the last is a
        push of ours."""
        self.marks += 1
        tag = f"mark-{self.marks}"
        self.real.push_image("marks", tag)
        until(lambda: tag in self.told.tags("push"), "the registry told all", pause=0.01)
        self.hear()

    def digest(self, tag: str, repository: str = R) -> str:
        """What the registry has now; "" for nothing."""
        answer = self.real.get(repository, tag, method="HEAD")
        assert answer.status in (200, 404), answer
        return answer.headers.get("docker-content-digest", "") if answer.status == 200 else ""

    def tags(self, repository: str = R) -> set[str]:
        """What the registry lists."""
        return set(self.real.tags(repository).json()["tags"] or ())

    def known(self, repository: str = R) -> dict[str, str]:
        """What the index has: tag to digest."""
        rows = Tag.objects.filter(repository__name=repository)
        return {name: one or "" for name, one in rows.values_list("name", "manifest__digest")}

    def delete(self, *tags: str, repository: str = R, by: str = BY, **more: Any) -> Outcome:
        """Plans and does it."""
        selection = Selection(repository, tags=tags, **more)
        return execute(selection, fingerprint=plan(selection).fingerprint, by=by)

    def history(self, tag: str, repository: str = R) -> list[tuple[str, str]]:
        """Action and actor of what is recorded of a tag, oldest first."""
        rows = RegistryEvent.objects.filter(repository=repository, tag=tag).order_by("at", "id")
        return list(rows.values_list("action", "actor"))


@contextmanager
def world(folder: Path, told: Sink, address: str, settings: Any) -> Iterator[World]:
    """An empty one; the product is set up to use its registry."""
    notifications = {"url": address, "headers": {"Authorization": ["Bearer x"]}}
    with running_registry(folder, notifications=notifications) as url:
        settings.REGISTRY_URL = url
        yield World(Registry(url, folder / "store"), told)


def assert_complete(real: Registry, repository: str, reference: str) -> None:
    """Everything below the reference can be pulled: manifests, configs, layers."""
    answer = real.get(repository, reference)
    assert answer.status == 200, f"{repository} {reference}: {answer}"
    found = json.loads(answer.body)
    for child in found.get("manifests", []):
        assert_complete(real, repository, child["digest"])
    for blob in [*([found["config"]] if "config" in found else []), *found.get("layers", [])]:
        got = real.ask("GET", f"/v2/{repository}/blobs/{blob['digest']}")
        assert got.status == 200, f"{repository} {blob['digest']} of {reference}: {got}"
        assert len(got.body) == blob["size"]


def stays(digest: str, repository: str = R) -> bool:
    """Whether the index has the manifest."""
    return Manifest.objects.filter(repository__name=repository, digest=digest).exists()
