"""The trust page: its commands, run as they stand on a machine that never heard of the registry."""

import pytest

from tests.support.engines import Engine, engine
from tests.support.machines import Machine
from tests.support.product import Product
from tests.support.trust import follow, steps

pytestmark = [pytest.mark.e2e, pytest.mark.root]


def test_docker_logs_in_after_the_lines_for_docker(
    boathouse: Product, new_machine: Machine
) -> None:
    printed = follow(new_machine, boathouse, "docker")
    assert boathouse.facts["fingerprint"] in printed
    name, secret = boathouse.user
    shown = steps(boathouse, "docker")["try"]
    assert shown == f"docker login {boathouse.name}"
    with engine(new_machine):
        # The line asks on a terminal; a pipe has none.
        done = new_machine.run(f"{shown} --username {name} --password-stdin", stdin=secret)
    assert "Login Succeeded" in done.stdout


def test_podman_logs_in_after_the_lines_for_podman(
    boathouse: Product, new_machine: Machine
) -> None:
    name, secret = boathouse.user
    login = f"{steps(boathouse, 'podman')['try']} --username {name} --password-stdin"
    before = new_machine.run(login, stdin=secret, check=False)
    assert before.returncode != 0
    assert "x509" in before.stderr

    follow(new_machine, boathouse, "podman")

    assert "Login Succeeded" in new_machine.run(login, stdin=secret).stdout


def test_any_program_trusts_it_after_the_lines_for_debian(
    boathouse: Product, new_machine: Machine
) -> None:
    ask = f"curl -fsS {boathouse.facts['url']}/healthz"
    assert new_machine.run(ask, check=False).returncode == 60
    follow(new_machine, boathouse, "debian")
    new_machine.run(ask)


def test_containerd_pulls_after_the_lines_for_containerd(
    boathouse: Product, docker: Engine, new_machine: Machine
) -> None:
    docker.make_image("contained", "echo contained > /root/contained")
    reference = f"{boathouse.name}/trust/contained:1"
    docker.docker("tag", "contained", reference)
    docker.push(reference)
    with engine(new_machine):  # it brings a containerd of its own
        pull = (
            f"ctr --address {new_machine.folder}/exec/containerd/containerd.sock content fetch "
            f"--hosts-dir /etc/containerd/certs.d --user {':'.join(boathouse.user)} {reference}"
        )
        assert new_machine.run(pull, check=False).returncode != 0
        follow(new_machine, boathouse, "containerd")
        assert "done" in new_machine.run(pull).stdout


def test_the_page_shows_commands_for_every_kind_of_machine(boathouse: Product) -> None:
    for kind in ("docker", "containerd", "podman", "debian", "rhel", "macos", "windows"):
        shown = steps(boathouse, kind)
        assert list(shown) == ["fetch", "compare", "install", "try"], kind
        assert boathouse.name in shown["try"]
    assert list(steps(boathouse, "kubernetes"))[-2:] == ["secret", "try"]
