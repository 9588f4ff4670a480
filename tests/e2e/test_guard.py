"""Protected and immutable tags at the proxy: real clients, and ten thousand racing pushes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import IncompleteRead
from pathlib import Path

import pytest

from tests.selection import Extent
from tests.support.clients import run
from tests.support.engines import Engine
from tests.support.product import Product
from tests.support.racing import Client, image, race, upload
from tests.support.waiting import until

pytestmark = pytest.mark.e2e


@pytest.fixture
def rules(boathouse: Product) -> Iterator[Product]:
    """The product; what a test protects is lifted after it."""
    yield boathouse
    for row in json.loads(boathouse.boathouse("protect", "list", "--json").stdout):
        boathouse.boathouse("protect", "lift", str(row["number"]))


@pytest.fixture(scope="module")
def user(boathouse: Product) -> tuple[str, str]:
    """One who may do everything that a rule does not forbid."""
    return boathouse.add_user("guard", pull=["*"], push=["*"], delete=["*"])


def test_racing_pushes_overwrite_nothing(
    rules: Product, user: tuple[str, str], extent: Extent
) -> None:
    rules.boathouse("protect", "add", "guard-race/*:v*", "--immutable")
    race([rules], user, "guard-race/app", extent(400, 10_000), "guard-race/*:v*")


def test_a_push_that_the_portal_dies_of_is_not_overwritten(
    rules: Product, user: tuple[str, str]
) -> None:
    """Its processes are killed while pushes of an immutable tag are under way: what was answered
    with 201 stays."""
    repository = "guard-killed/app"
    upload(rules, repository)
    rules.boathouse("protect", "add", "guard-killed/*:v*", "--immutable")
    confirmed: dict[str, set[str]] = {}
    over = threading.Event()

    def push(number: int) -> None:
        with closing(Client(rules, user, repository)) as client:
            turn = 0
            while not over.is_set():
                tag, raw = f"v{turn // 4}", image(f"{turn} {number}")
                turn += 1
                try:
                    status, digest, _words = client.ask("PUT", tag, raw)
                except IncompleteRead:  # the words of a refusal, of a process that was killed
                    client.close()  # the next request connects again
                    continue
                if status == 201:
                    confirmed.setdefault(tag, set()).add(digest)

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(push, number) for number in range(4)]
        try:
            until(lambda: len(confirmed) > 5, "some tags were pushed")
            web = rules.status()["parts"]["web"]["pid"]
            for child in [one for one in rules.processes() if one.ppid() == web]:
                child.kill()
            reached = len(confirmed)
            until(lambda: len(confirmed) > reached + 5, "it goes on")
        finally:
            over.set()
        for one in working:
            one.result()
    with closing(Client(rules, user, repository)) as client:
        for tag, digests in confirmed.items():
            assert len(digests) == 1, tag
            assert client.ask("HEAD", tag)[1] in digests, tag


@pytest.mark.root
def test_docker_pushes_new_tags_and_the_same_again_and_is_told_why_not_others(
    rules: Product,
    user: tuple[str, str],
    docker: Engine,
    certificates: Path,
    tmp_path: Path,
) -> None:
    rules.boathouse("protect", "add", "guard-docker/*:v* stable", "--immutable", "--note", "x")
    name = f"{rules.name}/guard-docker/app"
    docker.import_base()
    docker.docker("tag", "base", f"{name}:v1")
    docker.push(f"{name}:v1")
    docker.push(f"{name}:v1")
    docker.make_image(f"{name}:v2", "echo another > /another")
    docker.push(f"{name}:v2")
    docker.docker("tag", f"{name}:v2", f"{name}:v1")
    done = docker.docker("push", f"{name}:v1", check=False)
    assert done.returncode != 0
    assert "guard-docker/app:v1 is immutable, protected by guard-docker/*:v* stable" in done.stderr
    docker.docker("tag", f"{name}:v2", f"{name}:latest")
    docker.push(f"{name}:latest")
    login = ["--cert-dir", str(certificates), "--creds", ":".join(user)]
    done = run(tmp_path, "skopeo", "delete", *login, f"docker://{name}:latest")
    assert done.returncode != 0  # on the digest of v2
    assert "guard-docker/app:v2 is protected by guard-docker/*:v* stable" in done.stderr
    until(lambda: rules.tag("guard-docker/app", "v2"), "the portal knows it")
    (row,) = json.loads(rules.boathouse("search", "is:immutable v1", "--json").stdout)["tags"]
    assert row["reference"] == "guard-docker/app:v1"
    rules.boathouse("protect", "lift", "guard-docker/*:v* stable")
    docker.docker("tag", f"{name}:v2", f"{name}:v1")
    docker.push(f"{name}:v1")
    until(
        lambda: {row["by"] for row in rules.listed("guard-docker/app")} == {rules.user[0]},
        "the portal knows who pushed",
    )
    done = run(tmp_path, "skopeo", "delete", *login, f"docker://{name}:latest")
    assert done.returncode == 0, done.stderr
