"""Quotas with the real product: Docker's words, the web part stopped, and space that comes back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import run
from tests.support.engines import Engine
from tests.support.layouts import Layout
from tests.support.product import Product, stopped
from tests.support.waiting import until

pytestmark = pytest.mark.e2e
WORDS = "denied: the quota of namespace quota-team is used up ("


@pytest.fixture
def quota(boathouse: Product) -> Iterator[Product]:
    """The product; the quota of a test is removed after it."""
    yield boathouse
    for row in json.loads(boathouse.boathouse("quota", "list", "--json").stdout):
        boathouse.boathouse("quota", "remove", row["namespace"])


def test_pushes_are_refused_until_there_is_space_also_without_the_portal(
    quota: Product, certificates: Path, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "images")
    for tag in ("1", "2", "3"):
        layout.tag(tag, layout.image("amd64", {"app": os.urandom(60_000)}))
    login = ["--dest-cert-dir", str(certificates), "--dest-creds", ":".join(quota.user)]

    def push(image: str, reference: str) -> str:
        """The client's words; "" if it was pushed."""
        to = f"docker://{quota.name}/{reference}"
        done = run(tmp_path, "skopeo", "copy", "-q", *login, f"oci:{layout.folder}:{image}", to)
        return done.stderr if done.returncode else ""

    quota.boathouse("quota", "set", "quota-team", "--bytes", "100kB")
    assert push("1", "quota-team/app:1") == ""
    assert push("2", "quota-team/web:2") == ""  # the one that is under way exceeds it
    until(lambda: (quota.data / "quota/uploads/quota-team/@all").exists(), "uploads are refused")
    assert WORDS in push("3", "quota-team/app:3")
    assert push("2", "quota-team/web:same") == ""
    web = quota.status()["parts"]["web"]["pid"]
    with stopped([web]):
        assert WORDS in push("3", "quota-team/deep/er:3")
        assert push("3", "quota-other/app:3") == ""
        quota.boathouse("quota", "set", "quota-team", "--bytes", "1MB")
        assert push("3", "quota-team/app:3") == ""
        quota.boathouse("quota", "set", "quota-team", "--bytes", "100kB")
        assert WORDS in push("1", "quota-team/web:3")
    until(lambda: quota.tag("quota-team/app", "3"), "the portal knows what was pushed meanwhile")
    quota.boathouse("quota", "set", "quota-team", "--bytes", "150kB")
    assert WORDS in push("1", "quota-team/web:3")
    quota.boathouse("tag", "delete", "quota-team/app:3", "--yes")
    until(lambda: push("1", "quota-team/web:3") == "", "there is space again")


@pytest.mark.root
def test_docker_prints_why_and_is_let_in_again(quota: Product, docker: Engine) -> None:
    name = f"{quota.name}/quota-team/docker"
    docker.import_base()
    docker.docker("tag", "base", f"{name}:1")
    docker.push(f"{name}:1")
    until(lambda: quota.tag("quota-team/docker", "1"), "the portal knows it")
    quota.boathouse("quota", "set", "quota-team", "--bytes", "1kB")
    docker.make_image(f"{name}:2", "echo more > /more")
    done = docker.docker("push", f"{name}:2", check=False)
    assert done.returncode != 0
    assert WORDS in done.stderr
    docker.docker("tag", "base", f"{name}:same")
    docker.push(f"{name}:same")
    until(lambda: quota.tag("quota-team/docker", "same"), "the portal knows it")
    used = json.loads(quota.boathouse("quota", "show", "quota-team", "--json").stdout)["used_tags"]
    quota.boathouse("quota", "set", "quota-team", "--bytes", "none", "--tags", str(used))
    done = docker.docker("push", f"{name}:2", check=False)
    assert f"({used} of {used} tags)" in done.stderr
    docker.docker("tag", f"{name}:2", f"{name}:1")
    docker.push(f"{name}:1")  # it exists, and moves
