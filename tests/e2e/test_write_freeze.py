"""What real clients do while writes are frozen, and that the worker ends it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import copy
from tests.support.engines import Engine
from tests.support.layouts import Layout
from tests.support.product import Product
from tests.support.waiting import until

pytestmark = pytest.mark.e2e


@pytest.fixture
def frozen(boathouse: Product) -> Iterator[Product]:
    """The product while pushes and deletes are frozen."""
    boathouse.boathouse("freeze", "on", "--minutes", "5")
    yield boathouse
    boathouse.boathouse("freeze", "off")


def test_docker_waits_with_layers_and_gives_up_with_a_manifest(
    docker: Engine, boathouse: Product
) -> None:
    """Docker asks again for a layer after 5, 10, 15 and 20 seconds, for a manifest never. Of a 503
    it shows the status line alone."""
    reference = f"{boathouse.name}/hold/app:1"
    docker.import_base()
    docker.make_image(reference, "echo a new layer > /new")
    boathouse.boathouse("freeze", "on", "--minutes", "5")
    opener = threading.Timer(4, boathouse.boathouse, ("freeze", "off"))
    opener.start()
    docker.push(reference)
    opener.join()

    boathouse.boathouse("freeze", "on", "--manifests", "--minutes", "5")
    try:
        docker.docker("rmi", reference)
        docker.docker("pull", reference)
        docker.docker("tag", "base", f"{boathouse.name}/hold/app:2")
        done = docker.docker("push", f"{boathouse.name}/hold/app:2", check=False)
    finally:
        boathouse.boathouse("freeze", "off")
    assert done.returncode != 0
    assert "503 Service" in done.stderr
    docker.push(f"{boathouse.name}/hold/app:2")


def test_skopeo_gives_up_at_once(frozen: Product, tmp_path: Path, certificates: Path) -> None:
    made = Layout(tmp_path / "layout")
    made.tag("1", made.image("amd64", {"app": b"app"}))
    target = f"docker://{frozen.name}/hold/skopeo:1"
    done = copy(frozen, certificates, f"oci:{made.folder}:1", target)
    assert done.returncode != 0
    assert "503 Service" in done.stderr


def test_the_worker_opens_the_proxy_when_the_time_is_up(boathouse: Product) -> None:
    boathouse.boathouse("freeze", "on", "--minutes", "1")
    gate = boathouse.data / "run" / "hold" / "manifests"
    (record,) = (boathouse.data / "run" / "hold").glob("*.json")
    text = record.read_text()
    at = text.index('"until": "') + len('"until": "')
    record.write_text(f"{text[:at]}2020-01-01T00:00:00+00:00{text[text.index(chr(34), at) :]}")
    until(lambda: not gate.exists(), "the worker takes the gate down")
    answer = boathouse.ask("/v2/hold/app/blobs/uploads/", method="POST", as_user=True)
    assert answer.status == 202
