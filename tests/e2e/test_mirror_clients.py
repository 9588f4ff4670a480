"""Row 14 of the walkthrough with Docker, containerd and podman: an image of a mirror is run,
changed and pushed; then a second client pulls it with the upstream killed."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registryui.mirrors import client_lines, presets
from registryui.models import Mirror
from tests.support import mirrors
from tests.support.containerds import CONTAINERD, CTR, containerd
from tests.support.engines import NO_SOCKET_TO_THE_WORLD, Engine, engine
from tests.support.folders import open_folder
from tests.support.machines import Machine
from tests.support.product import Product, free_port
from tests.support.upstreams import Upstream, upstream
from tests.support.waiting import until

from .conftest import needs, trust_lines

pytestmark = [pytest.mark.e2e, pytest.mark.root]

NAME = "walkthrough-hub"
WRITE = "echo Hello ubuntu > /root/new_image"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with open_folder("upstream") as made:
        yield made


@pytest.fixture(scope="module")
def hub(place: Path, boathouse: Product) -> Iterator[Upstream]:
    """Stands for Docker Hub: its images are library/NAME."""
    with upstream(place / "hub", auth="token") as made:
        mirrors.add(boathouse, NAME, made, "--library", "--fresh-minutes=0")
        try:
            yield made
        finally:
            boathouse.boathouse("mirror", "remove", NAME, "--delete-content", "--yes", check=False)


@pytest.fixture
def there(hub: Upstream, boathouse: Product) -> Iterator[Upstream]:
    yield hub
    if hub._server is None:
        hub.start()
        mirrors.ask_again(boathouse, NAME)
        until(lambda: mirrors.is_ready(boathouse, NAME), "the mirror knows that it is there")


def test_docker_runs_an_image_of_a_mirror_and_pushes_what_it_made_of_it(
    boathouse: Product, there: Upstream, docker: Engine, second_docker: Engine
) -> None:
    digest = mirrors.push_busybox(there.registry, "library/for-docker", "1")
    image = f"{boathouse.name}/{NAME}/for-docker:1"
    docker.docker("run", "--name=of-mirror", NO_SOCKET_TO_THE_WORLD, image, "sh", "-c", WRITE)
    reference = f"{boathouse.name}/hello-mirrored"
    docker.docker("commit", "of-mirror", reference)
    pushed = docker.push(reference)
    row = until(lambda: boathouse.tag("hello-mirrored", "latest"), "the tag is in the index")
    assert row is not None
    assert row["digest"] == pushed
    found = until(lambda: boathouse.tag(f"{NAME}/for-docker", "1"), "the mirrored one, too")
    assert found is not None
    assert (found["digest"], found["problem"]) == (digest, "")

    there.kill()

    command = ("run", "--rm", NO_SOCKET_TO_THE_WORLD)
    ran = second_docker.docker(*command, reference, "cat", "/root/new_image")
    assert ran.stdout == "Hello ubuntu\n"
    ran = second_docker.docker(*command, image, "echo", "from the mirror")
    assert ran.stdout == "from the mirror\n"


def test_docker_is_told_in_words_that_nothing_can_be_pushed(
    boathouse: Product, there: Upstream, docker: Engine
) -> None:
    reference = f"{boathouse.name}/{NAME}/pushed:1"
    docker.docker("tag", "base", reference)
    done = docker.docker("push", reference, check=False)
    assert done.returncode != 0
    assert f"{NAME} is a mirror of {there.url}" in done.stdout + done.stderr
    absent = docker.docker("pull", f"{boathouse.name}/{NAME}/absent:1", check=False)
    assert absent.returncode != 0
    assert "unknown" in absent.stdout + absent.stderr


def lines(boathouse: Product, settings: Any, client: str, step: str) -> str:
    """What the mirror's page would say for Docker Hub, with the user's secret filled in."""
    settings.REGISTRY_NAME, settings.TLS_CERTIFICATE = boathouse.name, ""
    mirror = Mirror(name=NAME, url=presets.DOCKER_HUB)
    found = {one.key: one.steps for one in client_lines.clients(mirror)}[client]
    text = next(one.text for one in found if one.name == step)
    login = b64encode(":".join(boathouse.user).encode()).decode()
    ca = f"/etc/containerd/certs.d/{boathouse.name}/ca.crt"
    return text.replace("BASE64", login).replace(ca, str(boathouse.ca))


def test_containerd_pulls_docker_io_through_the_mirror(
    boathouse: Product,
    there: Upstream,
    first_machine: Machine,
    second_machine: Machine,
    settings: Any,
) -> None:
    """It has no commit: what it pulled is pushed as it is. The login is in the file."""
    needs(CONTAINERD, CTR)
    mirrors.push_busybox(there.registry, "library/for-containerd", "1")
    image, login = "docker.io/library/for-containerd:1", f"--user={':'.join(boathouse.user)}"
    target = f"{boathouse.name}/of-containerd:1"
    for machine in (first_machine, second_machine):
        with containerd(machine) as daemon:
            (daemon.hosts / "docker.io").mkdir()
            toml = lines(boathouse, settings, "containerd", "hosts")
            (daemon.hosts / "docker.io" / "hosts.toml").write_text(toml)
            done = daemon.pull(image)
            assert done.returncode == 0, done.stdout + done.stderr
            assert daemon.run(image, "hello", "echo", "hello") == "hello\n"
            if machine is first_machine:
                daemon.ctr("images", "tag", image, target)
                daemon.ctr("images", "push", login, f"--tlscacert={boathouse.ca}", target)
                until(lambda: boathouse.tag("of-containerd", "1"), "the tag is in the index")
                there.kill()
            else:
                done = daemon.pull(target, login, f"--tlscacert={boathouse.ca}")
                assert done.returncode == 0, done.stdout + done.stderr


def podman(machine: Machine, *arguments: str, check: bool = True, stdin: str = "") -> str:
    """Both streams of podman on that machine."""
    command = ["podman", "--cgroup-manager=cgroupfs", "--runtime=runc", *arguments]
    done = machine.run(command, check=check, stdin=stdin)
    return done.stdout + done.stderr


@pytest.mark.usefixtures("long_proof")
def test_podman_runs_an_image_of_a_mirror_and_pushes_what_it_made_of_it(
    boathouse: Product,
    there: Upstream,
    first_machine: Machine,
    second_machine: Machine,
    settings: Any,
) -> None:
    name, secret = boathouse.user
    for machine in (first_machine, second_machine):
        conf = machine.folder / "etc/containers/registries.conf"
        conf.write_text(lines(boathouse, settings, "podman", "registries"))
        podman(
            machine,
            *("login", "--username", name, "--password-stdin", boathouse.name),
            stdin=secret,
        )
    mirrors.push_busybox(there.registry, "library/for-podman", "1")
    image, reference = "docker.io/library/for-podman:1", f"{boathouse.name}/hello-podman:1"
    run = ("run", "--network=none")
    podman(first_machine, *run, "--name=work", image, "sh", "-c", WRITE)
    podman(first_machine, "commit", "work", reference)
    podman(first_machine, "push", reference)
    until(lambda: boathouse.tag("hello-podman", "1"), "the tag is in the index")

    there.kill()

    said = podman(second_machine, *run, "--rm", reference, "cat", "/root/new_image")
    assert "Hello ubuntu" in said
    assert "hello again" in podman(second_machine, *run, "--rm", image, "echo", "hello again")


def test_docker_pulls_docker_io_through_a_port_without_a_login(
    boathouse: Product, place: Path, new_machine: Machine
) -> None:
    """As `registry-mirrors` in daemon.json: a root URL, only for docker.io, and no login."""
    port = free_port(boathouse.address)
    with upstream(place / "open") as one:
        digest = mirrors.push_busybox(one.registry, "library/for-everybody", "1")
        options = (f"--open-port={port}", "--networks=10.231.0.0/16", "--library")
        mirrors.add(boathouse, "open-hub", one, *options)
        try:
            new_machine.run(trust_lines(boathouse))
            trusted = new_machine.folder / f"etc/docker/certs.d/{boathouse.host}:{port}"
            trusted.mkdir(parents=True)
            (trusted / "ca.crt").write_bytes(boathouse.ca.read_bytes())
            with engine(
                new_machine, f"--registry-mirror=https://{boathouse.host}:{port}"
            ) as docker:
                docker.docker("pull", "for-everybody:1")
                told = docker.docker("image", "inspect", "for-everybody:1").stdout
                assert digest in told
                there = f"{boathouse.host}:{port}/for-everybody:1"
                docker.docker("tag", "for-everybody:1", there)
                assert docker.docker("push", there, check=False).returncode != 0
        finally:
            boathouse.boathouse(
                "mirror", "remove", "open-hub", "--delete-content", "--yes", check=False
            )
