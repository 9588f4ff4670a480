"""A registry, an index and a browser's session for the pages of deletion."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from registryui.index.sync import sync
from registryui.models import Role
from registryui.oci import media_types
from registryui.registry.client import RegistryClient
from tests.support.factories import make_operator
from tests.support.folders import open_folder
from tests.support.parts import running_registry


@dataclass
class World:
    """A repository in a registry that has no other, and who looks at it."""

    registry: RegistryClient
    name: str
    client: Client
    digests: dict[str, str] = field(default_factory=dict)

    def push(self, *tags: str, layer: str = "", subject: str = "", kind: str = "") -> str:
        """An image of one layer, under these tags; "" under its digest alone. Its digest."""
        content = f"{self.name} {layer or tags[0]}".encode()
        config = json.dumps({"os": "linux", "architecture": "amd64", "author": layer}).encode()
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": _descriptor(media_types.OCI_CONFIG, self._blob(config), config),
            "layers": [_descriptor(media_types.OCI_LAYER, self._blob(content), content)],
        }
        if subject:
            manifest["subject"] = {
                "mediaType": media_types.OCI_MANIFEST,
                "digest": subject,
                "size": 1,
            }
        raw = json.dumps(manifest).encode()
        digest = ""
        for tag in tags:
            digest = self.registry.put_manifest(self.name, tag, raw, media_types.OCI_MANIFEST)
            self.digests[tag] = digest
        return digest

    def _blob(self, data: bytes) -> str:
        return self.registry.upload_blob(self.name, data)

    def sync(self) -> None:
        assert sync(self.registry, by="tests")

    def now(self, tag: str) -> str:
        """What the registry has under that tag; "" for nothing."""
        return self.registry.resolve(self.name, tag) or ""

    def plan(self, status: int = 200, **fields: Any) -> str:
        answer = self.client.post("/delete", {"repository": self.name, **fields})
        assert answer.status_code == status
        return html.unescape(answer.content.decode())

    def delete(self, text: str, **more: str) -> Any:
        """Presses the button of a plan; the page that follows."""
        fields: dict[str, list[str]] = {}
        for name, value in FIELD.findall(text.partition('class="dialog"')[2]):
            fields.setdefault(name, []).append(value)
        return self.client.post("/delete", {**fields, **more}, follow=True)

    @property
    def page(self) -> str:
        return f"/repositories/{self.name}"


def _descriptor(media_type: str, digest: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


@pytest.fixture(scope="module")
def emptied() -> Iterator[tuple[str, Path]]:
    """A registry for the tests here, and its store, which each finds empty: a sync looks at all."""
    with open_folder("registry") as folder, running_registry(folder) as url:
        yield url, folder / "store"


@pytest.fixture
def world(emptied: tuple[str, Path], settings: Any) -> Iterator[World]:
    settings.REGISTRY_URL, store = emptied
    shutil.rmtree(store, ignore_errors=True)
    with RegistryClient(settings.REGISTRY_URL) as client:
        made = World(client, "views-delete/app", Client())
        made.client.force_login(make_operator("mika", Role.MAINTAINER))
        yield made


def text_of(answer: Any) -> str:
    return html.unescape(answer.content.decode())


def bare(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text))


FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')
