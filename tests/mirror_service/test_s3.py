"""A mirror whose store is on an object service, with the real registry on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from registryui.mirror_service.configuration import Configuration
from tests.support.fake_source import digest_of
from tests.support.folders import open_folder
from tests.support.parts import free_port, running_registry, running_s3

from .conftest import KEY, World
from .fake_upstream import FakeUpstream

LAYER = b"layer" * 50_000


class OnS3(World):
    """Of a bucket."""

    endpoint: str
    login: tuple[str, str]

    @property
    def configuration(self) -> Configuration:
        key, secret = self.login
        return dataclasses.replace(
            super().configuration,
            driver="s3",
            root="images",
            protocol="s3",
            spool=str(self.folder / "spool"),
            options={
                "key": key,
                "secret": secret,
                "endpoint_url": self.endpoint,
                "client_kwargs": {"region_name": "us-east-1"},
            },
        )


@pytest.fixture
def world(upstream: FakeUpstream) -> Iterator[OnS3]:
    with ExitStack() as stack:
        folder: Path = stack.enter_context(open_folder("mirror"))
        made = OnS3(folder, upstream)
        port = free_port()
        made.endpoint = f"http://127.0.0.1:{port}"
        made.login = stack.enter_context(running_s3(port, "images"))
        key, secret = made.login
        storage = {
            "bucket": "images",
            "region": "us-east-1",
            "regionendpoint": made.endpoint,
            "accesskey": key,
            "secretkey": secret,
            "secure": False,
            "v4auth": True,
            "encrypt": False,
        }
        for name in ("mirrors", "hold"):
            (folder / name).mkdir()
        (folder / "key").write_text(KEY)
        sections = {"storage": {"s3": storage, "redirect": {"disable": True}}}
        place = folder / "registry"
        stack.enter_context(running_registry(folder, place=place, settings=sections))
        stack.enter_context(made.serving())
        made.mirror()
        yield made


def test_an_image_is_mirrored_into_a_bucket(world: OnS3) -> None:
    digest = world.upstream.push_image("team/app", "1", LAYER)
    for _number in range(2):
        answer = world.ask("/v2/hub/team/app/manifests/1")
        assert (answer.status, digest_of(answer.body)) == (200, digest)
    path = f"/v2/hub/team/app/blobs/{digest_of(LAYER)}"
    assert world.ask(path).body == LAYER
    for blob in (LAYER, b'{"os":"linux"}'):  # the config followed
        world.wait_for_blob("hub/team/app", digest_of(blob))
    assert world.registry.ask("GET", path).body == LAYER
    assert set(world.upstream.gets().values()) == {1}
    world.upstream.status = 503
    world.mirror(fresh_seconds=0)
    stale = world.ask("/v2/hub/team/app/manifests/1")
    assert (stale.status, stale.headers["warning"][:3]) == (200, "111")
    assert not list((world.folder / "spool").glob("*/[!l]*"))
