"""skopeo and podman: image indexes, artifacts, logins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.clients import copy, run
from tests.support.layouts import Layout
from tests.support.machines import podman_storage
from tests.support.product import Product
from tests.support.waiting import until

pytestmark = pytest.mark.e2e


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def test_an_image_index_comes_back_as_it_was_pushed(
    boathouse: Product, layout: Layout, certificates: Path, tmp_path: Path
) -> None:
    children = [layout.image(one, {"bin/app": one.encode()}) for one in ("amd64", "arm64")]
    index = layout.image_index(children)
    layout.tag("1.0", index)
    reference = f"docker://{boathouse.name}/skopeo/multi:1.0"

    done = copy(boathouse, certificates, f"oci:{layout.folder}:1.0", reference)

    assert done.returncode == 0, done.stderr
    row = until(lambda: boathouse.tag("skopeo/multi", "1.0"), "the index knows it")
    assert row is not None
    assert row["digest"] == index["digest"]
    assert row["platforms"] == ["linux/amd64", "linux/arm64"]
    assert (row["by"], row["problem"]) == (boathouse.user[0], "")
    back = tmp_path / "back"
    done = copy(boathouse, certificates, reference, f"oci:{back}:1.0")
    assert done.returncode == 0, done.stderr
    blobs = {path.name for path in (back / "blobs/sha256").iterdir()}
    assert {one["digest"].removeprefix("sha256:") for one in (index, *children)} <= blobs


def test_an_artifact_is_pushed_and_shown(
    boathouse: Product, layout: Layout, certificates: Path
) -> None:
    artifact = layout.artifact("application/vnd.example.model", b"weights of a small model")
    layout.tag("v2", artifact)
    target = f"docker://{boathouse.name}/skopeo/model:v2"

    done = copy(boathouse, certificates, f"oci:{layout.folder}:v2", target)

    assert done.returncode == 0, done.stderr
    row = until(lambda: boathouse.tag("skopeo/model", "v2"), "the index knows it")
    assert row is not None
    assert (row["digest"], row["platforms"]) == (artifact["digest"], [])


def test_skopeo_lists_the_tags_and_needs_a_login_for_it(
    boathouse: Product, layout: Layout, certificates: Path
) -> None:
    layout.tag("a", layout.image("amd64", {"a": b"a"}))
    reference = f"docker://{boathouse.name}/skopeo/listed"
    assert copy(boathouse, certificates, f"oci:{layout.folder}:a", f"{reference}:a").returncode == 0
    trusting = ("skopeo", "list-tags", f"--cert-dir={certificates}")
    creds = f"--creds={':'.join(boathouse.user)}"
    listed = run(certificates.parent, *trusting, creds, reference)
    assert json.loads(listed.stdout)["Tags"] == ["a"]
    assert run(certificates.parent, *trusting, reference).returncode != 0
    assert "x509" in run(certificates.parent, "skopeo", "list-tags", creds, reference).stderr


@pytest.mark.parametrize("is_right", [True, False])
def test_podman_logs_in_with_the_right_secret_only(
    boathouse: Product, certificates: Path, folder: Path, is_right: bool
) -> None:
    name, secret = boathouse.user
    home = certificates.parent
    (home / "storage.conf").write_text(podman_storage(folder))
    command = (
        *("podman", "--cgroup-manager=cgroupfs", "login", f"--cert-dir={certificates}"),
        *("--username", name, "--password-stdin", boathouse.name),
    )
    done = run(home, *command, stdin=secret if is_right else "wrong")
    assert ("Login Succeeded" in done.stdout) == is_right, done.stderr
    if not is_right:
        assert "invalid username/password" in done.stderr
    else:
        assert boathouse.name in json.loads((home / "auth.json").read_text())["auths"]
