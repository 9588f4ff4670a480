"""`docker search` and `podman search` against the product, as users with different rights."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.engines import Engine
from tests.support.machines import Machine
from tests.support.product import Product
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.root]
NAMES = ("findme/api", "findme/deep/api", "hidden/findme-api", "findme")


@pytest.fixture(scope="module")
def stocked(boathouse: Product, docker: Engine) -> Product:
    """The product with some repositories; one has two tags."""
    for name in (*NAMES, "findme/api:2.1"):
        docker.docker("tag", "base", f"{boathouse.name}/{name}")
        docker.push(f"{boathouse.name}/{name}")
    for name in NAMES:
        until(lambda name=name: boathouse.tag(name, "latest"), f"{name} is in the index")
    until(lambda: boathouse.tag("findme/api", "2.1"), "the other tag is there, too")
    return boathouse


@pytest.fixture(scope="module")
def finder(stocked: Product) -> tuple[str, str]:
    """A user who may pull some of them."""
    return stocked.add_user("finder", pull=["findme/*"], push=["*"])


def docker_search(docker: Engine, term: str, *options: str) -> list[tuple[str, str]]:
    """Name and description of what Docker prints, in its order."""
    form = ("--no-trunc", "--format", "{{.Name}}\t{{.Description}}")
    printed = docker.docker("search", *form, *options, term).stdout
    found = [line.partition("\t") for line in printed.splitlines()]
    return [(name, description) for name, _tab, description in found]


def names(found: list[tuple[str, str]]) -> list[str]:
    return [name for name, _description in found]


def test_docker_finds_what_its_user_may_pull(
    stocked: Product, docker: Engine, finder: tuple[str, str]
) -> None:
    registry = stocked.name
    everything = docker_search(docker, f"{registry}/findme")
    assert names(everything)[0] == "findme"  # the name itself
    assert set(names(everything)) == set(NAMES)
    assert names(everything)[-1] == "hidden/findme-api"  # begins otherwise
    assert names(docker_search(docker, f"{registry}/findme", "--limit=1")) == ["findme"]
    [(name, description)] = docker_search(docker, f"{registry}/findme/api")
    assert name == "findme/api"
    assert description.startswith("newest 2.1, 2 tags, pushed 20")
    assert names(docker_search(docker, f"{registry}/library/findme")) == ["findme"]
    assert names(docker_search(docker, f"{registry}/FindMe/API")) == ["findme/api"]
    assert docker_search(docker, f"{registry}/no-such-thing") == []
    docker.login(registry, *finder)
    try:
        mine = {"findme/api", "findme/deep/api"}
        assert set(names(docker_search(docker, f"{registry}/findme"))) == mine
        assert set(names(docker_search(docker, f"{registry}/"))) == mine
        assert docker_search(docker, f"{registry}/hidden") == []
    finally:
        docker.login(registry, *stocked.user)


def test_docker_finds_nothing_without_a_login(stocked: Product, docker: Engine) -> None:
    docker.docker("logout", stocked.name)
    try:
        done = docker.docker("search", f"{stocked.name}/findme", check=False)
        assert "Unexpected status code 401" in done.stderr
        assert "findme" not in done.stdout
    finally:
        docker.login(stocked.name, *stocked.user)


def podman(machine: Machine, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = ["podman", "--cgroup-manager=cgroupfs", *arguments]
    # Else it takes Docker's login of the same home.
    home = {"HOME": f"{machine.folder}/podman-home"}
    return machine.run(command, stdin=stdin, check=False, environment=home)


def test_podman_finds_what_its_user_may_pull(
    stocked: Product, first_machine: Machine, docker: Engine, finder: tuple[str, str]
) -> None:
    """podman asks /v1/search without its login, is refused, and reads the catalogue with it."""
    form = ("--limit=100", "--format", "{{.Name}}")
    mine = {"findme/api", "findme/deep/api"}
    for (name, secret), all_of_it in ((stocked.user, set(NAMES)), (finder, mine)):
        login = ("login", "--username", name, "--password-stdin", stocked.name)
        assert "Login Succeeded" in podman(first_machine, *login, stdin=secret).stdout
        for term, expected in (("findme", all_of_it), ("findme/", mine), ("no-such", set())):
            found = podman(first_machine, "search", *form, f"{stocked.name}/{term}")
            assert found.returncode == 0, found.stderr
            assert set(found.stdout.split()) == {f"{stocked.name}/{one}" for one in expected}
        everything = podman(first_machine, "search", *form, f"{stocked.name}/").stdout.split()
        assert {f"{stocked.name}/{one}" for one in all_of_it} <= set(everything)
    assert set(everything) == {f"{stocked.name}/{one}" for one in mine}
    podman(first_machine, "logout", stocked.name)
    found = podman(first_machine, "search", f"{stocked.name}/findme")
    assert found.returncode != 0
    assert "findme" not in found.stdout
