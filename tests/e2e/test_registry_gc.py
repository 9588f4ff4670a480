"""For a store that the portal cannot reach: what `gc --registry-gc` prints, as it stands."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.product import ROOT, Product, product
from tests.support.pushing import untag, what_is_missing
from tests.support.registries import Registry
from tests.support.waiting import LONGEST

pytestmark = pytest.mark.e2e
BIG = b"x" * 300_000


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """An instance that reads the registry over HTTP."""
    settings = {"BOATHOUSE_SOURCE": "http", "BOATHOUSE_GC_GRACE_HOURS": "1"}
    folder = Path("/tmp") / f"boathouse-stock-{os.getpid()}"
    with product(folder, "127.0.0.1", settings=settings) as made:
        yield made


def typed(made: Product, command: str) -> subprocess.CompletedProcess[str]:
    """What a person types in the folder of the product."""
    return subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env=made.environment,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def age_index(made: Product) -> None:
    """All that the index has was pushed and lost its tag two hours ago."""
    code = (
        "from registryui.models import Manifest; from django.utils import timezone as t;"
        "from datetime import timedelta as d; old = t.now() - d(hours=2);"
        "Manifest.objects.update(seen_at=old, pushed_at=old);"
        "Manifest.objects.filter(untagged_at__isnull=False).update(untagged_at=old);"
        "from registryui.models import TagTombstone as f; f.objects.update(keep_until=old)"
    )
    made.boathouse("manage", "shell", "-c", code)


def data_size(made: Product) -> int:
    files = (made.data / "registry").rglob("data")
    return sum(file.stat().st_size for file in files if "blobs/" in str(file))


def told(made: Product, *words: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(made.boathouse(*words, "--json").stdout)
    return answer


@pytest.mark.usefixtures("long_proof")
def test_the_printed_commands_free_the_space_and_break_nothing(alone: Product) -> None:
    registry = Registry(alone.registry_url, alone.data / "registry")
    amd = registry.push_image("team/app", layers=[b"base", b"amd"])
    arm = registry.push_image("team/app", layers=[b"base", b"arm"], architecture="arm64")
    children = [
        registry.child("team/app", amd, architecture="amd64"),
        registry.child("team/app", arm, architecture="arm64"),
    ]
    index = registry.push_index("team/app", children, "1")
    about = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": index, "size": 1}
    sbom = registry.push_image("team/app", layers=[b"sbom"], subject=about)
    registry.push_image("team/app", "2", layers=[b"base", BIG])
    gone = registry.push_image("team/app", "3", layers=[BIG, b"gone" * 50_000])
    lost = registry.push_index("team/app", [registry.child("team/app", gone)], "4")
    alone.boathouse("sync")
    for tag in ("3", "4"):
        untag(registry, "team/app", tag)
    alone.boathouse("sync")
    age_index(alone)
    before = data_size(alone)

    assert "can be read from here" in alone.boathouse("gc", "--registry-gc").stdout
    commands = [step["command"] for step in told(alone, "gc", "--registry-gc")["steps"]]
    assert not any("--delete-untagged" in command for command in commands)
    refused = typed(alone, commands[1])
    assert refused.returncode == 1
    assert "Start a write freeze first" in refused.stderr
    plan = typed(alone, f"{commands[1]} --dry-run").stdout
    assert f"team/app@{gone}" in plan
    assert f"team/app@{lost}" in plan
    assert "2 manifests would be deleted" in plan

    for number, command in enumerate(commands):
        done = typed(alone, command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        if number == 0:
            push = alone.ask("/v2/team/app/blobs/uploads/", method="POST", as_user=True)
            assert push.status == 503
            assert "rejected for maintenance" in push.json()["errors"][0]["message"]
            assert alone.ask("/v2/team/app/manifests/1", as_user=True).status in (200, 404)
        if "hold status" in command:
            assert "held by command line" in done.stdout
    assert told(alone, "freeze", "status") == {"frozen": []}

    assert before - data_size(alone) > 200_000
    for tag in ("1", "2", sbom):
        assert what_is_missing(registry, "team/app", tag) == "", tag
    assert registry.get("team/app", gone).status == 404
    assert alone.ask("/v2/team/app/blobs/uploads/", method="POST", as_user=True).status == 202
    registry.push_image("team/app", "3", layers=[BIG, b"gone" * 50_000])  # no cache believes in it
    assert what_is_missing(registry, "team/app", "3") == ""
    assert told(alone, "integrity")["broken"] == 0
