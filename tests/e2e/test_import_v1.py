"""A v1 store, imported by the command that an administrator types; Docker runs what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.engines import NO_SOCKET_TO_THE_WORLD, Engine, busybox_tree
from tests.support.folders import open_folder
from tests.support.product import Product
from tests.support.v1_stores import EMPTY_TAR, V1Files, gz, tar, xz

pytestmark = [pytest.mark.e2e, pytest.mark.root]

RUN = ("run", "--rm", NO_SOCKET_TO_THE_WORLD)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the product's user may read, unlike pytest's own."""
    with open_folder("v1") as made:
        yield made


def imported(boathouse: Product, *words: str) -> dict[str, Any]:
    """What `import v1 … --json` prints, with the report by the names in the store."""
    found = json.loads(boathouse.boathouse("import", "v1", *words, "--json").stdout)
    return {**found, "tags": {one["source"]: one for one in found["tags"]}}


def test_docker_runs_an_image_of_a_v1_store_with_its_whiteouts(
    boathouse: Product, docker: Engine, place: Path
) -> None:
    made = V1Files(place / "v1")
    base = made.image("base", gz(busybox_tree()), created="2014-05-01T10:00:00Z")
    files = {
        "srv": None,
        **{f"srv/{name}": b"" for name in ("kept", "removed")},
        **{f"srv/{folder}": None for folder in ("opaque", "gone")},
        **{f"srv/{folder}/old": b"" for folder in ("opaque", "gone")},
    }
    second = made.image("second", xz(tar(files)), parent=base)
    step = made.image("step", gz(EMPTY_TAR), parent=second)
    changes = {
        "srv": None,
        "srv/.wh.removed": b"",
        "srv/.wh.gone": b"",
        "srv/opaque": None,
        "srv/opaque/.wh..wh..opq": b"",
        "srv/opaque/new": b"",
    }
    config = {"Cmd": ["sh", "-c", "cd /srv; echo * opaque/* gone/*; echo $GREETING"]}
    config["Env"] = ["GREETING=from 2014"]
    top = made.image("top", tar(changes), parent=step, config=config, architecture="amd64")
    made.tag("Legacy/Hello", "1.0", top)
    made.tag("legacy-hello", "1.0", top)
    made.tag("legacy-hello", "unfinished", made.image("unfinished", b"", parent=top))

    found = imported(boathouse, str(place), "--to=v1")["tags"]
    assert found["Legacy/Hello:1.0"]["target"] == "v1/legacy/hello:1.0"
    assert found["Legacy/Hello:1.0"]["state"] == found["legacy-hello:1.0"]["state"] == "taken"
    assert found["legacy-hello:unfinished"]["state"] == "skipped"
    digest = found["legacy-hello:1.0"]["digest"]
    assert found["Legacy/Hello:1.0"]["digest"] == digest

    reference = f"{boathouse.name}/v1/legacy-hello:1.0"
    assert digest in docker.docker("pull", reference).stdout
    ran = docker.docker(*RUN, reference)
    assert ran.stdout == "kept opaque opaque/new gone/*\nfrom 2014\n"
    steps = docker.docker("history", "--no-trunc", "--quiet", reference).stdout.splitlines()
    assert len(steps) == 4
    row = boathouse.tag("v1/legacy-hello", "1.0")
    assert row is not None
    assert row["digest"] == digest

    docker.docker("tag", reference, f"{boathouse.name}/v1/again:1.0")
    assert docker.push(f"{boathouse.name}/v1/again:1.0").startswith("sha256:")
    again = imported(boathouse, str(place), "--to=v1")
    assert (again["taken"], again["there"], again["bytes"]) == (0, 2, 0)


def test_an_image_of_empty_layers_can_be_pulled(
    boathouse: Product, docker: Engine, place: Path
) -> None:
    made = V1Files(place / "v1")
    made.tag("v1-empty", "1", made.image("empty", EMPTY_TAR, config={"Labels": {"a": "b"}}))
    found = imported(boathouse, str(place / "v1"))["tags"]["v1-empty:1"]
    reference = f"{boathouse.name}/v1-empty:1"
    assert found["digest"] in docker.docker("pull", reference).stdout
    shown = docker.docker("inspect", "--format", "{{.Config.Labels.a}}", reference).stdout
    assert shown == "b\n"


def test_words_that_are_no_store_get_a_sentence(boathouse: Product, place: Path) -> None:
    done = boathouse.boathouse("import", "v1", str(place), check=False)
    assert done.returncode == 1
    assert "is no v1 store: enter docker-registry's storage_path" in done.stderr
    V1Files(place / "v1")
    words = ("import", "v1", str(place), "--index", str(place / "no.db"))
    done = boathouse.boathouse(*words, check=False)
    assert done.returncode == 1
    assert "is not the search database" in done.stderr
