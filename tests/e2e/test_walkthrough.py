"""The walkthrough with the real Docker engine, from the login to "Hello ubuntu"."""

import re

import pytest

from tests.support.engines import NO_SOCKET_TO_THE_WORLD, Engine, engine
from tests.support.machines import Machine
from tests.support.product import Product
from tests.support.waiting import until

from .conftest import trust_lines

pytestmark = [pytest.mark.e2e, pytest.mark.root]


def test_an_image_goes_from_one_docker_machine_to_another(
    boathouse: Product, docker: Engine, second_docker: Engine
) -> None:
    """Rows 13 to 16: login, run, commit, tag, push, and run it elsewhere."""
    name, secret = boathouse.user
    assert "Login Succeeded" in docker.login(boathouse.name, name, secret)
    docker.docker("run", "--name=work", NO_SOCKET_TO_THE_WORLD, "base", "sh", "-c", WRITE)
    docker.docker("commit", "work", "hello-ubuntu")
    reference = f"{boathouse.name}/hello-ubuntu"
    docker.docker("tag", "hello-ubuntu", reference)

    digest = docker.push(reference)

    row = until(lambda: boathouse.tag("hello-ubuntu", "latest"), "the tag is in the index")
    assert row is not None
    assert (row["digest"], row["by"], row["problem"]) == (digest, name, "")
    assert row["platforms"] == ["linux/amd64"]
    assert row["pushed"]
    ran = second_docker.docker(
        "run", "--rm", NO_SOCKET_TO_THE_WORLD, reference, "cat", "/root/new_image"
    )
    assert ran.stdout == "Hello ubuntu\n"


WRITE = "echo Hello ubuntu > /root/new_image"


def test_a_wrong_password_is_refused(boathouse: Product, docker: Engine) -> None:
    said = docker.login(boathouse.name, boathouse.user[0], "not the secret", check=False)
    assert "Login Succeeded" not in said
    assert "401 Unauthorized" in said
    docker.login(boathouse.name, *boathouse.user)


def test_push_and_pull_without_a_login_are_refused(boathouse: Product, docker: Engine) -> None:
    reference = f"{boathouse.name}/nobody/base"
    docker.docker("tag", "base", reference)
    docker.docker("logout", boathouse.name)
    try:
        for act in ("push", "pull"):
            done = docker.docker(act, reference, check=False)
            assert done.returncode != 0
            assert "no basic auth credentials" in done.stdout + done.stderr
    finally:
        docker.login(boathouse.name, *boathouse.user)
    assert not boathouse.listed("nobody/base")


def test_a_machine_refuses_without_the_ca_and_accepts_with_it(
    boathouse: Product, new_machine: Machine
) -> None:
    """Rows 10 and 12: the same login, before and after the lines that `up` prints."""
    with engine(new_machine) as fresh:
        said = fresh.login(boathouse.name, *boathouse.user, check=False)
        assert "x509" in said
        assert "Login Succeeded" not in said

        printed = new_machine.run(trust_lines(boathouse)).stdout

        fingerprint = re.search(r"[Ff]ingerprint=([0-9A-F:]+)", printed)
        assert fingerprint, printed
        assert fingerprint[1] == boathouse.facts["fingerprint"]
        assert "Login Succeeded" in fresh.login(boathouse.name, *boathouse.user)


def test_one_push_of_many_tags_is_in_the_index_with_all_of_them(
    boathouse: Product, docker: Engine
) -> None:
    docker.make_image("tagged", "echo tagged > /root/tagged")
    names = {"1", "1.4", "1.4.2", "latest", "stable"}
    for tag in names:
        docker.docker("tag", "tagged", f"{boathouse.name}/team/web/tagged:{tag}")
    docker.docker("push", "--all-tags", f"{boathouse.name}/team/web/tagged")

    def rows() -> list[dict[str, str]]:
        found = boathouse.listed("team/web/tagged")
        return found if {row["tag"] for row in found} == names else []

    found = until(rows, "all five tags are in the index")
    assert len({row["digest"] for row in found}) == 1
    assert {row["by"] for row in found} == {boathouse.user[0]}
