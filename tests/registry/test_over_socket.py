"""The client over a Unix socket, against the real registry; all else is as over TCP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from registryui.registry.client import RegistryClient
from registryui.registry.errors import Unreachable
from tests.support.client_push import push
from tests.support.parts import running_registry


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryClient]:
    folder = tmp_path_factory.mktemp("socket")
    with (
        running_registry(folder, place=folder / "place") as url,
        RegistryClient(url) as made,
    ):
        yield made


def test_it_writes_and_reads(client: RegistryClient) -> None:
    raw, config, layer = push(client, "team/app", "1")  # type: ignore[no-untyped-call]
    assert client.ping() == "registry/2.0"
    assert list(client.repositories()) == ["team/app"]
    assert client.tags("team/app") == ["1"]
    stored = client.manifest("team/app", "1")
    assert stored is not None
    assert stored.raw == raw
    assert client.resolve("team/app", "1") == stored.digest
    assert client.blob("team/app", layer, limit=1000) == b"layer "
    assert b"".join(client.pieces("team/app", config))
    client.prove_writes()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_socket_that_nobody_takes_is_unreachable(tmp_path: Path, is_there: bool) -> None:
    place = tmp_path / "place"
    with socket.socket(socket.AF_UNIX) as silent:
        if is_there:
            silent.bind(str(place))
            silent.listen(5)
        with (
            RegistryClient(f"unix:{place}", timeout=(0.2, 0.2)) as client,
            pytest.raises(Unreachable),
        ):
            client.ping()
